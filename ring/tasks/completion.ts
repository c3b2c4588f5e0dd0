/**
 * What an attempt came to: done, tried again, dead or cancelled, written together with state and children.
 *
 * X1  Nothing is told of an end before its rows are durable (E1); the lane's next task does not wait for that.
 * X2  A result that comes after `timeoutMs` or the deadline is stale, and counts as a failed attempt (rule 21).
 * X3  An attempt that was aborted for the node's sake (lease, handoff, shutdown) and failed is not counted.
 * X4  An attempt whose children find no room in the outbox is made again, and counts only when nothing of its app's has left it for
 *     `STILL_MS` (`hold-back.ts`, H3).
 * X6  A task whose cancel was asked for while it ran is not tried again, whatever else went wrong with its attempt.
 * X5  A task may run without its state while that is on an absent machine, together with the task's end. Once that has come, the
 *     attempt is not made again on top of the state that its end has changed.
 * X7  An attempt for whose run of a pipeline there was no room is made again and not counted: others have that room (promise P4).
 */

import type { AppName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { AppRing } from "./app-ring.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import { takesChildren } from "./hold-back.ts";
import type { Lanes } from "./lanes.ts";
import { MOST_BACKOFF_MS } from "./limits.ts";
import type { Lane, Task, TypeRun } from "./model.ts";
import type { Moment } from "./moment.ts";
import type { Outbox } from "./outbox.ts";
import { detachRecord, emptyRecord } from "./record.ts";
import type { Results } from "./results.ts";
import { FLAG } from "./rows.ts";
import type { RunningAttempt } from "./running-attempt.ts";
import type { States } from "./states.ts";
import type { AttemptEnd, TaskFailure, TaskRecord } from "./task.ts";
import { waitedMs } from "./views.ts";

export interface CompletionOptions {
  readonly core: Core;
  readonly ring: AppRing;
  readonly lanes: Lanes;
  readonly states: States;
  readonly outbox: Outbox;
  readonly results: Results;
  readonly dead: DeadLetters;
  /** The end of a task is durable and known. */
  readonly onEnded: (now: Instant, task: Task) => void;
}

export class Completion {
  readonly #options: CompletionOptions;
  readonly #core: Core;
  /** What had left the outbox of its app when a task was turned down, and since when that is so. */
  readonly #turned: WeakMap<Task, { readonly left: number; readonly since: Instant }> = new WeakMap();

  constructor(options: CompletionOptions) {
    this.#options = options;
    this.#core = options.core;
  }

  /** One attempt of a task has ended; it is no longer in `core.running`. */
  ended(now: Instant, attempt: RunningAttempt, end: AttemptEnd): void {
    const { ring } = this.#options;
    const task = attempt.task as Task;
    const lane = task.lane as Lane;
    const type = attempt.type as TypeRun;
    this.countEnded(attempt);
    lane.attempt = undefined;
    lane.phase = "idle";
    if (type.waiting.size > 0) ring.wakeType(lane.app, type);
    if (!lane.app.listed) ring.enlist(lane.app);
    const { outcome } = end;
    if (task.endedElsewhere !== undefined && !counts(attempt, end)) {
      this.endedBefore(now, task, task.endedElsewhere);
      return;
    } // X5
    if (attempt.aborted === "timeout") {
      this.#failed(now, lane, task, type, { name: "TIMEOUT", message: `no end within ${attempt.timeoutMs} ms` });
      return;
    } // X2
    if (attempt.aborted === "deadline") {
      this.#options.dead.bury(now, task, DEADLINE_FAILURE, () => this.#tryAgainSlowly(now, lane, task));
      return;
    }
    switch (outcome.type) {
      case "done":
        this.#done(now, lane, task, type, attempt, end);
        return;
      case "state-away":
        type.usesState = true;
        this.#again(now, lane, task);
        return;
      case "failed":
        if (attempt.aborted === "cancelled") {
          this.cancelled(now, task);
          return;
        }
        if (attempt.aborted !== undefined) {
          this.#again(now, lane, task);
          return;
        } // X3
        if (outcome.permanent) {
          this.#options.dead.bury(now, task, bounded(outcome.error), () => this.#tryAgainSlowly(now, lane, task));
          return;
        }
        if (outcome.noRoom === true) this.#foundNoRoom(now, lane, task, type, outcome.retryAfterMs);
        else this.#failed(now, lane, task, type, bounded(outcome.error), outcome.retryAfterMs);
        return;
    }
  }

  countEnded(attempt: RunningAttempt): void {
    this.#core.runningTasks--;
    attempt.vnode.running--;
    (attempt.task as Task).app.running--;
    (attempt.type as TypeRun).running--;
  }

  /** It ended elsewhere, as is known now; it must not be running. */
  endedBefore(now: Instant, task: Task, state: "done" | "cancelled"): void {
    task.endState = state;
    task.failure = undefined;
    this.finish(now, task);
  }

  /** The rows of a cancelled task; it must not be running. */
  cancelled(now: Instant, task: Task): void {
    this.endedBefore(now, task, "cancelled");
  }

  /** Removes the task's row, and its place in the lane; the rest when that is durable. */
  finish(now: Instant, task: Task): void {
    const core = this.#core;
    core.eraseTask(task);
    task.ended = core.moment(now);
    this.#options.results.write(now, task);
    this.leave(now, task);
  }

  /** The task is out of its lane; its end is told when what was written is durable. */
  leave(now: Instant, task: Task): void {
    const core = this.#core;
    const { lane } = task;
    task.ended = core.moment(now);
    task.group = core.group;
    if (
      lane !== undefined &&
      task.timer === undefined &&
      task.deadlineTimer === undefined &&
      lane.tasks.peek() === task &&
      lane.phase === "idle"
    ) {
      task.phase = "ending";
      lane.tasks.shift();
      this.#options.lanes.settle(now, lane);
    } else this.#options.lanes.remove(now, task);
    core.ending.push(task);
  }

  /** Tells what became durable, in order. */
  durable(now: Instant): void {
    const core = this.#core;
    for (;;) {
      const task = core.ending.peek();
      if (task === undefined || task.group > core.durableGroup) return;
      core.ending.shift();
      const { vnode } = task;
      if (vnode.phase === "closed") continue;
      task.phase = "ended";
      vnode.lastCompletion = now;
      core.countQueued(task, -1);
      for (
        let first = vnode.arrivals.peek();
        first !== undefined && first.phase === "ended";
        first = vnode.arrivals.peek()
      )
        vnode.arrivals.shift();
      if (vnode.arrivals.size > 64 && vnode.arrivals.size > vnode.queued * 2 + 64)
        vnode.arrivals.replace(vnode.arrivals.toArray().filter((each) => each.phase !== "ended"));
      core.output.events.push(new Ended(task));
      if (task.endState === "dead") this.#options.dead.buried(task);
      else this.#options.results.remember(now, task);
      this.#options.onEnded(now, task);
      if (vnode.arrivals.size > 0) task.record = GONE; // it may stand in there for long, behind one that waits
    }
  }

  #done(now: Instant, lane: Lane, task: Task, type: TypeRun, attempt: RunningAttempt, end: AttemptEnd): void {
    const { states, outbox } = this.#options;
    const { stateChanges, children } = end;
    if (stateChanges.length > 0) {
      type.usesState = true;
      if (attempt.stateAway) {
        this.#again(now, lane, task);
        return;
      }
      const refusal = states.refusal(lane, stateChanges);
      if (refusal !== undefined) {
        this.#failed(now, lane, task, type, { name: "INVALID_ARGUMENT", message: refusal });
        return;
      }
    }
    const result = end.outcome.type === "done" ? end.outcome.result : undefined;
    if (result !== undefined && result.length > this.#core.limits.resultBytes) {
      this.#failed(now, lane, task, type, {
        name: "INVALID_ARGUMENT",
        message: `result is longer than ${this.#core.limits.resultBytes} bytes`,
      });
      return;
    }
    if (children.length > 0) {
      if (!takesChildren(this.#core, task.app, children)) {
        this.#turnedDown(now, lane, task, type);
        return;
      } // X4
      const refusal = outbox.add(task.vnode, task.app, children);
      if (refusal !== undefined) {
        this.#failed(now, lane, task, type, { name: "INVALID_ARGUMENT", message: refusal });
        return;
      }
    }
    if (stateChanges.length > 0) states.apply(lane, stateChanges);
    task.attempts++;
    task.endState = "done";
    task.failure = undefined;
    task.result = result;
    this.finish(now, task);
  }

  #failed(now: Instant, lane: Lane, task: Task, type: TypeRun, failure: TaskFailure, retryAfterMs?: number): void {
    if (task.cancelling) return this.cancelled(now, task); // X6
    if (task.endedElsewhere !== undefined) return this.endedBefore(now, task, task.endedElsewhere); // X5
    task.attempts = Math.min(task.attempts + 1, 65_535);
    task.failure = failure;
    const most = task.record.maxAttempts > 0 ? task.record.maxAttempts : type.type.attempts;
    if (task.attempts >= most) {
      task.attempts--; // `bury` counts the last one
      this.#options.dead.bury(now, task, failure, () => this.#tryAgainSlowly(now, lane, task));
      return;
    }
    this.#retry(now, lane, task, type, retryAfterMs ?? this.#backoffMs(task, type));
  }

  /** No room for another dead letter: the task goes on, slowly, and says why. */
  #tryAgainSlowly(now: Instant, lane: Lane, task: Task): void {
    if (task.cancelling) return this.cancelled(now, task); // X6
    task.waits = "DEAD_LETTERS_FULL";
    const type = lane.app.types.get(task.record.type);
    if (type === undefined) this.#again(now, lane, task);
    else this.#retry(now, lane, task, type, Math.max(type.type.backoff.maxMs, SLOW_MS));
  }

  /** X7 */
  #foundNoRoom(now: Instant, lane: Lane, task: Task, type: TypeRun, retryAfterMs = ROOM_MS): void {
    if (task.cancelling) return this.cancelled(now, task); // X6
    if (task.endedElsewhere !== undefined) return this.endedBefore(now, task, task.endedElsewhere); // X5
    task.waits = "RUNS_FULL";
    this.#retry(now, lane, task, type, retryAfterMs);
  }

  /** No room for its children. */
  #turnedDown(now: Instant, lane: Lane, task: Task, type: TypeRun): void {
    if (task.cancelling) return this.cancelled(now, task); // X6
    if (task.endedElsewhere !== undefined) return this.endedBefore(now, task, task.endedElsewhere); // X5
    const { app } = task;
    const seen = this.#turned.get(task);
    const afterMs = Math.max(type.type.backoff.maxMs, ROOM_MS);
    const still = seen !== undefined && seen.left === app.outboxLeft;
    if (!still || now - seen.since >= STILL_MS) this.#turned.set(task, { left: app.outboxLeft, since: now });
    if (still && now - seen.since >= STILL_MS) {
      const message = `${app.outboxTasks} children of app ${app.name} wait to reach their owners`;
      this.#failed(now, lane, task, type, { name: "OUTBOX_FULL", message }, afterMs);
      return;
    }
    task.waits = "OUTBOX_FULL";
    this.#retry(now, lane, task, type, afterMs);
  }

  #retry(now: Instant, lane: Lane, task: Task, type: TypeRun, afterMs: number): void {
    const { core, lanes } = this.#options;
    const waitMs = waitedMs(task.startedAt, task);
    task.record = detachRecord(task.record);
    task.flags |= FLAG.retrying;
    task.phase = "retrying";
    task.dueAt = now + Math.max(0, Math.min(MOST_BACKOFF_MS, Math.round(afterMs)));
    core.writeTask(now, task);
    if (type.type.order === "relaxed") {
      lane.tasks.shift(); // rule 20: later tasks pass
      task.lane = undefined;
      task.timer = core.timers.set(task.dueAt, { type: "task-due", task });
    }
    lanes.settle(now, lane);
    if (core.watched.has(task.record.id)) core.changed.push(task);
    const runMs = now - task.startedAt;
    task.started = undefined; // if it never starts again, its end is not that of an attempt
    const { id, key, type: taskType } = task.record;
    core.afterwards(task.vnode, (closed) => {
      if (!closed)
        core.output.events.push({
          type: "ended",
          app: task.app.name,
          taskType,
          key,
          id,
          outcome: "retry",
          started: true,
          waitMs,
          runMs,
        });
    });
  }

  /** The same attempt once more: nothing was counted, nothing is written. */
  #again(now: Instant, lane: Lane, task: Task): void {
    if (task.cancelling) return this.cancelled(now, task); // X6
    task.phase = task.attempts === 0 ? "queued" : "retrying";
    task.dueAt = 0;
    this.#options.lanes.settle(now, lane);
  }

  #backoffMs(task: Task, type: TypeRun): number {
    const { baseMs, maxMs } = type.type.backoff;
    const whole = Math.min(maxMs, baseMs * 2 ** Math.min(30, task.attempts - 1));
    return Math.round(whole * (0.5 + this.#core.random() / 2));
  }
}

/** One of these is made per task, and most are asked for two numbers. */
class Ended {
  readonly type = "ended";
  readonly #task: Task;
  readonly taskType: string;
  readonly key: string;

  constructor(task: Task) {
    this.#task = task;
    this.taskType = task.record.type;
    this.key = task.record.key;
  }

  get app(): AppName {
    return this.#task.app.name;
  }

  get id(): string {
    return this.#task.id;
  }

  get outcome(): Task["endState"] {
    return this.#task.endState;
  }

  get started(): boolean {
    return this.#task.started !== undefined;
  }

  get waitMs(): number {
    const { started, ended } = this.#task;
    return waitedMs((started ?? (ended as Moment)).at, this.#task);
  }

  get runMs(): number {
    const { started, endedAt } = this.#task;
    return started === undefined ? 0 : endedAt - started.at;
  }
}

/** What the attempt came to is taken as the end of its task, if nothing else is wrong with it. */
function counts({ stateAway, aborted }: RunningAttempt, { outcome, stateChanges }: AttemptEnd): boolean {
  return (
    aborted !== "timeout" &&
    aborted !== "deadline" &&
    outcome.type === "done" &&
    !(stateAway && stateChanges.length > 0)
  );
}

/** What is kept of an error. */
function bounded(failure: TaskFailure): TaskFailure {
  const name = failure.name.slice(0, 128);
  const message = failure.message.slice(0, 1_024);
  return failure.stack === undefined ? { name, message } : { name, message, stack: failure.stack.slice(0, 4_096) };
}

/** Of tasks that have ended: their payload is nobody's any more. */
const GONE: TaskRecord = emptyRecord();
export const DEADLINE_FAILURE: TaskFailure = {
  name: "DEADLINE",
  message: "the task's deadline passed before it was done",
};
const SLOW_MS = 60_000;
const ROOM_MS = 5_000;
const STILL_MS = 60_000;
