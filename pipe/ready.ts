/** What has work to do on a node, in the order in which it got some. */

import type { Runnable } from "./call.ts";

export class Ready {
  #list: Runnable[] = [];
  #head = 0;
  /** It is at work: whoever asks for more now is heard anyway. */
  running = false;

  push(runnable: Runnable): void {
    this.#list.push(runnable);
  }

  /** Does about `budget` inputs of work. False: there is no more for now. */
  run(budget: number): boolean {
    let left = budget;
    this.running = true;
    while (left > 0 && this.#head < this.#list.length) {
      const runnable = this.#list[this.#head] as Runnable;
      this.#list[this.#head++] = IDLE;
      left -= runnable.step();
      if (this.#head > 4_096) {
        this.#list = this.#list.slice(this.#head);
        this.#head = 0;
      }
    }
    this.running = false;
    if (this.#head < this.#list.length) return true;
    this.#list.length = 0;
    this.#head = 0;
    return false;
  }
}

const IDLE: Runnable = { step: () => 0 };
