/**
 * Lanes of one app that may start, or that wait for a slot of one type: higher priority first, each priority in turn. Priority orders
 * lanes, never tasks inside one.
 */

import { Fifo } from "./fifo.ts";

export class ReadyQueue<T> {
  readonly #usual: Fifo<T> = new Fifo();
  /** Priorities other than 0, highest first; empty for most apps. */
  readonly #others: { readonly priority: number; readonly queue: Fifo<T> }[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(item: T, priority: number): void {
    this.#size++;
    if (priority === 0) this.#usual.push(item);
    else this.#queueOf(priority).push(item);
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    this.#size--;
    if (this.#others.length === 0) return this.#usual.shift();
    for (const entry of this.#others) {
      if (entry.priority < 0 && this.#usual.size > 0) break;
      if (entry.queue.size > 0) return entry.queue.shift();
    }
    return this.#usual.shift();
  }

  /** Drops what is not wanted, and what is there twice; returns what was dropped. */
  keep(isWanted: (item: T) => boolean): T[] {
    const seen = new Set<T>();
    const dropped: T[] = [];
    for (const queue of [...this.#others.map((entry) => entry.queue), this.#usual]) {
      const before = queue.toArray();
      const kept = before.filter((item) => {
        if (!isWanted(item)) dropped.push(item);
        else if (!seen.has(item)) return seen.add(item) !== undefined;
        return false;
      });
      queue.replace(kept);
      this.#size -= before.length - kept.length;
    }
    return dropped;
  }

  /** The lane that would come next among those of priority 0, for views. */
  peek(): T | undefined {
    return this.#usual.peek() ?? this.#others.find((entry) => entry.queue.size > 0)?.queue.peek();
  }

  #queueOf(priority: number): Fifo<T> {
    const found = this.#others.find((entry) => entry.priority === priority);
    if (found !== undefined) return found.queue;
    const entry = { priority, queue: new Fifo<T>() };
    this.#others.push(entry);
    this.#others.sort((a, b) => b.priority - a.priority);
    return entry.queue;
  }
}
