/**
 * Changes of one partition's rows, in order, as columns: where each lies, not an object for each.
 *
 * Most changes are copied once, from where they were put together into the journal, and forgotten. What an object and two views a
 * change cost was a tenth of what the node gave its collector to do, and each was found in memory that had gone cold.
 *
 * H1  The bytes of a change are never written again; its place is good until `clear`.
 */

import type { RowChange, RowChanges } from "./store.ts";

/** Where one change lies: its key, and right behind it its value, of which the rest may lie elsewhere. */
export class ChangePlace {
  head: Uint8Array = NO_BYTES;
  keyAt = 0;
  valueAt = 0;
  headEnd = 0;
  /** Nothing, or the rest of the value. */
  tail: Uint8Array = NO_BYTES;
  tailAt = 0;
  tailEnd = 0;
  /** Without a value: the row is deleted. */
  isDelete = false;
  isNew = false;

  get keyBytes(): number {
    return this.valueAt - this.keyAt;
  }

  /** 0 when the row is deleted. */
  get valueBytes(): number {
    return this.headEnd - this.valueAt + this.tailEnd - this.tailAt;
  }

  of({ key, value, isNew }: RowChange): this {
    this.head = key;
    this.keyAt = 0;
    this.valueAt = key.length;
    this.headEnd = key.length;
    this.tail = value ?? NO_BYTES;
    this.tailAt = 0;
    this.tailEnd = this.tail.length;
    this.isDelete = value === undefined;
    this.isNew = isNew === true;
    return this;
  }

  /** Views where that is possible: they outlive the place. */
  change(): RowChange {
    const key = this.head.subarray(this.keyAt, this.valueAt);
    if (this.isDelete) return { key };
    return this.isNew ? { key, value: this.#value(), isNew: true } : { key, value: this.#value() };
  }

  #value(): Uint8Array {
    const { head, valueAt, headEnd, tail, tailAt, tailEnd } = this;
    if (tailAt === tailEnd) return head.subarray(valueAt, headEnd);
    if (valueAt === headEnd) return tail.subarray(tailAt, tailEnd);
    const value = new Uint8Array(this.valueBytes);
    value.set(head.subarray(valueAt, headEnd));
    value.set(tail.subarray(tailAt, tailEnd), headEnd - valueAt);
    return value;
  }
}

export class Changes implements RowChanges {
  #length = 0;
  #deletes = 0;
  #putBytes = 0;
  #longestKey = 0;
  #longestValue = 0;
  #hasEmptyKey = false;
  /** What the changes lie in, each named by its index. */
  #memory: (Uint8Array | undefined)[] = [];
  #memories = 0;
  /** `COLUMNS` numbers a change: flags, head, key at, value at, head end, tail, tail at, tail end. */
  #places: Int32Array = NO_PLACES;

  /** The same changes; those of an array are entered one by one. */
  static of(changes: RowChanges): Changes {
    if (changes instanceof Changes) return changes;
    const all = new Changes();
    for (const change of changes) all.add(change);
    return all;
  }

  get length(): number {
    return this.#length;
  }

  get deletes(): number {
    return this.#deletes;
  }

  /** Keys and values to be put. */
  get putBytes(): number {
    return this.#putBytes;
  }

  get hasEmptyKey(): boolean {
    return this.#hasEmptyKey;
  }

  get longestKeyBytes(): number {
    return this.#longestKey;
  }

  get longestValueBytes(): number {
    return this.#longestValue;
  }

  add(change: RowChange): void {
    this.enter(place.of(change));
  }

  enter(at: ChangePlace): void {
    const { keyAt, valueAt, isDelete } = at;
    const keyBytes = valueAt - keyAt;
    const valueBytes = at.headEnd - valueAt + at.tailEnd - at.tailAt;
    if (keyBytes > this.#longestKey) this.#longestKey = keyBytes;
    if (keyBytes === 0) this.#hasEmptyKey = true;
    if (isDelete) this.#deletes++;
    else {
      this.#putBytes += keyBytes + valueBytes;
      if (valueBytes > this.#longestValue) this.#longestValue = valueBytes;
    }
    let column = this.#length * COLUMNS;
    if (column === this.#places.length) this.#grow();
    const places = this.#places;
    places[column++] = (isDelete ? DELETE : 0) | (at.isNew ? NEW : 0);
    places[column++] = this.#memoryOf(at.head);
    places[column++] = keyAt;
    places[column++] = valueAt;
    places[column++] = at.headEnd;
    places[column++] = at.tailAt === at.tailEnd ? 0 : this.#memoryOf(at.tail);
    places[column++] = at.tailAt;
    places[column] = at.tailEnd;
    this.#length++;
  }

  addAll(changes: Changes): void {
    for (let index = 0; index < changes.length; index++) this.enter(changes.read(index, place));
  }

  /** Where the change at `index` lies, in `into`. */
  read(index: number, into: ChangePlace): ChangePlace {
    const places = this.#places;
    let column = index * COLUMNS;
    const flags = places[column++]!;
    into.isDelete = (flags & DELETE) !== 0;
    into.isNew = (flags & NEW) !== 0;
    into.head = this.#memory[places[column++]!]!;
    into.keyAt = places[column++]!;
    into.valueAt = places[column++]!;
    into.headEnd = places[column++]!;
    into.tail = this.#memory[places[column++]!]!;
    into.tailAt = places[column++]!;
    into.tailEnd = places[column]!;
    return into;
  }

  *[Symbol.iterator](): Iterator<RowChange> {
    const at = new ChangePlace();
    for (let index = 0; index < this.#length; index++) yield this.read(index, at).change();
  }

  /** There are none; those read before are anybody's. */
  clear(): void {
    this.#length = 0;
    this.#deletes = 0;
    this.#putBytes = 0;
    this.#longestKey = 0;
    this.#longestValue = 0;
    this.#hasEmptyKey = false;
    if (this.#memories > MEMORIES_KEPT) this.#memory = [];
    else this.#memory.fill(undefined);
    this.#memories = 0;
    if (this.#places.length > COLUMNS * PLACES_KEPT) this.#places = NO_PLACES;
  }

  /** The one used last is the likeliest, and then the one before it: rows put together, and what they came in. */
  #memoryOf(bytes: Uint8Array): number {
    const last = this.#memories - 1;
    if (last >= 0 && this.#memory[last] === bytes) return last;
    if (last >= 1 && this.#memory[last - 1] === bytes) return last - 1;
    this.#memory[this.#memories] = bytes;
    return this.#memories++;
  }

  #grow(): void {
    const more = new Int32Array(Math.max(COLUMNS * FIRST_PLACES, this.#places.length * 2));
    more.set(this.#places);
    this.#places = more;
  }
}

const NO_BYTES = new Uint8Array();
const NO_PLACES = new Int32Array();
const COLUMNS = 8;
const DELETE = 1;
const NEW = 2;
/** Room at first, and the most that is kept while there are none: a node has two of these for each of its partitions. */
const FIRST_PLACES = 8;
const PLACES_KEPT = 256;
const MEMORIES_KEPT = 64;
const place = new ChangePlace();
