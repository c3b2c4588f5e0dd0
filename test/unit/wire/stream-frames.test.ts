/** The hand-written frames against protobufjs: what one writes the other reads. */

import { join } from "node:path";
import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";
import { encodeErrorDetails, parseErrorDetails } from "../../../proto/error-details.ts";
import { PROTO_FOLDER } from "../../../proto/load.ts";
import {
  BATCH_HEADER_BYTES,
  encodeBatch,
  encodeHello,
  encodeStreamReply,
  encodeWaits,
  parseStreamReply,
  parseStreamRequest,
  type StreamReply,
  sealBatch,
} from "../../../proto/submit-stream.ts";
import { putVarint, WireError, WireReader, WireWriter } from "../../../proto/wire.ts";
import { fc } from "../../arbitrary.ts";

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => join(PROTO_FOLDER, target);
root.loadSync("taskring/v1/tasks.proto");
const Request = root.lookupType("taskring.v1.StreamRequest");
const Reply = root.lookupType("taskring.v1.StreamReply");
const Submit = root.lookupType("taskring.v1.SubmitRequest");
const Task = root.lookupType("taskring.v1.Task");

const seq = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const text = fc.string({ maxLength: 40 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const task = fc.record({
  app: text,
  type: text,
  key: text,
  payload: fc.uint8Array({ maxLength: 300 }),
  priority: fc.integer({ min: -100, max: 100 }),
});

describe("requests", () => {
  test("a batch that protobufjs wrote is read, and its tasks are found where they stand", () => {
    fc.assert(
      fc.property(seq, fc.array(task, { maxLength: 20 }), (firstSeq, tasks) => {
        const bytes = Request.encode(Request.fromObject({ batch: { firstSeq, tasks } })).finish();
        const frame = parseStreamRequest(bytes, { taskLimit: 20 });
        if (frame.type !== "batch") throw new Error(frame.type);
        expect(frame.firstSeq).toBe(firstSeq);
        const found = [];
        for (let at = 0; at < frame.spans.length; at += 2)
          found.push(Submit.decode(bytes.subarray(frame.spans[at], frame.spans[at + 1])));
        expect(found.map((one) => Submit.toObject(one, { defaults: true }).key)).toEqual(tasks.map((one) => one.key));
      }),
    );
  });

  test("a sealed batch is valid protobuf", () => {
    fc.assert(
      fc.property(seq, fc.array(task, { minLength: 1, maxLength: 20 }), (firstSeq, tasks) => {
        const encoded = tasks.map((one) => Submit.encode(Submit.fromObject(one)).finish());
        const buffer = Buffer.alloc(BATCH_HEADER_BYTES + encoded.reduce((sum, bytes) => sum + bytes.length + 10, 0));
        let end = BATCH_HEADER_BYTES;
        for (const bytes of encoded) {
          buffer[end++] = (2 << 3) | 2;
          end = putVarint(buffer, end, bytes.length);
          buffer.set(bytes, end);
          end += bytes.length;
        }
        const frame = sealBatch(buffer, end, firstSeq);
        expect(frame.equals(encodeBatch(firstSeq, encoded))).toBe(true);
        const read = Request.toObject(Request.decode(frame), { longs: Number }).batch;
        expect(read.firstSeq).toBe(firstSeq);
        expect(read.tasks.length).toBe(tasks.length);
      }),
    );
  });

  test("hello comes back as it was", () => {
    const bytes = encodeHello({ clientId: "é client", lastAckedSeq: 2 ** 40 });
    expect(parseStreamRequest(bytes, { taskLimit: 1 })).toEqual({
      type: "hello",
      clientId: "é client",
      lastAckedSeq: 2 ** 40,
    });
    expect(Request.toObject(Request.decode(bytes), { longs: Number }).hello).toEqual({
      clientId: "é client",
      lastAckedSeq: 2 ** 40,
    });
  });

  test("waits come back as they were, and protobufjs reads the same", () => {
    const wait = fc.record({ number: seq, taskId: text, timeoutMs: u32 });
    fc.assert(
      fc.property(fc.array(wait, { maxLength: 10 }), (waits) => {
        const bytes = encodeWaits(waits);
        expect(parseStreamRequest(bytes, { taskLimit: 10 })).toEqual({ type: "waits", waits });
        const read = Request.toObject(Request.decode(bytes), { longs: Number, arrays: true, defaults: true });
        expect(read.waits.waits).toEqual(waits);
      }),
    );
  });

  test("too many tasks in a batch are refused, and too many waits in a frame", () => {
    const bytes = encodeBatch(1, [new Uint8Array(3), new Uint8Array(3)]);
    expect(() => parseStreamRequest(bytes, { taskLimit: 1 })).toThrow(WireError);
    const wait = { number: 1, taskId: "t", timeoutMs: 1 };
    expect(() => parseStreamRequest(encodeWaits([wait, wait]), { taskLimit: 1 })).toThrow(WireError);
  });

  test("garbage and cut-off frames throw WireError and nothing else", () => {
    const whole = encodeBatch(7, [new Uint8Array(40), new Uint8Array(200)]);
    for (let cut = 1; cut < whole.length; cut++)
      expect(() => parseStreamRequest(whole.subarray(0, cut), { taskLimit: 10 })).toThrow(WireError);
    const waits = encodeWaits([{ number: 3, taskId: "t".repeat(32), timeoutMs: 5 }]);
    for (let cut = 1; cut < waits.length; cut++)
      expect(() => parseStreamRequest(waits.subarray(0, cut), { taskLimit: 10 })).toThrow(WireError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const parse of [
          () => parseStreamRequest(bytes, { taskLimit: 10 }),
          () => parseStreamReply(bytes),
          () => parseErrorDetails(bytes),
        ]) {
          try {
            parse();
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("replies", () => {
  const reply: fc.Arbitrary<StreamReply> = fc.record(
    {
      acks: fc.array(fc.tuple(seq, seq), { maxLength: 10 }).map((pairs) => pairs.flat()),
      duplicates: fc.array(fc.record({ seq, taskId: text, state: fc.integer({ min: 0, max: 7 }) }), { maxLength: 4 }),
      rejects: fc.array(
        fc.record({ seq, code: text, message: fc.string({ maxLength: 300 }), retryAfterMs: u32, owner: text }),
        { maxLength: 4 },
      ),
      minted: fc.array(fc.record({ seq, taskId: text }), { maxLength: 4 }),
      waited: fc.array(
        fc.oneof(
          fc.record({
            number: seq,
            task: text.map((taskId) => Buffer.from(Task.encode({ taskId }).finish())),
          }),
          fc.record({ number: seq, refused: fc.record({ code: text, message: text, retryAfterMs: u32 }) }),
        ),
        { maxLength: 4 },
      ),
      credit: fc.record({ tasks: u32, bytes: u32, waits: u32 }),
      ringEpoch: fc.integer({ min: 0, max: 2 ** 50 }),
    },
    { requiredKeys: ["acks", "duplicates", "rejects", "minted", "waited"] },
  );

  test("come back as they were, and protobufjs reads the same", () => {
    fc.assert(
      fc.property(reply, (given) => {
        const bytes = encodeStreamReply(given);
        expect(parseStreamReply(bytes)).toEqual(given);
        const read = Reply.toObject(Reply.decode(bytes), { longs: Number, arrays: true, defaults: true });
        expect(read.acks.flatMap((range: { first: number; last: number }) => [range.first, range.last])).toEqual(
          given.acks,
        );
        expect(read.rejects.map((reject: { message: string }) => reject.message)).toEqual(
          given.rejects.map((reject) => reject.message),
        );
        expect(parseStreamReply(Reply.encode(Reply.decode(bytes)).finish())).toEqual(given);
      }),
    );
  });
});

test("a number above 2^53 - 1 is refused, not rounded", () => {
  const writer = new WireWriter();
  writer.number(1, Number.MAX_SAFE_INTEGER);
  const reader = new WireReader(writer.finish());
  reader.next();
  expect(reader.number()).toBe(Number.MAX_SAFE_INTEGER);
  const large = new WireReader(new Uint8Array([8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]));
  large.next();
  expect(() => large.number()).toThrow(WireError);
});

test("error details come back as they were", () => {
  const details = {
    status: 8,
    message: "QUEUE_FULL: é",
    reason: "QUEUE_FULL",
    domain: "taskring",
    metadata: { hint: "wait" },
    retryAfterMs: 61_250,
  };
  expect(parseErrorDetails(encodeErrorDetails(details))).toEqual(details);
});
