/**
 * The border between the task engine (all task vnodes of one node) and the node machine that composes it.
 *
 * The engine holds every task of the partitions it serves in memory, decides what may start, and describes each
 * change as row changes. The node machine puts the changes of one step into commit groups, tells the engine what
 * became durable, and carries starts, aborts and outbox tasks to whoever performs them.
 *
 * E1  Nothing is acknowledged, started or reported as ended before the rows that say so are durable; the one exception:
 *     a lane's next task may start before its predecessor's ack is durable (a crash re-runs both, in order).
 * E2  One attempt per lane at a time; a lane's tasks start in the order they became runnable.
 * E3  A partition starts nothing while it is loading, held or closed, or while the node may not run (no lease).
 */

import type { ErrorCode } from "../errors.ts";
import type { AppName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Row, RowChange, Term } from "../store.ts";
import type { AsideValue } from "./state-rows.ts";
import type { AbortReason, Attempt, AttemptEnd, SubmitOutcome, TaskRecord, TaskState, TaskStatus } from "./task.ts";
import type { Written } from "./written.ts";

/** Filled by the engine during a call, emptied by the node machine after it. Arrays are appended to. */
export interface EngineOutput {
  /** Partitions with rows to write, to be taken in this order before the array is emptied. The engine may assume that they enter the commit group numbered `group`. */
  readonly changes: Written[];
  readonly starts: Attempt[];
  readonly aborts: { readonly attemptId: number; readonly reason: AbortReason }[];
  /** Children that are durable with their parent and must reach their owner; answered by `childSent`. */
  readonly outbox: OutboxTask[];
  /** Outcomes of submits whose rows are durable now (and immediate ones), by the token given to `submit`. */
  readonly outcomes: { readonly token: number; readonly outcome: SubmitOutcome }[];
  /** Answers to requests, immediate or once durable. */
  readonly answers: { readonly requestId: number; readonly answer: TaskAnswer }[];
  /** State of lanes needed before their head can start; answered by `stateLoaded` (rows under the prefix). */
  readonly stateReads: { readonly partition: Partition; readonly prefix: Uint8Array; readonly readId: number }[];
  /** For history, metrics and Watch: facts about tasks, in order. */
  readonly events: TaskEvent[];
}

export interface OutboxTask {
  readonly partition: Partition;
  readonly outboxId: number;
  readonly record: TaskRecord;
}

export type TaskEvent =
  | { readonly type: "accepted"; readonly app: AppName; readonly count: number }
  | {
      readonly type: "ended";
      readonly app: AppName;
      readonly taskType: string;
      readonly key: string;
      readonly id: string;
      readonly outcome: "done" | "dead" | "cancelled" | "retry";
      /** False: cancelled, or too late, before an attempt of it began; it waited until its end, and `runMs` is 0. */
      readonly started: boolean;
      readonly waitMs: number;
      readonly runMs: number;
    }
  /** A returning copy of a key's state is kept aside: the state written without it meanwhile wins (ownership rule 17). */
  | { readonly type: "state-aside"; readonly app: string; readonly key: string };

/** What may be asked of one partition's vnode. Names and fields follow the gRPC calls. */
export type TaskRequest =
  | { readonly type: "get"; readonly id: string }
  /** Answered when the task ends, or with its present status when `timeoutMs` is over. */
  | {
      readonly type: "wait";
      readonly id: string;
      readonly timeoutMs: number;
      /** Answered as well as soon as its state or number of attempts is another. */
      readonly since?: { readonly state: TaskState; readonly attempts: number };
    }
  | { readonly type: "cancel"; readonly id: string }
  | {
      readonly type: "list";
      readonly app?: string;
      readonly key?: string;
      readonly state?: string;
      readonly limit: number;
    }
  | { readonly type: "list-dead"; readonly app?: string; readonly after?: string; readonly limit: number }
  | { readonly type: "retry-dead"; readonly ids: readonly string[] }
  | { readonly type: "drop-dead"; readonly ids: readonly string[] }
  | {
      readonly type: "key";
      readonly app: AppName;
      readonly key: string;
      readonly action: "describe" | "pause" | "resume";
    }
  | { readonly type: "put-schedule"; readonly app: AppName; readonly spec: import("./definition.ts").ScheduleSpec }
  | {
      readonly type: "schedule";
      readonly app: AppName;
      readonly key: string;
      readonly name: string;
      readonly action: "pause" | "resume" | "run" | "delete";
      /** Of the task that `run` makes: asked again with the same id it makes no other. Without it the node derives one. */
      readonly taskId?: string;
    }
  | { readonly type: "list-schedules"; readonly app?: string; readonly name?: string; readonly limit: number }
  | { readonly type: "read-state"; readonly app: AppName; readonly key: string }
  /** Values of the key that gave way to newer ones; with `drop` they are gone afterwards. */
  | { readonly type: "read-aside"; readonly app: AppName; readonly key: string; readonly drop: boolean };

export type TaskAnswer =
  | { readonly type: "task"; readonly status: TaskStatus }
  | { readonly type: "tasks"; readonly statuses: readonly TaskStatus[]; readonly next?: string }
  | { readonly type: "count"; readonly count: number }
  | { readonly type: "key"; readonly key: KeyView }
  | { readonly type: "schedules"; readonly schedules: readonly ScheduleView[] }
  | { readonly type: "state"; readonly values: ReadonlyMap<string, Uint8Array> }
  | { readonly type: "aside"; readonly values: readonly AsideValue[] }
  | { readonly type: "ok" }
  | { readonly type: "refused"; readonly code: ErrorCode; readonly detail: string };

export interface KeyView {
  readonly app: string;
  readonly key: string;
  readonly partition: Partition;
  readonly paused: boolean;
  readonly queued: number;
  readonly running: boolean;
  readonly head?: TaskStatus;
  readonly waits?: string;
}

export interface ScheduleView {
  readonly app: string;
  readonly key: string;
  readonly name: string;
  readonly spec: string;
  readonly taskType: string;
  readonly paused: boolean;
  readonly declared: boolean;
  readonly lastFireAtMs?: number;
  readonly nextFireAtMs?: number;
  readonly waits?: string;
}

export interface PartitionView {
  readonly partition: Partition;
  readonly queued: number;
  readonly delayed: number;
  readonly running: number;
  readonly dead: number;
  readonly schedules: number;
  /** Instant of the newest completion; for the stall check. */
  readonly lastCompletion: Instant;
  readonly runnable: boolean;
  readonly oldestWaitMs: number;
}

export interface EngineStats {
  readonly apps: number;
  readonly queuedTasks: number;
  readonly queuedBytes: number;
  readonly running: number;
  readonly residents: number;
  readonly dead: number;
  /** Children that wait to reach their owners. */
  readonly outbox: number;
  readonly outboxKeptBytes: number;
  readonly stateBytes: number;
  readonly timers: number;
}

/** Another directory whose rows are absorbed. */
export interface Elsewhere {
  readonly behind: boolean;
  /** Of the ownership that left them. */
  readonly generation: number;
  /** Kept by the caller for as long as its rows come: by key, the generation that wrote its state while there was older state. */
  readonly marks: Map<string, number>;
  /** Nothing comes after these rows. */
  readonly isLast?: boolean;
}

/** Of rows that have arrived. */
export interface Taken {
  /** Rows that cannot be read. */
  readonly unreadable: readonly Row[];
  /** None are left. */
  readonly isAll: boolean;
}

export interface TaskEngineContract {
  // Time. `now` is monotonic; wall ms = now + wallOffsetMs, set by the node machine and used only for due times.
  setWallOffset(offsetMs: number): void;
  /** Delays, retries, timeouts, schedules, rate limits: do what is due. */
  tick(now: Instant): void;
  nextDeadline(): Instant | undefined;

  // Partitions.
  /** Begins to serve a partition; rows follow. `older: "awaited"`: start nothing until `olderDone` (adoption). `away`: rule 17 applies. */
  open(now: Instant, partition: Partition, term: Term, older: "none" | "awaited" | "away"): void;
  /** Rows of the partition in key order, any number of pages, before `loaded`. A row that cannot be read is returned for quarantine. */
  load(partition: Partition, rows: readonly Row[]): readonly Row[];
  /**
   * Instead of `load`: rows as they come from another owner, in any order, later ones in place of earlier ones. False: they are
   * too many to be kept, and have to be loaded from where they are stored.
   */
  arrive(partition: Partition, changes: readonly RowChange[]): boolean;
  /** That was all of them: takes up to `most`, which is more than none. */
  arrived(partition: Partition, most: number): Taken;
  loaded(now: Instant, partition: Partition): void;
  /** Stop starting tasks of the partition (cut-over, seal), also of one that is still loading; submits are still admitted until the node machine parks them. */
  hold(now: Instant, partition: Partition): void;
  release(now: Instant, partition: Partition): void;
  /** Attempts under way; the cut-over waits for 0. Residents are aborted by `hold` and counted until they settle. */
  inFlight(partition: Partition): readonly {
    readonly attemptId: number;
    readonly taskType: string;
    readonly app: string;
    readonly sinceMs: Instant;
  }[];
  /**
   * Rows that another directory held (adoption, return): merges them and emits the changes to write. Tasks go by position
   * (older first), or behind everything if `behind`, marked stranded; state and records already here win. A row that cannot be read
   * is kept as it came, and returned.
   */
  absorb(now: Instant, partition: Partition, rows: readonly Row[], from: Elsewhere): readonly Row[];
  /** Keys whose state here is looked up, to give way to what was absorbed: none of the rows may be called durable before. */
  replacing(partition: Partition): number;
  /**
   * The older tasks are all here (or, for `away`, have returned): lift `older`. With `mayComeAgain` awaited ones, durable by now,
   * only start: what comes of them again until it is called without changes nothing.
   */
  olderDone(now: Instant, partition: Partition, mayComeAgain?: boolean): void;
  /** Forgets the partition; attempts under way become stale and their ends are ignored. Pending outcomes are answered NOT_OWNER. */
  close(now: Instant, partition: Partition): void;

  // The node.
  /** False: start nothing anywhere (no lease, draining, broken store). Attempts under way go on. */
  allowStarts(now: Instant, allowed: boolean): void;
  /** Aborts every attempt under way. */
  abortAll(now: Instant, reason: AbortReason): void;
  /** Of all partitions, for the share of per-app limits. */
  setShare(ownedPartitions: number, ringSize: number): void;
  /** An app's definition or override changed (pause, limits, delete, create). */
  appChanged(now: Instant, app: AppName | undefined): void;

  // Work.
  /** Exactly one outcome per token comes in `outcomes`, now or after `durable`. `child`: its dedupe record is durable. */
  submit(now: Instant, partition: Partition, record: TaskRecord, token: number, origin: "client" | "child"): void;
  ended(now: Instant, ends: readonly AttemptEnd[]): void;
  /** Writes state of a running attempt's key at once. A stale attempt's, or one that is too large, changes nothing. */
  keep(now: Instant, attemptId: number, changes: AttemptEnd["stateChanges"]): void;
  childSent(now: Instant, partition: Partition, outboxId: number, outcome: SubmitOutcome): void;
  stateLoaded(now: Instant, readId: number, rows: readonly Row[]): void;
  request(now: Instant, partition: Partition, request: TaskRequest, requestId: number): void;
  /** Everything emitted while `group` was this number or lower is on disk. */
  durable(now: Instant, group: number): void;
  /** The commit group that collects is about to be closed: what belongs into it and was held back is emitted now. */
  beforeCommit(): void;
  /** The number of the commit group that changes emitted from now on will enter; set by the node machine before each call. */
  group: number;
  readonly output: EngineOutput;

  // Views.
  view(partition: Partition): PartitionView | undefined;
  queuedOf(app: AppName): number;
  /** Keys with state that is kept aside; of a partition 1,000 at most are counted. */
  asideKeys(): { readonly count: number; readonly first?: { readonly app: string; readonly key: string } };
  /** Busiest first, at most `limit`. */
  appViews(limit: number): readonly {
    readonly app: string;
    readonly queued: number;
    readonly running: number;
    readonly dead: number;
    readonly children: number;
    readonly oldestWaitMs: number;
  }[];
  /** Totals of the node, for metrics and for the checks that memory stays flat. */
  stats(): EngineStats;
}
