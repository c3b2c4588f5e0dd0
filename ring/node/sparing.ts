/** How often what peers cause is written down: the first all, then a few each second, so that nobody floods log and events. */

import type { Instant } from "../machine.ts";

export class Sparing {
  #left = BURST;
  #since: Instant | undefined;
  #leftOut = 0;

  /** Undefined: not this one. Else how many were left out since the last. */
  take(now: Instant): number | undefined {
    const earned = Math.floor(Math.max(0, now - (this.#since ?? now)) / EVERY_MS);
    this.#since = (this.#since ?? now) + earned * EVERY_MS;
    this.#left = Math.min(BURST, this.#left + earned);
    if (this.#left === 0) {
      this.#leftOut += 1;
      return undefined;
    }
    this.#left -= 1;
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    return leftOut;
  }
}

/** A ring of hundreds that stops as a whole is told of each. */
const BURST = 256;
const EVERY_MS = 500;
