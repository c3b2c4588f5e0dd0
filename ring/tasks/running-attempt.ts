/** One attempt under way, as the engine keeps it. Fields are all set in the constructor, in one order: the hot path. */

import type { Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { fenceOf } from "./fence.ts";
import type { Task, TypeRun, Vnode } from "./model.ts";
import type { Moment } from "./moment.ts";
import type { AbortReason, Attempt, TaskRecord } from "./task.ts";

export class RunningAttempt implements Attempt {
  readonly attemptId: number;
  readonly vnode: Vnode;
  readonly record: TaskRecord;
  readonly started: Moment;
  /** Absent for a resident. */
  readonly task: Task | undefined;
  readonly type: TypeRun | undefined;
  readonly counter: number;
  attempt = 1;
  state: ReadonlyMap<string, Uint8Array> = NO_STATE;
  timeoutMs = 0;
  deadline: number | undefined = undefined;
  stateAway = false;
  aborted: AbortReason | undefined = undefined;
  declare resident?: string;

  /** The maker fills in the rest, as with `Done`. */
  constructor(
    vnode: Vnode,
    attemptId: number,
    record: TaskRecord,
    started: Moment,
    task: Task | undefined,
    type: TypeRun | undefined,
  ) {
    this.attemptId = attemptId;
    this.vnode = vnode;
    this.record = record;
    this.started = started;
    this.task = task;
    this.type = type;
    this.counter = ++vnode.attempts;
  }

  get partition(): Partition {
    return this.vnode.partition;
  }

  get startedAt(): Instant {
    return this.started.at;
  }

  /** Made when asked for: most handlers never look. */
  get fence(): bigint {
    return fenceOf(this.vnode.term, this.counter);
  }
}

/** Of attempts without state. */
export const NO_STATE: ReadonlyMap<string, Uint8Array> = new Map();
