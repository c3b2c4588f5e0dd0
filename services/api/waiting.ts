/** Waiting for a task to end, or to change: asked of its owner, wherever the caller asks. */

import type { Task, WaitRequest } from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { TaskState, TaskStatus } from "../../ring/tasks/task.ts";
import { askTask, placeOfTask } from "./asking.ts";
import { taskMessage } from "./task-views.ts";

export interface TaskWait extends WaitRequest {
  /** For a change from this; absent: for its end. */
  readonly since?: Pick<TaskStatus, "state" | "attempts">;
}

/** The task when it has ended or changed, or as it is at the timeout. */
export async function waitForTask(node: RingNode, { taskId, timeoutMs, since }: TaskWait): Promise<TaskStatus> {
  const partition = placeOfTask(node, taskId);
  const request = { type: "wait", id: taskId, timeoutMs, ...(since === undefined ? {} : { since }) } as const;
  return (await askTask(node, { partition, request }, "task", { deadlineMs: timeoutMs + ANSWER_MS })).status;
}

export interface Waiter {
  /** The longest `timeoutMs` that may be asked for. */
  readonly mostMs: number;
  /** Nobody waits for the answer any more. */
  readonly gone: () => boolean;
}

/**
 * What a client may ask: `timeoutMs` 0 is 30,000. Throws `INVALID_ARGUMENT` above `mostMs`. An owner has room for so many waits
 * and is told of none that was given up: so it is asked for a while at a time, and not again for a caller that has gone.
 */
export async function waitForEnd(node: RingNode, { taskId, timeoutMs }: WaitRequest, waiter: Waiter): Promise<Task> {
  if (timeoutMs > waiter.mostMs) throw new RingError("INVALID_ARGUMENT", `timeout_ms must be at most ${waiter.mostMs}`);
  const end = performance.now() + (timeoutMs === 0 ? WAIT_MS : timeoutMs);
  for (;;) {
    const left = Math.max(1, Math.ceil(end - performance.now()));
    const status = await waitForTask(node, { taskId, timeoutMs: Math.min(left, AT_A_TIME_MS) });
    if (left <= AT_A_TIME_MS || ENDS.has(status.state) || waiter.gone()) return taskMessage(status);
  }
}

const ENDS: ReadonlySet<TaskState> = new Set<TaskState>(["done", "dead", "cancelled"]);
const WAIT_MS = 30_000;
const AT_A_TIME_MS = 15_000;
/** What the answer may take beyond its time. */
const ANSWER_MS = 2_000;
