/**
 * What `Get`, `Wait` and lists tell of a task, and why it waits (promise P8: every wait explains itself).
 */

import type { Instant } from "../machine.ts";
import { stateOfKnown } from "./admission.ts";
import { mayStart } from "./app-ring.ts";
import type { Core } from "./core.ts";
import { holdsBack } from "./hold-back.ts";
import { Dead, Done, type Lane, type Task, type Vnode } from "./model.ts";
import { FLAG } from "./rows.ts";
import type { TaskFailure, TaskStatus } from "./task.ts";

export function statusOf(core: Core, now: Instant, known: Task | Done | Dead): TaskStatus {
  if (known instanceof Done) return doneStatus(known);
  if (known instanceof Dead) return deadStatus(known);
  const { record } = known;
  const waits = waitsOf(core, known);
  const due = known.phase === "delayed" || known.phase === "retrying" ? known.dueAt : 0;
  return {
    id: record.id,
    app: known.app.name,
    type: record.type,
    key: record.key,
    state: stateOfKnown(known),
    attempts: known.attempts,
    partition: known.vnode.partition,
    acceptedAtMs: known.acceptedAtMs,
    ...(due > 0 ? { dueAtMs: core.wallMs(now) + Math.max(0, Math.round(due - now)) } : {}),
    ...(known.failure === undefined || known.phase === "ending" ? {} : { error: known.failure }),
    ...(waits === undefined ? {} : { waits }),
  };
}

/** Why a task is not running, or does not end; `undefined` when it runs or only waits for its turn. */
export function waitsOf(core: Core, task: Task): string | undefined {
  if (task.waits !== undefined) return task.waits;
  if (task.phase === "running") return runs(task);
  if (task.phase === "ending" || task.phase === "ended") return undefined;
  const { lane, phase } = task;
  if (phase === "accepting" || (phase === "queued" && lane === undefined)) return "COMMIT";
  if (lane === undefined) return phase === "delayed" ? "DELAY" : "BACK_OFF";
  const isHead = lane.tasks.peek() === task;
  const behind = (task.flags & FLAG.stranded) === 0 ? "" : " (stranded)";
  const reason = laneWaits(core, lane, isHead);
  return reason === undefined ? undefined : reason + behind;
}

/** Its handler was told to stop, and has not returned: its lane waits for that (rule 21). */
function runs({ lane }: Task): string | undefined {
  const aborted = lane?.attempt?.aborted;
  return aborted === undefined ? undefined : `HANDLER_STUCK (${aborted})`;
}

function laneWaits(core: Core, lane: Lane, isHead: boolean): string | undefined {
  switch (lane.phase) {
    case "running":
      return "BEHIND_RUNNING_HEAD";
    case "backing-off":
      return isHead ? "BACK_OFF" : "BEHIND_FAILING_HEAD";
    case "paused":
      return "KEY_PAUSED";
    case "held":
      return awaitsOlder(lane.vnode) ? "OLDER_TASKS_AWAITED" : "HANDOFF";
    case "away":
      return "STATE_AWAY";
    case "unknown":
      return "TASK_TYPE_UNKNOWN";
    case "type-full":
      return "TYPE_CONCURRENCY";
    case "reading":
      return "READING_STATE";
    default:
      return appWaits(core, lane);
  }
}

function appWaits(core: Core, lane: Lane): string | undefined {
  const { app, vnode } = lane;
  if (app.definition === undefined) return "APP_NOT_HERE";
  if (app.paused) return "APP_PAUSED";
  if (!core.startsAllowed) return "NO_LEASE";
  if (!vnode.mayStart) return awaitsOlder(vnode) ? "OLDER_TASKS_AWAITED" : "HANDOFF";
  if (holdsBack(core, app)) return "OUTBOX_FULL";
  if (!mayStart(app)) return "APP_CONCURRENCY";
  if (app.rateTimer !== undefined) return "RATE_LIMITED";
  return core.runningTasks >= core.limits.running ? "NODE_CONCURRENCY" : undefined;
}

function doneStatus(done: Done): TaskStatus {
  return {
    id: done.id,
    app: done.app.name,
    type: done.type,
    key: done.key,
    state: done.state,
    attempts: done.attempts,
    partition: done.vnode.partition,
    acceptedAtMs: done.acceptedAtMs,
    endedAtMs: done.endedAtMs,
    ...(done.dropped ? { error: DROPPED } : done.failure === undefined ? {} : { error: done.failure }),
    ...(done.result === undefined ? {} : { result: done.result }),
  };
}

function deadStatus(dead: Dead): TaskStatus {
  return {
    id: dead.id,
    app: dead.app.name,
    type: dead.type,
    key: dead.key,
    state: "dead",
    attempts: dead.attempts,
    partition: dead.vnode.partition,
    acceptedAtMs: dead.acceptedAtMs,
    endedAtMs: dead.diedAtMs,
    error: dead.failure,
  };
}

/** Of a done task: what it returned is not `undefined`, it is forgotten. */
const DROPPED: TaskFailure = {
  name: "RESULT_DROPPED",
  message: "the task is done; its result gave way to newer ones",
};

function awaitsOlder(vnode: Vnode): boolean {
  return vnode.older === "awaited" && !vnode.olderHere;
}
