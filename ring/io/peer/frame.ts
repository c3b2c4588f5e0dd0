/**
 * Peer frames: messages of one event-loop turn to bytes and back (`taskring/internal/v1/peer.proto`).
 *
 * Tasks, their outcomes, transfer chunks and what pipelines say are coded by hand, their bytes copied once and never parsed again on the way;
 * everything else is MessagePack, checked against its shape.
 *
 * P1  What a peer sends never throws here: a message that does not parse is left out and counted.
 * P2  Messages keep their order within a frame.
 */

import { textOf, WireError, WireReader, WireWriter } from "../../../proto/wire.ts";
import { type ErrorCode, isErrorCode } from "../../errors.ts";
import type { Epoch, Partition } from "../../ids.ts";
import { DecodeError } from "../../membership/decode-error.ts";
import { decodeMsgpack, encodeMsgpack } from "../../membership/msgpack.ts";
import type { Forward, Forwarded, NodeMessage, TransferMessage } from "../../node/messages.ts";
import type { RowChange } from "../../store.ts";
import { isRefused, parseRecord } from "../../tasks/record.ts";
import type { SubmitOutcome, TaskRecord, TaskState } from "../../tasks/task.ts";
import { checkControl } from "./control-shapes.ts";

const FRAME_VERSION = 1;

export interface DecodedFrame {
  readonly messages: readonly NodeMessage[];
  /** Messages (or the whole frame, as one) that were dropped. */
  readonly garbage: number;
}

/** One message as it stands inside a frame. */
export function encodeMessage(message: NodeMessage): Buffer {
  const writer = new WireWriter();
  switch (message.type) {
    case "forward":
      writer.message(2, (inner) => writeForward(inner, message));
      break;
    case "forwarded":
      writer.message(3, (inner) => writeForwarded(inner, message));
      break;
    case "transfer-chunk":
      writer.message(4, (inner) => writeChunk(inner, message));
      break;
    case "pipe":
      writer.slice(5, message.bytes);
      break;
    default:
      writer.slice(1, encodeMsgpack(message, { dialect: "modern" }));
  }
  return writer.finish();
}

/** A frame of messages from `encodeMessage`. */
export function joinFrame(messages: readonly Buffer[]): Buffer {
  let bytes = 16;
  for (const message of messages) bytes += message.length + 8;
  const writer = new WireWriter(bytes);
  writer.number(1, FRAME_VERSION);
  for (const message of messages) writer.slice(2, message);
  return writer.finish();
}

export function decodeFrame(bytes: Uint8Array): DecodedFrame {
  const messages: NodeMessage[] = [];
  let garbage = 0;
  try {
    const reader = new WireReader(bytes);
    while (reader.next()) {
      if (reader.field !== 2) {
        reader.skip();
        continue;
      }
      const inner = reader.message();
      const message = decodeOrDrop(inner);
      if (message === undefined) garbage += 1;
      else messages.push(message);
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    garbage += 1;
  }
  return { messages, garbage };
}

function decodeOrDrop(reader: WireReader): NodeMessage | undefined {
  try {
    return decodeMessage(reader);
  } catch (error) {
    if (error instanceof WireError || error instanceof DecodeError) return undefined; // P1
    throw error;
  }
}

function decodeMessage(reader: WireReader): NodeMessage | undefined {
  let message: NodeMessage | undefined;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        message = checkControl(decodeMsgpack(reader.slice(), CONTROL));
        break;
      case 2:
        message = readForward(reader.message());
        break;
      case 3:
        message = readForwarded(reader.message());
        break;
      case 4:
        message = readChunk(reader.message());
        break;
      case 5:
        message = { type: "pipe", bytes: reader.slice() };
        break;
      default:
        reader.skip();
    }
  }
  return message;
}

function writeForward(writer: WireWriter, message: Forward): void {
  writer.number(1, message.forwardId);
  writer.number(2, message.epoch);
  writer.numberUnlessZero(3, message.origin === "child" ? 1 : 0);
  for (const record of message.records) writer.slice(4, record.wire);
}

function readForward(reader: WireReader): Forward {
  let forwardId = 0;
  let epoch = 0;
  let origin = 0;
  const records: TaskRecord[] = [];
  while (reader.next()) {
    if (reader.field === 1) forwardId = reader.number();
    else if (reader.field === 2) epoch = reader.number();
    else if (reader.field === 3) origin = reader.number();
    else if (reader.field === 4) {
      const end = reader.enter();
      const record = parseRecord(reader.bytes, reader.position, end);
      // Outcomes go back by position, so one unreadable task spoils the message.
      if (isRefused(record)) throw new WireError(`a forwarded task: ${record.detail}`);
      records.push(record);
      reader.position = end;
    } else reader.skip();
  }
  return { type: "forward", forwardId, epoch: epoch as Epoch, origin: origin === 1 ? "child" : "client", records };
}

function writeForwarded(writer: WireWriter, message: Forwarded): void {
  writer.number(1, message.forwardId);
  writer.number(2, message.epoch);
  writer.number(3, message.outcomes.length);
  let accepted = 0;
  for (const outcome of message.outcomes) if (outcome.type === "accepted") accepted += 1;
  const ids = Buffer.allocUnsafe(accepted * ID_BYTES);
  let at = 0;
  for (const outcome of message.outcomes)
    if (outcome.type === "accepted") at += ids.write(outcome.id, at, ID_BYTES, "latin1");
  if (at !== ids.length) throw new RangeError("a task id is not 32 characters");
  writer.slice(4, ids);
  for (const [index, outcome] of message.outcomes.entries()) {
    if (outcome.type !== "accepted") writer.message(5, (inner) => writeOther(inner, index, outcome));
  }
}

function writeOther(
  writer: WireWriter,
  index: number,
  outcome: Exclude<SubmitOutcome, { readonly type: "accepted" }>,
): void {
  writer.numberUnlessZero(1, index);
  if (outcome.type === "duplicate") {
    writer.string(2, outcome.id);
    writer.number(3, STATES.indexOf(outcome.state));
    return;
  }
  writer.string(4, outcome.code);
  writer.string(5, outcome.detail);
  if (outcome.retryAfterMs !== undefined) writer.number(6, Math.max(0, Math.round(outcome.retryAfterMs)));
}

function readForwarded(reader: WireReader): Forwarded {
  let forwardId = 0;
  let epoch = 0;
  let count = 0;
  let ids: Uint8Array = new Uint8Array();
  const others = new Map<number, SubmitOutcome>();
  while (reader.next()) {
    if (reader.field === 1) forwardId = reader.number();
    else if (reader.field === 2) epoch = reader.number();
    else if (reader.field === 3) count = reader.number();
    else if (reader.field === 4) ids = reader.slice();
    else if (reader.field === 5) readOther(reader.message(), others);
    else reader.skip();
  }
  if (ids.length % ID_BYTES !== 0 || ids.length / ID_BYTES + others.size !== count)
    throw new WireError("outcomes do not add up");
  const outcomes: SubmitOutcome[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    const other = others.get(index);
    if (other !== undefined) outcomes.push(other);
    else {
      outcomes.push({ type: "accepted", id: textOf(ids, at, at + ID_BYTES) });
      at += ID_BYTES;
    }
  }
  if (at !== ids.length) throw new WireError("outcomes do not add up");
  return { type: "forwarded", forwardId, epoch: epoch as Epoch, outcomes };
}

function readOther(reader: WireReader, others: Map<number, SubmitOutcome>): void {
  let index = 0;
  let id = "";
  let state = 0;
  let code = "";
  let detail = "";
  let retryAfterMs: number | undefined;
  while (reader.next()) {
    if (reader.field === 1) index = reader.number();
    else if (reader.field === 2) id = reader.string();
    else if (reader.field === 3) state = reader.number();
    else if (reader.field === 4) code = reader.string();
    else if (reader.field === 5) detail = reader.string();
    else if (reader.field === 6) retryAfterMs = reader.number();
    else reader.skip();
  }
  if (code !== "") {
    // A newer node may know codes that this one does not.
    const known: ErrorCode = isErrorCode(code) ? code : "INTERNAL";
    others.set(index, {
      type: "refused",
      code: known,
      detail,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
    return;
  }
  const name = STATES[state];
  if (name === undefined || id === "") throw new WireError("an outcome that is none");
  others.set(index, { type: "duplicate", id, state: name });
}

type Chunk = Extract<TransferMessage, { readonly type: "transfer-chunk" }>;

function writeChunk(writer: WireWriter, message: Chunk): void {
  const { transfer, last } = message;
  writer.numberUnlessZero(1, transfer.partition);
  writer.numberUnlessZero(2, transfer.kind === "stranded" ? 1 : 0);
  writer.number(3, transfer.generation);
  writer.number(4, transfer.nonce);
  writer.number(5, message.sequence);
  for (const change of message.changes) {
    writer.message(6, (inner) => {
      inner.slice(1, change.key);
      if (change.value !== undefined) inner.slice(2, change.value);
    });
  }
  if (last !== undefined) {
    writer.message(7, (inner) => {
      inner.number(1, last.changes);
      inner.number(2, last.hash >= 0 ? last.hash * 2 : -last.hash * 2 - 1);
      inner.number(3, last.epoch);
    });
  }
}

function readChunk(reader: WireReader): Chunk {
  let partition = 0;
  let kind = 0;
  let generation = 0;
  let nonce = 0;
  let sequence = 0;
  let last: Chunk["last"];
  const changes: RowChange[] = [];
  while (reader.next()) {
    if (reader.field === 1) partition = reader.number();
    else if (reader.field === 2) kind = reader.number();
    else if (reader.field === 3) generation = reader.number();
    else if (reader.field === 4) nonce = reader.number();
    else if (reader.field === 5) sequence = reader.number();
    else if (reader.field === 6) changes.push(readChange(reader.message()));
    else if (reader.field === 7) last = readLast(reader.message());
    else reader.skip();
  }
  if (partition >= PARTITIONS_MOST) throw new WireError(`partition ${partition}`);
  return {
    type: "transfer-chunk",
    transfer: { partition: partition as Partition, kind: kind === 1 ? "stranded" : "handoff", generation, nonce },
    sequence,
    changes,
    ...(last === undefined ? {} : { last }),
  };
}

function readChange(reader: WireReader): RowChange {
  let key: Uint8Array | undefined;
  let value: Uint8Array | undefined;
  while (reader.next()) {
    if (reader.field === 1) key = reader.slice();
    else if (reader.field === 2) value = reader.slice();
    else reader.skip();
  }
  if (key === undefined || key.length === 0) throw new WireError("a row without a key");
  return value === undefined ? { key } : { key, value };
}

function readLast(reader: WireReader): NonNullable<Chunk["last"]> {
  let changes = 0;
  let folded = 0;
  let epoch = 0;
  while (reader.next()) {
    if (reader.field === 1) changes = reader.number();
    else if (reader.field === 2) folded = reader.number();
    else if (reader.field === 3) epoch = reader.number();
    else reader.skip();
  }
  return { changes, hash: folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2, epoch: epoch as Epoch };
}

const STATES: readonly TaskState[] = ["queued", "delayed", "running", "retrying", "done", "dead", "cancelled"];
const ID_BYTES = 32;
const PARTITIONS_MOST = 4_096;
/** A control message is a vote for the largest document at most (`document-size.ts`): its stranded entries are 17 items each. */
const CONTROL = { dialect: "modern", blobByteLimit: 4 * 1024 * 1024, itemLimit: 700_000 } as const;
