/** The bridge's rules on one job, with a ring that answers as it is told. */

import { expect, test } from "vitest";
import { RingError } from "../../ring/errors.ts";
import { isTaskId } from "../../ring/tasks/task-id.ts";
import { concurrencyOf } from "../../services/bridge/bullmq.ts";
import { Drain, type DrainOptions, taskIdOfJob } from "../../services/bridge/drain.ts";
import { FinalFailure, type QueueAddress } from "../../services/bridge/queue.ts";
import type { RingClient } from "../../services/client/ring-client.ts";
import type { SubmitTask } from "../../services/client/submit-task.ts";

const FROM: QueueAddress = { type: "bullmq", queue: "mail", connection: {} };
const JOB = { id: "7", name: "send", data: { to: "ann" }, timestamp: 1_700_000_000_000, attemptsMade: 0 };

test("a ring that is away, asks to wait or has not loaded the app fails no job: it is held until it is taken", async () => {
  const away = (["NO_OWNER", "DEADLINE", "QUEUE_FULL", "APP_UNKNOWN", "APP_NOT_HERE"] as const).map(
    (code) => new RingError(code, "not now", { retryAfterMs: 1 }),
  );
  const { drain, submits, errors } = bridge([...away, "accepted"]);
  const { taskId } = await drain.handle(JOB);
  expect(submits).toHaveLength(6);
  expect(new Set(submits.map((task) => task.taskId))).toEqual(new Set([taskId]));
  expect(errors).toEqual(away);
  expect(drain.counts).toEqual({ submitted: 1, duplicates: 0, refused: 0, errors: 5, held: 0 });
});

test("what is wrong with the job itself fails it for good, be it the payload, the key or the function that makes the task", async () => {
  const { drain } = bridge([new RingError("PAYLOAD_TOO_LARGE", "2 MiB")]);
  await expect(drain.handle(JOB)).rejects.toThrow(FinalFailure);
  const thrown = bridge([], { task: () => JSON.parse("{") as never });
  await expect(thrown.drain.handle(JOB)).rejects.toThrow(FinalFailure);
  const keyless = bridge([], { task: () => ({ app: "mail", type: "send", key: "" }) });
  await expect(keyless.drain.handle(JOB)).rejects.toThrow(/job 7: the task has no key/);
  expect([drain, thrown.drain, keyless.drain].map(({ counts }) => counts.refused)).toEqual([1, 1, 1]);
});

test("a second delivery is told as a duplicate; its payload is the job's data unless the task has its own", async () => {
  const { drain, submits } = bridge(["duplicate", "accepted"]);
  expect(await drain.handle(JOB)).toMatchObject({ duplicate: true });
  expect(submits[0]).toMatchObject({ payload: { to: "ann" }, idempotencyKey: "bullmq:bull:mail:7" });
  const own = bridge(["accepted"], { task: () => ({ app: "mail", type: "send", key: "ann", payload: "hello" }) });
  await own.drain.handle(JOB);
  expect(own.submits[0]).toMatchObject({ payload: "hello" });
});

test("a bridge that closes hands over what the ring has not taken: the job is neither completed nor failed", async () => {
  const { drain } = bridge(Array.from({ length: 100 }, () => new RingError("NO_OWNER", "away", { retryAfterMs: 20 })));
  const closed: boolean[] = [];
  drain.begin({ pause: async () => {}, close: async ({ force }) => void closed.push(force) });
  let settled = false;
  const settle = (): void => {
    settled = true;
  };
  drain.handle(JOB).then(settle, settle);
  await drain.close({ graceMs: 50 });
  expect(closed).toEqual([true]);
  expect([settled, drain.counts.held]).toEqual([false, 1]);
});

test("from BullMQ no more jobs are held than can be fetched within their lock", () => {
  expect(concurrencyOf({ concurrency: 1_000, lockMs: 3_000 })).toBe(300);
  expect(concurrencyOf({ concurrency: 100, lockMs: 30_000 })).toBe(100);
  expect(concurrencyOf({ concurrency: 1, lockMs: 1_000 })).toBe(1);
});

test("a job's task id is a function of queue, job and key, sorts by the job's time, and survives odd timestamps", () => {
  const task = { app: "mail", type: "send", key: "ann" };
  const id = taskIdOfJob(FROM, JOB, task);
  expect(taskIdOfJob({ ...FROM, connection: { port: 1 } }, { ...JOB }, task)).toBe(id);
  expect(id.slice(0, 12)).toBe(JOB.timestamp.toString(16).padStart(12, "0"));
  const others = [
    taskIdOfJob({ ...FROM, queue: "other" }, JOB, task),
    taskIdOfJob({ ...FROM, prefix: "p" }, JOB, task),
    taskIdOfJob({ type: "bull", queue: "mail", redis: {} }, JOB, task),
    taskIdOfJob(FROM, { ...JOB, id: "8" }, task),
  ];
  expect(new Set([id, ...others]).size).toBe(5);
  for (const timestamp of [Number.NaN, -1, 1.5, Number.POSITIVE_INFINITY])
    expect(isTaskId(taskIdOfJob(FROM, { id: "7", timestamp }, task))).toBe(true);
});

type Answer = RingError | "accepted" | "duplicate";

function bridge(
  answers: readonly Answer[],
  options: Partial<DrainOptions> = {},
): { readonly drain: Drain; readonly submits: SubmitTask[]; readonly errors: Error[] } {
  const submits: SubmitTask[] = [];
  const errors: Error[] = [];
  const client = {
    submit: async (task: SubmitTask) => {
      const answer = answers[submits.length];
      submits.push(task);
      if (answer instanceof RingError) throw answer;
      return { taskId: task.taskId, duplicate: answer === "duplicate", state: "queued" };
    },
  } as unknown as RingClient;
  const task = (): { app: string; type: string; key: string } => ({ app: "mail", type: "send", key: "ann" });
  return {
    drain: new Drain({ client, from: FROM, task, onError: (error) => errors.push(error), ...options }),
    submits,
    errors,
  };
}
