/** `taskring/testing`: a cluster in one process and in virtual time, for tests of apps under crashes, pauses and partitions. */

export { RingError } from "../../ring/errors.ts";
export type { TaskFailure, TaskState } from "../../ring/tasks/task.ts";
export type { SubmitTask } from "../client/submit-task.ts";
export { type ClusterOptions, startCluster, type TestCluster, type TestedTask, type Within } from "./cluster.ts";
