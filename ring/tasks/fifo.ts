/**
 * A queue: O(1) at both ends, no shifting. Its first item lies in the queue itself, the others in a circular array.
 *
 * Lanes live and die by the thousand a second, and most hold one task at a time: such a queue has no array to allocate, nor one to
 * fetch into the processor's cache. An array that was needed once is kept while it is small.
 */

export class Fifo<T> {
  #first: T | undefined = undefined;
  /** What comes behind the first; its length is a power of two. */
  #rest: (T | undefined)[] = NONE as (T | undefined)[];
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(item: T): void {
    if (this.#size === 0) this.#first = item;
    else {
      this.#makeRoom();
      this.#rest[(this.#head + this.#size - 1) & (this.#rest.length - 1)] = item;
    }
    this.#size++;
  }

  unshift(item: T): void {
    if (this.#size > 0) {
      this.#makeRoom();
      this.#head = (this.#head - 1) & (this.#rest.length - 1);
      this.#rest[this.#head] = this.#first;
    }
    this.#first = item;
    this.#size++;
  }

  peek(): T | undefined {
    return this.#first;
  }

  last(): T | undefined {
    return this.#size === 0 ? undefined : this.at(this.#size - 1);
  }

  at(index: number): T | undefined {
    if (index === 0) return this.#first;
    return index < this.#size ? this.#rest[(this.#head + index - 1) & (this.#rest.length - 1)] : undefined;
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined;
    const item = this.#first;
    this.#size--;
    if (this.#size === 0) {
      this.#first = undefined;
      if (this.#rest.length > KEPT_CAPACITY) this.clear();
    } else {
      this.#first = this.#rest[this.#head];
      this.#rest[this.#head] = undefined;
      this.#head = (this.#head + 1) & (this.#rest.length - 1);
    }
    return item;
  }

  /** Before the item at `index`, or at the end; what is nearer to it of the two ends makes room. */
  insert(index: number, item: T): void {
    if (index * 2 < this.#size) {
      this.unshift(item);
      for (let at = 0; at < index; at++) this.#put(at, this.at(at + 1) as T);
    } else {
      this.push(item);
      for (let at = this.#size - 1; at > index; at--) this.#put(at, this.at(at - 1) as T);
    }
    this.#put(index, item);
  }

  /** The whole content, replaced; for the rare sort or filter. */
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
    this.#first = undefined;
    this.#rest = NONE as (T | undefined)[];
    this.#head = 0;
    this.#size = 0;
  }

  #put(index: number, item: T): void {
    if (index === 0) this.#first = item;
    else this.#rest[(this.#head + index - 1) & (this.#rest.length - 1)] = item;
  }

  /** For one more behind the first. */
  #makeRoom(): void {
    if (this.#size - 1 < this.#rest.length) return;
    const rest = new Array<T | undefined>(Math.max(FIRST_CAPACITY, 2 * this.#rest.length)).fill(undefined);
    for (let index = 1; index < this.#size; index++) rest[index - 1] = this.at(index);
    this.#rest = rest;
    this.#head = 0;
  }
}

/** Of all queues that have held one item at most; never written to. */
const NONE: readonly undefined[] = [];
const FIRST_CAPACITY = 4;
/** An array this large or smaller is kept when the queue is empty; a larger one is given back. */
const KEPT_CAPACITY = 4_096;
