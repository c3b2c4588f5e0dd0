/**
 * Bytes of rows, cut from slabs: a key or value costs a view, not an allocation of its own.
 *
 * What is cut is never written again, so a change may be kept until its commit is over. Numbers are big-endian: keys sort by them.
 */

import { ChangePlace } from "../changes.ts";

export class RowWriter {
  #slab: Uint8Array = new Uint8Array(SLAB_BYTES);
  #at = 0;
  #start = 0;
  #valueAt = 0;
  readonly #cut = new ChangePlace();

  /** Begins a key, a value, or a key with its value, of at most `bytes`. */
  begin(bytes: number): this {
    if (this.#at + bytes > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(SLAB_BYTES, bytes));
      this.#at = 0;
    }
    this.#start = this.#at;
    return this;
  }

  /** What was written since `begin`. */
  end(): Uint8Array {
    return this.#slab.subarray(this.#start, this.#at);
  }

  /** The key is whole; its value follows. */
  value(): this {
    this.#valueAt = this.#at;
    return this;
  }

  /** Where the key and value written since `begin` lie, until the next row. `isNew`: no row has had this key. */
  put(isNew: boolean): ChangePlace {
    return this.#place(this.#valueAt, isNew);
  }

  /** As `put`; `bytes[start, end)` are the rest of the value, and are never written again. */
  putWith(bytes: Uint8Array, start: number, end: number, isNew: boolean): ChangePlace {
    const place = this.#place(this.#valueAt, isNew);
    place.tail = bytes;
    place.tailAt = start;
    place.tailEnd = end;
    return place;
  }

  /** The row under the key written since `begin` is deleted. */
  erase(): ChangePlace {
    const place = this.#place(this.#at, false);
    place.isDelete = true;
    return place;
  }

  #place(valueAt: number, isNew: boolean): ChangePlace {
    const place = this.#cut;
    place.head = this.#slab;
    place.keyAt = this.#start;
    place.valueAt = valueAt;
    place.headEnd = this.#at;
    place.tailAt = 0;
    place.tailEnd = 0;
    place.isDelete = false;
    place.isNew = isNew;
    return place;
  }

  u8(value: number): this {
    this.#slab[this.#at++] = value;
    return this;
  }

  u16(value: number): this {
    const slab = this.#slab;
    slab[this.#at++] = value >>> 8;
    slab[this.#at++] = value;
    return this;
  }

  u32(value: number): this {
    const slab = this.#slab;
    slab[this.#at++] = value >>> 24;
    slab[this.#at++] = value >>> 16;
    slab[this.#at++] = value >>> 8;
    slab[this.#at++] = value;
    return this;
  }

  /** Up to 2^48 - 1: sequences and wall ms. */
  u48(value: number): this {
    return this.u16(Math.floor(value / 0x100000000)).u32(value % 0x100000000);
  }

  bytes(value: Uint8Array): this {
    this.#slab.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** UTF-8 behind a length byte; at most 255 bytes. */
  text8(value: string): this {
    const lengthAt = this.#at++;
    this.#slab[lengthAt] = this.#text(value);
    return this;
  }

  /** UTF-8 behind a u16 length. */
  text16(value: string): this {
    const lengthAt = this.#at;
    this.#at += 2;
    const length = this.#text(value);
    this.#slab[lengthAt] = length >>> 8;
    this.#slab[lengthAt + 1] = length;
    return this;
  }

  /** UTF-8 to the end of the key. */
  text(value: string): this {
    this.#text(value);
    return this;
  }

  #text(value: string): number {
    const slab = this.#slab;
    const start = this.#at;
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) {
        const written = encoder.encodeInto(value, slab.subarray(start)).written;
        this.#at = start + written;
        return written;
      }
      slab[start + index] = code;
    }
    this.#at = start + value.length;
    return value.length;
  }
}

/** Reads what `RowWriter` wrote; past the end it throws `RangeError`, which the loader turns into a quarantined row. */
export class RowReader {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  u8(): number {
    const value = this.#bytes[this.#at++];
    if (value === undefined) throw new RangeError("row ends early");
    return value;
  }

  u16(): number {
    return this.u8() * 0x100 + this.u8();
  }

  u32(): number {
    return this.u16() * 0x10000 + this.u16();
  }

  u48(): number {
    return this.u16() * 0x100000000 + this.u32();
  }

  bytes(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw new RangeError("row ends early");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  get isEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  text8(): string {
    return this.#text(this.u8());
  }

  text16(): string {
    return this.#text(this.u16());
  }

  rest(): Uint8Array {
    return this.bytes(this.#bytes.length - this.#at);
  }

  restText(): string {
    return decoder.decode(this.rest());
  }

  #text(length: number): string {
    return decoder.decode(this.bytes(length));
  }
}

/** Room that a text may need. */
export function textBytes(value: string): number {
  return value.length * 3;
}

/** Whether the text needs more than that. */
export function isLonger(value: string, bytes: number): boolean {
  return textBytes(value) > bytes && encoder.encode(value).length > bytes;
}

const SLAB_BYTES = 128 * 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
