/**
 * Where an output waits when the next place is full: the sender is parked there, and released in order when there is room.
 *
 * A parked sender holds one call, one arrived input or one client's `send`; so the number of waiters is bounded by what may
 * send at all (workers times concurrency, the window of each peer, the client's own limit).
 */

import type { Token } from "./token.ts";

export interface Room {
  /** Takes one input although others wait: only for a sender that was just released. */
  force(value: unknown, token: Token, partition: number): void;
  park(sender: Sender): void;
}

export interface Sender {
  /** There is room for one: give it with `room.force`, then go on. */
  resume(room: Room): void;
}

/** First in, first out, without moving what is behind. */
export class Waiters {
  #list: (Sender | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#list.length - this.#head;
  }

  push(sender: Sender): void {
    this.#list.push(sender);
  }

  shift(): Sender | undefined {
    const sender = this.#list[this.#head];
    if (sender === undefined) return undefined;
    this.#list[this.#head++] = undefined;
    if (this.#head === this.#list.length) {
      this.#list.length = 0;
      this.#head = 0;
    } else if (this.#head > 1_024) {
      this.#list = this.#list.slice(this.#head);
      this.#head = 0;
    }
    return sender;
  }

  clear(): void {
    this.#list = [];
    this.#head = 0;
  }
}

/** An input that has arrived from elsewhere and waits for a place in a worker's queue. */
export class ParkedItem implements Sender {
  readonly #value: unknown;
  readonly #token: Token;
  readonly #partition: number;

  constructor(value: unknown, token: Token, partition: number) {
    this.#value = value;
    this.#token = token;
    this.#partition = partition;
  }

  resume(room: Room): void {
    room.force(this.#value, this.#token, this.#partition);
  }
}
