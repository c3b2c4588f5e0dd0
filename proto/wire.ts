/**
 * Protobuf's wire format, by hand: for the few messages of the hot path, which are parsed in place and never re-encoded.
 *
 * Source: https://protobuf.dev/programming-guides/encoding/. Everything else goes through @grpc/proto-loader.
 *
 * W1  A reader never reads past `end`, whatever the bytes say; garbage throws `WireError` and nothing else.
 * W2  Numbers are JavaScript numbers: a varint above 2^53 - 1 is refused, not rounded.
 */

/** The bytes are not what they should be. Made often by hostile peers, so it carries no stack. */
export class WireError extends Error {
  constructor(detail: string) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(detail);
    Error.stackTraceLimit = limit;
    this.name = "WireError";
  }
}

/** Walks the fields of one message: `while (reader.next()) switch (reader.field) …`, taking or skipping each value. */
export class WireReader {
  readonly bytes: Uint8Array;
  position: number;
  readonly end: number;
  field = 0;
  wireType = 0;

  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  /** Reads the next tag; false at the end of the message. */
  next(): boolean {
    if (this.position >= this.end) return false;
    const tag = this.varint();
    if (tag > 0xffffffff) throw new WireError("field number out of range");
    this.field = tag >>> 3;
    this.wireType = tag & 7;
    if (this.field === 0) throw new WireError("field number 0");
    return true;
  }

  /** Non-negative, at most 2^53 - 1 (W2). */
  varint(): number {
    const bytes = this.bytes;
    let at = this.position;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      if (at >= this.end) throw new WireError("truncated varint");
      const byte = bytes[at++] as number;
      if (byte < 0x80) {
        const result = value + byte * scale;
        if (result > Number.MAX_SAFE_INTEGER) throw new WireError("number above 2^53 - 1");
        this.position = at;
        return result;
      }
      value += (byte & 0x7f) * scale;
      scale *= 128;
    }
    throw new WireError("number above 2^53 - 1");
  }

  /** Checks that the present field is a varint, and takes it. */
  number(): number {
    if (this.wireType !== VARINT) throw new WireError(`field ${this.field} is not a number`);
    return this.varint();
  }

  /** Takes a length-delimited value and returns where it ends; it starts at `position` and is stepped over by `leave`. */
  enter(): number {
    if (this.wireType !== DELIMITED) throw new WireError(`field ${this.field} has wire type ${this.wireType}`);
    const length = this.varint();
    const end = this.position + length;
    if (end > this.end) throw new WireError("length runs past the message");
    return end;
  }

  /** A view, not a copy. */
  slice(): Uint8Array {
    const end = this.enter();
    const value = this.bytes.subarray(this.position, end);
    this.position = end;
    return value;
  }

  string(): string {
    const end = this.enter();
    const value = textOf(this.bytes, this.position, end);
    this.position = end;
    return value;
  }

  /** A reader over the present field's message. */
  message(): WireReader {
    const end = this.enter();
    const reader = new WireReader(this.bytes, this.position, end);
    this.position = end;
    return reader;
  }

  /** Steps over a value of an unknown field. */
  skip(): void {
    switch (this.wireType) {
      case VARINT:
        for (let count = 0; count < 10; count++) {
          if (this.position >= this.end) throw new WireError("truncated varint");
          if ((this.bytes[this.position++] as number) < 0x80) return;
        }
        throw new WireError("varint of more than 10 bytes");
      case FIXED64:
        this.position += 8;
        break;
      case DELIMITED:
        this.position = this.enter();
        break;
      case FIXED32:
        this.position += 4;
        break;
      default:
        throw new WireError(`wire type ${this.wireType}`);
    }
    if (this.position > this.end) throw new WireError("truncated field");
  }
}

/** Appends fields to a buffer that grows. `finish` gives a view of it; the writer must not be used afterwards. */
export class WireWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#bytes = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Non-negative and at most 2^53 - 1; anything else is a bug of the caller. */
  number(field: number, value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`field ${field} cannot hold ${value}`);
    this.#reserve(15);
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
  }

  /** Like `number`, but leaves zero out, as proto3 does. */
  numberUnlessZero(field: number, value: number): void {
    if (value !== 0) this.number(field, value);
  }

  slice(field: number, value: Uint8Array): void {
    this.#reserve(15 + value.length);
    this.#varint(field * 8 + DELIMITED);
    this.#varint(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  string(field: number, value: string): void {
    if (value === "") return;
    const length = Buffer.byteLength(value);
    this.#reserve(15 + length);
    this.#varint(field * 8 + DELIMITED);
    this.#varint(length);
    this.#length += this.#bytes.write(value, this.#length, "utf8");
  }

  /** A nested message, written by `write` into this same buffer. */
  message(field: number, write: (writer: WireWriter) => void): void {
    this.#reserve(10);
    this.#varint(field * 8 + DELIMITED);
    const start = this.#length;
    this.#length += 1; // most nested messages are shorter than 128 bytes
    write(this);
    const length = this.#length - start - 1;
    const extra = varintBytes(length) - 1;
    if (extra > 0) {
      this.#reserve(extra);
      this.#bytes.copyWithin(start + 1 + extra, start + 1, this.#length);
      this.#length += extra;
    }
    putVarint(this.#bytes, start, length);
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #varint(value: number): void {
    this.#length = putVarint(this.#bytes, this.#length, value);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Writes a non-negative number below 2^53 and returns the position after it. The caller has reserved `varintBytes`. */
export function putVarint(bytes: Uint8Array, position: number, value: number): number {
  let at = position;
  let rest = value;
  while (rest > 0x7fffffff) {
    bytes[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest > 0x7f) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) count++;
  return count;
}

/** Invalid UTF-8 becomes U+FFFD. */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
}

export const VARINT = 0;
const FIXED64 = 1;
export const DELIMITED = 2;
const FIXED32 = 5;
