/** Inputs with their tokens, first in, first out: two arrays used as a ring, so that an input costs no object. */

import type { Token } from "./token.ts";

export class ItemQueue {
  #values: unknown[] = [];
  #tokens: (Token | undefined)[] = [];
  #mask = -1;
  #head = 0;
  length = 0;

  push(value: unknown, token: Token): void {
    if (this.length > this.#mask) this.#grow();
    const at = (this.#head + this.length) & this.#mask;
    this.#values[at] = value;
    this.#tokens[at] = token;
    this.length += 1;
  }

  /** The token of the next value; the queue is not empty. */
  token(): Token {
    return this.#tokens[this.#head] as Token;
  }

  /** The next value; the queue is not empty. */
  take(): unknown {
    const head = this.#head;
    const value = this.#values[head];
    this.#values[head] = undefined;
    this.#tokens[head] = undefined;
    this.#head = (head + 1) & this.#mask;
    this.length -= 1;
    return value;
  }

  clear(): void {
    this.#values = [];
    this.#tokens = [];
    this.#mask = -1;
    this.#head = 0;
    this.length = 0;
  }

  #grow(): void {
    const capacity = this.#mask < 0 ? FIRST_CAPACITY : (this.#mask + 1) * 2;
    const values = new Array<unknown>(capacity).fill(undefined);
    const tokens = new Array<Token | undefined>(capacity).fill(undefined);
    for (let at = 0; at < this.length; at++) {
      const from = (this.#head + at) & this.#mask;
      values[at] = this.#values[from];
      tokens[at] = this.#tokens[from];
    }
    this.#values = values;
    this.#tokens = tokens;
    this.#mask = capacity - 1;
    this.#head = 0;
  }
}

const FIRST_CAPACITY = 16;
