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

export class OldEnds {
  #newer: Generation | undefined;
  #older: Generation | undefined;

  add(id: string, hash: number, state: EndedId["state"]): void {
    if (this.#newer === undefined) this.#newer = new Generation();
    else if (this.#newer.size === GENERATION) {
      const next = this.#older ?? new Generation();
      this.#older = this.#newer;
      this.#newer = next;
      next.clear();
    }
    this.#newer.add(id, hash, state);
  }

  find(id: string, hash: number): EndedId["state"] | undefined {
    if (this.#newer === undefined) return undefined;
    return this.#newer.find(id, hash) ?? this.#older?.find(id, hash);
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

  add(id: string, hash: number, state: EndedId["state"]): void {
    if (this.size === this.#states.length) this.#grow();
    const at = this.size++;
    this.#states[at] = state === "cancelled" ? 1 : 0;
    for (let word = 0; word < 4; word++) this.#words[at * 4 + word] = wordOf(id, word);
    const line = (hash & (LINES - 1)) * LINE_WORDS;
    for (let bits = mixed(hash), turn = 0; turn < TURNS; turn++, bits = mixed(bits)) {
      for (let shift = 0; shift < 27; shift += 9) {
        const bit = (bits >>> shift) & 511;
        (this.#bits[line + (bit >>> 5)] as number) |= 1 << (bit & 31);
      }
    }
  }

  find(id: string, hash: number): EndedId["state"] | undefined {
    if (!this.#mayHave(hash)) return undefined;
    const [first, second, third, fourth] = [wordOf(id, 0), wordOf(id, 1), wordOf(id, 2), wordOf(id, 3)];
    const words = this.#words;
    for (let at = this.size - 1; at >= 0; at--) {
      const word = at * 4;
      if (words[word + 3] !== fourth || words[word + 2] !== third) continue;
      if (words[word + 1] === second && words[word] === first) return this.#states[at] === 1 ? "cancelled" : "done";
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

/** A quarter of an id of 32 hex digits. */
function wordOf(id: string, word: number): number {
  let value = 0;
  for (let at = word * 8; at < word * 8 + 8; at++) {
    const code = id.charCodeAt(at);
    value = (value << 4) | (code <= 57 ? code - 48 : code - 87);
  }
  return value;
}

const GENERATION = 32_768;
const FIRST = 1_024;
/** 128 KiB for a generation: sixteen ids a line, six bits each. */
const LINES = 2_048;
const LINE_WORDS = 16;
const TURNS = 2;
