/**
 * The changes of one group as one MessagePack blob, which Redis unpacks in C: four arrays, in this order: rows to put
 * (key, value, key, value …), keys to delete, and the same two of rows whose keys are in the index as well.
 *
 * K1  Deletes are done before puts, so a put that a later delete of the same key takes back is left out here.
 * K2  Of two puts of one key the later one stands behind the earlier one, so it wins.
 * K3  Blobs lie in memory that the next batch uses again: they are good until `reset`.
 */

import { ChangePlace, Changes } from "../../../changes.ts";
import type { RowChanges } from "../../../store.ts";

/** Rows of this kind are looked for by prefix (`ctx.state` of one key), so their keys are kept in order as well. */
export const INDEXED_KIND = 0x30;

export class Packer {
  #slabs: Buffer[] = [Buffer.allocUnsafeSlow(SLAB_BYTES)];
  #slab = 0;
  #at = 0;
  /** Buckets of keys that are deleted: few puts share one by chance, and only those are looked at closely (K1). */
  readonly #buckets = new Uint8Array(BUCKETS);
  readonly #row = new ChangePlace();

  /** All blobs packed so far are no longer needed. */
  reset(): void {
    if (this.#slabs.length > SLABS_KEPT) this.#slabs = this.#slabs.filter(({ length }) => length === SLAB_BYTES);
    this.#slabs.length = Math.min(this.#slabs.length, SLABS_KEPT);
    if (this.#slabs.length === 0) this.#slabs.push(Buffer.allocUnsafeSlow(SLAB_BYTES));
    this.#slab = 0;
    this.#at = 0;
  }

  pack(all: RowChanges): Buffer {
    const changes = Changes.of(all);
    let bytes = 4 * ARRAY_HEADER_BYTES;
    let indexed = false;
    let deletes = false;
    let late = false;
    let put = false;
    const row = this.#row;
    for (let index = 0; index < changes.length; index++) {
      changes.read(index, row);
      bytes += row.keyBytes + row.valueBytes + 2 * HEADER_BYTES;
      if (isIndexed(row)) indexed = true;
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
          changes.read(index, row);
          if (row.isDelete || isIndexed(row) !== ofIndex || takenBack?.has(index) === true) continue;
          at = copy(slab, header(slab, at, row.keyBytes), row.head, row.keyAt, row.valueAt);
          at = copy(slab, header(slab, at, row.valueBytes), row.head, row.valueAt, row.headEnd);
          at = copy(slab, at, row.tail, row.tailAt, row.tailEnd);
          count += 2;
        }
      slab.writeUInt32BE(count, headerAt + 1);
      const deletesAt = at;
      at = arrayHeader(slab, at, 0);
      count = 0;
      if (deletes && (indexed || !ofIndex))
        for (let index = 0; index < changes.length; index++) {
          changes.read(index, row);
          if (!row.isDelete || isIndexed(row) !== ofIndex) continue;
          at = copy(slab, header(slab, at, row.keyBytes), row.head, row.keyAt, row.valueAt);
          count++;
        }
      slab.writeUInt32BE(count, deletesAt + 1);
    }
    this.#at = at;
    return slab.subarray(start, at);
  }

  /** Indexes of puts that a later delete takes back. */
  #takenBack(changes: Changes): ReadonlySet<number> | undefined {
    const buckets = this.#buckets;
    const row = this.#row;
    for (let at = 0; at < changes.length; at++) if (changes.read(at, row).isDelete) buckets[bucketOf(row)] = 1;
    let suspects: number[] | undefined;
    for (let at = 0; at < changes.length; at++) {
      if (changes.read(at, row).isDelete || buckets[bucketOf(row)] === 0) continue;
      suspects ??= [];
      suspects.push(at);
    }
    for (let at = 0; at < changes.length; at++) if (changes.read(at, row).isDelete) buckets[bucketOf(row)] = 0;
    if (suspects === undefined) return undefined;
    const deletedAt = new Map<string, number>();
    for (let at = 0; at < changes.length; at++) if (changes.read(at, row).isDelete) deletedAt.set(keyText(row), at);
    return new Set(suspects.filter((at) => (deletedAt.get(keyText(changes.read(at, row))) ?? -1) > at));
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

function keyText({ head, keyAt, valueAt }: ChangePlace): string {
  return Buffer.from(head.buffer, head.byteOffset + keyAt, valueAt - keyAt).toString("latin1");
}

function isIndexed({ head, keyAt }: ChangePlace): boolean {
  return head[keyAt] === INDEXED_KIND;
}

/** Of the kind and the last bytes: positions end with their sequence. */
function bucketOf({ head: key, keyAt: from, valueAt: end }: ChangePlace): number {
  const tail = end - from < 4 ? end - from : (key[end - 1]! | (key[end - 2]! << 8)) ^ (key[end - 3]! * 0x9d);
  return (tail ^ (key[from]! * 0x1f)) & (BUCKETS - 1);
}

function arrayHeader(slab: Buffer, at: number, count: number): number {
  slab[at] = 0xdd;
  slab.writeUInt32BE(count, at + 1);
  return at + ARRAY_HEADER_BYTES;
}

/** Of a string of MessagePack. Behind it. */
function header(slab: Buffer, at: number, length: number): number {
  if (length < 32) {
    slab[at] = 0xa0 | length;
    return at + 1;
  }
  if (length < 0x10000) {
    slab[at] = 0xda;
    slab[at + 1] = length >>> 8;
    slab[at + 2] = length & 255;
    return at + 3;
  }
  slab[at] = 0xdb;
  slab.writeUInt32BE(length, at + 1);
  return at + HEADER_BYTES;
}

/** `from[start, end)` to `slab[to]`. Behind it. */
function copy(slab: Buffer, to: number, from: Uint8Array, start: number, end: number): number {
  let at = to;
  // Faster byte by byte than by a call.
  if (end - start < SHORT_BYTES) for (let index = start; index < end; index++) slab[at++] = from[index]!;
  else {
    slab.set(start === 0 && end === from.length ? from : from.subarray(start, end), at);
    at += end - start;
  }
  return at;
}

const INDEX_LAST = [false, true] as const;
const ARRAY_HEADER_BYTES = 5;
const HEADER_BYTES = 5;
const SHORT_BYTES = 32;
const SLAB_BYTES: number = 1024 * 1024;
const SLABS_KEPT = 8;
const BUCKETS = 8_192;
