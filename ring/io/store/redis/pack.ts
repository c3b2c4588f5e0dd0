/**
 * The changes of one group as one MessagePack blob, which Redis unpacks in C: four arrays, in this order: rows to put
 * (key, value, key, value …), keys to delete, and the same two of rows whose keys are in the index as well.
 *
 * K1  Deletes are done before puts, so a put that a later delete of the same key takes back is left out here.
 * K2  Of two puts of one key the later one stands behind the earlier one, so it wins.
 * K3  Blobs lie in memory that the next batch uses again: they are good until `reset`.
 */

import { CutChange } from "../../../cut-change.ts";
import type { RowChange } from "../../../store.ts";

/** Rows of this kind are looked for by prefix (`ctx.state` of one key), so their keys are kept in order as well. */
export const INDEXED_KIND = 0x30;

export class Packer {
  #slabs: Buffer[] = [Buffer.allocUnsafeSlow(SLAB_BYTES)];
  #slab = 0;
  #at = 0;
  /** Buckets of keys that are deleted: few puts share one by chance, and only those are looked at closely (K1). */
  readonly #buckets = new Uint8Array(BUCKETS);
  readonly #row = new RowBytes();

  /** All blobs packed so far are no longer needed. */
  reset(): void {
    if (this.#slabs.length > SLABS_KEPT) this.#slabs = this.#slabs.filter(({ length }) => length === SLAB_BYTES);
    this.#slabs.length = Math.min(this.#slabs.length, SLABS_KEPT);
    if (this.#slabs.length === 0) this.#slabs.push(Buffer.allocUnsafeSlow(SLAB_BYTES));
    this.#slab = 0;
    this.#at = 0;
  }

  pack(changes: readonly RowChange[]): Buffer {
    let bytes = 4 * ARRAY_HEADER_BYTES;
    let indexed = false;
    let deletes = false;
    let late = false;
    let put = false;
    const row = this.#row;
    for (const change of changes) {
      row.look(change);
      bytes += row.bytes + 2 * HEADER_BYTES;
      if (row.isIndexed) indexed = true;
      if (row.isDelete) {
        deletes = true;
        late ||= put;
      } else put = true;
    }
    const takenBack = late ? this.#takenBack(changes) : undefined;
    const start = this.#room(bytes);
    const slab = this.#slabs[this.#slab]!;
    let at = start;
    for (const ofIndex of INDEX_LAST) {
      const headerAt = at;
      at = arrayHeader(slab, at, 0);
      let count = 0;
      if (put && (indexed || !ofIndex))
        for (let index = 0; index < changes.length; index++) {
          row.look(changes[index]!);
          if (row.isDelete || row.isIndexed !== ofIndex || takenBack?.has(index) === true) continue;
          at = write(slab, at, row.keyIn, row.keyAt, row.keyEnd);
          at = write(slab, at, row.valueIn, row.valueAt, row.valueEnd);
          count += 2;
        }
      slab.writeUInt32BE(count, headerAt + 1);
      const deletesAt = at;
      at = arrayHeader(slab, at, 0);
      count = 0;
      if (deletes && (indexed || !ofIndex))
        for (const change of changes) {
          row.look(change);
          if (!row.isDelete || row.isIndexed !== ofIndex) continue;
          at = write(slab, at, row.keyIn, row.keyAt, row.keyEnd);
          count++;
        }
      slab.writeUInt32BE(count, deletesAt + 1);
    }
    this.#at = at;
    return slab.subarray(start, at);
  }

  /** Indexes of puts that a later delete takes back. */
  #takenBack(changes: readonly RowChange[]): ReadonlySet<number> | undefined {
    const buckets = this.#buckets;
    const row = this.#row;
    for (const change of changes) if (row.look(change).isDelete) buckets[row.bucket] = 1;
    let suspects: number[] | undefined;
    for (let at = 0; at < changes.length; at++) {
      if (row.look(changes[at]!).isDelete || buckets[row.bucket] === 0) continue;
      suspects ??= [];
      suspects.push(at);
    }
    for (const change of changes) if (row.look(change).isDelete) buckets[row.bucket] = 0;
    if (suspects === undefined) return undefined;
    const deletedAt = new Map<string, number>();
    for (let at = 0; at < changes.length; at++)
      if (changes[at]!.value === undefined) deletedAt.set(textOf(changes[at]!.key), at);
    return new Set(suspects.filter((at) => (deletedAt.get(textOf(changes[at]!.key)) ?? -1) > at));
  }

  #room(bytes: number): number {
    if (this.#at + bytes > this.#slabs[this.#slab]!.length) {
      this.#slab++;
      this.#at = 0;
      const slab = this.#slabs[this.#slab];
      if (slab === undefined || slab.length < bytes)
        this.#slabs[this.#slab] = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes));
    }
    return this.#at;
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

/** Where key and value of the change lie that was looked at last: one for all of them, and no views. */
class RowBytes {
  keyIn: Uint8Array = NO_BYTES;
  keyAt = 0;
  keyEnd = 0;
  valueIn: Uint8Array = NO_BYTES;
  valueAt = 0;
  valueEnd = 0;
  isDelete = false;

  look(change: RowChange): this {
    if (change instanceof CutChange) {
      this.keyIn = change.slab;
      this.keyAt = change.keyAt;
      this.keyEnd = change.valueAt;
      this.valueIn = change.slab;
      this.valueAt = change.valueAt;
      this.valueEnd = change.end;
      this.isDelete = change.isDelete;
    } else {
      const { key, value } = change;
      this.keyIn = key;
      this.keyAt = 0;
      this.keyEnd = key.length;
      this.valueIn = value ?? NO_BYTES;
      this.valueAt = 0;
      this.valueEnd = this.valueIn.length;
      this.isDelete = value === undefined;
    }
    return this;
  }

  get isIndexed(): boolean {
    return this.keyIn[this.keyAt] === INDEXED_KIND;
  }

  get bytes(): number {
    return this.keyEnd - this.keyAt + this.valueEnd - this.valueAt;
  }

  /** Of the kind and the last bytes: positions end with their sequence. */
  get bucket(): number {
    const { keyIn: key, keyAt: from, keyEnd: end } = this;
    const length = end - from;
    const tail = length < 4 ? length : (key[end - 1]! | (key[end - 2]! << 8)) ^ (key[end - 3]! * 0x9d);
    return (tail ^ (key[from]! * 0x1f)) & (BUCKETS - 1);
  }
}

function arrayHeader(slab: Buffer, at: number, count: number): number {
  slab[at] = 0xdd;
  slab.writeUInt32BE(count, at + 1);
  return at + ARRAY_HEADER_BYTES;
}

/** `from[start, end)` as a string of MessagePack, at `slab[to]`. */
function write(slab: Buffer, to: number, from: Uint8Array, start: number, end: number): number {
  const length = end - start;
  let at = to;
  if (length < 32) {
    slab[at++] = 0xa0 | length;
    // Faster byte by byte than by a call.
    for (let index = start; index < end; index++) slab[at++] = from[index]!;
    return at;
  }
  if (length < 0x10000) {
    slab[at] = 0xda;
    slab[at + 1] = length >>> 8;
    slab[at + 2] = length & 255;
    at += 3;
  } else {
    slab[at] = 0xdb;
    slab.writeUInt32BE(length, at + 1);
    at += HEADER_BYTES;
  }
  slab.set(start === 0 && end === from.length ? from : from.subarray(start, end), at);
  return at + length;
}

const NO_BYTES = new Uint8Array();

const INDEX_LAST = [false, true] as const;
const ARRAY_HEADER_BYTES = 5;
const HEADER_BYTES = 5;
const SLAB_BYTES: number = 1024 * 1024;
const SLABS_KEPT = 8;
const BUCKETS = 8_192;
