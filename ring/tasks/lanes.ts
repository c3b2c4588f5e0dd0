/**
 * Lanes: one FIFO per (app, key), which starts its head when the head may start and only then.
 *
 * L1  A lane is where its phase says and nowhere else; a queue that holds it for an older phase skips it when it gets there.
 * L2  A failing head blocks a strict lane during back-off; of a relaxed lane it steps out and comes back in its place (rule 20).
 * L3  A delayed task joins at the end when it is due, under a new position: after a restart the rows give the same order.
 */

import type { Instant } from "../machine.ts";
import type { AppRing } from "./app-ring.ts";
import type { Core } from "./core.ts";
import { laneName } from "./lane-name.ts";
import { Lane, type Task, type Vnode } from "./model.ts";
import { comparePositions, FLAG } from "./rows.ts";
import type { States } from "./states.ts";

export class Lanes {
  readonly #core: Core;
  readonly #ring: AppRing;
  readonly #states: States;
  readonly #older: Map<Lane, Task[]> = new Map();
  /** Lanes in which tasks have got other positions than those that they stand at. */
  readonly #unsorted: Set<Lane> = new Set();
  /** Tasks that came due while their partition was held, in that order. */
  readonly #heldDue: WeakMap<Vnode, Task[]> = new WeakMap();

  constructor(core: Core, ring: AppRing, states: States) {
    this.#core = core;
    this.#ring = ring;
    this.#states = states;
  }

  /** A durable task enters: its lane, or, if it is not due yet, the timers. */
  enter(now: Instant, task: Task): void {
    if (task.record.deadlineMs > 0 && task.deadlineTimer === undefined) {
      task.deadlineTimer = this.#core.timers.set(Math.max(now, task.acceptedAt + task.record.deadlineMs), {
        type: "task-deadline",
        task,
      });
    }
    if ((task.flags & FLAG.delayed) !== 0) {
      if (task.phase !== "delayed") task.vnode.delayed++;
      task.phase = "delayed";
      task.timer = this.#core.timers.set(task.dueAt, { type: "task-due", task });
      return;
    }
    if (task.dueAt > now && task.app.types.get(task.record.type)?.type.order === "relaxed") {
      task.phase = "retrying";
      task.timer = this.#core.timers.set(task.dueAt, { type: "task-due", task }); // L2
      return;
    }
    this.push(now, task);
  }

  /** At the end of its lane; a task of an older term where its position says, with the next `flushOlder`. */
  push(now: Instant, task: Task): void {
    const lane = this.laneOf(task);
    task.phase = (task.flags & FLAG.retrying) === 0 ? "queued" : "retrying";
    task.lane = lane;
    const { term } = task.vnode;
    if (task.generation !== term.generation || task.opens !== term.opens) {
      const waiting = this.#older.get(lane);
      if (waiting !== undefined) {
        waiting.push(task);
        return;
      }
      const last = lane.tasks.last();
      if (last !== undefined && comparePositions(last, task) > 0) {
        this.#states.rouse(lane); // not forgotten meanwhile
        this.#older.set(lane, [task]);
        return;
      }
    }
    lane.tasks.push(task);
    if (lane.phase === "idle") this.settle(now, lane);
  }

  /** A task that stands in the lane has got another position: it goes there with the next `flushOlder`. */
  replaced(lane: Lane): void {
    this.#unsorted.add(lane);
  }

  /** Sorts in the older tasks that came since; once for many, so that a long lane is sorted once. */
  flushOlder(now: Instant): void {
    if (this.#older.size === 0 && this.#unsorted.size === 0) return;
    const unsorted = [...this.#unsorted];
    const older = [...this.#older];
    this.#unsorted.clear();
    this.#older.clear();
    for (const lane of unsorted) this.#sort(now, lane, []);
    for (const [lane, tasks] of older) this.#insert(now, lane, tasks.filter(stands));
  }

  /** A delayed task is due (L3), or a relaxed lane's task may be tried again (L2). In a held partition that is seen at its release. */
  due(now: Instant, task: Task): void {
    const { vnode } = task;
    task.timer = undefined;
    if (vnode.phase === "held") {
      const others = this.#heldDue.get(vnode);
      if (others === undefined) this.#heldDue.set(vnode, [task]);
      else others.push(task);
      return;
    }
    if (task.phase === "delayed") {
      this.#core.eraseTask(task);
      task.generation = vnode.term.generation;
      task.opens = vnode.term.opens;
      task.sequence = vnode.sequence++;
      task.flags &= ~FLAG.delayed;
      vnode.delayed--;
      this.#core.writeTask(now, task);
      this.#join(now, task);
      return;
    }
    const lane = this.laneOf(task);
    task.lane = lane;
    this.#comeBack(now, lane, task);
  }

  /** Behind those that were given their places before, and are still on their way to the disk (admission.ts). */
  #join(now: Instant, task: Task): void {
    if (this.#core.accepting.size === 0) return this.push(now, task);
    task.phase = "queued";
    task.token = -1; // its outcome was told long ago
    task.group = this.#core.group;
    this.#core.accepting.push(task);
  }

  /** L2. Many of a long lane come back one by one: it is not sorted for each. */
  #comeBack(now: Instant, lane: Lane, task: Task): void {
    const { tasks } = lane;
    const first = tasks.peek();
    tasks.insert(placeOf(lane, task), task);
    this.#inserted(now, lane, first);
  }

  /** Many come a few at a time, and stand before the few that came since: the lane is not sorted for those few. */
  #insert(now: Instant, lane: Lane, tasks: readonly Task[]): void {
    const [first] = tasks;
    const behind = first === undefined ? 0 : lane.tasks.size - placeOf(lane, first);
    if (behind * tasks.length > lane.tasks.size) return this.#sort(now, lane, tasks);
    for (const task of tasks) this.#comeBack(now, lane, task);
  }

  /** Puts tasks where their positions say, behind the head if that is running. */
  #sort(now: Instant, lane: Lane, tasks: readonly Task[]): void {
    const standing = lane.tasks.toArray().filter(stands);
    const first = lane.tasks.peek();
    const head = lane.attempt === undefined ? undefined : standing.shift();
    const all = [...standing, ...tasks].sort(comparePositions);
    lane.tasks.replace(head === undefined ? all : [head, ...all]);
    lane.ended = 0;
    this.#inserted(now, lane, first);
  }

  #inserted(now: Instant, lane: Lane, first: Task | undefined): void {
    if (waitsForHead(lane) && lane.tasks.peek() !== first) this.#retry(now, lane);
    else if (lane.phase === "idle" || lane.phase === "backing-off" || lane.phase === "ready") this.settle(now, lane);
  }

  /** A task ended without having run (cancelled, past its deadline): takes it out of wherever it stands. */
  remove(now: Instant, task: Task): void {
    task.timer = this.#core.timers.remove(task.timer);
    task.deadlineTimer = this.#core.timers.remove(task.deadlineTimer);
    if (task.phase === "delayed") task.vnode.delayed--;
    task.phase = "ending";
    const { lane } = task;
    if (lane === undefined) return;
    const wasHead = lane.tasks.peek() === task;
    lane.ended++;
    if (lane.ended > 32 && lane.ended * 2 > lane.tasks.size) {
      lane.tasks.replace(lane.tasks.toArray().filter(stands));
      lane.ended = 0;
    }
    // A slot of its type, its type, or its state was waited for by the head alone; the other phases look at the lane again when they
    // end. But a lane with nothing left waits for nothing: it would outlive its partition, which is closed task by task.
    const isEmpty = lane.tasks.size === lane.ended && lane.phase !== "running";
    if (isEmpty || (waitsForHead(lane) && wasHead)) this.#retry(now, lane);
    else if (lane.phase === "idle" || lane.phase === "backing-off" || lane.phase === "ready") this.settle(now, lane);
  }

  /**
   * Decides what the lane waits for. Not for a lane that runs or is gone, nor for one that reads and has tasks. One that has its
   * turn and may start does not queue for it.
   */
  settle(now: Instant, lane: Lane, hasTurn = false): void {
    lane.timer = this.#core.timers.remove(lane.timer);
    let head = lane.tasks.peek();
    while (head !== undefined && !stands(head)) {
      lane.tasks.shift();
      lane.ended--;
      head = lane.tasks.peek();
    }
    if (head === undefined) {
      lane.phase = "idle";
      this.#states.rest(lane);
      return;
    }
    if (lane.paused) lane.phase = "paused";
    else if (head.dueAt > now) {
      lane.phase = "backing-off";
      lane.timer = this.#core.timers.set(head.dueAt, { type: "lane-due", lane });
    } else if (lane.phase !== "ready") {
      lane.phase = "ready";
      if (hasTurn) return;
      this.#ring.queue(lane);
    }
    if (lane.state !== undefined && (lane.phase !== "ready" || this.#states.isCrowded)) this.#states.spare(lane);
  }

  laneOf(task: Task): Lane {
    const { app, record, vnode } = task;
    const known = app.lanes.get(record.key);
    if (known !== undefined) return known;
    const paused = vnode.pausedKeys.size > 0 && vnode.pausedKeys.has(laneName(app.name, record.key));
    const lane = new Lane(app, record.key, record.hash, vnode, paused);
    app.lanes.set(record.key, lane);
    return lane;
  }

  /** Tasks that came due, and lanes that waited for the partition or for the older tasks of it, look again. */
  release(now: Instant, vnode: Vnode): void {
    const due = this.#heldDue.get(vnode) ?? [];
    this.#heldDue.delete(vnode);
    for (const task of due) if (stands(task)) this.due(now, task);
    if (!vnode.mayStart) return;
    const held = vnode.heldLanes;
    vnode.heldLanes = [];
    for (const lane of held) if (lane.phase === "held") this.#retry(now, lane);
    if (vnode.older !== "none") return;
    const away = vnode.awayLanes;
    vnode.awayLanes = [];
    for (const lane of away) if (lane.phase === "away") this.#retry(now, lane);
  }

  /** An app was loaded, changed, paused or resumed. */
  appChanged(now: Instant, lanes: readonly Lane[]): void {
    for (const lane of lanes) if (lane.phase === "unknown") this.#retry(now, lane);
  }

  setPaused(now: Instant, lane: Lane, paused: boolean): void {
    if (lane.paused === paused) return;
    lane.paused = paused;
    if (paused) {
      // In other phases it is seen when the lane settles next.
      if (lane.phase === "ready" || lane.phase === "backing-off" || lane.phase === "type-full") this.#retry(now, lane);
    } else if (lane.phase === "paused") this.#retry(now, lane);
  }

  #retry(now: Instant, lane: Lane): void {
    lane.phase = "idle";
    this.settle(now, lane);
  }
}

/** The first task that has not ended. Others may stand before it as long as the lane waits for nothing that its head decides. */
export function headOf({ tasks }: Lane): Task | undefined {
  let index = 0;
  for (let task = tasks.peek(); task !== undefined; task = tasks.at(++index)) if (stands(task)) return task;
  return undefined;
}

/** Where its position says, behind the head if that is running. */
function placeOf({ tasks, attempt }: Lane, task: Task): number {
  let place = attempt === undefined ? 0 : 1;
  for (let end = tasks.size; place < end; ) {
    const middle = (place + end) >> 1;
    if (comparePositions(tasks.at(middle) as Task, task) < 0) place = middle + 1;
    else end = middle;
  }
  return place;
}

/** For something that only its head needs. */
function waitsForHead({ phase }: Lane): boolean {
  return phase === "type-full" || phase === "unknown" || phase === "away";
}

function stands(task: Task): boolean {
  return task.phase !== "ending" && task.phase !== "ended";
}
