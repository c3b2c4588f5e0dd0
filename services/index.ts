/** `taskring`: define apps and run nodes. To submit tasks and operate a ring, see `taskring/client`. */

export {
  batch,
  countdown,
  crash,
  filter,
  flatMap,
  map,
  pass,
  type Reduction,
  reduceByKey,
  tee,
} from "../pipe/built-ins.ts";
export {
  type Fitting,
  type FittingContext,
  type FittingOptions,
  fitting,
  type OnCrash,
  type Pipeline,
  pipeline,
} from "../pipe/fitting.ts";
export type { PipeRun, RunOptions, SendOptions } from "../pipe/io/run.ts";
export { throttle } from "../pipe/io/throttle.ts";
export { broadcast, byHash, byKey, constant, follow, type Partitioner, spread } from "../pipe/partition.ts";
export type { PipeSpan } from "../pipe/span.ts";
export type { Progress as RunProgress, Report } from "../pipe/views.ts";
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
