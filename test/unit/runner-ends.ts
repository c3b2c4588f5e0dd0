/** One app of one handler, and how its attempts ended. */

import type { AttemptEnd } from "../../ring/tasks/task.ts";
import { type App, defineApp, type TaskHandler, type TaskOptions, task } from "../../services/app.ts";
import { decodeValue } from "../../services/runner/value.ts";

export function acme(handler: TaskHandler, options: TaskOptions = {}): App {
  return defineApp("acme", { tasks: { work: task(handler, options) } });
}

export function resultOf(end: AttemptEnd): unknown {
  if (end.outcome.type !== "done") throw new Error(`not done: ${JSON.stringify(end.outcome)}`);
  return end.outcome.result === undefined ? undefined : decodeValue(end.outcome.result);
}

export function failureOf(end: AttemptEnd): Extract<AttemptEnd["outcome"], { type: "failed" }> {
  if (end.outcome.type !== "failed") throw new Error(`not failed: ${end.outcome.type}`);
  return end.outcome;
}
