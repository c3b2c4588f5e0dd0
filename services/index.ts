/** `taskring`: define apps and run nodes. To submit tasks and operate a ring, see `taskring/client`. */

export { ERRORS, type ErrorCode, type ErrorKind, isErrorCode, RingError } from "../ring/errors.ts";
export type { AppLimits } from "../ring/tasks/definition.ts";
export type {
  App,
  AppMatch,
  AppOptions,
  AttemptToken,
  Payload,
  Progress,
  Resident,
  ResidentContext,
  ResidentHandler,
  ResidentOptions,
  ScheduleOptions,
  SubmitOptions,
  Task,
  TaskContext,
  TaskHandler,
  TaskLog,
  TaskOptions,
  TaskState,
  TaskView,
} from "./app.ts";
export { defineApp, PermanentError, RetryLater, resident, task } from "./app.ts";
export { loadApps } from "./apps/load.ts";
export { type NodeOptions, type RunningNode, startNode } from "./start-node.ts";
