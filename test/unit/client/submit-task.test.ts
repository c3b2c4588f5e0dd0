/** What the client encodes by hand is what the node parses. */

import { expect, test } from "vitest";
import { hashKey } from "../../../ring/hash.ts";
import { isRefused, parseRecord, payloadOf } from "../../../ring/tasks/record.ts";
import { TaskEncoder, taskIdOf } from "../../../services/client/submit-task.ts";
import { decodeResult } from "../../../services/client/task-calls.ts";
import { fc } from "../../arbitrary.ts";

test("the fast path and the full one give records that the node accepts, with all their fields", () => {
  const encoder = new TaskEncoder();
  const ids = new Set<string>();
  fc.assert(
    fc.property(
      fc.constantFrom("acme", "event-1", "a"),
      fc.string({ minLength: 1, maxLength: 30, unit: "grapheme" }),
      fc.string({ minLength: 1, maxLength: 100, unit: "grapheme" }),
      fc.uint8Array({ maxLength: 500 }),
      fc.option(fc.string({ minLength: 1, maxLength: 40 }), { nil: undefined }),
      (app, type, key, payload, idempotencyKey) => {
        fc.pre(Buffer.byteLength(key) <= 512 && Buffer.byteLength(type) <= 128);
        const task = encoder.encode({
          app,
          type,
          key,
          payload,
          ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        });
        const record = parseRecord(task.buffer, task.start, task.end);
        if (isRefused(record)) throw new Error(record.detail);
        expect(record).toMatchObject({ app, type, key, idempotencyKey, hash: hashKey(app, key), id: taskIdOf(task) });
        expect([...payloadOf(record)]).toEqual([...payload]);
        expect(task.hash).toBe(record.hash);
        expect(ids.has(record.id)).toBe(false);
        ids.add(record.id);
      },
    ),
    { numRuns: 500 },
  );
});

test("a result that is not there yet reads as undefined", () => {
  expect(decodeResult(undefined)).toBeUndefined();
  expect(decodeResult(new Uint8Array())).toBeUndefined();
  expect(decodeResult(Buffer.from('\0{"a":1}'))).toEqual({ a: 1 });
  expect(decodeResult(Uint8Array.of(1, 7))).toEqual(Uint8Array.of(7));
});

test.each([
  { delayMs: -1 },
  { delayMs: Number.NaN },
  { delayMs: 2 ** 60 },
  { delayMs: Number.POSITIVE_INFINITY },
  { deadlineMs: -0.5 },
  { maxAttempts: -3 },
  { priority: 101 },
  { priority: Number.NaN },
])("%o is refused, and named", (odd) => {
  const [field = ""] = Object.keys(odd);
  const encode = (): unknown => new TaskEncoder().encode({ app: "acme", type: "t", key: "k", ...odd });
  expect(encode).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(field) }),
  );
});

test.each([
  ["key", 5],
  ["key", null],
  ["key", ["a"]],
  ["app", undefined],
])("%s %o is refused, and named: plain JavaScript passes what a type would have refused", (field, value) => {
  const task = { app: "acme", type: "t", key: "k", [field]: value };
  expect(() => new TaskEncoder().encode(task as never)).toThrow(`${field} must be a string, not ${value}`);
});

test("parts of a millisecond are rounded up: a deadline of less than one is not none", () => {
  const task = new TaskEncoder().encode({ app: "acme", type: "t", key: "k", delayMs: 1.5, deadlineMs: 0.3 });
  expect(parseRecord(task.buffer, task.start, task.end)).toMatchObject({ delayMs: 2, deadlineMs: 1 });
});

test.each([
  ["Map", new Map([["a", 1]])],
  ["Set", new Set([1])],
  ["ArrayBuffer", new ArrayBuffer(4)],
  ["Float64Array", Float64Array.of(1, 2)],
])("a %s as payload is refused: its JSON would be of nothing, or of places and values", (name, payload) => {
  const encode = (): unknown => new TaskEncoder().encode({ app: "acme", type: "t", key: "k", payload });
  expect(encode).toThrow(
    expect.objectContaining({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`a ${name} has no JSON form`),
    }),
  );
});
