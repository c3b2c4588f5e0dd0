/**
 * The changes of one group as one MessagePack blob, which Redis unpacks in C: four arrays, in this order: rows to put
 * (key, value, key, value …), keys to delete, index entries to add ("0", key …), index entries to remove.
 *
 * K1  Deletes are done before puts, so a put that a later delete of the same key takes back is left out here.
 * K2  Of two puts of one key the later one stands behind the earlier one, so it wins.
 * K3  Blobs lie in memory that the next batch uses again: they are good until `reset`.
 */

import type { RowChange } from "../../../store.ts";

/** Rows of this kind are looked for by prefix (`ctx.state` of one key), so their keys are kept in order as well. */
export const INDEXED_KIND = 0x30;

export class Packer {
  #slabs: Buffer[] = [Buffer.allocUnsafeSlow(SLAB_BYTES)];
  #slab = 0;
  #at = 0;
  /** Buckets of keys that are deleted: few puts share one by chance, and only those are looked at closely (K1). */
  readonly #buckets = new Uint8Array(BUCKETS);

  /** All blobs packed so far are no longer needed. */
  reset(): void {
    if (this.#slabs.length > SLABS_KEPT) this.#slabs = this.#slabs.filter(({ length }) => length === SLAB_BYTES);
    this.#slabs.length = Math.min(this.#slabs.length, SLABS_KEPT);
    if (this.#slabs.length === 0) this.#slabs.push(Buffer.allocUnsafeSlow(SLAB_BYTES));
    this.#slab = 0;
    this.#at = 0;
  }

  /** `indexed`: keys that are in the index already, as text; those that this blob adds are added, those it removes go. */
  pack(changes: readonly RowChange[], indexed: Set<string>): Buffer {
    const takenBack = this.#takenBack(changes);
    let puts = 0;
    let deletes = 0;
    let bytes = 4 * ARRAY_HEADER_BYTES;
    let adds: Uint8Array[] | undefined;
    let removes: Uint8Array[] | undefined;
    for (let at = 0; at < changes.length; at++) {
      const { key, value } = changes[at]!;
      bytes += key.length + HEADER_BYTES;
      if (value === undefined) deletes++;
      else if (takenBack?.has(at) !== true) {
        puts++;
        bytes += value.length + HEADER_BYTES;
      }
      if (key[0] !== INDEXED_KIND || takenBack?.has(at) === true) continue;
      const text = textOf(key);
      if (value === undefined) {
        indexed.delete(text);
        removes ??= [];
        removes.push(key);
        bytes += key.length + HEADER_BYTES;
      } else if (!indexed.has(text)) {
        indexed.add(text);
        adds ??= [];
        adds.push(key);
        bytes += key.length + HEADER_BYTES + 2;
      }
    }
    const start = this.#room(bytes);
    const slab = this.#slabs[this.#slab]!;
    let at = arrayHeader(slab, start, 2 * puts);
    for (let index = 0; index < changes.length; index++) {
      const { key, value } = changes[index]!;
      if (value === undefined || takenBack?.has(index) === true) continue;
      at = write(slab, write(slab, at, key), value);
    }
    at = arrayHeader(slab, at, deletes);
    for (const { key, value } of changes) if (value === undefined) at = write(slab, at, key);
    at = arrayHeader(slab, at, 2 * (adds?.length ?? 0));
    for (const key of adds ?? []) at = write(slab, write(slab, at, ZERO), key);
    at = arrayHeader(slab, at, removes?.length ?? 0);
    for (const key of removes ?? []) at = write(slab, at, key);
    this.#at = at;
    return slab.subarray(start, at);
  }

  /** Indexes of puts that a later delete takes back. */
  #takenBack(changes: readonly RowChange[]): ReadonlySet<number> | undefined {
    let put = false;
    let late = false;
    for (let at = 0; at < changes.length && !late; at++) {
      if (changes[at]!.value !== undefined) put = true;
      else late = put;
    }
    if (!late) return undefined;
    const buckets = this.#buckets;
    const used: number[] = [];
    for (const { key, value } of changes) {
      if (value !== undefined) continue;
      const bucket = bucketOf(key);
      buckets[bucket] = 1;
      used.push(bucket);
    }
    let suspects: number[] | undefined;
    for (let at = 0; at < changes.length; at++) {
      const { key, value } = changes[at]!;
      if (value === undefined || buckets[bucketOf(key)] === 0) continue;
      suspects ??= [];
      suspects.push(at);
    }
    for (const bucket of used) buckets[bucket] = 0;
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

function bucketOf(key: Uint8Array): number {
  let hash = key.length;
  for (let at = Math.max(0, key.length - HASHED_BYTES); at < key.length; at++)
    hash = Math.imul(hash ^ key[at]!, 0x01000193);
  return (hash ^ (hash >>> 15)) & (BUCKETS - 1);
}

function arrayHeader(slab: Buffer, at: number, count: number): number {
  slab[at] = 0xdd;
  slab.writeUInt32BE(count, at + 1);
  return at + ARRAY_HEADER_BYTES;
}

function write(slab: Buffer, start: number, value: Uint8Array): number {
  const { length } = value;
  let at = start;
  if (length < 32) slab[at++] = 0xa0 | length;
  else if (length < 0x10000) {
    slab[at] = 0xda;
    slab[at + 1] = length >>> 8;
    slab[at + 2] = length & 255;
    at += 3;
  } else {
    slab[at] = 0xdb;
    slab.writeUInt32BE(length, at + 1);
    at += HEADER_BYTES;
  }
  slab.set(value, at);
  return at + length;
}

const ZERO: Uint8Array = Uint8Array.of(0x30);
const ARRAY_HEADER_BYTES = 5;
const HEADER_BYTES = 5;
const SLAB_BYTES: number = 1024 * 1024;
const SLABS_KEPT = 8;
const BUCKETS = 8_192;
const HASHED_BYTES = 8;
