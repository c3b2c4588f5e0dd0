/**
 * The rumours this node still has to spread.
 *
 * B1  At most one per member: a newer one replaces the older.
 * B2  The least sent goes first, then the longest, then the newest.
 * B3  A rumour is dropped after `retransmitLimit` sends; each receiver counts.
 */

import type { NodeName } from "../ids.ts";
import type { Broadcast } from "./messages.ts";
import { messageBytes } from "./sizes.ts";

export class BroadcastQueue {
  readonly #rumours = new Map<NodeName, Rumour>();
  #nextOrder = 0;

  get size(): number {
    return this.#rumours.size;
  }

  has(node: NodeName): boolean {
    return this.#rumours.has(node);
  }

  push(message: Broadcast): void {
    const bytes = messageBytes(message);
    this.#rumours.set(message.node, { message, bytes, order: this.#nextOrder++, sends: 0 });
  }

  /** What one packet with `room` bytes left carries; counts as one send of each. */
  take(room: number, sendLimit: number): readonly Broadcast[] {
    if (this.#rumours.size === 0) return [];
    const taken: Broadcast[] = [];
    let left = room;
    for (const rumour of [...this.#rumours.values()].sort(bySendsThenLength)) {
      const bytes = rumour.bytes + PART_BYTES;
      if (bytes > left || taken.length === PART_LIMIT) continue;
      left -= bytes;
      taken.push(rumour.message);
      rumour.sends++;
      if (rumour.sends >= sendLimit) this.#rumours.delete(rumour.message.node);
      if (left < SHORTEST_BYTES) break;
    }
    return taken;
  }
}

/** multiplier × ceil(log10(members + 1)), counted in whole numbers so that every engine agrees. */
export function retransmitLimit(multiplier: number, members: number): number {
  let digits = 0;
  for (let power = 1; power < members + 1; power *= 10) digits++;
  return multiplier * digits;
}

interface Rumour {
  readonly message: Broadcast;
  readonly bytes: number;
  readonly order: number;
  sends: number;
}

function bySendsThenLength(left: Rumour, right: Rumour): number {
  return left.sends - right.sends || right.bytes - left.bytes || right.order - left.order;
}

/** A compound names each part's length in two bytes and holds 255 parts, the first message among them. */
const PART_BYTES = 2;
const PART_LIMIT = 250;
const SHORTEST_BYTES = 38;
