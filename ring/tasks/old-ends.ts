/**
 * Ids of tasks that ended, of which nothing else is remembered: so that a submit that is repeated is known again, for far longer than
 * how each task ended is of interest (ownership rule 18). At least the last 32,768 of a node.
 *
 * Every submit asks, and nearly all ask in vain. So two sets of bits that a processor's cache holds answer first; the ids themselves
 * lie in the order they came, and are looked through only if the bits of one say that it may be there: once in some ten thousand times.
 *
 * F1  An id is looked for by the hash that its vnode gives it: with the vnode it is forgotten, and read from the disk again.
 */

import type { EndedId } from "./ended-row.ts";
import type { IdBits } from "./task-id.ts";

export class OldEnds {
  #newer: Generation | undefined;
  #older: Generation | undefined;

  add(bits: IdBits, hash: number, state: EndedId["state"]): void {
    if (this.#newer === undefined) this.#newer = new Generation();
    else if (this.#newer.size === GENERATION) {
      const next = this.#older ?? new Generation();
      this.#older = this.#newer;
      this.#newer = next;
      next.clear();
    }
    this.#newer.add(bits, hash, state);
  }

  find(bits: IdBits, hash: number): EndedId["state"] | undefined {
    if (this.#newer === undefined) return undefined;
    return this.#newer.find(bits, hash) ?? this.#older?.find(bits, hash);
  }
}

class Generation {
  size = 0;
  /** A line of 512 bits for some ids each: one look at the memory. */
  readonly #bits = new Int32Array(LINES * LINE_WORDS);
  /** Four numbers an id. */
  #words: Int32Array = new Int32Array(FIRST * 4);
  #states: Uint8Array = new Uint8Array(FIRST);

  clear(): void {
    this.size = 0;
    this.#bits.fill(0);
  }

  add({ id0, id1, id2, id3 }: IdBits, hash: number, state: EndedId["state"]): void {
    if (this.size === this.#states.length) this.#grow();
    const at = this.size++;
    this.#states[at] = state === "cancelled" ? 1 : 0;
    const words = this.#words;
    words[at * 4] = id0;
    words[at * 4 + 1] = id1;
    words[at * 4 + 2] = id2;
    words[at * 4 + 3] = id3;
    const line = (hash & (LINES - 1)) * LINE_WORDS;
    for (let bits = mixed(hash), turn = 0; turn < TURNS; turn++, bits = mixed(bits)) {
      for (let shift = 0; shift < 27; shift += 9) {
        const bit = (bits >>> shift) & 511;
        (this.#bits[line + (bit >>> 5)] as number) |= 1 << (bit & 31);
      }
    }
  }

  find({ id0, id1, id2, id3 }: IdBits, hash: number): EndedId["state"] | undefined {
    if (!this.#mayHave(hash)) return undefined;
    const words = this.#words;
    for (let at = this.size - 1; at >= 0; at--) {
      const word = at * 4;
      if (words[word + 3] !== id3 || words[word + 2] !== id2) continue;
      if (words[word + 1] === id1 && words[word] === id0) return this.#states[at] === 1 ? "cancelled" : "done";
    }
    return undefined;
  }

  #mayHave(hash: number): boolean {
    const line = (hash & (LINES - 1)) * LINE_WORDS;
    for (let bits = mixed(hash), turn = 0; turn < TURNS; turn++, bits = mixed(bits)) {
      for (let shift = 0; shift < 27; shift += 9) {
        const bit = (bits >>> shift) & 511;
        if (((this.#bits[line + (bit >>> 5)] as number) & (1 << (bit & 31))) === 0) return false;
      }
    }
    return true;
  }

  #grow(): void {
    const length = Math.min(GENERATION, this.#states.length * 8);
    const [words, states] = [new Int32Array(length * 4), new Uint8Array(length)];
    words.set(this.#words);
    states.set(this.#states);
    this.#words = words;
    this.#states = states;
  }
}

/** Bits as good as chance, also of hashes that differ in their lowest ones alone. */
function mixed(hash: number): number {
  const bits = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return bits ^ (bits >>> 13);
}

const GENERATION = 32_768;
const FIRST = 1_024;
/** 128 KiB for a generation: sixteen ids a line, six bits each. */
const LINES = 2_048;
const LINE_WORDS = 16;
const TURNS = 2;
