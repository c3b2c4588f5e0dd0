/**
 * Work that holds everything else up for a millisecond or more, such as reading a page of rows: one piece in each turn of the
 * event loop, so that what peers and clients say, and what is said to them, passes between two pieces.
 */

import { Fifo } from "../tasks/fifo.ts";

export class Turns {
  /** As many as are asked for at once: whoever asks waits for its answer before it asks again. */
  readonly #work = new Fifo<() => void>();
  #waiting = false;

  add(piece: () => void): void {
    this.#work.push(piece);
    this.#wait();
  }

  #wait(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    setImmediate(() => {
      this.#waiting = false;
      const piece = this.#work.shift();
      if (this.#work.size > 0) this.#wait();
      piece?.();
    });
  }
}
