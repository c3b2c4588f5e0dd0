/** Submits that wait for room, first come first served: nobody who comes later is let in before them. */

import type { SubmitOutcome } from "../../ring/tasks/task.ts";

export interface RoomWaiter {
  /** By `performance.now()`. */
  readonly deadline: number;
  /** Many more come with it: it waits until half of the room is there, so that they travel in full frames. */
  readonly bulk: boolean;
  /** There is room, for this one. */
  enter(): void;
  /** Its time is over, or the client is closed. */
  refuse(outcome: SubmitOutcome): void;
}

export class RoomQueue {
  #waiters: RoomWaiter[] = [];
  #head = 0;
  /** Nobody who waits has an earlier deadline. */
  #earliest = Number.POSITIVE_INFINITY;

  get empty(): boolean {
    return this.#head === this.#waiters.length;
  }

  get first(): RoomWaiter | undefined {
    return this.#waiters[this.#head];
  }

  add(waiter: RoomWaiter): void {
    this.#waiters.push(waiter);
    if (waiter.deadline < this.#earliest) this.#earliest = waiter.deadline;
  }

  /** Takes the first out. */
  next(): RoomWaiter | undefined {
    const { first } = this;
    if (first === undefined) return undefined;
    this.#head += 1;
    if (this.#head >= CUT && this.#head * 2 >= this.#waiters.length) {
      this.#waiters = this.#waiters.slice(this.#head);
      this.#head = 0;
    }
    return first;
  }

  /** Takes out those whose deadline is over. */
  late(now: number): readonly RoomWaiter[] {
    if (this.#earliest > now) return [];
    const waiting = this.#waiters.slice(this.#head);
    this.#head = 0;
    this.#waiters = waiting.filter((waiter) => waiter.deadline > now);
    this.#earliest = this.#waiters.reduce(
      (least, waiter) => Math.min(least, waiter.deadline),
      Number.POSITIVE_INFINITY,
    );
    return waiting.filter((waiter) => waiter.deadline <= now);
  }
}

/** So many are taken out before the front is cut off. */
const CUT = 1_024;
