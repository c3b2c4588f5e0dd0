/**
 * What the client itself refuses or holds back: tasks that are too large, tasks for which there is no room yet; and what it
 * tells of a task without an outcome.
 *
 * The order test was seen to fail with newcomers let in while others wait.
 */

import { afterEach, expect, test } from "vitest";
import { MESSAGE_BYTES_MOST } from "../../../proto/submit-stream.ts";
import type { RingError } from "../../../ring/errors.ts";
import { payloadOf } from "../../../ring/tasks/record.ts";
import type { TaskState } from "../../../ring/tasks/task.ts";
import { Drain } from "../../../services/bridge/drain.ts";
import { FinalFailure } from "../../../services/bridge/queue.ts";
import { until } from "../api/fake-node.ts";
import { client, closeAll, cluster } from "./scripted-cluster.ts";

afterEach(closeAll);

test("a task larger than a message is refused by the client, and costs the tasks beside it nothing", async () => {
  const [one] = await cluster(["n1"]);
  const ring = client([one!]);
  const large = { app: "acme", type: "t", key: "k", payload: Buffer.alloc(MESSAGE_BYTES_MOST) };
  const small = { app: "acme", type: "t", key: "k" };
  const sink = ring.openSink();
  for (const task of [small, large, small]) sink.push(task);
  const drained = sink.drained();
  const outcomes = await ring.submitMany([small, large, small]);
  expect(outcomes.map((outcome) => outcome.type)).toEqual(["accepted", "refused", "accepted"]);
  expect(outcomes[1]).toMatchObject({ code: "PAYLOAD_TOO_LARGE", taskId: expect.stringMatching(/^[0-9a-f]{32}$/) });
  expect(await ring.submit(large).catch((error: RingError) => error.code)).toBe("PAYLOAD_TOO_LARGE");
  await drained;
  expect(sink.counts).toMatchObject({ pushed: 3, accepted: 2, refused: 1 });
  expect(one!.node.accepted.length).toBe(4);
  // The largest that does fit reaches the node, which has a limit of its own.
  const fits = await ring.submitMany([{ ...large, payload: Buffer.alloc(MESSAGE_BYTES_MOST - 200) }]);
  expect(fits[0]).toMatchObject({ type: "refused", code: "PAYLOAD_TOO_LARGE" });
  expect(fits[0]).not.toMatchObject({ detail: (outcomes[1] as { readonly detail: string }).detail });
});

test("P1: what is no task costs those beside it neither their place nor their outcome", async () => {
  const [one] = await cluster(["n1"]);
  const ring = client([one!], { pendingTasks: 2 });
  const good = { app: "acme", type: "t", key: "k" };
  const none = { ...good, payload: 1n };
  const outcomes = await ring.submitMany([good, good, none, good, none]);
  expect(outcomes.map((outcome) => outcome.type)).toEqual(["accepted", "accepted", "refused", "accepted", "refused"]);
  expect(outcomes[2]).toMatchObject({ code: "INVALID_ARGUMENT", taskId: "" });
  const circular: { self?: unknown } = {};
  circular.self = circular;
  for (const wrong of [{ payload: circular }, { key: 5 as unknown as string }, { app: undefined as unknown as string }])
    await expect(ring.submit({ ...good, ...wrong })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  ring.close();
  await expect(ring.submitMany([good])).rejects.toMatchObject({ code: "CANCELLED" });
});

test("a list of tasks in a state that there is not is refused by the client: it would be a list of all", async () => {
  const [one] = await cluster(["n1"]);
  const asked: unknown[] = [];
  one!.node.answer = (request) => {
    asked.push(request);
    return { type: "task", answer: { type: "tasks", statuses: [] } };
  };
  const { tasks } = client([one!]);
  for (const state of ["finished", "", "task_state_unknown", 5, null] as unknown as TaskState[])
    await expect(tasks.list({ state })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("queued"),
    });
  expect(asked).toEqual([]);
  await tasks.list({ state: "dead" });
  expect(asked).toMatchObject([{ request: { type: "list", state: "dead" } }]);
});

test("a job of a queue that is larger than a message fails for good", async () => {
  const [one] = await cluster(["n1"]);
  const drain = new Drain({
    client: client([one!]),
    from: { type: "bullmq", queue: "q", connection: {} },
    task: () => ({ app: "acme", type: "t", key: "k" }),
  });
  const job = { id: "1", name: "job", data: "x".repeat(5 * 1024 * 1024), timestamp: 1, attemptsMade: 0 };
  await expect(drain.handle(job)).rejects.toBeInstanceOf(FinalFailure);
  expect(drain.counts).toMatchObject({ refused: 1, errors: 0 });
});

test("P3: submits of one key that wait for room are let in before those that come later", async () => {
  const [one] = await cluster(["n1"]);
  one!.node.holding = true;
  const ring = client([one!], { pendingTasks: 4 });
  await ring.ready();
  const submits: Promise<unknown>[] = [];
  const submit = (): void =>
    void submits.push(ring.submit({ app: "acme", type: "t", key: "k", payload: String(submits.length) }));
  for (let index = 0; index < 12; index++) submit();
  const sink = ring.openSink();
  await until(() => one!.node.held > 0);
  for (let round = 0; round < 100; round++) {
    one!.node.release(1);
    // Newcomers at every moment: before the outcome is here, and after it.
    if (submits.length < 40) submit();
    if (round === 3) sink.push({ app: "acme", type: "t", key: "k", payload: "sink" });
    for (let turn = 0; turn < 5; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (turn === 2 && submits.length < 40) submit();
    }
  }
  one!.node.holding = false;
  one!.node.release();
  await Promise.all([...submits, sink.drained()]);
  const payloads = one!.node.accepted.map((record) => Buffer.from(payloadOf(record)).toString());
  const alone = payloads.filter((payload) => payload !== "sink").map(Number);
  expect(alone).toEqual(Array.from({ length: submits.length }, (_, index) => index));
  // Pushed between the submits 18 and 19, and taken there.
  expect(payloads.indexOf("sink")).toBe(19);
});

test("who waits for room in vain is told so at the deadline, and the next one goes on", async () => {
  const [one] = await cluster(["n1"]);
  one!.node.holding = true;
  const ring = client([one!], { pendingTasks: 1 });
  const first = ring.submit({ app: "acme", type: "t", key: "k" });
  const late = ring.submit({ app: "acme", type: "t", key: "k" }, { deadlineMs: 200 });
  const many = ring.submitMany([{ app: "acme", type: "t", key: "k" }], { deadlineMs: 200 });
  const last = ring.submit({ app: "acme", type: "t", key: "k" });
  expect(await late.catch((error: RingError) => error.code)).toBe("QUEUE_FULL");
  expect(await many).toMatchObject([{ type: "refused", code: "QUEUE_FULL" }]);
  one!.node.holding = false;
  one!.node.release();
  expect((await first).duplicate).toBe(false);
  expect((await last).duplicate).toBe(false);
});

test("P2: a submit without an outcome names its id; submitted again with it the task is there once", async () => {
  const [one] = await cluster(["n1"]);
  one!.node.holding = true;
  const ring = client([one!]);
  const task = { app: "acme", type: "t", key: "k1" };
  const other = { ...task, key: "k2" };
  const error = await ring.submit(task, { deadlineMs: 200 }).catch((thrown: RingError) => thrown);
  expect(error).toMatchObject({ code: "DEADLINE", taskId: expect.stringMatching(/^[0-9a-f]{32}$/) });
  const [refused] = await ring.submitMany([other], { deadlineMs: 200 });
  expect(refused).toMatchObject({ type: "refused", code: "DEADLINE", taskId: expect.stringMatching(/^[0-9a-f]{32}$/) });
  one!.node.holding = false;
  one!.node.release();
  const again = [
    { ...task, taskId: (error as RingError).taskId as string },
    { ...other, taskId: (refused as { readonly taskId: string }).taskId },
  ];
  for (const each of again) expect(await ring.submit(each)).toMatchObject({ taskId: each.taskId, duplicate: true });
  expect(one!.node.accepted.length).toBe(2);
});
