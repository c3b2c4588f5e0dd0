/**
 * The attempts under way, by attempt id: a slot number below, a serial number above, so that finding one is an array access and a
 * late id of a reused slot finds nothing.
 */

import type { RunningAttempt } from "./running-attempt.ts";

export class AttemptTable {
  readonly #slots: (RunningAttempt | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #slotCount: number;
  #serial = 0;
  #size = 0;

  /** `most`: attempts at once. */
  constructor(most: number) {
    this.#slotCount = 2 ** (32 - Math.clz32(Math.max(2, most) - 1));
  }

  get size(): number {
    return this.#size;
  }

  /** An id for the next attempt; `add` must follow. */
  nextId(): number {
    const slot = this.#free.length > 0 ? (this.#free.pop() as number) : this.#slots.push(undefined) - 1;
    return ++this.#serial * this.#slotCount + slot;
  }

  add(attempt: RunningAttempt): void {
    this.#slots[this.#slotOf(attempt.attemptId)] = attempt;
    this.#size++;
  }

  get(attemptId: number): RunningAttempt | undefined {
    const attempt = this.#slots[this.#slotOf(attemptId)];
    return attempt?.attemptId === attemptId ? attempt : undefined;
  }

  delete(attempt: RunningAttempt): void {
    const slot = this.#slotOf(attempt.attemptId);
    if (this.#slots[slot] !== attempt) return;
    this.#slots[slot] = undefined;
    this.#free.push(slot);
    this.#size--;
  }

  /** A copy. */
  values(): RunningAttempt[] {
    return this.#slots.filter((attempt) => attempt !== undefined);
  }

  /** Not `%`: ids soon exceed 31 bits, where that is slow. */
  #slotOf(attemptId: number): number {
    return attemptId - Math.floor(attemptId / this.#slotCount) * this.#slotCount;
  }
}
