/**
 * What metrics, `status` and the stall check see of a partition and of an app. Costs little: counters, and a few lanes looked at.
 */

import type { Instant } from "../machine.ts";
import { mayStart } from "./app-ring.ts";
import type { Core } from "./core.ts";
import type { PartitionView, TaskEngineContract } from "./engine-contract.ts";
import { holdsBack } from "./hold-back.ts";
import { readLaneName } from "./lane-name.ts";
import type { AppRun, Task, Vnode } from "./model.ts";

export interface AppView {
  readonly app: string;
  readonly queued: number;
  readonly running: number;
  readonly dead: number;
  /** Children of its tasks that wait to reach their owners. */
  readonly children: number;
  readonly oldestWaitMs: number;
}

export function partitionView(core: Core, vnode: Vnode, schedules: number): PartitionView {
  return {
    partition: vnode.partition,
    queued: vnode.queued,
    delayed: vnode.delayed,
    running: vnode.running,
    dead: vnode.dead,
    schedules,
    lastCompletion: vnode.lastCompletion,
    runnable: isRunnable(core, vnode),
    oldestWaitMs: vnode.phase === "loading" ? 0 : longestWaitMs(core, vnode),
  };
}

/** Busiest first. */
export function appViews(core: Core, limit: number): AppView[] {
  const apps = [...core.apps.values()].filter((app) => app.queued + app.dead + app.outboxTasks > 0);
  apps.sort((a, b) => b.queued - a.queued || (a.name < b.name ? -1 : 1));
  let left = LANES_LOOKED_AT_IN_ALL;
  return apps.slice(0, limit).map((app) => {
    const lanes = Math.min(app.lanes.size, LANES_LOOKED_AT, left);
    left -= lanes;
    return appView(core, app, lanes);
  });
}

/** The age is that of the oldest among the heads of so many lanes. */
function appView(core: Core, app: AppRun, lanes: number): AppView {
  let oldestWaitMs = 0;
  let left = lanes;
  for (const lane of app.lanes.values()) {
    if (left-- <= 0) break;
    const head = lane.tasks.peek();
    if (head !== undefined) oldestWaitMs = Math.max(oldestWaitMs, waitedMs(core.newest, head));
  }
  return {
    app: app.name,
    queued: app.queued,
    running: app.running,
    dead: app.dead,
    children: app.outboxTasks,
    oldestWaitMs,
  };
}

/** State that gave way to newer state. */
export function asideKeys(core: Core): ReturnType<TaskEngineContract["asideKeys"]> {
  let count = 0;
  let first: string | undefined;
  for (const vnode of core.vnodes) {
    if (vnode === undefined || vnode.aside.size === 0) continue;
    count += vnode.aside.size;
    first ??= vnode.aside.keys().next().value;
  }
  if (first === undefined) return { count };
  const { app, key } = readLaneName(first);
  return { count, first: { app, key } };
}

/** Some task could go on here: one runs, or a ready lane's app may start (looks at the oldest tasks only). */
function isRunnable(core: Core, vnode: Vnode): boolean {
  if (vnode.running > 0) return true;
  if (!vnode.mayStart || vnode.queued === vnode.delayed) return false;
  if (core.runningTasks >= core.limits.running) return false; // of other partitions; nothing stands still then
  for (let index = 0; index < TASKS_LOOKED_AT; index++) {
    const task = vnode.arrivals.at(index);
    if (task === undefined) return false;
    if (task.lane?.phase === "ready" && mayStart(task.app) && !isHeldBack(core, task)) return true;
  }
  return false;
}

/** By its app's rate, its type's concurrency, or its app's children: nothing stands still then. */
function isHeldBack(core: Core, { app, record }: Task): boolean {
  const type = app.types.get(record.type);
  return (
    holdsBack(core, app) || app.rateTimer !== undefined || (type !== undefined && type.running >= type.type.concurrency)
  );
}

/** Of the oldest task that is not to start later. */
function longestWaitMs(core: Core, { arrivals }: Vnode): number {
  for (let index = 0; index < TASKS_LOOKED_AT; index++) {
    const task = arrivals.at(index);
    if (task === undefined) break;
    if (task.phase !== "ended" && task.dueAt <= core.newest) return waitedMs(core.newest, task);
  }
  return 0;
}

/** Since it became runnable. */
export function waitedMs(now: Instant, task: Task): number {
  return Math.max(0, now - Math.max(task.acceptedAt, task.dueAt));
}

const LANES_LOOKED_AT = 1_000;
const LANES_LOOKED_AT_IN_ALL = 200_000;
const TASKS_LOOKED_AT = 256;
