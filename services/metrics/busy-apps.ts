/**
 * Which apps have a name of their own in metrics: the 200 busiest; the rest are `other`.
 *
 * B1  At most `named` names and `candidates` counters exist, however many apps there are.
 * B2  A name changes hands only to an app at least twice as busy of late, so series do not flap. The series of a name that
 *     was lost are dropped (`onDropped`); those of the newcomer begin at 0. Every counter, `other` too, only ever rises.
 */

export class BusyApps {
  readonly #named = new Map<string, number>();
  readonly #candidates = new Map<string, number>();
  readonly #limits: { readonly named: number; readonly candidates: number };
  readonly #dropped: ((app: string) => void)[] = [];

  constructor(limits: { readonly named?: number; readonly candidates?: number } = {}) {
    this.#limits = { named: limits.named ?? NAMED, candidates: limits.candidates ?? CANDIDATES };
  }

  /** The app's name if it has one here, or one is left for it, else `other`. */
  labelOf(app: string): string {
    if (this.#named.has(app)) return app;
    if (this.#named.size >= this.#limits.named) return OTHER;
    this.#named.set(app, 0);
    return app;
  }

  /** Some work of an app; gives the label to count it under. */
  touch(app: string, amount = 1): string {
    const seen = this.#named.get(app);
    if (seen !== undefined) {
      this.#named.set(app, seen + amount);
      return app;
    }
    if (this.#named.size < this.#limits.named) {
      this.#named.set(app, amount);
      return app;
    }
    const candidate = this.#candidates.get(app);
    if (candidate !== undefined || this.#candidates.size < this.#limits.candidates) {
      this.#candidates.set(app, (candidate ?? 0) + amount);
    }
    return OTHER;
  }

  onDropped(listener: (app: string) => void): void {
    this.#dropped.push(listener);
  }

  /** Ages all counts by half and gives names to those who have become busier (B2). Call it once in a while. */
  rerank(): void {
    const rising = [...this.#candidates].sort((a, b) => b[1] - a[1]);
    const falling = [...this.#named].sort((a, b) => a[1] - b[1]);
    for (let at = 0; at < rising.length && at < falling.length; at++) {
      const [newcomer, newcomerCount] = rising[at] as [string, number];
      const [loser, loserCount] = falling[at] as [string, number];
      if (newcomerCount < 2 * loserCount || newcomerCount === 0) break;
      this.#named.delete(loser);
      this.#candidates.delete(newcomer);
      this.#named.set(newcomer, newcomerCount);
      for (const listener of this.#dropped) listener(loser);
    }
    // Full: the less busy half makes room, or a newcomer would never be counted.
    if (this.#candidates.size >= this.#limits.candidates) {
      for (const [app] of rising.slice(rising.length >> 1)) this.#candidates.delete(app);
    }
    halve(this.#named, 0);
    halve(this.#candidates, 1);
  }
}

/** Entries that fall under `least` are forgotten. */
function halve(counts: Map<string, number>, least: number): void {
  for (const [app, count] of counts) {
    if (count / 2 < least) counts.delete(app);
    else counts.set(app, count / 2);
  }
}

/** No app can be called so by accident: it would be one label with all others, which is harmless. */
export const OTHER = "other";
const NAMED = 200;
const CANDIDATES = 2_000;
