/** Waiting for a task to end, or to change: asked of its owner, wherever the caller asks. */

import type { Task, WaitRequest } from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { TaskStatus } from "../../ring/tasks/task.ts";
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

/** What a client may ask: `timeoutMs` 0 is 30,000. Throws `INVALID_ARGUMENT` above `mostMs`. */
export async function waitForEnd(node: RingNode, { taskId, timeoutMs }: WaitRequest, mostMs: number): Promise<Task> {
  if (timeoutMs > mostMs) throw new RingError("INVALID_ARGUMENT", `timeout_ms must be at most ${mostMs}`);
  return taskMessage(await waitForTask(node, { taskId, timeoutMs: timeoutMs === 0 ? WAIT_MS : timeoutMs }));
}

const WAIT_MS = 30_000;
/** What the answer may take beyond its time. */
const ANSWER_MS = 2_000;
