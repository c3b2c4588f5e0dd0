/** How long calls of a worker were under way, and none. */

export class WorkTime {
  #workMs = 0;
  #since: number | undefined = undefined;
  readonly #startedAt: number;

  constructor(now: number) {
    this.#startedAt = now;
  }

  works(now: number): void {
    this.#since ??= now;
  }

  rests(now: number): void {
    if (this.#since === undefined) return;
    this.#workMs += now - this.#since;
    this.#since = undefined;
  }

  times(now: number): { readonly workMs: number; readonly idleMs: number } {
    const workMs = this.#workMs + (this.#since === undefined ? 0 : now - this.#since);
    return { workMs: Math.round(workMs), idleMs: Math.round(Math.max(0, now - this.#startedAt - workMs)) };
  }
}
