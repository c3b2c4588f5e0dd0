/**
 * The rows of a partition that belong to tasks: their keys and values, each value with a version byte.
 *
 * | kind | key | value |
 * |---|---|---|
 * | 0x08 paused key | app, key | generation u32 |
 * | 0x10 task | position: generation u32, opens u32, sequence u48 | header, then the wire bytes as they came |
 * | 0x20 dead | position | header, failure, then the wire bytes |
 * | 0x28 state here | app, key | generation u32, u8: 1 if it was written without the older state |
 * | 0x30 state | app, key, name | the value |
 * | 0x38 state aside | app, key, origin and name | the value |
 * | 0x40 dedupe | app, key, idempotency key | id of the first task |
 * | 0x50 result | id | how a task ended |
 * | 0x60 schedule | app, key, name | last tick and, for a run-time schedule, its spec |
 * | 0x70 outbox | position | id, then the child's wire bytes |
 * | 0x90 unread | generation u32, its key | what came of another directory and cannot be read |
 * | 0x98 undone | key of a row | generation u32, u8: 0 if it was done again |
 *
 * Kinds below 0x08 are the node's (`ring/node/rows.ts`).
 * W2  Whether state here wins is said before the state itself: rows go from one directory to another in the order of their keys.
 * W1  Positions sort older terms first, so rows in key order are tasks in the order they were accepted (ownership rule 15).
 */

import { ChangePlace } from "../changes.ts";
import { RowReader, RowWriter, textBytes } from "./row-writer.ts";
import { sharedText } from "./shared-text.ts";
import type { TaskFailure, TaskRecord, TaskState } from "./task.ts";

/** Where a task stands in its partition: older terms first, then the order of acceptance. */
export interface Position {
  readonly generation: number;
  readonly opens: number;
  readonly sequence: number;
}

/** Negative when `a` is older. */
export function comparePositions(a: Position, b: Position): number {
  return a.generation - b.generation || a.opens - b.opens || a.sequence - b.sequence;
}

export interface TaskHeader {
  readonly flags: number;
  readonly attempts: number;
  readonly acceptedAtMs: number;
  /** Wall ms at which a delayed or retrying task is due; 0 for none. */
  readonly dueAtMs: number;
}

export function positionKey(kind: number, position: Position): Uint8Array {
  return writePosition(POSITION_BYTES, kind, position).end();
}

/** Begins a row of at most `bytes` with its key. */
export function writePosition(bytes: number, kind: number, position: Position): RowWriter {
  return writer.begin(bytes).u8(kind).u32(position.generation).u32(position.opens).u48(position.sequence);
}

export function readPosition(key: Uint8Array): Position {
  if (key.length !== POSITION_BYTES) throw new RangeError("a position has 15 bytes");
  const reader = new RowReader(key, 1);
  return { generation: reader.u32(), opens: reader.u32(), sequence: reader.u48() };
}

/** Where the change lies until the next row is written. The record's bytes are not copied. */
export function taskChange(
  position: Position,
  header: TaskHeader,
  { bytes, start, end }: Pick<TaskRecord, "bytes" | "start" | "end">,
  isNew: boolean,
): ChangePlace {
  return writePosition(POSITION_BYTES + TASK_HEADER_BYTES, KIND.task, position)
    .value()
    .u8(1)
    .u8(header.flags)
    .u16(header.attempts)
    .u48(header.acceptedAtMs)
    .u48(header.dueAtMs)
    .putWith(bytes, start, end, isNew);
}

export function erasedAt(kind: number, position: Position): ChangePlace {
  return writePosition(POSITION_BYTES, kind, position).erase();
}

export function readTaskHeader(value: Uint8Array): TaskHeader {
  const reader = versioned(value);
  return { flags: reader.u8(), attempts: reader.u16(), acceptedAtMs: reader.u48(), dueAtMs: reader.u48() };
}

export interface DeadHeader {
  readonly flags: number;
  readonly attempts: number;
  readonly acceptedAtMs: number;
  readonly diedAtMs: number;
  readonly failure: TaskFailure;
}

export function deadValue(dead: DeadHeader, wire: Uint8Array): Uint8Array {
  const { name, message, stack } = dead.failure;
  writer.begin(32 + textBytes(name) + textBytes(message) + textBytes(stack ?? "") + wire.length);
  writer.u8(1).u8(dead.flags).u16(dead.attempts).u48(dead.acceptedAtMs).u48(dead.diedAtMs);
  return writer
    .text16(name)
    .text16(message)
    .text16(stack ?? "")
    .bytes(wire)
    .end();
}

export function readDead(value: Uint8Array): DeadHeader & { readonly wire: Uint8Array } {
  const reader = versioned(value);
  const flags = reader.u8();
  const attempts = reader.u16();
  const acceptedAtMs = reader.u48();
  const diedAtMs = reader.u48();
  const failure = readFailure(reader);
  return { flags, attempts, acceptedAtMs, diedAtMs, failure, wire: reader.rest() };
}

/** The key of one value of `ctx.state`; with an empty name the prefix of all values of the key. */
export function stateKey(app: string, key: string, name: string): Uint8Array {
  return writer
    .begin(8 + textBytes(app) + textBytes(key) + textBytes(name))
    .u8(KIND.state)
    .text8(app)
    .text16(key)
    .text(name)
    .end();
}

/** A value of `ctx.state`; `undefined` deletes it. */
export function stateChange(app: string, key: string, name: string, value: Uint8Array | undefined): ChangePlace {
  if (value !== undefined && value.length > COPIED_BYTES)
    return new ChangePlace().of({ key: stateKey(app, key, name), value });
  writer
    .begin(8 + textBytes(app) + textBytes(key) + textBytes(name) + (value?.length ?? 0))
    .u8(KIND.state)
    .text8(app)
    .text16(key)
    .text(name);
  return value === undefined ? writer.erase() : writer.value().bytes(value).put(false);
}

export function keyedRow(kind: number, app: string, key: string, name: string): Uint8Array {
  return writer
    .begin(8 + textBytes(app) + textBytes(key) + textBytes(name))
    .u8(kind)
    .text8(app)
    .text16(key)
    .text(name)
    .end();
}

/** Of state, dedupe, schedule and paused-key rows. */
export function readKeyed(key: Uint8Array): { readonly app: string; readonly key: string; readonly name: string } {
  const reader = new RowReader(key, 1);
  return { app: reader.text8(), key: reader.text16(), name: reader.restText() };
}

export function resultKey(id: string): Uint8Array {
  return writer
    .begin(1 + textBytes(id))
    .u8(KIND.result)
    .text(id)
    .end();
}

export interface ResultRow {
  readonly app: string;
  readonly type: string;
  readonly key: string;
  readonly state: TaskState;
  /** Kept for the dedupe window rather than the result window. */
  readonly deduped: boolean;
  readonly attempts: number;
  readonly acceptedAtMs: number;
  readonly endedAtMs: number;
  readonly idempotencyKey: string | undefined;
  readonly failure: TaskFailure | undefined;
  readonly result: Uint8Array | undefined;
  /** It had a result or a failure that is no longer kept. */
  readonly dropped: boolean;
}

export function resultValue(row: ResultRow): Uint8Array {
  const { failure } = row;
  const idempotencyKey = row.idempotencyKey ?? "";
  writer.begin(
    64 +
      textBytes(row.app) +
      textBytes(row.type) +
      textBytes(row.key) +
      textBytes(idempotencyKey) +
      (failure === undefined
        ? 0
        : textBytes(failure.name) + textBytes(failure.message) + textBytes(failure.stack ?? "")) +
      (row.result?.length ?? 0),
  );
  const flags =
    (row.deduped ? 1 : 0) |
    (failure === undefined ? 0 : 2) |
    (row.result === undefined ? 0 : 4) |
    (row.dropped ? 8 : 0);
  writer.u8(1).u8(flags).u8(STATES.indexOf(row.state)).u16(row.attempts).u48(row.acceptedAtMs).u48(row.endedAtMs);
  writer.text8(row.app).text16(row.type).text16(row.key).text16(idempotencyKey);
  if (failure !== undefined)
    writer
      .text16(failure.name)
      .text16(failure.message)
      .text16(failure.stack ?? "");
  if (row.result !== undefined) writer.bytes(row.result);
  return writer.end();
}

export function readResult(value: Uint8Array): ResultRow {
  const reader = versioned(value);
  const flags = reader.u8();
  const state = STATES[reader.u8()];
  if (state === undefined) throw new RangeError("unknown task state");
  const attempts = reader.u16();
  const acceptedAtMs = reader.u48();
  const endedAtMs = reader.u48();
  const app = reader.text8();
  const type = reader.text16();
  const key = reader.text16();
  const idempotencyKey = reader.text16();
  const failure = (flags & 2) === 0 ? undefined : readFailure(reader);
  const result = (flags & 4) === 0 ? undefined : new Uint8Array(reader.rest());
  return {
    app,
    type,
    key,
    state,
    deduped: (flags & 1) !== 0,
    attempts,
    acceptedAtMs,
    endedAtMs,
    idempotencyKey: idempotencyKey === "" ? undefined : idempotencyKey,
    failure,
    result,
    dropped: (flags & 8) !== 0,
  };
}

export function outboxValue(wire: Uint8Array): Uint8Array {
  return writer
    .begin(1 + wire.length)
    .u8(1)
    .bytes(wire)
    .end();
}

export function readOutbox(value: Uint8Array): Uint8Array {
  return versioned(value).rest();
}

export function idValue(id: string): Uint8Array {
  return writer
    .begin(1 + textBytes(id))
    .u8(1)
    .text(id)
    .end();
}

export function readId(value: Uint8Array): string {
  return versioned(value).restText();
}

function readFailure(reader: RowReader): TaskFailure {
  const name = sharedText(reader.text16());
  const message = sharedText(reader.text16());
  const stack = sharedText(reader.text16());
  return stack === "" ? { name, message } : { name, message, stack };
}

function versioned(value: Uint8Array): RowReader {
  const reader = new RowReader(value);
  const version = reader.u8();
  if (version !== 1) throw new RangeError(`row version ${version} is not known`);
  return reader;
}

export const KIND = {
  /** Before the tasks, so that none of them starts before it is known that its key is paused. */
  paused: 0x08,
  task: 0x10,
  dead: 0x20,
  /** (app, key): state written here while the older state is away wins over it (W2; ownership rule 17). */
  stateHere: 0x28,
  state: 0x30,
  /** (app, key, origin and name): values that gave way to newer state, for the operator (ownership rule 17). */
  stateAside: 0x38,
  dedupe: 0x40,
  result: 0x50,
  /** Ids of tasks that ended in one commit, or in some, and left nothing else. */
  ended: 0x58,
  schedule: 0x60,
  outbox: 0x70,
  /** Rows of other directories that cannot be read here, under the generation they came of and their own key. */
  unread: 0x90,
  /** (Key of a row): what an operator undid, which rows of older owners do not bring back, or did again. */
  undone: 0x98,
} as const;

/** Bits of `TaskHeader.flags` and `DeadHeader.flags`. */
export const FLAG = {
  /** Came through an outbox or from another directory: its id is deduped durably. */
  deduped: 1,
  /** Re-entered behind newer tasks after its machine was away. */
  stranded: 2,
  /** Not due yet: not in its lane. */
  delayed: 4,
  /** Failed and waits for its next attempt. */
  retrying: 8,
  /** A dead letter of a child that its owner refused: a retry goes back to the outbox. */
  child: 16,
} as const;

export const TASK_HEADER_BYTES = 16;
/** Of every key with a position. */
export const POSITION_BYTES = 15;
/** A larger value is not copied behind its key. */
const COPIED_BYTES = 4_096;
const STATES: readonly TaskState[] = ["queued", "delayed", "running", "retrying", "done", "dead", "cancelled"];
const writer = new RowWriter();
