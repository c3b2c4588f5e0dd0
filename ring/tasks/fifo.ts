/**
 * A queue over a circular array: O(1) at both ends, no shifting, and no allocation while it goes between empty and a few items.
 *
 * Lanes live and die by the thousand a second, so the first ring is small and is kept when the queue runs empty.
 */

export class Fifo<T> {
  #items: (T | undefined)[] = new Array<T | undefined>(FIRST_CAPACITY).fill(undefined);
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(item: T): void {
    if (this.#size === this.#items.length) this.#resize(this.#size * 2);
    this.#items[(this.#head + this.#size) & (this.#items.length - 1)] = item;
    this.#size++;
  }

  unshift(item: T): void {
    if (this.#size === this.#items.length) this.#resize(this.#size * 2);
    this.#head = (this.#head - 1) & (this.#items.length - 1);
    this.#items[this.#head] = item;
    this.#size++;
  }

  peek(): T | undefined {
    return this.#size === 0 ? undefined : this.#items[this.#head];
  }

  last(): T | undefined {
    return this.#size === 0 ? undefined : this.at(this.#size - 1);
  }

  at(index: number): T | undefined {
    return index < this.#size ? this.#items[(this.#head + index) & (this.#items.length - 1)] : undefined;
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    this.#size--;
    if (this.#size === 0 && this.#items.length > KEPT_CAPACITY) this.clear();
    return item;
  }

  /** The whole content, replaced; for the rare sort, filter or insertion in the middle. */
  replace(items: readonly T[]): void {
    this.clear();
    for (const item of items) this.push(item);
  }

  toArray(): T[] {
    const all: T[] = [];
    for (let index = 0; index < this.#size; index++) all.push(this.at(index) as T);
    return all;
  }

  clear(): void {
    this.#items = new Array<T | undefined>(FIRST_CAPACITY).fill(undefined);
    this.#head = 0;
    this.#size = 0;
  }

  #resize(capacity: number): void {
    const items = new Array<T | undefined>(capacity).fill(undefined);
    for (let index = 0; index < this.#size; index++) items[index] = this.at(index);
    this.#items = items;
    this.#head = 0;
  }
}

const FIRST_CAPACITY = 4;
/** A ring this large or smaller is kept when empty; a larger one is given back. */
const KEPT_CAPACITY = 4_096;
