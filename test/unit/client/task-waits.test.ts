/** Waits over a stream: each settles once, and leaves neither timer nor listener behind. */

import { getEventListeners } from "node:events";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { serviceDefinition } from "../../../proto/load.ts";
import { TaskWaits } from "../../../services/client/task-waits.ts";

const ID = "a".repeat(32);

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test("one that the node never answers ends 5 s after its time, and lets go of the signal", async () => {
  const waits = new TaskWaits(() => undefined);
  const { signal } = new AbortController();
  const wait = waits.add(ID, { timeoutMs: 1_000, signal });
  expect(waits.takeUnsent()).toEqual([{ number: 1, taskId: ID, timeoutMs: 1_000 }]);
  const late = expect(wait).rejects.toMatchObject({ code: "DEADLINE" });
  await vi.advanceTimersByTimeAsync(6_000);
  await late;
  expect(getEventListeners(signal, "abort")).toEqual([]);
  expect(waits.size).toBe(1); // the node may still answer it
});

test("one that is given up before it was sent is not sent, and takes no room", async () => {
  const waits = new TaskWaits(() => undefined);
  const controller = new AbortController();
  const given = expect(waits.add(ID, { timeoutMs: 1_000, signal: controller.signal })).rejects.toMatchObject({
    code: "CANCELLED",
  });
  controller.abort();
  await given;
  expect(waits.takeUnsent()).toEqual([]);
  expect(waits.size).toBe(0);
});

test("at the end of the stream all are told, and those that come later at once", async () => {
  const waits = new TaskWaits(() => undefined);
  const { signal } = new AbortController();
  const open = Array.from({ length: 10 }, () => waits.add(ID, { timeoutMs: 1_000, signal }));
  waits.close();
  expect(new Set(await Promise.all(open))).toEqual(new Set([undefined]));
  expect(vi.getTimerCount()).toBe(0);
  expect(getEventListeners(signal, "abort")).toEqual([]);
  expect(await waits.add(ID, { timeoutMs: 1_000 })).toBeUndefined();
});

test("garbage is an error of that wait; a second answer and one to nobody change nothing", async () => {
  const waits = new TaskWaits(() => undefined);
  const garbage = waits.add(ID, { timeoutMs: 1_000 });
  waits.answered({ number: 1, task: Buffer.from([0x0a, 0xff]) });
  waits.answered({ number: 1, task: Buffer.alloc(0) });
  waits.answered({ number: 77, task: Buffer.alloc(0) });
  await expect(garbage).rejects.toMatchObject({ code: "INTERNAL" });
  const strange = waits.add(ID, { timeoutMs: 1_000 });
  waits.answered({ number: 2, refused: { code: "of a newer node", message: "m", retryAfterMs: 7 } });
  await expect(strange).rejects.toMatchObject({ code: "INTERNAL", message: "m", retryAfterMs: 7 });
  expect(vi.getTimerCount()).toBe(0);
});

test("a result that is kept keeps nothing else", async () => {
  const waits = new TaskWaits(() => undefined);
  const wait = waits.add(ID, { timeoutMs: 1_000 });
  const task = { taskId: ID, result: new Uint8Array([7]) };
  waits.answered({ number: 1, task: serviceDefinition("taskring.v1.Tasks").Wait!.responseSerialize(task) });
  const ended = await wait;
  expect([...ended!.result!]).toEqual([7]);
  expect(ended!.result!.buffer.byteLength).toBeLessThan(100);
});
