/** What is to happen later on a node: retries, graces, checkpoints. Few at a time; the host asks for the first deadline. */

export class Timers {
  #timers: { readonly at: number; readonly run: () => void }[] = [];

  add(at: number, run: () => void): void {
    this.#timers.push({ at, run });
  }

  /** Infinity: none. */
  get first(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const timer of this.#timers) if (timer.at < first) first = timer.at;
    return first;
  }

  run(now: number): void {
    const due = this.#timers.filter((timer) => timer.at <= now);
    if (due.length === 0) return;
    this.#timers = this.#timers.filter((timer) => timer.at > now);
    for (const timer of due) timer.run();
  }
}
