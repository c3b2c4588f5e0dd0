/** `RingClient.wait` over the submit stream: no call of its own, and none is lost when the stream ends. */

import { afterEach, expect, test } from "vitest";
import type { NodeAnswer } from "../../../ring/node/requests.ts";
import { startApi } from "../../../services/api/server.ts";
import { doneTask, quiet, until } from "../api/fake-node.ts";
import { apis, client, closeAll, cluster, type Scripted } from "./scripted-cluster.ts";

afterEach(closeAll);

test("a wait at a node with a stream is answered over it, with the task's result", async () => {
  let calls = 0;
  const identify = () => {
    calls += 1;
    return { name: "local" };
  };
  const [one] = await cluster(["n1"], {}, { identify });
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  const before = calls;
  const ended = ring.wait(taskId);
  await until(() => waits.length === 1);
  waits[0]!.answer(done(taskId));
  const task = await ended;
  expect(task).toMatchObject({ taskId, state: "DONE" });
  expect([...task.result!]).toEqual([7]);
  expect(calls).toBe(before);
});

test("more waits than the stream has room for go by calls of their own", async () => {
  const [one] = await cluster(["n1"], { creditWaits: 2 });
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  const ended = Array.from({ length: 5 }, () => ring.wait(taskId));
  await until(() => waits.length === 5);
  for (const { answer } of waits) answer(done(taskId));
  for (const task of await Promise.all(ended)) expect(task.state).toBe("DONE");
});

test("P5: a wait outlives its stream: it is asked again, for what is left of its time", async () => {
  const [one] = await cluster(["n1"]);
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  const ended = ring.wait(taskId, { timeoutMs: 20_000 });
  await until(() => waits.length === 1);
  const { address } = one!.api;
  const [host = "", port] = address.split(":");
  await one!.api.close({ graceMs: 0 });
  apis.splice(0);
  one!.api = await startApi({ node: one!.node, bind: { host, port: Number(port) }, log: quiet });
  apis.push(one!.api);
  await until(() => waits.length === 2);
  expect(waits[1]!.timeoutMs).toBeGreaterThan(10_000);
  expect(waits[1]!.timeoutMs).toBeLessThan(20_000);
  waits[1]!.answer(done(taskId));
  expect(await ended).toMatchObject({ state: "DONE" });
});

test("P5: a wait by a call of its own outlives its node: the next one is asked for what is left of its time", async () => {
  const [one, two] = await cluster(["n1", "n2"], { creditWaits: 0 });
  const waits = [held(one!), held(two!)];
  const ring = client([one!, two!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  const ended = ring.wait(taskId, { timeoutMs: 10_000 });
  await until(() => waits.some((asked) => asked.length === 1));
  const isFirst = waits[0]!.length === 1;
  const { api } = isFirst ? one! : two!;
  const [before, after] = isFirst ? waits : [...waits].reverse();
  apis.splice(apis.indexOf(api), 1);
  await api.close({ graceMs: 50 });
  await until(() => after!.length === 1);
  expect(after![0]!.timeoutMs).toBeLessThanOrEqual(before![0]!.timeoutMs - 40);
  after![0]!.answer(done(taskId));
  expect(await ended).toMatchObject({ state: "DONE" });
});

test.each([{ creditWaits: 100 }, { creditWaits: 0 }])(
  "P5: a wait goes on while the owner restarts or another takes over: %o",
  async (limits) => {
    const [one] = await cluster(["n1"], limits);
    const waits = held(one!);
    const ring = client([one!]);
    await ring.ready();
    const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
    const ended = ring.wait(taskId, { timeoutMs: 10_000 });
    const refusals = ["NO_OWNER", "NO_LEASE", "NOT_OWNER", "DRAINING", "STATE_AWAY", "DEADLINE"] as const;
    for (const [count, code] of refusals.entries()) {
      await until(() => waits.length === count + 1);
      waits[count]!.answer({ type: "refused", code, detail: "not now", retryAfterMs: 20 });
    }
    await until(() => waits.length === 7);
    expect(waits[6]!.timeoutMs).toBeLessThanOrEqual(waits[0]!.timeoutMs - 110);
    waits[6]!.answer(done(taskId));
    expect(await ended).toMatchObject({ state: "DONE" });
  },
);

test("a wait that nobody can be asked for ends with its time, and for its caller at once", async () => {
  const [one] = await cluster(["n1"]);
  one!.node.answer = () => ({
    type: "refused",
    code: "NO_OWNER",
    detail: "n2 cannot be reached",
    retryAfterMs: 60_000,
  });
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  await expect(ring.wait(taskId, { timeoutMs: 500 })).rejects.toMatchObject({ code: "NO_OWNER" });
  const controller = new AbortController();
  const given = ring.wait(taskId, { timeoutMs: 600_000, signal: controller.signal });
  setImmediate(() => controller.abort());
  await expect(given).rejects.toMatchObject({ code: "CANCELLED" });
});

test("a refusal is a typed error; a caller that gives up is told at once; closing tells all", async () => {
  const [one] = await cluster(["n1"]);
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });

  const refused = ring.wait(taskId);
  await until(() => waits.length === 1);
  waits[0]!.answer({ type: "task", answer: { type: "refused", code: "TASK_NOT_FOUND", detail: "unknown" } });
  await expect(refused).rejects.toMatchObject({ name: "RingError", code: "TASK_NOT_FOUND", message: "unknown" });

  const controller = new AbortController();
  const given = ring.wait(taskId, { signal: controller.signal });
  await until(() => waits.length === 2);
  controller.abort();
  await expect(given).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(ring.wait(taskId, { signal: controller.signal })).rejects.toMatchObject({ code: "CANCELLED" });

  const open = ring.wait(taskId);
  await until(() => waits.length === 3);
  ring.close();
  await expect(open).rejects.toMatchObject({ code: "CANCELLED" });
});

test.each([{}, { onlyAddresses: true }])(
  "what cannot be asked is refused at once, and harms nobody: %o",
  async (options) => {
    const [one] = await cluster(["n1"]);
    const waits = held(one!);
    const ring = client([one!], options);
    await ring.ready();
    const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
    const good = ring.wait(taskId);
    for (const id of [undefined, null, 7, [taskId], "no id", "x".repeat(5_000_000)])
      await expect(ring.wait(id as string)).rejects.toMatchObject({ name: "RingError", code: "INVALID_ARGUMENT" });
    for (const timeoutMs of [600_001, 2 ** 31, Number.MAX_SAFE_INTEGER, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(ring.wait(taskId, { timeoutMs })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await until(() => waits.length === 1);
    waits[0]!.answer(done(taskId));
    expect(await good).toMatchObject({ state: "DONE" });
  },
);

test("a wait is asked at once also while the node reads no more tasks", async () => {
  const [one] = await cluster(["n1"], { creditBytes: 1_000 });
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  one!.node.holding = true;
  const large = ring.submit({ app: "acme", type: "t", key: "k2", payload: new Uint8Array(2_000) });
  await until(() => one!.node.held === 1);
  const wait = ring.wait(taskId);
  await until(() => waits.length === 1);
  waits[0]!.answer(done(taskId));
  expect(await wait).toMatchObject({ state: "DONE" });
  one!.node.release();
  await large;
});

test("a wait goes over the stream also while tasks wait for credit", async () => {
  let calls = 0;
  const identify = () => {
    calls += 1;
    return { name: "local" };
  };
  const [one] = await cluster(["n1"], { creditTasks: 1 }, { identify });
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  one!.node.holding = true;
  const first = ring.submit({ app: "acme", type: "t", key: "k2" });
  await until(() => one!.node.held === 1);
  const second = ring.submit({ app: "acme", type: "t", key: "k3" });
  await new Promise((resolve) => setImmediate(resolve));
  const before = calls;
  const wait = ring.wait(taskId);
  await until(() => waits.length === 1);
  expect([calls, one!.node.held]).toEqual([before, 1]);
  waits[0]!.answer(done(taskId));
  expect(await wait).toMatchObject({ state: "DONE" });
  one!.node.release();
  await until(() => one!.node.held === 1);
  one!.node.release();
  await Promise.all([first, second]);
});

test("a thousand waits and more at once leave the stream's tasks alone, whatever its credit", async () => {
  const [one] = await cluster(["n1"], { creditWaits: 3_000, streamsPerConnection: 3_000 });
  const waits = held(one!);
  const ring = client([one!]);
  await ring.ready();
  const { taskId } = await ring.submit({ app: "acme", type: "t", key: "k" });
  one!.node.holding = true;
  const accepted = ring.submit({ app: "acme", type: "t", key: "other" });
  await until(() => one!.node.held === 1);
  const ended = Array.from({ length: 1_100 }, () => ring.wait(taskId));
  await until(() => waits.length === 1_100, 20_000);
  one!.node.release();
  expect(await accepted).toMatchObject({ state: "queued" });
  for (const { answer } of waits) answer(done(taskId));
  for (const task of await Promise.all(ended)) expect(task.state).toBe("DONE");
});

interface Held {
  readonly timeoutMs: number;
  readonly answer: (answer: NodeAnswer) => void;
}

/** Waits that the node has been asked, to be answered by the test. */
function held({ node }: Scripted): Held[] {
  const waits: Held[] = [];
  const other = node.answer;
  node.answer = (request, to) => {
    if (request.type !== "task" || request.request.type !== "wait") return other(request, to);
    const { timeoutMs } = request.request;
    return new Promise((answer) => waits.push({ timeoutMs, answer }));
  };
  return waits;
}

function done(id: string): NodeAnswer {
  return doneTask(id, new Uint8Array([7]));
}
