/**
 * When the database is told of a segment: not at once, if the segment after it says newer of the same rows.
 *
 * States of keys come again and again, and what was under way has ended soon: told later, most of a busy segment need not be told at
 * all (W6 of `journal.ts`). A segment of rows that stay is told nearly at once, so that it is done before the next one is full.
 */

export interface LullOptions {
  /** How much of the segment after it is full, 0 to 1. */
  readonly filled: () => number;
  /** Which share of its rows, 0 to 1, that segment says newer of by now. */
  readonly replaced: () => number;
}

export class Lull {
  #look: (() => boolean) | undefined;
  #end: () => void = () => {};

  /** Resolves when the segment is to be told. */
  async over({ filled, replaced }: LullOptions): Promise<void> {
    let isWorthIt: boolean | undefined;
    this.#look = () => {
      const full = filled();
      if (full >= FULL_MOST) return true;
      if (full < FULL_FIRST) return false;
      isWorthIt ??= replaced() >= REPLACED_LEAST;
      return !isWorthIt;
    };
    const timer = setTimeout(() => this.end(), LULL_MS);
    await new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    this.#look = undefined;
    clearTimeout(timer);
  }

  /** The segment after it has grown. */
  look(): void {
    if (this.#look?.() === true) this.end();
  }

  /** Somebody waits for the database. */
  end(): void {
    this.#end();
  }
}

/** Of the segment after it: when it is looked at whether waiting pays, and when there is just time enough for the database. */
const FULL_FIRST = 1 / 8;
const FULL_MOST = 1 / 2;
/** At `FULL_FIRST`. */
const REPLACED_LEAST = 1 / 8;
/** At most: what the database has not been told takes time at the next start, and of whoever takes over. */
const LULL_MS = 250;
