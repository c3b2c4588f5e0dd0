/**
 * The changes of one group as one MessagePack blob, which Redis unpacks in C: four arrays, in this order: rows to put
 * (key, value, key, value …), keys to delete, index entries to add ("0", key …), index entries to remove.
 *
 * K1  Deletes are done before puts, so a put that a later delete of the same key takes back is left out here.
 * K2  Of two puts of one key the later one stands behind the earlier one, so it wins.
 */

import type { RowChange } from "../../../store.ts";

/** Rows of this kind are looked for by prefix (`ctx.state` of one key), so their keys are kept in order as well. */
export const INDEXED_KIND = 0x30;

export function packChanges(changes: readonly RowChange[]): Buffer {
  const deletedAt = deletesAfterPuts(changes);
  let puts = 0;
  let deletes = 0;
  let added = 0;
  let removed = 0;
  let bytes = 4 * ARRAY_HEADER_BYTES;
  for (let at = 0; at < changes.length; at++) {
    const { key, value } = changes[at]!;
    const indexed = key[0] === INDEXED_KIND;
    if (value === undefined) {
      deletes++;
      bytes += key.length + HEADER_BYTES;
      if (indexed) {
        removed++;
        bytes += key.length + HEADER_BYTES;
      }
    } else if (deletedAt === undefined || !(deletedAt.get(textOf(key))! > at)) {
      puts++;
      bytes += key.length + value.length + 2 * HEADER_BYTES;
      if (indexed) {
        added++;
        bytes += key.length + HEADER_BYTES + 2;
      }
    }
  }
  const blob = Buffer.allocUnsafe(bytes);
  const writer = new Writer(blob);
  writer.array(2 * puts);
  for (let at = 0; at < changes.length; at++) {
    const { key, value } = changes[at]!;
    if (value === undefined || (deletedAt !== undefined && deletedAt.get(textOf(key))! > at)) continue;
    writer.text(key);
    writer.text(value);
  }
  writer.array(deletes);
  for (const { key, value } of changes) if (value === undefined) writer.text(key);
  writer.array(2 * added);
  if (added > 0)
    for (let at = 0; at < changes.length; at++) {
      const { key, value } = changes[at]!;
      if (key[0] !== INDEXED_KIND || value === undefined) continue;
      if (deletedAt !== undefined && deletedAt.get(textOf(key))! > at) continue;
      writer.text(ZERO);
      writer.text(key);
    }
  writer.array(removed);
  if (removed > 0)
    for (const { key, value } of changes) if (value === undefined && key[0] === INDEXED_KIND) writer.text(key);
  return blob.subarray(0, writer.at);
}

/** Where each key is deleted last, if any delete comes after a put; else there is nothing to leave out. */
function deletesAfterPuts(changes: readonly RowChange[]): Map<string, number> | undefined {
  let put = false;
  let found: Map<string, number> | undefined;
  for (let at = 0; at < changes.length; at++) {
    const { key, value } = changes[at]!;
    if (value !== undefined) put = true;
    else if (put) {
      found ??= new Map();
      found.set(textOf(key), at);
    }
  }
  return found;
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

class Writer {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  array(count: number): void {
    this.#bytes[this.at] = 0xdd;
    this.#bytes.writeUInt32BE(count, this.at + 1);
    this.at += ARRAY_HEADER_BYTES;
  }

  text(value: Uint8Array): void {
    const bytes = this.#bytes;
    const { length } = value;
    if (length < 32) bytes[this.at++] = 0xa0 | length;
    else if (length < 0x10000) {
      bytes[this.at] = 0xda;
      bytes[this.at + 1] = length >>> 8;
      bytes[this.at + 2] = length & 255;
      this.at += 3;
    } else {
      bytes[this.at] = 0xdb;
      bytes.writeUInt32BE(length, this.at + 1);
      this.at += HEADER_BYTES;
    }
    bytes.set(value, this.at);
    this.at += length;
  }
}

const ZERO: Uint8Array = Uint8Array.of(0x30);
const ARRAY_HEADER_BYTES = 5;
const HEADER_BYTES = 5;
