/** `taskring/client`: submit tasks to a ring, follow them, and operate it. */

export type * from "../../proto/key-messages.ts";
export type * from "../../proto/messages.ts";
export type * from "../../proto/schedule-messages.ts";
export { RingError } from "../../ring/errors.ts";
export type { SubmitOutcome, TaskState } from "../../ring/tasks/task.ts";
export type { CallOptions } from "./caller.ts";
export type { ClientTls } from "./connection.ts";
export type { TaskOutcome } from "./entry.ts";
export type { RemoteRun, RemoteRunOptions } from "./pipe-run.ts";
export { type ConnectOptions, connect, RingClient, type SubmitOptions, type Submitted } from "./ring-client.ts";
export type { SinkCounts, SinkOptions, SubmitSink } from "./submit-sink.ts";
export type { SubmitTask } from "./submit-task.ts";
export { decodeResult } from "./task-calls.ts";
export { taskSink } from "./task-sink.ts";
