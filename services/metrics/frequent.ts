/**
 * What comes most often in a long stream, in bounded memory: lossy counting (Manku and Motwani, "Approximate Frequency Counts over
 * Data Streams", VLDB 2002).
 *
 * Q1  Of `seen` items each count is too low by at most `seen / width`, and nothing with more than that is missing.
 * Q2  At most about `width` times the logarithm of `seen / width` items are kept; in a stream of items that come once, `width`.
 * Q3  Whatever has more than its share of all weight, one in `width`, is not let go; there are `width` of these at most.
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
  #weight = 0;

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
    this.#weight += weight;
    this.#seen++;
    if (this.#seen % this.#width === 0) this.#prune(this.#seen / this.#width);
  }

  /** The `limit` that came most often and the `limit` that weigh most; most often first. */
  top(limit: number): readonly Frequent<Item>[] {
    const entries = [...this.#entries.values()].sort((left, right) => right.count - left.count);
    const heaviest = new Set([...entries].sort((left, right) => right.weight - left.weight).slice(0, limit));
    return entries.filter((entry, at) => at < limit || heaviest.has(entry));
  }

  #prune(rounds: number): void {
    const share = this.#weight / this.#width; // Q3
    for (const [name, { count, missed, weight }] of this.#entries)
      if (count + missed <= rounds && weight <= share) this.#entries.delete(name);
  }
}
