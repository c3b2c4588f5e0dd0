/**
 * The rumours this node still has to spread.
 *
 * B1  At most one per member: a newer one replaces the older.
 * B2  The least sent goes first, then the longest, then the newest.
 * B3  A rumour is dropped after `retransmitLimit` sends; each receiver counts.
 * B4  Beyond a limit the rumour that was heard longest ago is dropped: push/pull tells what it would have told.
 * B5  Messages of the layer above ride in the room that is left; beyond a limit the oldest is dropped.
 */

import type { NodeName } from "../ids.ts";
import type { Broadcast, SwimMessage, User } from "./messages.ts";
import { messageBytes } from "./sizes.ts";

export class BroadcastQueue {
  readonly #rumours = new Map<NodeName, Rumour<Broadcast>>();
  readonly #users = new Map<number, Rumour<User>>();
  #nextOrder = 0;

  get size(): number {
    return this.#rumours.size + this.#users.size;
  }

  /** Messages of the layer above. */
  get userSize(): number {
    return this.#users.size;
  }

  has(node: NodeName): boolean {
    return this.#rumours.has(node);
  }

  push(message: Broadcast): void {
    const bytes = messageBytes(message);
    this.#rumours.delete(message.node);
    if (this.#rumours.size >= RUMOUR_LIMIT) this.#rumours.delete(this.#rumours.keys().next().value!); // B4
    this.#rumours.set(message.node, { message, bytes, order: this.#nextOrder++, sends: 0 });
  }

  pushUser(payload: Uint8Array): void {
    const message: User = { type: "user", payload };
    const order = this.#nextOrder++;
    this.#users.set(order, { message, bytes: messageBytes(message), order, sends: 0 });
    if (this.#users.size > USER_LIMIT) this.#users.delete(this.#users.keys().next().value!);
  }

  /** What one packet with `room` bytes left carries; counts as one send of each. */
  take(room: number, sendLimit: number): readonly SwimMessage[] {
    const taken: SwimMessage[] = [];
    const left = this.#fill(taken, room, { from: this.#rumours, key: ({ message }) => message.node, sendLimit });
    this.#fill(taken, left, { from: this.#users, key: ({ order }) => order, sendLimit });
    return taken;
  }

  #fill<Key, M extends SwimMessage>(
    taken: SwimMessage[],
    room: number,
    { from, key, sendLimit }: Source<Key, M>,
  ): number {
    let left = room;
    if (from.size === 0 || left < SHORTEST_BYTES) return left;
    for (const rumour of [...from.values()].sort(bySendsThenLength)) {
      const bytes = rumour.bytes + PART_BYTES;
      if (bytes > left || taken.length === PART_LIMIT) continue;
      left -= bytes;
      taken.push(rumour.message);
      rumour.sends++;
      if (rumour.sends >= sendLimit) from.delete(key(rumour));
      if (left < SHORTEST_BYTES) break;
    }
    return left;
  }
}

/** multiplier × ceil(log10(members + 1)), counted in whole numbers so that every engine agrees. */
export function retransmitLimit(multiplier: number, members: number): number {
  let digits = 0;
  for (let power = 1; power < members + 1; power *= 10) digits++;
  return multiplier * digits;
}

interface Source<Key, M extends SwimMessage> {
  readonly from: Map<Key, Rumour<M>>;
  readonly key: (rumour: Rumour<M>) => Key;
  readonly sendLimit: number;
}

interface Rumour<M extends SwimMessage> {
  readonly message: M;
  readonly bytes: number;
  readonly order: number;
  sends: number;
}

function bySendsThenLength(left: Rumour<SwimMessage>, right: Rumour<SwimMessage>): number {
  return left.sends - right.sends || right.bytes - left.bytes || right.order - left.order;
}

/** A compound names each part's length in two bytes and holds 255 parts, the first message among them. */
const PART_BYTES = 2;
const PART_LIMIT = 250;
const USER_LIMIT = 1_024;
/** As many as the table has members. */
const RUMOUR_LIMIT = 8_192;
const SHORTEST_BYTES = 38;
