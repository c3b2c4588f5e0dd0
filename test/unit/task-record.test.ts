/** Records, ids, rows, queues and timers of the task engine, one by one. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { fenceOf } from "../../ring/tasks/fence.ts";
import { Fifo } from "../../ring/tasks/fifo.ts";
import { ReadyQueue } from "../../ring/tasks/ready-queue.ts";
import { completeRecord, headersOf, isRefused, parseRecord, payloadOf } from "../../ring/tasks/record.ts";
import { encodeRecord, type RecordFields } from "../../ring/tasks/record-encode.ts";
import {
  comparePositions,
  deadValue,
  KIND,
  keyedRow,
  positionKey,
  readDead,
  readKeyed,
  readPosition,
  readResult,
  readTaskHeader,
  resultValue,
  stateKey,
  type TaskHeader,
  taskChange,
} from "../../ring/tasks/rows.ts";
import { readSchedule, type ScheduleRow, scheduleValue } from "../../ring/tasks/schedule-row.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import { derivedKey, deriveId, hashText, mintId, partitionOfId } from "../../ring/tasks/task-id.ts";
import { TimerHeap } from "../../ring/tasks/timers.ts";
import { seeded } from "../property/task-world.ts";

const random = seeded(7);
const mint = { wallMs: 1_700_000_000_000, random };

function parsed(fields: RecordFields): TaskRecord {
  const record = completeRecord(encodeRecord(fields), mint);
  if (isRefused(record)) throw new Error(record.detail);
  return record;
}

function refusal(bytes: Uint8Array): string {
  const record = completeRecord(bytes, mint);
  return isRefused(record) ? record.code : "accepted";
}

describe("a record", () => {
  test("is parsed back with every field it was made of", () => {
    const record = parsed({
      app: "acme",
      type: "mail.send",
      key: "käse",
      payload: Uint8Array.of(1, 2, 3),
      idempotencyKey: "once",
      delayMs: 2 ** 33,
      deadlineMs: 5,
      maxAttempts: 7,
      priority: -100,
      headers: new Map([
        ["traceparent", "00-ab"],
        ["ü", ""],
      ]),
    });
    expect(record).toMatchObject({
      app: "acme",
      type: "mail.send",
      key: "käse",
      idempotencyKey: "once",
      delayMs: 2 ** 33,
      deadlineMs: 5,
      maxAttempts: 7,
      priority: -100,
      payloadBytes: 3,
    });
    expect([...payloadOf(record)]).toEqual([1, 2, 3]);
    expect([...headersOf(record)]).toEqual([
      ["traceparent", "00-ab"],
      ["ü", ""],
    ]);
    expect(record.hash).toBe(hashKey("acme", "käse"));
    expect(partitionOfId(record.id, 64)).toBe(record.hash >>> 26);
  });

  test("inside a larger message is a view of its own part", () => {
    const wire = parsed({ app: "a", type: "t", key: "k", payload: Uint8Array.of(9) }).wire;
    const frame = new Uint8Array(wire.length + 20).fill(255);
    frame.set(wire, 10);
    const record = parseRecord(frame, 10, 10 + wire.length);
    expect(isRefused(record)).toBe(false);
    if (!isRefused(record)) {
      expect(record.wire).toEqual(wire);
      expect([...payloadOf(record)]).toEqual([9]);
    }
  });

  test("without a key gets its idempotency key's hash, else its id's first 28 digits", () => {
    expect(parsed({ app: "a", type: "t", idempotencyKey: "x" }).key).toBe(hashText("x"));
    const plain = parsed({ app: "a", type: "t" });
    expect(plain.key).toBe(plain.id.slice(0, 28));
    expect(derivedKey({ key: "", idempotencyKey: undefined, first28: "f" })).toBe("f");
  });

  test("with fields that are not known keeps them and skips them", () => {
    const wire = parsed({ app: "a", type: "t", key: "k" }).wire;
    const unknown = Uint8Array.of(
      0x98,
      0x06,
      0x2a,
      0xa2,
      0x06,
      0x02,
      0xff,
      0xff,
      0xad,
      0x06,
      1,
      2,
      3,
      4,
      0xa9,
      0x06,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
    );
    const both = new Uint8Array([...unknown, ...wire]);
    const record = parseRecord(both, 0, both.length);
    expect(isRefused(record) ? record.detail : record.key).toBe("k");
  });

  test("that breaks a rule is refused with the code of that rule", () => {
    expect(refusal(encodeRecord({ app: "Nope!", type: "t" }))).toBe("APP_NAME_INVALID");
    expect(refusal(encodeRecord({ app: "", type: "t" }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "" }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "t".repeat(129) }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "t", key: "k".repeat(513) }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "t", idempotencyKey: "k".repeat(257) }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "t", headers: new Map([["h", "x".repeat(8_200)]]) }))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(refusal(encodeRecord({ app: "a", type: "t", priority: 101 }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "t", payload: new Uint8Array(2 ** 20 + 1) }))).toBe(
      "PAYLOAD_TOO_LARGE",
    );
    expect(refusal(encodeRecord({ app: "a", type: "t", key: "k", id: "0".repeat(32) }))).toBe("INVALID_ARGUMENT");
    expect(refusal(encodeRecord({ app: "a", type: "t", key: "k", id: "zz" }))).toBe("INVALID_ARGUMENT");
    const noId = encodeRecord({ app: "a", type: "t" });
    expect(parseRecord(noId, 0, noId.length)).toMatchObject({ type: "refused", code: "INVALID_ARGUMENT" });
  });

  test("of garbage is refused, whatever the bytes", () => {
    const good = parsed({
      app: "a",
      type: "t",
      key: "k",
      payload: new Uint8Array(20),
      delayMs: 300,
      headers: new Map([["a", "b"]]),
    }).wire;
    for (let run = 0; run < 20_000; run++) {
      const bytes = good.slice(0, 1 + Math.floor(random() * good.length));
      for (let flips = 0; flips < 3; flips++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      const record = parseRecord(bytes, 0, bytes.length);
      if (isRefused(record)) continue;
      expect(record.payloadOffset + record.payloadBytes).toBeLessThanOrEqual(record.wire.length);
      headersOf(record);
    }
  });
});

describe("an id", () => {
  test("sorts by time, differs each time, and is the same for the same seed", () => {
    const first = mintId({ wallMs: 1_000, random, app: "a", key: "k" });
    const second = mintId({ wallMs: 2_000, random, app: "a", key: "k" });
    expect(first < second).toBe(true);
    expect(first.slice(28)).toBe(second.slice(28));
    expect(deriveId({ app: "a", key: "k", seed: "x" })).toBe(deriveId({ app: "a", key: "k", seed: "x" }));
    expect(deriveId({ app: "a", key: "k", seed: "x" })).not.toBe(deriveId({ app: "a", key: "k", seed: "y" }));
    const keyless = deriveId({ app: "a", key: "", seed: "x" });
    expect(parsed({ app: "a", type: "t", id: keyless }).id).toBe(keyless);
  });

  test("P2: fences rise with the counter, the opening, the generation and the history", () => {
    const rising = [
      fenceOf({ history: 0, generation: 1, opens: 1 }, 1),
      fenceOf({ history: 0, generation: 1, opens: 1 }, 2 ** 40),
      fenceOf({ history: 0, generation: 1, opens: 2 }, 1),
      fenceOf({ history: 0, generation: 2, opens: 1 }, 1),
      fenceOf({ history: 0, generation: 2 ** 32 - 1, opens: 2 ** 32 - 1 }, 2 ** 47),
      fenceOf({ history: 1, generation: 0, opens: 1 }, 1),
    ];
    for (let index = 1; index < rising.length; index++) expect(rising[index]! > rising[index - 1]!).toBe(true);
  });
});

describe("rows", () => {
  test("sort by position: older generations, then openings, then sequence", () => {
    const positions = [
      { generation: 1, opens: 9, sequence: 70_000 },
      { generation: 2, opens: 1, sequence: 5 },
      { generation: 2, opens: 3, sequence: 2 },
      { generation: 2, opens: 3, sequence: 2 ** 33 },
      { generation: 2 ** 31 + 5, opens: 1, sequence: 0 },
    ];
    const keys = positions.map((position) => positionKey(KIND.task, position));
    for (let index = 1; index < keys.length; index++) {
      expect(comparePositions(positions[index - 1]!, positions[index]!)).toBeLessThan(0);
      expect([...keys[index - 1]!].join() === [...keys[index]!].join()).toBe(false);
      expect(compareBytes(keys[index - 1]!, keys[index]!)).toBeLessThan(0);
    }
    expect(keys.map(readPosition)).toEqual(positions);
  });

  test("come back as they went", () => {
    const wire = parsed({ app: "a", type: "t" }).wire;
    const header = { flags: 5, attempts: 300, acceptedAtMs: 1_700_000_000_123, dueAtMs: 2 ** 47 };
    expect(readTaskHeader(taskValueOf(header, wire))).toEqual(header);
    const dead = {
      flags: 1,
      attempts: 2,
      acceptedAtMs: 1,
      diedAtMs: 2,
      failure: { name: "Ä", message: "m".repeat(500), stack: "s" },
    };
    expect(readDead(deadValue(dead, wire))).toEqual({ ...dead, wire });
    expect(readKeyed(stateKey("app", "ключ", "näme"))).toEqual({ app: "app", key: "ключ", name: "näme" });
    expect(readKeyed(keyedRow(KIND.dedupe, "app", "", "x"))).toEqual({ app: "app", key: "", name: "x" });
    const result = {
      app: "a",
      type: "t",
      key: "k",
      state: "dead" as const,
      deduped: true,
      dropped: false,
      attempts: 3,
      acceptedAtMs: 5,
      endedAtMs: 6,
      idempotencyKey: "i",
      failure: { name: "N", message: "m" },
      result: Uint8Array.of(1),
    };
    expect(readResult(resultValue(result))).toEqual(result);
    const schedules: ScheduleRow[] = [
      { paused: true, lastTickMs: 7, spec: undefined },
      { paused: false, lastTickMs: 7, origin: 3, resumedAtMs: 1_700_000_000_000, spec: undefined },
      { paused: false, lastTickMs: 7, origin: 3, times: "30 2 * * *\0Europe/Berlin", spec: undefined },
      {
        paused: false,
        lastTickMs: 8,
        spec: {
          every: { type: "cron", expression: "* * * * *", timeZone: "Europe/Berlin" },
          taskType: "t",
          payload: Uint8Array.of(4),
          misfire: "skip",
        },
      },
      {
        paused: false,
        lastTickMs: 9,
        spec: {
          every: { type: "interval", everyMs: 1_000 },
          taskType: "t",
          payload: new Uint8Array(),
          misfire: "once",
        },
      },
    ];
    for (const row of schedules) expect(readSchedule(scheduleValue(row))).toEqual(row);
  });

  test("that are cut off or of an unknown version throw RangeError, which the loader catches", () => {
    const value = taskValueOf({ flags: 0, attempts: 0, acceptedAtMs: 1, dueAtMs: 0 }, new Uint8Array());
    expect(() => readTaskHeader(value.subarray(0, 9))).toThrow(RangeError);
    expect(() => readTaskHeader(Uint8Array.of(2, ...value.subarray(1)))).toThrow(RangeError);
  });
});

describe("queues", () => {
  test("a fifo agrees with an array over random operations", () => {
    const fifo = new Fifo<number>();
    let model: number[] = [];
    for (let step = 0; step < 5_000; step++) {
      const dice = random();
      if (dice < 0.5) {
        fifo.push(step);
        model.push(step);
      } else if (dice < 0.9) expect(fifo.shift()).toBe(model.shift());
      else if (dice < 0.95) {
        fifo.unshift(step);
        model.unshift(step);
      } else if (dice < 0.96) {
        model = model.filter((each) => each % 3 !== 0);
        fifo.replace(model);
      }
      expect(fifo.size).toBe(model.length);
      expect(fifo.peek()).toBe(model[0]);
      expect(fifo.last()).toBe(model.at(-1));
    }
    expect(fifo.toArray()).toEqual(model);
  });

  test("timers fire in order of time, then of setting, and removed ones never", () => {
    const heap = new TimerHeap<number>();
    const model: { at: number; serial: number; timer: ReturnType<TimerHeap<number>["set"]> }[] = [];
    for (let step = 0; step < 3_000; step++) {
      const at = Math.floor(random() * 100);
      model.push({ at, serial: step, timer: heap.set(at, step) });
      if (random() < 0.4) {
        const [gone] = model.splice(Math.floor(random() * model.length), 1);
        heap.remove(gone?.timer);
        heap.remove(gone?.timer);
      }
    }
    model.sort((a, b) => a.at - b.at || a.serial - b.serial);
    expect(heap.take(-1)).toBeUndefined();
    const fired: number[] = [];
    for (let timer = heap.take(1_000); timer !== undefined; timer = heap.take(1_000)) fired.push(timer.wake);
    expect(fired).toEqual(model.map((each) => each.serial));
  });

  test("ready lanes come by priority, each priority in turn", () => {
    const queue = new ReadyQueue<string>();
    queue.push("low", -5);
    queue.push("usual", 0);
    queue.push("high", 10);
    queue.push("usual 2", 0);
    queue.push("high 2", 10);
    expect([queue.shift(), queue.shift(), queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([
      "high",
      "high 2",
      "usual",
      "usual 2",
      "low",
      undefined,
    ]);
  });
});

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let index = 0; index < Math.min(a.length, b.length); index++)
    if (a[index] !== b[index]) return a[index]! - b[index]!;
  return a.length - b.length;
}

function taskValueOf(header: TaskHeader, wire: Uint8Array): Uint8Array {
  const record = { bytes: wire, start: 0, end: wire.length };
  return taskChange({ generation: 1, opens: 1, sequence: 1 }, header, record, true).change().value as Uint8Array;
}
