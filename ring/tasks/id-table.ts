/**
 * What is known by task id: an open-addressing table of the entries themselves.
 *
 * A `Map` that takes and drops an entry per task is rebuilt every few hundred, and each dead copy, once promoted, keeps the
 * tasks it held alive until the next full collection. This one is rebuilt only when it grows or has become far too large.
 *
 * I1  Ids come from clients, so the hash is seeded: nobody outside can choose more than a few that collide.
 */

import { bitsOfId, type IdBits } from "./task-id.ts";

export interface Identified {
  readonly id: string;
  /** `IdTable.hash` of it. */
  readonly idHash: number;
}

export class IdTable<T extends Identified> {
  readonly #seed: number;
  #slots: (T | undefined)[] = new Array<T | undefined>(FEWEST_SLOTS).fill(undefined);
  /** Of the entries in the slots: those of other ids are not looked at, and most are in no cache of the processor. */
  #hashes = new Int32Array(FEWEST_SLOTS);
  #mask = FEWEST_SLOTS - 1;
  #size = 0;

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get size(): number {
    return this.#size;
  }

  /** I1 */
  hash({ id0, id1, id2, id3 }: IdBits): number {
    return mixed(mixed(mixed(mixed(this.#seed, id0), id1), id2), id3);
  }

  get(id: string): T | undefined {
    return this.find(id, this.hash(bitsOfId(id)));
  }

  find(id: string, hash: number): T | undefined {
    const slots = this.#slots;
    const hashes = this.#hashes;
    const mask = this.#mask;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const entry = slots[at];
      if (entry === undefined || (hashes[at] === hash && entry.id === id)) return entry;
    }
  }

  has(id: string): boolean {
    return this.get(id) !== undefined;
  }

  /** Enters it, in place of an entry of the same id. */
  set(entry: T): void {
    const { id, idHash } = entry;
    let at = idHash & this.#mask;
    for (;;) {
      const there = this.#slots[at];
      if (there === undefined) break;
      if (this.#hashes[at] === idHash && there.id === id) {
        this.#slots[at] = entry;
        return;
      }
      at = (at + 1) & this.#mask;
    }
    this.#slots[at] = entry;
    this.#hashes[at] = idHash;
    this.#size++;
    if (this.#size * 2 > this.#slots.length) this.#resize(this.#slots.length * 2);
  }

  delete(entry: T): void {
    let at = entry.idHash & this.#mask;
    while (this.#slots[at] !== entry) {
      if (this.#slots[at] === undefined) return;
      at = (at + 1) & this.#mask;
    }
    // Entries behind the gap move up, so that no search stops short of them.
    for (let next = (at + 1) & this.#mask; ; next = (next + 1) & this.#mask) {
      const moved = this.#slots[next];
      if (moved === undefined) break;
      const hash = this.#hashes[next] as number;
      const home = hash & this.#mask;
      if (((next - home) & this.#mask) < ((next - at) & this.#mask)) continue;
      this.#slots[at] = moved;
      this.#hashes[at] = hash;
      at = next;
    }
    this.#slots[at] = undefined;
    this.#size--;
    if (this.#slots.length > FEWEST_SLOTS && this.#size * 16 < this.#slots.length) this.#resize(this.#slots.length / 4);
  }

  /** A copy of the entries, in no order. */
  values(): T[] {
    return this.#slots.filter((entry) => entry !== undefined);
  }

  #resize(slots: number): void {
    const entries = this.values();
    this.#slots = new Array<T | undefined>(slots).fill(undefined);
    this.#hashes = new Int32Array(slots);
    this.#mask = slots - 1;
    for (const entry of entries) {
      let at = entry.idHash & this.#mask;
      while (this.#slots[at] !== undefined) at = (at + 1) & this.#mask;
      this.#slots[at] = entry;
      this.#hashes[at] = entry.idHash;
    }
  }
}

function mixed(hash: number, bits: number): number {
  const product = Math.imul(hash ^ bits, 0x9e3779b1);
  return product ^ (product >>> 15);
}

const FEWEST_SLOTS = 64;
