/** Work that fails for a reason that passes: tried again after twice as long each time, and told without repeating itself. */

import type { Instant } from "../machine.ts";

export class Trouble {
  #failures = 0;
  #restsUntil: Instant = Number.NEGATIVE_INFINITY;
  #detail: string | undefined;

  /** Why the work failed; undefined while it does not. */
  get detail(): string | undefined {
    return this.#detail;
  }

  /** The work is not tried before this. */
  get restsUntil(): Instant {
    return this.#restsUntil;
  }

  /** `tell`: a new reason, or the first, second, fourth, eighth failure in a row. */
  failed(now: Instant, detail: string): { readonly restMs: number; readonly tell: boolean } {
    const restMs = doubled(REST_MS, this.#failures, REST_MOST_MS);
    this.#failures += 1;
    this.#restsUntil = now + restMs;
    const tell = this.#detail !== detail || (this.#failures & (this.#failures - 1)) === 0;
    this.#detail = detail;
    return { restMs, tell };
  }

  over(): void {
    this.#failures = 0;
    this.#detail = undefined;
  }
}

export function doubled(firstMs: number, times: number, mostMs: number): number {
  return Math.min(mostMs, firstMs * 2 ** Math.min(times, DOUBLINGS_MOST));
}

const REST_MS = 500;
const REST_MOST_MS = 10_000;
const DOUBLINGS_MOST = 10;
