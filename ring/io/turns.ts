/**
 * Work that holds everything else up for a millisecond or more, such as reading a page of rows: a piece, or a few, in each turn of
 * the event loop, so that what peers and clients say, and what is said to them, passes between two pieces.
 */

import { Fifo } from "../tasks/fifo.ts";

export class Turns {
  /** As many as are asked for at once: whoever asks waits for its answer before it asks again. */
  readonly #work = new Fifo<() => void>();
  #waiting = false;
  readonly #pieces: number;

  /** In each turn. */
  constructor(pieces: number) {
    this.#pieces = pieces;
  }

  add(piece: () => void): void {
    this.#work.push(piece);
    this.#wait();
  }

  #wait(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    setImmediate(() => {
      this.#waiting = false;
      const pieces = Math.min(this.#pieces, this.#work.size);
      if (this.#work.size > pieces) this.#wait();
      for (let piece = 0; piece < pieces; piece++) this.#work.shift()?.();
    });
  }
}
