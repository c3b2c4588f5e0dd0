/**
 * How well this node itself does (Lifeguard's local health multiplier): 0 is well. A node that misses acks and nacks, has
 * to refute or stands still becomes slower to accuse others.
 */

export class LocalHealth {
  readonly #levels: number;
  #score = 0;

  constructor(levels: number) {
    this.#levels = levels;
  }

  /** 0 to levels - 1. */
  get score(): number {
    return this.#score;
  }

  change(delta: number): void {
    this.#score = Math.min(this.#levels - 1, Math.max(0, this.#score + delta));
  }

  scale(ms: number): number {
    return ms * (this.#score + 1);
  }
}
