/**
 * Starts attempts: deficit round robin over apps by weight, within the app by priority of lanes, never above a cap.
 *
 * D1  One attempt per lane (E2): only a lane in phase `ready` starts, and starting makes it `running`.
 * D2  Nothing starts without the node's right to start, nor in a partition that is loading, held, closed or waits for older tasks (E3).
 * D3  In each round an app starts at most its weight's worth of tasks, so a flood of one delays another by a round (promise P4). What
 *     a weight has beyond whole tasks counts in the next round.
 * D5  A lane that reads its state has its turn: it holds the slots of the attempt that it reads for, so that no more state is read
 *     than may run, and an app with many keys to read takes of the reads no more than of the slots.
 * D4  An app that its own children hold back leaves the ring until they do not; the others go on.
 */

import type { Instant } from "../machine.ts";
import { type AppRing, mayStart } from "./app-ring.ts";
import type { Core } from "./core.ts";
import { holdsBack } from "./hold-back.ts";
import type { Lanes } from "./lanes.ts";
import type { Lane, TypeRun } from "./model.ts";
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
        app.deficit = Math.min(app.deficit, 1) + weight; // D3
      }
      while (app.deficit >= 1 && app.ready.size > 0 && mayStart(app) && core.runningTasks < core.limits.running) {
        if (!this.#ring.takeToken(now, app)) break;
        const lane = app.ready.shift() as Lane;
        const slot = this.#ring.unpromise(lane);
        if (lane.phase === "ready" && this.#start(now, lane)) app.deficit -= 1;
        else {
          this.#ring.returnToken(app);
          if (lane.phase !== "type-full") this.#ring.wakeTypes(app);
        }
        if (slot !== undefined && slot.waiting.size > 0) this.#ring.wakeType(app, slot); // it may not have taken it
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

  /** False: the lane waits for something else than its turn, which its phase says. True: it runs, or reads in order to. */
  #start(now: Instant, lane: Lane): boolean {
    const core = this.#core;
    const { app, vnode } = lane;
    const task = lane.tasks.peek();
    if (task === undefined) return false;
    if (!vnode.mayStart) {
      lane.phase = "held"; // D2
      vnode.heldLanes.push(lane);
      if (vnode.heldLanes.length > 2 * vnode.queued + STALE) vnode.heldLanes = thoseIn(vnode.heldLanes, "held");
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
      this.#ring.wait(lane, type);
      return false;
    }
    let state: ReadonlyMap<string, Uint8Array> = NO_STATE;
    let stateAway = false;
    if (spec.state !== "none") {
      if (vnode.older === "away" && spec.onAway === "wait") {
        if (type.usesState) {
          lane.phase = "away"; // rule 17
          vnode.awayLanes.push(lane);
          if (vnode.awayLanes.length > 2 * vnode.queued + STALE) vnode.awayLanes = thoseIn(vnode.awayLanes, "away");
          return false;
        }
        stateAway = true;
      } else if (lane.state !== undefined || this.#states.known(lane)) state = lane.state ?? NO_STATE;
      else {
        this.#read(lane, type);
        return true;
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
    this.#states.rouse(lane);
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

  /** D5 */
  #read(lane: Lane, type: TypeRun): void {
    const core = this.#core;
    const { app } = lane;
    this.#states.rouse(lane);
    lane.phase = "reading";
    core.runningTasks++;
    app.running++;
    type.running++;
    this.#states.readLane(lane, (now, isHere) => {
      core.runningTasks--;
      app.running--;
      type.running--;
      if (!isHere || !this.#goOn(now, lane)) this.#ring.returnToken(app);
      if (type.waiting.size > 0) this.#ring.wakeType(app, type); // it may have started a task of another type
      this.#ring.enlist(app);
    });
  }

  /** Its state is here: starts it, in the turn that it has. */
  #goOn(now: Instant, lane: Lane): boolean {
    const core = this.#core;
    lane.phase = "idle";
    this.#lanes.settle(now, lane, true);
    if ((lane.phase as Lane["phase"]) !== "ready") return false;
    if (core.startsAllowed && mayStart(lane.app) && core.runningTasks < core.limits.running) {
      if (this.#start(now, lane)) return true;
    } else this.#ring.queue(lane);
    this.#states.spare(lane);
    return false;
  }
}

function thoseIn(lanes: readonly Lane[], phase: Lane["phase"]): Lane[] {
  return [...new Set(lanes.filter((lane) => lane.phase === phase))];
}

/** Entries of lanes that wait no longer, beside as many as there are tasks. */
const STALE = 64;
const LEAST_WEIGHT = 0.01;
const MOST_WEIGHT = 1_000;
