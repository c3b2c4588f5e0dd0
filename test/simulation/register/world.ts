/**
 * A small virtual world: one queue of things to happen, one seed, a network that loses, repeats, delays and cuts.
 */

export type Random = () => number;

/** Mulberry32: the same numbers for the same seed everywhere. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pick<T>(random: Random, items: readonly T[]): T | undefined {
  return items[Math.floor(random() * items.length)];
}

export function between(random: Random, least: number, most: number): number {
  return least + random() * (most - least);
}

interface Planned {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Virtual time: runs what was planned in order of time, then of planning. A binary heap. */
export class Timeline {
  now = 0;
  #order = 0;
  readonly #heap: Planned[] = [];

  after(delayMs: number, run: () => void): void {
    this.#order += 1;
    this.#heap.push({ at: this.now + Math.max(0, delayMs), order: this.#order, run });
    this.#rise(this.#heap.length - 1);
  }

  runUntil(time: number): void {
    for (let first = this.#heap[0]; first !== undefined && first.at <= time; first = this.#heap[0]) {
      this.#removeFirst();
      this.now = first.at;
      first.run();
    }
    this.now = time;
  }

  #rise(index: number): void {
    const item = this.#heap[index]!;
    let at = index;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(item, this.#heap[parent]!)) break;
      this.#heap[at] = this.#heap[parent]!;
      at = parent;
    }
    this.#heap[at] = item;
  }

  #removeFirst(): void {
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heap.length) break;
      if (child + 1 < this.#heap.length && isBefore(this.#heap[child + 1]!, this.#heap[child]!)) child += 1;
      if (!isBefore(this.#heap[child]!, last)) break;
      this.#heap[at] = this.#heap[child]!;
      at = child;
    }
    this.#heap[at] = last;
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.at !== b.at ? a.at < b.at : a.order < b.order;
}

export interface Weather {
  readonly lossRate: number;
  readonly duplicateRate: number;
  readonly delayMs: number;
  /** Share of messages that come up to `lateMs` late. */
  readonly lateRate: number;
  readonly lateMs: number;
}

export const CALM: Weather = { lossRate: 0, duplicateRate: 0, delayMs: 5, lateRate: 0, lateMs: 0 };

/** Carries messages between named places; `cuts` holds one-way links "from>to" that are down. */
export class Network {
  weather: Weather = CALM;
  readonly cuts: Set<string> = new Set();
  readonly #timeline: Timeline;
  readonly #random: Random;

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline;
    this.#random = random;
  }

  carry(from: string, to: string, deliver: () => void): void {
    const { lossRate, duplicateRate, delayMs, lateRate, lateMs } = this.weather;
    const copies = this.#random() < duplicateRate ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      if (this.#random() < lossRate) continue;
      const late = this.#random() < lateRate ? this.#random() * lateMs : 0;
      this.#timeline.after(between(this.#random, 0.2, delayMs) + late, () => {
        if (!this.cuts.has(`${from}>${to}`)) deliver();
      });
    }
  }
}
