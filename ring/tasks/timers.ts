/**
 * What the engine wants to be woken for, as a binary heap on the monotonic clock. A timer knows its place, so it can be removed.
 *
 * T1  Equal instants fire in the order they were set: the same run gives the same transcript.
 */

import type { Instant } from "../machine.ts";

export interface Timer<Wake> {
  readonly at: Instant;
  readonly wake: Wake;
  readonly serial: number;
  /** Place in the heap; -1 when it has fired or was removed. */
  index: number;
}

export class TimerHeap<Wake> {
  readonly #heap: Timer<Wake>[] = [];
  #serial = 0;

  get size(): number {
    return this.#heap.length;
  }

  next(): Instant | undefined {
    return this.#heap[0]?.at;
  }

  set(at: Instant, wake: Wake): Timer<Wake> {
    const timer = { at, wake, serial: this.#serial++, index: this.#heap.length };
    this.#heap.push(timer);
    this.#up(timer);
    return timer;
  }

  remove(timer: Timer<Wake> | undefined): undefined {
    if (timer === undefined || timer.index < 0) return undefined;
    const last = this.#heap.pop() as Timer<Wake>;
    if (last !== timer) {
      this.#place(last, timer.index);
      this.#up(last);
      this.#down(last);
    }
    timer.index = -1;
    return undefined;
  }

  /** The first timer that is due, removed. */
  take(now: Instant): Timer<Wake> | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    this.remove(first);
    return first;
  }

  #up(timer: Timer<Wake>): void {
    while (timer.index > 0) {
      const parent = this.#heap[(timer.index - 1) >> 1] as Timer<Wake>;
      if (!before(timer, parent)) return;
      const above = parent.index;
      this.#place(parent, timer.index);
      this.#place(timer, above);
    }
  }

  #down(timer: Timer<Wake>): void {
    for (;;) {
      const left = this.#heap[timer.index * 2 + 1];
      if (left === undefined) return;
      const right = this.#heap[timer.index * 2 + 2];
      const child = right !== undefined && before(right, left) ? right : left;
      if (!before(child, timer)) return;
      const { index } = child;
      this.#place(child, timer.index);
      this.#place(timer, index);
    }
  }

  #place(timer: Timer<Wake>, index: number): void {
    this.#heap[index] = timer;
    timer.index = index;
  }
}

function before<Wake>(a: Timer<Wake>, b: Timer<Wake>): boolean {
  return a.at < b.at || (a.at === b.at && a.serial < b.serial);
}
