/**
 * What a handler is given: the task and its context. Shapes only; `services/runner/` implements them.
 */

import type { Report } from "../../pipe/views.ts";

/** Bytes as they are, a string as UTF-8, anything else as JSON. Absent: no bytes. */
export type Payload = Uint8Array | string | number | boolean | null | object;

export interface TaskView {
  readonly id: string;
  readonly app: string;
  readonly type: string;
  readonly key: string;
  /** The submitted bytes. Valid as long as the attempt runs; copy them to keep them longer. */
  readonly payload: Uint8Array;
  /** 1 for the first. */
  readonly attempt: number;
  readonly headers: ReadonlyMap<string, string>;
  /** The payload parsed as JSON. Throws a permanent error when it is not JSON: trying again cannot help. */
  json<T = unknown>(): T;
}

export interface TaskContext {
  readonly app: string;
  readonly key: string;
  /** 1 for the first. */
  readonly attempt: number;
  readonly token: AttemptToken;
  /** Aborts on timeout, loss of the lease, handoff, cancel, shutdown, or a stray error of this attempt. */
  readonly signal: AbortSignal;
  /** Wall ms by which the attempt must have ended, the task's own deadline included; undefined for none. */
  readonly deadline: number | undefined;
  readonly state: TaskState;
  /**
   * Submits a child task when, and only if, this attempt is acknowledged. Returns the child's id, which is the same on
   * every attempt: from the ordinal of the call, or from the idempotency key. Throws `CANCELLED` on a stale token,
   * `TASK_TYPE_UNKNOWN`, `PAYLOAD_TOO_LARGE`, `INVALID_ARGUMENT`, `QUEUE_FULL` (too many children of one attempt).
   */
  submit(type: string, options?: SubmitOptions): string;
  /**
   * Runs a pipeline that the node has loaded, and resolves with its report when the whole tree of the inputs has an end. With a
   * single `input` whose first fitting makes checkpoints, a repeated attempt goes on at the last one. Throws what ended
   * the run early.
   */
  run(pipeline: string | { readonly name: string }, inputs: PipelineInputs): Promise<Report>;
  /** How far the attempt has come; shown to operators, never stored. */
  progress(progress: Progress): void;
  readonly log: TaskLog;
}

export type PipelineInputs = (
  | { readonly input: unknown }
  | { readonly inputs: Iterable<unknown> | AsyncIterable<unknown> }
) & {
  /** Default: outputs are counted only. A function takes arrays of outputs and acknowledges by returning. */
  readonly sink?: (outputs: readonly unknown[]) => void | Promise<void>;
};

export interface AttemptToken {
  /** Rises strictly with every attempt of a key; send it along with writes to the outside, and refuse lower ones there. */
  readonly fence: bigint;
  /** True once the attempt was aborted or has ended: what it writes from then on is refused. */
  readonly stale: boolean;
}

/**
 * The key's small durable state. Reads are synchronous: it was loaded before the attempt started. Changes are stored
 * together with the acknowledgement, and only then. `get` returns a fresh copy and `put` takes one: changing an object
 * after `put`, or one that `get` returned, changes nothing.
 */
export interface TaskState {
  get<T = unknown>(name: string): T | undefined;
  /** Any JSON value, or bytes. At most 256 KiB a value, 256 bytes its name and 1 MiB a key. Throws `CANCELLED` on a stale token. */
  put(name: string, value: Payload): void;
  delete(name: string): void;
  /** Names that have a value, changes of this attempt included. */
  names(): readonly string[];
}

export interface SubmitOptions {
  /** Lane key of the child. Absent: one of its own, so it runs in parallel. */
  readonly key?: string;
  readonly payload?: Payload;
  /** Default: the parent's app. */
  readonly app?: string;
  readonly delayMs?: number;
  readonly deadlineMs?: number;
  readonly maxAttempts?: number;
  /** -100 to 100. */
  readonly priority?: number;
  readonly idempotencyKey?: string;
  readonly headers?: Readonly<Record<string, string>> | ReadonlyMap<string, string>;
}

export interface Progress {
  readonly done: number;
  readonly total?: number;
  readonly note?: string;
}

/** Lines carry app, key, task and attempt by themselves. */
export interface TaskLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** A resident has no task behind it: no state, and its submits are sent at once. */
export interface ResidentContext {
  readonly app: string;
  /** The resident's name, which is its key. */
  readonly key: string;
  /** 1 for the first run of this process, then one more with each restart. */
  readonly attempt: number;
  readonly token: AttemptToken;
  readonly signal: AbortSignal;
  /** Resolves with the task's id when its owner has stored it. */
  submit(type: string, options?: SubmitOptions): Promise<string>;
  progress(progress: Progress): void;
  readonly log: TaskLog;
}
