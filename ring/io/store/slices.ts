/**
 * How many changes of a segment go into one transaction of the database.
 *
 * Usually few, so that none holds up the event loop. While a commit waits for the segment, and the disk answers quickly,
 * more: a transaction costs two syncs whatever is in it. After a slow answer fewer, for each has to come in time.
 */

export class Slices {
  readonly #deadlineMs: number;
  #rows: number = ROWS;

  /** `deadlineMs`: when a transaction counts as not answered. */
  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
  }

  /** Of the next transaction, at most. */
  get rows(): number {
    return this.#rows;
  }

  /** Of the next transaction; the change that goes beyond is in it. */
  get bytes(): number {
    return Math.floor((SLICE_BYTES / ROWS) * this.#rows);
  }

  /** A transaction was synced. */
  answered(look: { readonly tookMs: number; readonly isWaitedFor: boolean }): void {
    const { tookMs, isWaitedFor } = look;
    if (tookMs > this.#deadlineMs / SLOW_PART) this.#rows = Math.max(ROWS_LEAST, Math.floor(this.#rows / 2));
    else if (!isWaitedFor) this.#rows = Math.min(ROWS, this.#rows * 2);
    else if (tookMs < this.#deadlineMs / QUICK_PART) this.#rows = Math.min(ROWS_MOST, this.#rows * 2);
  }
}

const ROWS = 1_000;
/** With `ROWS`. */
const SLICE_BYTES: number = 2 * 1024 * 1024;
/** A few milliseconds of the event loop. */
const ROWS_MOST = 4_000;
const ROWS_LEAST = 125;
/** Of the deadline: 3.3 s and 200 ms with the default. */
const SLOW_PART = 3;
const QUICK_PART = 50;
