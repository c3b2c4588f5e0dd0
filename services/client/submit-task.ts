/**
 * A task as a caller gives it, and its wire bytes (`taskring.v1.SubmitRequest`), encoded once and sent as often as needed.
 *
 * T1  The client mints the id, so that a task that is sent again is recognised (ownership rule 18).
 * T2  The id is the last field, its 32 digits the last bytes.
 */

import { jsonText } from "../../proto/json-text.ts";
import { putVarint, varintBytes } from "../../proto/wire.ts";
import { RingError } from "../../ring/errors.ts";
import { hashKey } from "../../ring/hash.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import { derivedKey, isTaskId, mintId } from "../../ring/tasks/task-id.ts";

export interface SubmitTask {
  readonly app: string;
  readonly type: string;
  /** Tasks of one key run in order. Without one the task runs by itself. */
  readonly key?: string;
  /** Bytes as they are, a string as UTF-8, anything else as JSON. */
  readonly payload?: unknown;
  readonly idempotencyKey?: string;
  readonly delayMs?: number;
  readonly deadlineMs?: number;
  readonly maxAttempts?: number;
  readonly priority?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of an earlier submit of the same task. */
  readonly taskId?: string;
}

/** Bytes of a task in `buffer[start, end)`, and the hash of its (app, key). */
export interface EncodedTask {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  readonly hash: number;
}

export function taskIdOf(task: EncodedTask): string {
  return task.buffer.toString("latin1", task.end - ID_BYTES, task.end); // T2
}

/** Encodes into slabs that are shared by neighbouring tasks. */
export class TaskEncoder {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #at = 0;
  /** App and type as fields, by app and type. */
  readonly #heads = new Map<string, Map<string, Buffer>>();
  #headCount = 0;
  readonly #id = new IdMinter();

  /** Throws `INVALID_ARGUMENT` for what cannot be a task: an id that is none, a payload without JSON form, a key that is no text. */
  encode(task: SubmitTask): EncodedTask {
    try {
      return this.#encode(task);
    } catch (error) {
      if (error instanceof RingError) throw error;
      for (const field of ["app", "type", "key"] as const) {
        const value: unknown = task?.[field];
        if (typeof value !== "string" && (value !== undefined || field !== "key"))
          throw new RingError("INVALID_ARGUMENT", `${field} must be a string, not ${String(value).slice(0, 40)}`);
      }
      throw new RingError("INVALID_ARGUMENT", `the task cannot be encoded: ${String(error)}`, { cause: error });
    }
  }

  #encode(task: SubmitTask): EncodedTask {
    const { app, type, key } = task;
    if (key === undefined || key === "" || !isPlain(task)) return this.#encodeFully(task);
    const payload = payloadBytes(task.payload);
    const head = this.#head(app, type);
    const most = head.length + 3 * key.length + payload.length + ROOM;
    const slab = this.#reserve(most);
    const start = this.#at;
    slab.set(head, start);
    let at = start + head.length;
    at = writeKey(slab, at, key);
    if (payload.length > 0) {
      slab[at++] = PAYLOAD_TAG;
      at = putVarint(slab, at, payload.length);
      slab.set(payload, at);
      at += payload.length;
    }
    const hash = hashKey(app, key);
    slab[at++] = ID_TAG;
    slab[at++] = ID_BYTES;
    at = this.#id.write(slab, at, hash);
    this.#at = at;
    return { buffer: slab, start, end: at, hash };
  }

  #encodeFully(task: SubmitTask): EncodedTask {
    const { app, key, idempotencyKey, taskId } = task;
    if (taskId !== undefined && !isTaskId(taskId))
      throw new RingError("INVALID_ARGUMENT", "taskId must be 32 hex digits, lower case");
    const names = {
      app,
      ...(key === undefined ? {} : { key }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    };
    const id = taskId ?? mintId({ wallMs: Date.now(), random: Math.random, ...names });
    const wire = encodeRecord({
      ...names,
      type: task.type,
      payload: payloadBytes(task.payload),
      id,
      delayMs: wholeNumber("delayMs", task.delayMs),
      deadlineMs: wholeNumber("deadlineMs", task.deadlineMs),
      maxAttempts: wholeNumber("maxAttempts", task.maxAttempts),
      priority: wholeNumber("priority", task.priority, -MOST_PRIORITY, MOST_PRIORITY),
      ...(task.headers === undefined ? {} : { headers: new Map(Object.entries(task.headers)) }),
    });
    const buffer = Buffer.from(wire.buffer, wire.byteOffset, wire.byteLength);
    const hash = hashKey(app, derivedKey({ key, idempotencyKey, first28: id.slice(0, 28) }));
    return { buffer, start: 0, end: buffer.length, hash };
  }

  #head(app: string, type: string): Buffer {
    let types = this.#heads.get(app);
    if (types === undefined) {
      types = new Map();
      this.#heads.set(app, types);
    }
    let head = types.get(type);
    if (head === undefined) {
      if (this.#headCount >= HEADS_MOST) {
        this.#heads.clear();
        this.#headCount = 0;
        return this.#head(app, type);
      }
      head = Buffer.from(encodeRecord({ app, type }));
      types.set(type, head);
      this.#headCount += 1;
    }
    return head;
  }

  #reserve(bytes: number): Buffer {
    if (this.#slab.length - this.#at < bytes) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes));
      this.#at = 0;
    }
    return this.#slab;
  }
}

/** Writes ids without making strings: time, a random part of this process, a counter, the hash's top bits. */
class IdMinter {
  readonly #digits = Buffer.alloc(28);
  #wallMs = -1;
  #counter = 0;

  constructor() {
    this.#renew();
  }

  write(target: Buffer, at: number, hash: number): number {
    const now = Date.now();
    if (now !== this.#wallMs) {
      this.#wallMs = now;
      this.#digits.write(now.toString(16).padStart(12, "0").slice(-12), 0, "latin1");
    }
    this.#counter += 1;
    if (this.#counter > 0xffffff) this.#renew();
    target.set(this.#digits, at);
    putHex(target, at + 22, this.#counter, 6);
    putHex(target, at + 28, hash >>> 16, 4);
    return at + ID_BYTES;
  }

  #renew(): void {
    this.#counter = 0;
    let random = "";
    for (let digit = 0; digit < 10; digit++) random += Math.floor(Math.random() * 16).toString(16);
    this.#digits.write(random, 12, "latin1");
  }
}

function putHex(target: Buffer, at: number, value: number, digits: number): void {
  let rest = value;
  for (let index = at + digits - 1; index >= at; index--) {
    target[index] = HEX[rest & 15] as number;
    rest >>>= 4;
  }
}

function writeKey(slab: Buffer, at: number, key: string): number {
  slab[at] = KEY_TAG;
  if (key.length <= 42) {
    // At most 126 bytes of UTF-8: the length takes one byte.
    const length = slab.write(key, at + 2);
    slab[at + 1] = length;
    return at + 2 + length;
  }
  const length = Buffer.byteLength(key);
  const start = putVarint(slab, at + 1, length);
  slab.write(key, start);
  return start + length;
}

function payloadBytes(payload: unknown): Uint8Array {
  if (payload === undefined) return NOTHING;
  if (payload instanceof Uint8Array) return payload;
  if (typeof payload === "string") return Buffer.from(payload);
  return Buffer.from(jsonText(payload));
}

/** Absent: 0, which is left off the wire. Rounded up: a deadline of less than 1 is not none. */
function wholeNumber(field: string, value = 0, least = 0, most: number = Number.MAX_SAFE_INTEGER): number {
  if (value >= least && value <= most) return Math.ceil(value);
  throw new RingError("INVALID_ARGUMENT", `${field} must be ${least} to ${most}, not ${String(value).slice(0, 40)}`);
}

function isPlain(task: SubmitTask): boolean {
  return (
    task.idempotencyKey === undefined &&
    task.delayMs === undefined &&
    task.deadlineMs === undefined &&
    task.maxAttempts === undefined &&
    task.priority === undefined &&
    task.headers === undefined &&
    task.taskId === undefined
  );
}

/** Length of a task's field in a batch: tag, length, bytes. */
export function fieldBytes(task: EncodedTask): number {
  const length = task.end - task.start;
  return 1 + varintBytes(length) + length;
}

const SLAB_BYTES = 256 * 1024;
const HEADS_MOST = 10_000;
const MOST_PRIORITY = 100;
/** Tags, lengths and the id. */
const ROOM = 64;
const KEY_TAG = 0x1a;
const PAYLOAD_TAG = 0x22;
const ID_TAG = 0x5a;
const ID_BYTES = 32;
const NOTHING = new Uint8Array();
const HEX = Buffer.from("0123456789abcdef");
