/** Frames of a submit stream: what they take of memory is what is in them, about. */

import { expect, test } from "vitest";
import { BATCH_HEADER_BYTES, parseStreamRequest, sealBatch } from "../../../proto/submit-stream.ts";
import { parseRecord } from "../../../ring/tasks/record.ts";
import type { Entry } from "../../../services/client/entry.ts";
import { FrameBuilder } from "../../../services/client/frame-builder.ts";
import { TaskEncoder } from "../../../services/client/submit-task.ts";

const encoder = new TaskEncoder();

function entry(key: string, payloadBytes: number): Entry {
  const encoded = encoder.encode({ app: "acme", type: "t", key, payload: new Uint8Array(payloadBytes) });
  return { ...encoded, target: { settled: () => undefined }, index: 0, deadline: 0, order: 0, attempts: 0 };
}

function builder(first: Entry, likelyBytes: number): FrameBuilder {
  return new FrameBuilder({ id: 1, first, creditTasks: 4_096, likelyBytes });
}

test("a frame of one task is as large as the task", () => {
  const first = entry("k", 200);
  const frame = builder(first, 0);
  expect(frame.add(first)).toBe(true);
  expect(frame.seal().buffer.length).toBeLessThan(1_024);
});

test("a frame grows up to 64 KiB, whatever the one before took, and holds each task as it was", () => {
  for (const likelyBytes of [0, 5_000, 1024 * 1024]) {
    const tasks = Array.from({ length: 100 }, (_, at) => entry(`key-${at}`, 1_000));
    const frame = builder(tasks[0]!, likelyBytes);
    const taken = tasks.filter((task) => frame.add(task));
    const { buffer, end } = frame.seal();
    expect(buffer.length).toBeLessThanOrEqual(64 * 1024);
    expect(end).toBeGreaterThan(62 * 1024);
    const bytes = sealBatch(buffer, end, 1);
    const parsed = parseStreamRequest(bytes, { taskLimit: 200 });
    if (parsed.type !== "batch") throw new Error(parsed.type);
    const keys = taken.map((_, at) => parseRecord(bytes, parsed.spans[2 * at]!, parsed.spans[2 * at + 1]!));
    expect(keys.map((record) => "key" in record && record.key)).toEqual(taken.map((_, at) => `key-${at}`));
  }
});

test("a task larger than a frame has one of its own", () => {
  const large = entry("k", 300_000);
  const frame = builder(large, 500);
  expect(frame.add(large)).toBe(true);
  expect(frame.add(entry("other", 10))).toBe(false);
  expect(frame.seal().buffer.length).toBeLessThan(300_000 + 200 + BATCH_HEADER_BYTES);
});
