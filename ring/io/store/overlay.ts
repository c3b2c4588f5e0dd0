/**
 * The newest change of each row since the last checkpoint, over the very bytes that lie in the journal's file.
 *
 * A change is put together at the end (`put`, `remove`), becomes visible with `keep` once its batch is on disk, and is
 * forgotten with `discard` if it never gets there. So the hot path copies a row once and allocates nothing for it.
 *
 *   change   [kind u8][value bytes u32][key bytes u16][space u16][key …][value …]
 *
 * O1  A visible change hides every older one of the same row.
 * O2  A row that began here and ended here was never in the database: nothing is said of it at the checkpoint.
 * O3  The overlay of the segment after may speak for a row instead (W6 of `journal.ts`), unless it says that the row began there. What
 *     it speaks for was not in the database, if it began in the segment before: then O2 holds over both.
 */

import assert from "node:assert/strict";
import { ChangePlace, type Changes } from "../../changes.ts";
import { copyBytes, HEADER_BYTES, hashOf, keyBytesAt, sameBytes } from "./change-bytes.ts";
import { type KeyPlace, RowOrder } from "./row-order.ts";
import type { RowSink } from "./row-sink.ts";
import { SPACE_BYTES, type Space, spaceOf } from "./rows.ts";

/** The newest change of one row. Views of the overlay's bytes. */
export interface NetChange {
  /** With its space in front. */
  readonly key: Uint8Array;
  /** Undefined when the row is gone. */
  readonly value: Uint8Array | undefined;
  /** The value comes with a checksum of its own. */
  readonly stored: boolean;
}

/** Rows, a column each: where the newest change begins, its hash, and 1 where the database may have the row. */
export interface NetRows {
  readonly at: Int32Array;
  readonly hash: Int32Array;
  readonly below: Uint8Array;
}

export class Overlay implements RowSink {
  /** What lies in the file, byte for byte. */
  bytes: Uint8Array;
  #view: DataView;
  /** Where the last batch on disk begins, and behind it. */
  #last: number;
  #end: number;
  /** Behind what is being put together. */
  #at: number;
  #overflow = false;
  /** Open addressing, two numbers a slot: where the newest change of a row begins, 0 for none, and the row's hash. */
  #slots: Int32Array = new Int32Array(2 * FIRST_SLOTS);
  /** By slot: `BELOW` when an older version of the row may lie in the database, `HERE` when the row is there by its newest change. */
  #flags: Uint8Array = new Uint8Array(FIRST_SLOTS);
  #rows = 0;
  /** The first change of each row, by space: pages are asked for within one. */
  readonly #order = new Map<Space, RowOrder>();
  /** The one used last: changes come partition by partition. */
  #lastSpace: Space = -1;
  #lastOrder = new RowOrder();
  readonly #keyPlace = (at: number): KeyPlace => {
    const from = at + HEADER_BYTES;
    return { from, to: from + keyBytesAt(this.bytes, at) };
  };
  /** Of what is being put together: where each change begins, and the hash of its row. */
  #fresh: Int32Array = new Int32Array(2 * FIRST_FRESH);
  #freshCount = 0;
  readonly #place = new ChangePlace();

  /** `first`: bytes of the file that are no changes. */
  constructor(bytes: Uint8Array, first: number) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#last = first;
    this.#end = first;
    this.#at = first;
  }

  /** Rows with a visible change. */
  get rows(): number {
    return this.#rows;
  }

  get end(): number {
    return this.#end;
  }

  /** Behind what is being put together. */
  get at(): number {
    return this.#at;
  }

  /** What was put together does not fit. */
  get overflow(): boolean {
    return this.#overflow;
  }

  /** Room for `bytes` that are not a change. */
  skip(bytes: number): void {
    if (this.#at + bytes > this.bytes.length) this.#overflow = true;
    else this.#at += bytes;
  }

  put(space: Space, key: Uint8Array, value: Uint8Array, isNew = false): void {
    this.#write(isNew ? NEW : PUT, space, key, value);
  }

  putStored(space: Space, key: Uint8Array, stored: Uint8Array): void {
    this.#write(STORED, space, key, stored);
  }

  remove(space: Space, key: Uint8Array): void {
    this.#write(REMOVE, space, key, NO_BYTES);
  }

  change(space: Space, changes: Changes): void {
    const { bytes } = this;
    const from = this.#place;
    for (let index = 0; index < changes.length; index++) {
      changes.read(index, from);
      const { keyBytes, valueBytes, keyAt, headEnd, tailAt, tailEnd } = from;
      const kind = from.isDelete ? REMOVE : from.isNew ? NEW : PUT;
      const at = this.#begin(kind, space, keyBytes, valueBytes);
      if (at === 0) return;
      copyBytes(bytes, at, from.head, keyAt, headEnd);
      if (tailEnd > tailAt) copyBytes(bytes, at + headEnd - keyAt, from.tail, tailAt, tailEnd);
      this.#close(at, keyBytes, valueBytes);
    }
  }

  /** Makes what was put together visible, and everything up to `end` part of the file. */
  keep(end: number): void {
    const fresh = this.#fresh;
    this.#fetch();
    for (let index = 0; index < this.#freshCount; index++) this.#index(fresh[2 * index]!, fresh[2 * index + 1]!);
    this.#freshCount = 0;
    this.#last = this.#end;
    this.#end = end;
    this.#at = end;
  }

  /** The same for changes that were read from the file, in `bytes[from, to)`. */
  replay(from: number, to: number, end: number): void {
    const { bytes } = this;
    for (let at = from; at < to; ) {
      const keyAt = at + HEADER_BYTES;
      const valueAt = keyAt + keyBytesAt(bytes, at);
      this.#index(at, hashOf(bytes, keyAt, valueAt));
      at = valueAt + this.#view.getUint32(at + 1);
    }
    this.#end = end;
    this.#at = end;
  }

  /** Forgets what was put together. */
  discard(): void {
    this.#freshCount = 0;
    this.#at = this.#end;
    this.#overflow = false;
  }

  /** The row's newest change. */
  find(key: Uint8Array): NetChange | undefined {
    const at = this.#newest(key, 0, key.length);
    return at === 0 ? undefined : this.changeAt(at);
  }

  /** A change of each row with a key in `[start, end)`, in key order: where it begins, for `newestOf`. */
  within(start: Uint8Array, end: Uint8Array): readonly number[] {
    const last = spaceOf(end);
    let found: number[] = [];
    for (let space = spaceOf(start); space <= last; space++) {
      const more = this.#order.get(space)?.within(this.bytes, this.#keyPlace, start, end) ?? [];
      found = found.length === 0 ? more : found.concat(more);
    }
    return found;
  }

  /** The newest change of the row that one of `within` changes. */
  newestOf(at: number): NetChange {
    const from = at + HEADER_BYTES;
    return this.changeAt(this.#newest(this.bytes, from, from + keyBytesAt(this.bytes, at)));
  }

  /** What the database has to be told (O2), partition by partition so that neighbours meet in the same pages. */
  net(): NetRows {
    const counts = new Int32Array(SPACES + 1);
    const told: number[] = [];
    const flags = this.#flags;
    const slots = this.#slots;
    for (let slot = 0; slot < flags.length; slot++) {
      if (flags[slot] === 0) continue; // no row, or one of O2
      told.push(slot);
      counts[this.#spaceAt(slots[2 * slot]!) + 1]!++;
    }
    for (let space = 0; space < SPACES; space++) counts[space + 1]! += counts[space]!;
    const rows = told.length;
    const net = { at: new Int32Array(rows), hash: new Int32Array(rows), below: new Uint8Array(rows) };
    for (let index = 0; index < rows; index++) {
      const slot = told[index]!;
      const at = slots[2 * slot]!;
      const row = counts[this.#spaceAt(at)]!++;
      net.at[row] = at;
      net.hash[row] = slots[2 * slot + 1]!;
      net.below[row] = flags[slot]! & BELOW;
    }
    return net;
  }

  /** O3: whether a change here, of a batch that has another one behind it, is newer than that of `older` at `at`, with this hash. */
  replaces(older: Overlay, at: number, hash: number): boolean {
    return this.#replacing(older, at, hash) >= 0;
  }

  /** O3: if so, the database is told of this row here alone. `isBelow`: it may lie there as it was before `older`. */
  takeOver(older: Overlay, at: number, hash: number, isBelow: boolean): boolean {
    const slot = this.#replacing(older, at, hash);
    if (slot >= 0 && !isBelow) this.#flags[slot]! &= ~BELOW;
    return slot >= 0;
  }

  /** The slot of that row; -1 for none, and where it cannot be told without a look at cold memory. */
  #replacing({ bytes }: Overlay, at: number, hash: number): number {
    const slots = this.#slots;
    const mask = this.#flags.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const newer = slots[2 * slot]!;
      if (newer === 0) return -1;
      if (slots[2 * slot + 1] !== hash) continue;
      if (newer >= this.#last || (this.#flags[slot]! & BELOW) === 0) return -1;
      const keyBytes = keyBytesAt(bytes, at);
      if (keyBytesAt(this.bytes, newer) !== keyBytes) continue;
      if (sameBytes(this.bytes, newer + HEADER_BYTES, bytes, at + HEADER_BYTES, keyBytes)) return slot;
    }
  }

  /** The change that begins at `at`, one of `net()`. */
  changeAt(at: number): NetChange {
    const { bytes } = this;
    const valueAt = at + HEADER_BYTES + keyBytesAt(bytes, at);
    const kind = bytes[at];
    return {
      key: bytes.subarray(at + HEADER_BYTES, valueAt),
      value: kind === REMOVE ? undefined : bytes.subarray(valueAt, valueAt + this.#view.getUint32(at + 1)),
      stored: kind === STORED,
    };
  }

  /** How many rows more there are than in the database; `isBelow` is asked whether it has one that was replaced. Absent: it has. */
  growth(isBelow?: (key: Uint8Array) => boolean): number {
    let growth = 0;
    for (let slot = 0; slot < this.#flags.length; slot++) {
      const flags = this.#flags[slot]!;
      const there = (flags & HERE) !== 0;
      const was = (flags & BELOW) !== 0 && (isBelow === undefined || isBelow(this.#keyAt(this.#slots[2 * slot]!)));
      if (there !== was) growth += there ? 1 : -1;
    }
    return growth;
  }

  /** Where the newest change of the row with the key `bytes[from, to)` begins; 0 for none. */
  #newest(key: Uint8Array, from: number, to: number): number {
    const { bytes } = this;
    const slots = this.#slots;
    const hash = hashOf(key, from, to);
    const mask = this.#flags.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const at = slots[2 * slot]!;
      if (at === 0) return 0;
      if (slots[2 * slot + 1] !== hash || keyBytesAt(bytes, at) !== to - from) continue;
      if (sameBytes(bytes, at + HEADER_BYTES, key, from, to - from)) return at;
    }
  }

  #write(kind: number, space: Space, key: Uint8Array, value: Uint8Array): void {
    const at = this.#begin(kind, space, key.length, value.length);
    if (at === 0) return;
    copyBytes(this.bytes, at, key, 0, key.length);
    copyBytes(this.bytes, at + key.length, value, 0, value.length);
    this.#close(at, key.length, value.length);
  }

  /** Where the key, without its space, and the value are to be put; 0 when there is no room. */
  #begin(kind: number, space: Space, keyLength: number, valueBytes: number): number {
    const start = this.#at;
    const { bytes } = this;
    const keyBytes = SPACE_BYTES + keyLength;
    if (start + HEADER_BYTES + keyBytes + valueBytes > bytes.length) this.#overflow = true;
    if (this.#overflow) return 0;
    bytes[start] = kind;
    this.#view.setUint32(start + 1, valueBytes);
    bytes[start + 5] = keyBytes >>> 8;
    bytes[start + 6] = keyBytes;
    bytes[start + HEADER_BYTES] = space >>> 8;
    bytes[start + HEADER_BYTES + 1] = space;
    return start + HEADER_BYTES + SPACE_BYTES;
  }

  /** The change whose key was put at `at` is whole. */
  #close(at: number, keyLength: number, valueBytes: number): void {
    const start = this.#at;
    const valueAt = at + keyLength;
    this.#at = valueAt + valueBytes;
    if (2 * this.#freshCount === this.#fresh.length) {
      const more = new Int32Array(2 * this.#fresh.length);
      more.set(this.#fresh);
      this.#fresh = more;
    }
    this.#fresh[2 * this.#freshCount] = start;
    this.#fresh[2 * this.#freshCount + 1] = hashOf(this.bytes, start + HEADER_BYTES, valueAt);
    this.#freshCount++;
  }

  /**
   * Looks once at all that `#index` will look at. These looks do not wait for one another, so the processor has many under way at
   * once; in `#index` each would wait for memory on its own.
   */
  #fetch(): void {
    const { bytes } = this;
    const slots = this.#slots;
    const fresh = this.#fresh;
    const mask = this.#flags.length - 1;
    let seen = 0;
    for (let index = 0; index < this.#freshCount; index++)
      seen = (seen + bytes[slots[2 * (fresh[2 * index + 1]! & mask)]!]!) | 0;
    assert(seen >= 0, "kinds of changes are small numbers"); // what nobody asks for would not be looked at
  }

  #index(at: number, hash: number): void {
    const { bytes } = this;
    const slots = this.#slots;
    const keyBytes = keyBytesAt(bytes, at);
    const mask = this.#flags.length - 1;
    let slot = hash & mask;
    for (; ; slot = (slot + 1) & mask) {
      const known = slots[2 * slot]!;
      if (known === 0) {
        this.#rows++;
        this.#orderOf(this.#spaceAt(at)).add(at);
        slots[2 * slot + 1] = hash;
        this.#flags[slot] = bytes[at] === NEW ? 0 : BELOW;
        break;
      }
      if (slots[2 * slot + 1] !== hash || keyBytesAt(bytes, known) !== keyBytes) continue;
      if (sameBytes(bytes, known + HEADER_BYTES, bytes, at + HEADER_BYTES, keyBytes)) break;
    }
    slots[2 * slot] = at; // O1
    if (bytes[at] === REMOVE) this.#flags[slot]! &= ~HERE;
    else this.#flags[slot]! |= HERE;
    if (this.#rows * 2 > mask) this.#grow();
  }

  #orderOf(space: Space): RowOrder {
    if (space === this.#lastSpace) return this.#lastOrder;
    const order = this.#order.get(space) ?? new RowOrder();
    this.#order.set(space, order);
    this.#lastSpace = space;
    this.#lastOrder = order;
    return order;
  }

  #grow(): void {
    const slots = this.#slots;
    const flags = this.#flags;
    this.#slots = new Int32Array(slots.length * 2);
    this.#flags = new Uint8Array(flags.length * 2);
    const mask = this.#flags.length - 1;
    for (let old = 0; old < flags.length; old++) {
      const at = slots[2 * old]!;
      if (at === 0) continue;
      const hash = slots[2 * old + 1]!;
      let slot = hash & mask;
      while (this.#slots[2 * slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[2 * slot] = at;
      this.#slots[2 * slot + 1] = hash;
      this.#flags[slot] = flags[old]!;
    }
  }

  #spaceAt(at: number): Space {
    return (this.bytes[at + HEADER_BYTES]! << 8) | this.bytes[at + HEADER_BYTES + 1]!;
  }

  #keyAt(at: number): Uint8Array {
    return this.bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + keyBytesAt(this.bytes, at));
  }
}

const NO_BYTES = new Uint8Array();
const REMOVE = 0;
const PUT = 1;
const NEW = 2;
const STORED = 3;
const BELOW = 1;
const HERE = 2;
const SPACES = 0x10000;
const FIRST_SLOTS = 4_096;
const FIRST_FRESH = 512;
