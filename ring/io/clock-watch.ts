/**
 * Notices that the machine was suspended: the system's uptime counts that, the monotonic clock does not, and a lease held
 * by the latter alone would outlive its grant (ownership rule 12).
 *
 * Asked before every step of the node, so that nothing is done under such a lease; it looks at the clocks now and then.
 */

export interface Clocks {
  /** The clock that a lease is counted by. */
  readonly monotonicMs: () => number;
  /** Since the machine started, suspends included. */
  readonly uptimeMs: () => number;
}

export class ClockWatch {
  readonly #clocks: Clocks;
  #ahead: number;
  #lookedAt: number;

  constructor(clocks: Clocks) {
    this.#clocks = clocks;
    this.#lookedAt = clocks.monotonicMs();
    this.#ahead = clocks.uptimeMs() - this.#lookedAt;
  }

  /** True once after suspends that come to more than a second. `nowMs` is monotonic. */
  suspended(nowMs: number): boolean {
    const passed = nowMs - this.#lookedAt;
    if (passed < LOOK_MS) return false;
    this.#lookedAt = nowMs;
    const ahead = this.#clocks.uptimeMs() - nowMs;
    const jumped = Math.abs(ahead - this.#ahead) > SUSPEND_MS;
    // A slow drift between the two is no suspend; short suspends add up.
    const drift = jumped ? Number.POSITIVE_INFINITY : passed * DRIFT;
    this.#ahead = Math.min(Math.max(ahead, this.#ahead - drift), this.#ahead + drift);
    return jumped;
  }
}

/** A suspend goes unnoticed for this much of the monotonic clock at most, if the node does anything at all. */
const LOOK_MS = 20;
const SUSPEND_MS = 1_000;
/** How fast the clocks may part by themselves: the system adjusts both, and by less than this. */
const DRIFT = 0.002;
