/**
 * The frames of `Tasks.SubmitStream`, both ways (`taskring/v1/tasks.proto`).
 *
 * F1  What is written here is valid protobuf and what protobuf writes is read here: tested against protobufjs.
 * F2  Tasks inside a batch are not decoded: the frame gives their places, and the bytes travel on as they came.
 * F3  Garbage throws `WireError`.
 */

import { DELIMITED, putVarint, VARINT, WireError, WireReader, WireWriter } from "./wire.ts";

export type StreamRequest =
  | { readonly type: "hello"; readonly clientId: string; readonly lastAckedSeq: number }
  | TaskBatch
  | WaitBatch
  /** No known field: sent by a newer client, ignored. */
  | { readonly type: "empty" };

export interface TaskBatch {
  readonly type: "batch";
  readonly firstSeq: number;
  /** Start and end of each task in the frame's bytes, alternating (F2). */
  readonly spans: readonly number[];
}

export interface WaitBatch {
  readonly type: "waits";
  readonly waits: readonly StreamWait[];
}

export interface StreamWait {
  readonly number: number;
  readonly taskId: string;
  readonly timeoutMs: number;
}

/** `task`: an encoded `Task`. */
export type Waited = { readonly number: number } & (
  | { readonly task: Uint8Array }
  | { readonly refused: { readonly code: string; readonly message: string; readonly retryAfterMs: number } }
);

export interface StreamReply {
  /** First and last of each range, alternating. */
  readonly acks: readonly number[];
  readonly duplicates: readonly { readonly seq: number; readonly taskId: string; readonly state: number }[];
  readonly rejects: readonly Reject[];
  readonly credit?: Credit;
  readonly ringEpoch?: number;
  readonly minted: readonly { readonly seq: number; readonly taskId: string }[];
  readonly waited: readonly Waited[];
}

export interface Reject {
  readonly seq: number;
  readonly code: string;
  readonly message: string;
  readonly retryAfterMs: number;
  readonly owner: string;
}

export interface Credit {
  readonly tasks: number;
  readonly bytes: number;
  /** 0 from a node that does not know of waits on streams. */
  readonly waits: number;
}

/** At most `taskLimit` tasks, or waits, in a frame. */
export function parseStreamRequest(bytes: Uint8Array, options: { readonly taskLimit: number }): StreamRequest {
  const reader = new WireReader(bytes);
  let frame: StreamRequest = { type: "empty" };
  while (reader.next()) {
    if (reader.field === 1) frame = parseHello(reader.message());
    else if (reader.field === 2) frame = parseBatch(reader.message(), frame, options.taskLimit);
    else if (reader.field === 3) frame = parseWaits(reader.message(), frame, options.taskLimit);
    else reader.skip();
  }
  return frame;
}

function parseWaits(reader: WireReader, before: StreamRequest, waitLimit: number): StreamRequest {
  const waits = before.type === "waits" ? (before.waits as StreamWait[]) : [];
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const { numbers, texts } = parseFields(reader.message());
    if (waits.length >= waitLimit) throw new WireError(`more than ${waitLimit} waits in a frame`);
    waits.push({ number: numbers[1] ?? 0, taskId: texts[2] ?? "", timeoutMs: numbers[3] ?? 0 });
  }
  return { type: "waits", waits };
}

function parseHello(reader: WireReader): StreamRequest {
  let clientId = "";
  let lastAckedSeq = 0;
  while (reader.next()) {
    if (reader.field === 1) clientId = reader.string();
    else if (reader.field === 2) lastAckedSeq = reader.number();
    else reader.skip();
  }
  return { type: "hello", clientId, lastAckedSeq };
}

/** A field that occurs twice is merged, as protobuf says: the tasks of both. */
function parseBatch(reader: WireReader, before: StreamRequest, taskLimit: number): TaskBatch {
  let firstSeq = before.type === "batch" ? before.firstSeq : 0;
  const spans = before.type === "batch" ? (before.spans as number[]) : [];
  while (reader.next()) {
    if (reader.field === 2) {
      const end = reader.enter();
      if (spans.length >= taskLimit * 2) throw new WireError(`more than ${taskLimit} tasks in a batch`);
      spans.push(reader.position, end);
      reader.position = end;
    } else if (reader.field === 1) firstSeq = reader.number();
    else reader.skip();
  }
  return { type: "batch", firstSeq, spans };
}

export function encodeHello(hello: { readonly clientId: string; readonly lastAckedSeq: number }): Buffer {
  const writer = new WireWriter();
  writer.message(1, (inner) => {
    inner.string(1, hello.clientId);
    inner.numberUnlessZero(2, hello.lastAckedSeq);
  });
  return writer.finish();
}

/**
 * Completes a batch frame whose tasks (each with its tag and length) already stand in `buffer` from BATCH_HEADER_BYTES
 * to `end`: writes the header before them and returns the frame as a view.
 */
export function sealBatch(buffer: Buffer, end: number, firstSeq: number): Buffer {
  scratch[0] = (1 << 3) | VARINT;
  const seqEnd = putVarint(scratch, 1, firstSeq);
  const bodyBytes = seqEnd + (end - BATCH_HEADER_BYTES);
  lengthScratch[0] = (2 << 3) | DELIMITED;
  const lengthEnd = putVarint(lengthScratch, 1, bodyBytes);
  const start = BATCH_HEADER_BYTES - seqEnd - lengthEnd;
  lengthScratch.copy(buffer, start, 0, lengthEnd);
  scratch.copy(buffer, start + lengthEnd, 0, seqEnd);
  return buffer.subarray(start, end);
}

export function encodeWaits(waits: readonly StreamWait[]): Buffer {
  const writer = new WireWriter(16 + waits.length * 56);
  writer.message(3, (frame) => {
    for (const { number, taskId, timeoutMs } of waits) {
      frame.message(1, (inner) => {
        inner.number(1, number);
        inner.string(2, taskId);
        inner.numberUnlessZero(3, timeoutMs);
      });
    }
  });
  return writer.finish();
}

/** A batch frame of tasks that are encoded already. */
export function encodeBatch(firstSeq: number, tasks: readonly Uint8Array[]): Buffer {
  const writer = new WireWriter();
  writer.message(2, (inner) => {
    inner.number(1, firstSeq);
    for (const task of tasks) inner.slice(2, task);
  });
  return writer.finish();
}

export function encodeStreamReply(reply: StreamReply): Buffer {
  const writer = new WireWriter(64 + reply.acks.length * 8);
  for (let at = 0; at < reply.acks.length; at += 2) {
    writer.message(1, (inner) => {
      inner.number(1, reply.acks[at] as number);
      inner.number(2, reply.acks[at + 1] as number);
    });
  }
  for (const duplicate of reply.duplicates) {
    writer.message(2, (inner) => {
      inner.number(1, duplicate.seq);
      inner.string(2, duplicate.taskId);
      inner.numberUnlessZero(3, duplicate.state);
    });
  }
  for (const reject of reply.rejects) {
    writer.message(3, (inner) => {
      inner.number(1, reject.seq);
      inner.string(2, reject.code);
      inner.string(3, reject.message);
      inner.numberUnlessZero(4, reject.retryAfterMs);
      inner.string(5, reject.owner);
    });
  }
  const { credit, ringEpoch } = reply;
  if (credit !== undefined) {
    writer.message(4, (inner) => {
      inner.numberUnlessZero(1, credit.tasks);
      inner.numberUnlessZero(2, credit.bytes);
      inner.numberUnlessZero(3, credit.waits);
    });
  }
  if (ringEpoch !== undefined) writer.message(5, (inner) => inner.numberUnlessZero(1, ringEpoch));
  for (const minted of reply.minted) {
    writer.message(6, (inner) => {
      inner.number(1, minted.seq);
      inner.string(2, minted.taskId);
    });
  }
  for (const waited of reply.waited) {
    writer.message(7, (inner) => {
      inner.number(1, waited.number);
      if ("task" in waited) {
        inner.slice(2, waited.task);
        return;
      }
      const { code, message, retryAfterMs } = waited.refused;
      inner.message(3, (refusal) => {
        refusal.string(1, code);
        refusal.string(2, message);
        refusal.numberUnlessZero(3, retryAfterMs);
      });
    });
  }
  return writer.finish();
}

export function parseStreamReply(bytes: Uint8Array): StreamReply {
  const reader = new WireReader(bytes);
  const acks: number[] = [];
  const duplicates: { seq: number; taskId: string; state: number }[] = [];
  const rejects: Reject[] = [];
  const minted: { seq: number; taskId: string }[] = [];
  const waited: Waited[] = [];
  let credit: Credit | undefined;
  let ringEpoch: number | undefined;
  while (reader.next()) {
    switch (reader.field) {
      case 1: {
        const range = parseFields(reader.message());
        acks.push(range.numbers[1] ?? 0, range.numbers[2] ?? 0);
        break;
      }
      case 2: {
        const fields = parseFields(reader.message());
        duplicates.push({ seq: fields.numbers[1] ?? 0, taskId: fields.texts[2] ?? "", state: fields.numbers[3] ?? 0 });
        break;
      }
      case 3: {
        const { numbers, texts } = parseFields(reader.message());
        const [, seq = 0, , , retryAfterMs = 0] = numbers;
        rejects.push({ seq, code: texts[2] ?? "", message: texts[3] ?? "", retryAfterMs, owner: texts[5] ?? "" });
        break;
      }
      case 4: {
        const fields = parseFields(reader.message());
        credit = {
          tasks: fields.numbers[1] ?? 0,
          bytes: fields.numbers[2] ?? 0,
          waits: fields.numbers[3] ?? 0,
        };
        break;
      }
      case 5:
        ringEpoch = parseFields(reader.message()).numbers[1] ?? 0;
        break;
      case 6: {
        const fields = parseFields(reader.message());
        minted.push({ seq: fields.numbers[1] ?? 0, taskId: fields.texts[2] ?? "" });
        break;
      }
      case 7:
        waited.push(parseWaited(reader.message()));
        break;
      default:
        reader.skip();
    }
  }
  return {
    acks,
    duplicates,
    rejects,
    minted,
    waited,
    ...(credit === undefined ? {} : { credit }),
    ...(ringEpoch === undefined ? {} : { ringEpoch }),
  };
}

/** Without either of the two: refused as INTERNAL. */
function parseWaited(reader: WireReader): Waited {
  let number = 0;
  let task: Uint8Array | undefined;
  let refused = { code: "INTERNAL", message: "an answer without a task", retryAfterMs: 0 };
  while (reader.next()) {
    if (reader.field === 1) number = reader.number();
    else if (reader.field === 2) task = reader.slice();
    else if (reader.field === 3) {
      const { numbers, texts } = parseFields(reader.message());
      refused = { code: texts[1] ?? "", message: texts[2] ?? "", retryAfterMs: numbers[3] ?? 0 };
    } else reader.skip();
  }
  return task === undefined ? { number, refused } : { number, task };
}

/** Small flat messages of numbers and strings, by field number. */
function parseFields(reader: WireReader): { readonly numbers: number[]; readonly texts: string[] } {
  const numbers: number[] = [];
  const texts: string[] = [];
  while (reader.next()) {
    if (reader.field > LARGEST_FIELD) reader.skip();
    else if (reader.wireType === VARINT) numbers[reader.field] = reader.varint();
    else if (reader.wireType === DELIMITED) texts[reader.field] = reader.string();
    else reader.skip();
  }
  return { numbers, texts };
}

/** Largest message that a node takes, of any call, unless it was set up otherwise: batches of 4 MiB and their framing. */
export const MESSAGE_BYTES_MOST: number = 4 * 1024 * 1024 + 256 * 1024;
/** Room before the tasks of a batch for its tags, length and first number. */
export const BATCH_HEADER_BYTES = 32;
const LARGEST_FIELD = 8;
const scratch = Buffer.alloc(16);
const lengthScratch = Buffer.alloc(16);
