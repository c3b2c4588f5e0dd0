/**
 * Starts attempts: deficit round robin over apps by weight, within the app by priority of lanes, never above a cap.
 *
 * D1  One attempt per lane (E2): only a lane in phase `ready` starts, and starting makes it `running`.
 * D2  Nothing starts without the node's right to start, nor in a partition that is loading, held, closed or waits for older tasks (E3).
 * D3  In each round an app starts at most its weight's worth of tasks, so a flood of one delays another by a round (promise P4).
 * D4  An app that its own children hold back leaves the ring until they do not; the others go on.
 */

import type { Instant } from "../machine.ts";
import { type AppRing, mayStart } from "./app-ring.ts";
import type { Core } from "./core.ts";
import { holdsBack } from "./hold-back.ts";
import type { Lanes } from "./lanes.ts";
import type { Lane } from "./model.ts";
import { NO_STATE, RunningAttempt } from "./running-attempt.ts";
import type { States } from "./states.ts";

export interface SchedulerOptions {
  readonly core: Core;
  readonly ring: AppRing;
  readonly lanes: Lanes;
  readonly states: States;
}

export class Scheduler {
  readonly #core: Core;
  readonly #ring: AppRing;
  readonly #lanes: Lanes;
  readonly #states: States;
  /** No attempt passes its timeout or deadline before this. */
  #expireAt = Number.POSITIVE_INFINITY;

  constructor(options: SchedulerOptions) {
    this.#core = options.core;
    this.#ring = options.ring;
    this.#lanes = options.lanes;
    this.#states = options.states;
  }

  dispatch(now: Instant): void {
    const core = this.#core;
    if (!core.startsAllowed) return; // D2
    this.#ring.lookAgain();
    while (core.runningTasks < core.limits.running) {
      const app = this.#ring.peek();
      if (app === undefined) return;
      if (app.outboxTasks > 0 && holdsBack(core, app)) {
        this.#ring.setAside(); // D4
        continue;
      }
      if (!app.inTurn) {
        app.inTurn = true;
        const weight = Math.min(MOST_WEIGHT, Math.max(LEAST_WEIGHT, app.limits.weight));
        app.deficit = Math.min(app.deficit + weight, Math.max(1, weight)); // D3
      }
      while (app.deficit >= 1 && app.ready.size > 0 && mayStart(app) && core.runningTasks < core.limits.running) {
        if (!this.#ring.takeToken(now, app)) break;
        const lane = app.ready.shift() as Lane;
        if (lane.phase === "ready" && this.#start(now, lane)) app.deficit -= 1;
        else {
          this.#ring.returnToken(app);
          if (lane.phase !== "type-full" && lane.phase !== "reading") this.#ring.wakeTypes(app);
        }
      }
      if (core.runningTasks >= core.limits.running && app.deficit >= 1 && app.ready.size > 0 && mayStart(app)) return; // its turn goes on
      this.#ring.rotate();
    }
  }

  /** Aborts attempts whose timeout or deadline has passed; the lane waits for them to settle (rule 21). */
  expire(now: Instant): void {
    if (now < this.#expireAt) return;
    this.#expireAt = Number.POSITIVE_INFINITY;
    for (const attempt of this.#core.running.values()) {
      if (attempt.task === undefined || attempt.aborted !== undefined) continue;
      const timeoutAt = attempt.startedAt + attempt.timeoutMs;
      const { deadline } = attempt;
      if (deadline !== undefined && deadline <= now) this.abort(attempt, "deadline");
      else if (timeoutAt <= now) this.abort(attempt, "timeout");
      else this.#expireAt = Math.min(this.#expireAt, timeoutAt, deadline ?? timeoutAt);
    }
  }

  nextExpiry(): Instant | undefined {
    return this.#expireAt === Number.POSITIVE_INFINITY || this.#core.runningTasks === 0 ? undefined : this.#expireAt;
  }

  abort(attempt: RunningAttempt, reason: NonNullable<RunningAttempt["aborted"]>): void {
    if (attempt.aborted !== undefined) return;
    attempt.aborted = reason;
    this.#core.output.aborts.push({ attemptId: attempt.attemptId, reason });
  }

  /** False: the lane waits for something else than its turn, which its phase says. */
  #start(now: Instant, lane: Lane): boolean {
    const core = this.#core;
    const { app, vnode } = lane;
    const task = lane.tasks.peek();
    if (task === undefined) return false;
    if (!vnode.mayStart) {
      lane.phase = "held"; // D2
      vnode.heldLanes.push(lane);
      return false;
    }
    const { record } = task;
    const type = app.typeOf(record.type);
    if (type === undefined) {
      lane.phase = "unknown";
      app.unknown.push(lane);
      return false;
    }
    const spec = type.type;
    if (type.running >= spec.concurrency) {
      lane.phase = "type-full";
      type.waiting.push(lane);
      return false;
    }
    let state: ReadonlyMap<string, Uint8Array> = NO_STATE;
    let stateAway = false;
    if (spec.state !== "none") {
      if (vnode.older === "away" && spec.onAway === "wait") {
        if (type.usesState) {
          lane.phase = "away"; // rule 17
          vnode.awayLanes.push(lane);
          return false;
        }
        stateAway = true;
      } else if (lane.state !== undefined || this.#states.known(lane)) state = lane.state ?? NO_STATE;
      else {
        lane.phase = "reading";
        this.#states.readLane(lane, (at) => {
          lane.phase = "idle";
          this.#lanes.settle(at, lane);
        });
        return false;
      }
    }
    const started = core.moment(now);
    const deadline = record.deadlineMs > 0 ? task.acceptedAt + record.deadlineMs : undefined;
    const attempt = new RunningAttempt(vnode, core.running.nextId(), record, started, task, type);
    attempt.attempt = task.attempts + 1;
    attempt.state = state;
    attempt.stateAway = stateAway;
    attempt.timeoutMs = spec.timeoutMs;
    attempt.deadline = deadline;
    lane.phase = "running"; // D1
    lane.attempt = attempt;
    task.phase = "running";
    task.waits = undefined;
    task.started = started;
    core.running.add(attempt);
    core.runningTasks++;
    app.running++;
    type.running++;
    vnode.running++;
    const timeoutAt = now + spec.timeoutMs;
    if (timeoutAt < this.#expireAt) this.#expireAt = timeoutAt;
    if (deadline !== undefined && deadline < this.#expireAt) this.#expireAt = deadline;
    core.output.starts.push(attempt);
    if (core.watched.size > 0 && core.watched.has(record.id)) core.changed.push(task);
    return true;
  }
}

const LEAST_WEIGHT = 0.01;
const MOST_WEIGHT = 1_000;
