/**
 * Where the outputs of a run end, at its coordinator: they wait here until a reader takes and acknowledges them.
 *
 * S1  At most `SINK_LIMIT` wait; a reader that stops reading stops the last fitting, and through it the source.
 * S2  An output is acknowledged when its reader says so, not when it was handed out.
 */

import { SINK_LIMIT } from "./limits.ts";
import { ParkedItem, type Room, type Sender, Waiters } from "./room.ts";
import type { Run } from "./run.ts";
import type { Target } from "./stage.ts";
import { settle, type Token } from "./token.ts";

export class Sink implements Room {
  /** Nobody reads: outputs are counted and acknowledged at once. */
  readonly drains: boolean;
  received = 0;
  acknowledged = 0;
  /** Something waits, where nothing did. */
  onReady: () => void = nothing;
  #values: unknown[] = [];
  #tokens: Token[] = [];
  #handed: Token[][] = [];
  readonly #waiters = new Waiters();

  constructor(drains: boolean) {
    this.drains = drains;
  }

  get length(): number {
    return this.#values.length;
  }

  get blocked(): number {
    return this.#waiters.length;
  }

  offer(value: unknown, token: Token): boolean {
    if (this.drains) {
      this.received += 1;
      this.acknowledged += 1;
      settle(token, 1);
      return true;
    }
    if (this.#values.length >= SINK_LIMIT || this.#waiters.length > 0) return false;
    this.force(value, token);
    return true;
  }

  force(value: unknown, token: Token): void {
    this.received += 1;
    this.#values.push(value);
    this.#tokens.push(token);
    if (this.#values.length === 1) this.onReady();
  }

  park(sender: Sender): void {
    this.#waiters.push(sender);
  }

  /** All that waits (at most 1,024); undefined for nothing. Acknowledge it in the same order. */
  take(): unknown[] | undefined {
    if (this.#values.length === 0) return undefined;
    const values = this.#values;
    this.#handed.push(this.#tokens);
    this.#values = [];
    this.#tokens = [];
    while (this.#values.length < SINK_LIMIT) {
      const sender = this.#waiters.shift();
      if (sender === undefined) break;
      sender.resume(this);
    }
    return values;
  }

  /** The reader is done with the oldest array it took (S2). */
  acknowledge(): void {
    const tokens = this.#handed.shift();
    if (tokens === undefined) return;
    this.acknowledged += tokens.length;
    let at = 0;
    while (at < tokens.length) {
      const token = tokens[at] as Token;
      let count = 1;
      while (at + count < tokens.length && tokens[at + count] === token) count += 1;
      settle(token, count);
      at += count;
    }
  }

  close(): void {
    this.#waiters.clear();
    this.#handed = [];
  }
}

/** The last target of a run: the coordinator's sink, here or over the link. */
export class SinkTarget implements Target {
  blockedAt = 0;
  readonly #run: Run;
  readonly #index: number;

  constructor(run: Run, index: number) {
    this.#run = run;
    this.#index = index;
  }

  deliver(value: unknown, token: Token): Room | undefined {
    const { sink } = this.#run;
    if (sink !== undefined) return sink.offer(value, token) ? undefined : sink;
    const link = this.#run.linkTo(this.#run.coordinatorPeer, this.#index);
    return link.offer(value, token, 0) ? undefined : link;
  }

  arrive(value: unknown, token: Token): void {
    const { sink } = this.#run;
    if (sink === undefined) throw new Error("outputs go to the coordinator only");
    if (!sink.offer(value, token)) sink.park(new ParkedItem(value, token, 0));
  }
}

function nothing(): void {}
