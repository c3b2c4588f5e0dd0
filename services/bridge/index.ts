/** `taskring/bridge`: move from BullMQ or Bull 4 to a ring, and back, a queue at a time. */

export {
  type Drain,
  type DrainCounts,
  type DrainedJob,
  type DrainedTask,
  type DrainOptions,
  drainQueue,
  taskIdOfJob,
} from "./drain.ts";
export { type Jobs, openJobs, type TaskJob } from "./jobs.ts";
export type { BullAddress, BullmqAddress, NewJob, QueueAddress, QueueJob } from "./queue.ts";
