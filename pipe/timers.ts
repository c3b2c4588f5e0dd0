/**
 * What is to happen later on a node: retries, graces, checkpoints. The host asks for the first deadline after each turn, and
 * there are as many as inputs that wait to be tried again.
 */

import { TimerHeap } from "../ring/tasks/timers.ts";

export class Timers {
  readonly #timers = new TimerHeap<() => void>();

  add(at: number, run: () => void): void {
    this.#timers.set(at, run);
  }

  /** Infinity: none. */
  get first(): number {
    return this.#timers.next() ?? Number.POSITIVE_INFINITY;
  }

  /** What they add runs the next time. */
  run(now: number): void {
    const due: (() => void)[] = [];
    for (let timer = this.#timers.take(now); timer !== undefined; timer = this.#timers.take(now)) due.push(timer.wake);
    for (const run of due) run();
  }
}
