/** Ring changes that somebody asked for and waits to hear of: each ends with the decided document, or with why not. */

import type { RingDocument } from "../document.ts";
import { RingError } from "../errors.ts";
import type { Instant } from "../machine.ts";

export interface Wish {
  readonly apply: (document: RingDocument) => RingDocument;
  readonly done: (result: RingDocument | RingError) => void;
  readonly deadline: Instant;
}

export class Wishes {
  #waiting: readonly Wish[];

  constructor(waiting: readonly Wish[] = []) {
    this.#waiting = waiting;
  }

  /** False if it was refused at once. */
  add(wish: Wish): boolean {
    if (this.#waiting.length < WISH_LIMIT) {
      this.#waiting = [...this.#waiting, wish];
      return true;
    }
    wish.done(new RingError("RING_BUSY", "too many ring changes are waiting", { retryAfterMs: 500 }));
    return false;
  }

  /** All of them, for one proposal. */
  take(): readonly Wish[] {
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  /** Those of a proposal that was not decided: before the ones that came since. */
  putBack(wishes: readonly Wish[]): void {
    this.#waiting = [...wishes, ...this.#waiting];
  }

  expire(now: Instant): void {
    const late = this.#waiting.filter((wish) => wish.deadline <= now);
    if (late.length === 0) return;
    this.#waiting = this.#waiting.filter((wish) => wish.deadline > now);
    for (const wish of late)
      wish.done(new RingError("RING_BUSY", "the voters did not decide in time", { retryAfterMs: 1_000 }));
  }
}

const WISH_LIMIT = 64;
