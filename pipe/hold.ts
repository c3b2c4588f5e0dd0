/**
 * Keeps one sender's inputs for a partition in order while the partition moves: what was given to the old owner goes first.
 *
 * H1  After a move a sender gives nothing to the new owner until all that it had given to the old one has an end, or has been
 *     sent again because that one was lost.
 * H2  Inputs that arrive for a worker which is about to leave follow what it has queued.
 * H3  Inputs that come from other nodes never wait for H1: what they wait for might be themselves.
 */

import { type Room, type Sender, Waiters } from "./room.ts";
import type { Token } from "./token.ts";

export interface HoldOwner {
  /** To where the ring says now, whatever is held. */
  place(value: unknown, token: Token, partition: number): void;
}

class Hold implements Room {
  readonly batches: Set<number> = new Set();
  /** The worker here has not left yet. */
  leaving = false;
  readonly waiters: Waiters = new Waiters();
  /** Inputs from other nodes, which follow the leaving worker's queue and wait for nothing else. */
  readonly arrived: Waiters = new Waiters();
  readonly #owner: HoldOwner;

  constructor(owner: HoldOwner) {
    this.#owner = owner;
  }

  force(value: unknown, token: Token, partition: number): void {
    this.#owner.place(value, token, partition);
  }

  park(sender: Sender): void {
    this.waiters.push(sender);
  }
}

export class Holds {
  readonly #owner: HoldOwner;
  readonly #holds = new Map<number, Hold>();

  constructor(owner: HoldOwner) {
    this.#owner = owner;
  }

  get size(): number {
    return this.#holds.size;
  }

  /** Where a sender of this node waits (H1, H2). */
  at(partition: number): Room | undefined {
    return this.#holds.get(partition);
  }

  /** An input from another node; false: it need not wait (H2, H3). */
  parkArrived(partition: number, sender: Sender): boolean {
    const hold = this.#holds.get(partition);
    if (hold?.leaving !== true) return false;
    hold.arrived.push(sender);
    return true;
  }

  untilAcknowledged(partition: number, batch: number): void {
    this.#of(partition).batches.add(batch);
  }

  untilLeft(partition: number): void {
    this.#of(partition).leaving = true;
  }

  acknowledged(batch: number, partitions: readonly number[]): void {
    for (const partition of partitions) {
      const hold = this.#holds.get(partition);
      if (hold?.batches.delete(batch) === true) this.#look(partition, hold);
    }
  }

  left(partition: number): void {
    const hold = this.#holds.get(partition);
    if (hold === undefined) return;
    hold.leaving = false;
    release(hold.arrived, hold);
    this.#look(partition, hold);
  }

  clear(): void {
    for (const hold of this.#holds.values()) {
      hold.waiters.clear();
      hold.arrived.clear();
    }
    this.#holds.clear();
  }

  #of(partition: number): Hold {
    let hold = this.#holds.get(partition);
    if (hold === undefined) {
      hold = new Hold(this.#owner);
      this.#holds.set(partition, hold);
    }
    return hold;
  }

  #look(partition: number, hold: Hold): void {
    if (hold.leaving || hold.batches.size > 0) return;
    this.#holds.delete(partition);
    release(hold.waiters, hold);
  }
}

function release(waiters: Waiters, room: Room): void {
  for (let sender = waiters.shift(); sender !== undefined; sender = waiters.shift()) sender.resume(room);
}
