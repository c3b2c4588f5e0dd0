/**
 * Ids of tasks whose ends are remembered no longer: so that a submit that is repeated is known again, for far longer than how each
 * task ended is of interest (ownership rule 18).
 *
 * Columns of numbers, as a quarter of a million strings would cost several times as much; the oldest give way.
 *
 * F1  An id is looked for by the hash that its vnode gives it: with the vnode it is forgotten, and read from the disk again.
 */

import type { EndedId } from "./ended-row.ts";
import { SlotTable } from "./slot-table.ts";

export class EndedTable {
  readonly #most: number;
  #capacity = 0;
  /** Of the slot that is written next. */
  #at = 0;
  #size = 0;
  /** 0: no id, 1: done, 2: cancelled. */
  #states: Uint8Array = new Uint8Array(0);
  #hashes: Int32Array = new Int32Array(0);
  /** Four numbers an id. */
  #words: Int32Array = new Int32Array(0);
  readonly #table = new SlotTable();

  /** Rounded to a power of two, 1,024 at least. */
  constructor(most: number) {
    this.#most = 2 ** Math.floor(Math.log2(Math.max(FIRST_CAPACITY, most)));
  }

  get size(): number {
    return this.#size;
  }

  add(id: string, hash: number, state: EndedId["state"]): void {
    if (this.#size === this.#capacity && this.#capacity < this.#most) this.#grow();
    const slot = this.#at;
    this.#at = (slot + 1) & (this.#capacity - 1);
    if (this.#states[slot] === 0) this.#size++;
    else this.#table.leave(slot, this.#hashes);
    this.#states[slot] = state === "cancelled" ? 2 : 1;
    this.#hashes[slot] = hash;
    for (let word = 0; word < 4; word++) this.#words[slot * 4 + word] = wordOf(id, word);
    this.#table.enter(slot, this.#hashes);
  }

  find(id: string, hash: number): EndedId["state"] | undefined {
    const { places } = this.#table;
    const mask = places.length - 1;
    if (mask < 0) return undefined;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = (places[at] as number) - 1;
      if (slot < 0) return undefined;
      if (this.#hashes[slot] === hash && this.#isOf(slot, id)) return this.#states[slot] === 2 ? "cancelled" : "done";
    }
  }

  #isOf(slot: number, id: string): boolean {
    for (let word = 0; word < 4; word++) if (this.#words[slot * 4 + word] !== wordOf(id, word)) return false;
    return true;
  }

  #grow(): void {
    const before = this.#capacity;
    this.#capacity = Math.min(this.#most, Math.max(FIRST_CAPACITY, before * 2));
    const grown = <T extends Uint8Array | Int32Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.#states = grown(new Uint8Array(this.#capacity), this.#states);
    this.#hashes = grown(new Int32Array(this.#capacity), this.#hashes);
    this.#words = grown(new Int32Array(this.#capacity * 4), this.#words);
    this.#table.reset(this.#capacity * 2);
    // It was full, so its oldest is where the next one would have been: what comes now goes behind all of them.
    this.#at = before;
    for (let slot = 0; slot < before; slot++) this.#table.enter(slot, this.#hashes);
  }
}

/** A quarter of an id of 32 hex digits. */
function wordOf(id: string, word: number): number {
  let value = 0;
  for (let at = word * 8; at < word * 8 + 8; at++) {
    const code = id.charCodeAt(at);
    value = (value << 4) | (code <= 57 ? code - 48 : code - 87);
  }
  return value;
}

const FIRST_CAPACITY = 1_024;
