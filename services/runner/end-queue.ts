/**
 * Collects the ends of attempts and delivers them in batches (N3 of the runner): the first batch of a loop turn in a
 * microtask, so that an idle node answers at once; what ends later in the same turn with the next `setImmediate`, so
 * that a chain of ends and starts lets I/O in between. The runner asks for some of them sooner (N5).
 */

import type { AttemptEnd } from "../../ring/tasks/task.ts";

export class EndQueue {
  readonly #deliver: (ends: AttemptEnd[]) => void;
  #ends: AttemptEnd[] = [];
  #microtaskPending = false;
  /** Set from the first delivery of a turn until the loop has been through its I/O. */
  #turnPending = false;
  #closed = false;

  constructor(deliver: (ends: AttemptEnd[]) => void) {
    this.#deliver = deliver;
  }

  push(end: AttemptEnd): void {
    this.#ends.push(end);
    if (this.#microtaskPending || this.#turnPending) return;
    this.#microtaskPending = true;
    queueMicrotask(this.#onMicrotask);
  }

  /** Never `clearImmediate`: see `strays.ts`. */
  close(): void {
    this.#closed = true;
  }

  readonly #onMicrotask = (): void => {
    this.#microtaskPending = false;
    this.#turnPending = true;
    setImmediate(this.#onTurn);
    this.flush();
  };

  readonly #onTurn = (): void => {
    this.#turnPending = this.#ends.length > 0 && !this.#closed;
    if (this.#turnPending) setImmediate(this.#onTurn);
    this.flush();
  };

  /** What there is, now. Not from inside an attempt. */
  flush(): void {
    if (this.#closed || this.#ends.length === 0) return;
    const ends = this.#ends;
    this.#ends = [];
    this.#deliver(ends);
  }
}
