/**
 * What waits for one peer, bounded by bytes, in three ranks.
 *
 * Q1  Register messages (leases, votes) leave before everything else.
 * Q2  Rows of transfers leave last, but some with each frame: they are most of the bytes, and nobody waits for one of them.
 * Q3  Rows of each transfer leave in their order, and transfers by turns: what one that is cut over has left to send does not
 *     wait for all of another.
 */

import { Fifo } from "../../tasks/fifo.ts";

export interface Encoded {
  readonly bytes: Buffer;
  readonly urgent: boolean;
  /** Rows of a transfer, and of which one (Q3). */
  readonly bulk?: number | undefined;
}

export class SendQueue {
  readonly #byteLimit: number;
  readonly #urgent = new Fifo<Buffer>();
  readonly #usual = new Fifo<Buffer>();
  /** The transfer whose turn is next comes first. */
  readonly #bulk = new Map<number, Fifo<Buffer>>();
  #bytes = 0;

  constructor(byteLimit: number) {
    this.#byteLimit = byteLimit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#urgent.size === 0 && this.#usual.size === 0 && this.#bulk.size === 0;
  }

  /** False when there is no room. Urgent messages may take a tenth more than the limit: a full queue must not cost a lease. */
  push({ bytes, urgent, bulk }: Encoded): boolean {
    const room = urgent ? this.#byteLimit * 1.1 : this.#byteLimit;
    if (this.#bytes + bytes.length > room) return false;
    this.#bytes += bytes.length;
    if (urgent) this.#urgent.push(bytes);
    else if (bulk === undefined) this.#usual.push(bytes);
    else {
      const rows = this.#bulk.get(bulk) ?? new Fifo<Buffer>();
      this.#bulk.set(bulk, rows);
      rows.push(bytes);
    }
    return true;
  }

  /** Messages for one frame of about `byteTarget`, and never more than `byteMost` (one message at least). */
  take({ byteTarget, byteMost }: { readonly byteTarget: number; readonly byteMost: number }): Buffer[] {
    const taken: Buffer[] = [];
    let bytes = 0;
    for (let next = this.#urgent.peek(); next !== undefined; next = this.#urgent.peek()) {
      if (taken.length > 0 && bytes + next.length > byteTarget) return this.#left(taken, bytes); // Q1
      this.#urgent.shift();
      taken.push(next);
      bytes += next.length;
    }
    const usualTarget = this.#bulk.size === 0 ? byteTarget : byteTarget / 2; // Q2
    for (let next = this.#usual.peek(); next !== undefined; next = this.#usual.peek()) {
      if (taken.length > 0 && bytes + next.length > usualTarget) break;
      this.#usual.shift();
      taken.push(next);
      bytes += next.length;
    }
    let isFirst = true; // Q2
    for (const [transfer, rows] of this.#bulk) {
      if (bytes >= byteTarget && !isFirst) break;
      isFirst = false;
      if (taken.length > 0 && bytes + rows.peek()!.length > byteMost) break;
      const next = rows.shift()!;
      taken.push(next);
      bytes += next.length;
      this.#bulk.delete(transfer);
      if (rows.size > 0) this.#bulk.set(transfer, rows); // Q3: and so it comes again in this very loop
    }
    return this.#left(taken, bytes);
  }

  #left(taken: Buffer[], bytes: number): Buffer[] {
    this.#bytes -= bytes;
    return taken;
  }

  clear(): void {
    this.#urgent.clear();
    this.#usual.clear();
    this.#bulk.clear();
    this.#bytes = 0;
  }
}
