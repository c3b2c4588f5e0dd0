/** `taskring/pipe`: pipelines, their built-in fittings, and the pure machine that runs them. No clock, no I/O. */

export { Batch } from "./batch.ts";
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
  type ThrottleClock,
  tee,
  throttle,
} from "./built-ins.ts";
export {
  type Fitting,
  type FittingContext,
  type FittingOptions,
  fitting,
  type OnCrash,
  type Pipeline,
  pipeline,
} from "./fitting.ts";
export { Home, type HomeEvents } from "./home.ts";
export type { PipeHost, Routes } from "./host.ts";
export { PipeNode } from "./node.ts";
export {
  broadcast,
  byHash,
  byKey,
  constant,
  follow,
  hashOfKey,
  type Partitioner,
  partitionOfKey,
  spread,
} from "./partition.ts";
export { type PipeSpan, parseTraceparent, type SpanHost, type Traceparent } from "./span.ts";
export type { Failure } from "./token.ts";
export type { Progress, Report, RunSummary, TraceEvent, WorkerStatus } from "./views.ts";
