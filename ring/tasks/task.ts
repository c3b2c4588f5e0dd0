/**
 * The vocabulary of tasks that crosses the borders of the task engine: what is submitted, what an attempt is given,
 * what it gives back, and what the outside may ask. Shapes only; behaviour is in the files beside.
 */

import type { ErrorCode } from "../errors.ts";
import type { AppName, Partition } from "../ids.ts";
import type { IdBits } from "./task-id.ts";

/**
 * One submitted task, parsed once from its wire bytes (`taskring.v1.SubmitRequest`) and never re-encoded.
 * `wire` is what is stored, forwarded and handed to the attempt.
 */
export interface TaskRecord extends IdBits {
  readonly app: AppName;
  readonly type: string;
  /** Lane key; if the submitter gave none: the idempotency key's hash, else the id without its hash suffix. */
  readonly key: string;
  /** 32 hex digits: 12 of wall ms (k-ordered), 16 random, 4 = top 16 bits of the (app, key) hash, so an id names its partition. */
  readonly id: string;
  /** murmur3 of (app, key), unsigned 32 bits. */
  readonly hash: number;
  readonly idempotencyKey: string | undefined;
  /** 0 for none. */
  readonly delayMs: number;
  /** From acceptance until the task is given up; 0 for none. */
  readonly deadlineMs: number;
  /** 0: the type's own setting. */
  readonly maxAttempts: number;
  /** Lanes with a higher one are served first within their app; never reorders a lane. -100 to 100, default 0. */
  readonly priority: number;
  /** A view of `bytes[start, end)`, made when asked for. */
  readonly wire: Uint8Array;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** From `start` on. */
  readonly payloadOffset: number;
  readonly payloadBytes: number;
}

export type TaskState = "queued" | "delayed" | "running" | "retrying" | "done" | "dead" | "cancelled";

/** What became of one submitted task. */
export type SubmitOutcome =
  | { readonly type: "accepted"; readonly id: string }
  | { readonly type: "duplicate"; readonly id: string; readonly state: TaskState }
  | { readonly type: "refused"; readonly code: ErrorCode; readonly detail: string; readonly retryAfterMs?: number };

/** One try of one task, given to whatever runs handlers. */
export interface Attempt {
  /** Unique in this process; names the attempt in `AttemptEnd` and `abort`. */
  readonly attemptId: number;
  readonly partition: Partition;
  readonly record: TaskRecord;
  /** 1 for the first. */
  readonly attempt: number;
  /** Rises strictly with every attempt of a key, over nodes, restarts and stores. */
  readonly fence: bigint;
  /** The key's durable state, by name; encoded as the runner encodes. Never changed by the runner: it reports changes. */
  readonly state: ReadonlyMap<string, Uint8Array>;
  readonly timeoutMs: number;
  /** Instant after which the task is given up; undefined for none. */
  readonly deadline: number | undefined;
  /** The state is on a machine that is away: touching it must end the attempt with `STATE_AWAY`. */
  readonly stateAway: boolean;
  /** Absent for a task; the name of a resident for a resident's run. */
  readonly resident?: string;
}

/** Why an attempt's signal aborts. */
export type AbortReason = "timeout" | "lease" | "handoff" | "cancelled" | "shutdown" | "deadline";

/** A child submitted through `ctx.submit`: stored with the parent's ack, then sent until its owner has accepted it. */
export interface Child {
  /** hash(parent id, ordinal or key): the same on every attempt. */
  readonly id: string;
  readonly wire: Uint8Array;
}

/** What an attempt came to; reported once per attempt, by the runner. */
export interface AttemptEnd {
  readonly attemptId: number;
  readonly outcome:
    | { readonly type: "done"; readonly result: Uint8Array | undefined }
    | {
        readonly type: "failed";
        readonly error: TaskFailure;
        readonly retryAfterMs?: number;
        readonly permanent: boolean;
        /** Its node, or one that it needs, had no room for what it asked: it is made again, uncounted. */
        readonly noRoom?: boolean;
      }
    | { readonly type: "state-away" };
  /** Applied together with the ack, and only if the outcome is `done`. */
  readonly stateChanges: readonly { readonly name: string; readonly value: Uint8Array | undefined }[];
  /** Kept only if the outcome is `done`. */
  readonly children: readonly Child[];
}

export interface TaskFailure {
  /** Class or code of what was thrown. */
  readonly name: string;
  readonly message: string;
  /** First lines, bounded to 4 KiB. */
  readonly stack?: string;
}

/** What `Get`, `Wait` and `Watch` tell. */
export interface TaskStatus {
  readonly id: string;
  readonly app: string;
  readonly type: string;
  readonly key: string;
  readonly state: TaskState;
  readonly attempts: number;
  readonly partition: Partition;
  readonly acceptedAtMs: number;
  /** Wall ms; for delayed and retrying tasks. */
  readonly dueAtMs?: number;
  readonly endedAtMs?: number;
  readonly error?: TaskFailure;
  readonly result?: Uint8Array;
  /** Why it is not running: a failing head, a paused key, STATE_AWAY, … */
  readonly waits?: string;
}
