/**
 * What comes most often in a long stream, in bounded memory: lossy counting (Manku and Motwani, "Approximate Frequency Counts over
 * Data Streams", VLDB 2002).
 *
 * Q1  Of `seen` items each count is too low by at most `seen / width`, and nothing with more than that is missing.
 * Q2  At most about `width` times the logarithm of `seen / width` items are kept; in a stream of items that come once, `width`.
 */

export interface Frequent<Item> {
  readonly item: Item;
  count: number;
  /** Added up beside the count. */
  weight: number;
}

interface Entry<Item> extends Frequent<Item> {
  /** It may have come this often before it was kept. */
  readonly missed: number;
}

export class FrequentItems<Item> {
  readonly #width: number;
  readonly #entries = new Map<string, Entry<Item>>();
  #seen = 0;

  constructor(width: number) {
    this.#width = width;
  }

  /** All that came. */
  get seen(): number {
    return this.#seen;
  }

  get kept(): number {
    return this.#entries.size;
  }

  /** `name` says which item it is; `item` is asked for when it is new. */
  add(name: string, weight: number, item: () => Item): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      const missed = Math.floor(this.#seen / this.#width);
      this.#entries.set(name, { item: item(), count: 1, weight, missed });
    } else {
      entry.count++;
      entry.weight += weight;
    }
    this.#seen++;
    if (this.#seen % this.#width === 0) this.#prune(this.#seen / this.#width);
  }

  /** Most often first. */
  top(limit: number): readonly Frequent<Item>[] {
    return [...this.#entries.values()].sort((left, right) => right.count - left.count).slice(0, limit);
  }

  #prune(rounds: number): void {
    for (const [name, { count, missed }] of this.#entries) if (count + missed <= rounds) this.#entries.delete(name);
  }
}
