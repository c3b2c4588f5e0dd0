/** Collects the effects of one step; every UDP send takes rumours along in the room that is left (SWIM's piggyback). */

import type { Address } from "./address.ts";
import type { BroadcastQueue } from "./broadcasts.ts";
import { retransmitLimit } from "./broadcasts.ts";
import type { SwimEffect } from "./events.ts";
import type { MemberRecord, MemberTable } from "./member-table.ts";
import type { SwimMessage } from "./messages.ts";
import type { SwimProfile } from "./profile.ts";
import { messageBytes } from "./sizes.ts";
import { SPEAKS } from "./versions.ts";

export class Outbox {
  readonly #queue: BroadcastQueue;
  readonly #members: MemberTable;
  readonly #profile: SwimProfile;
  #effects: SwimEffect[] = [];

  constructor(parts: { readonly queue: BroadcastQueue; readonly members: MemberTable; readonly profile: SwimProfile }) {
    this.#queue = parts.queue;
    this.#members = parts.members;
    this.#profile = parts.profile;
  }

  /** The effects so far; begins a new list. */
  take(): readonly SwimEffect[] {
    if (this.#effects.length === 0) return NONE;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  push(effect: SwimEffect): void {
    this.#effects.push(effect);
  }

  /** A probe or an answer to one. Memberlist sends these without a checksum. */
  send(to: Address, message: SwimMessage): void {
    this.#effects.push({ type: "send", to, messages: [message, ...this.#rumours([message])], checksum: false });
  }

  /** Messages for a known member, as one compound. */
  sendToMember(to: MemberRecord, messages: readonly SwimMessage[]): void {
    const checksum = to.versions[1] >= SPEAKS.checksum;
    this.#effects.push({ type: "send", to: to.address, messages: [...messages, ...this.#rumours(messages)], checksum });
  }

  /** One message and no rumours: those keep their sends for when this packet is lost. */
  tell(to: MemberRecord, message: SwimMessage): void {
    const checksum = to.versions[1] >= SPEAKS.checksum;
    this.#effects.push({ type: "send", to: to.address, messages: [message], checksum });
  }

  /** Nothing but rumours. */
  gossip(to: MemberRecord): void {
    const messages = this.#rumours([]);
    if (messages.length === 0) return;
    const checksum = to.versions[1] >= SPEAKS.checksum;
    this.#effects.push({ type: "send", to: to.address, messages, checksum });
  }

  #rumours(messages: readonly SwimMessage[]): readonly SwimMessage[] {
    if (this.#queue.size === 0) return [];
    const used = messages.reduce((sum, message) => sum + PART_BYTES + messageBytes(message), 0);
    const room = this.#profile.packetByteLimit - HEAD_BYTES - used;
    return this.#queue.take(room, retransmitLimit(this.#profile.retransmitMultiplier, this.#members.liveCount()));
  }
}

const NONE: readonly SwimEffect[] = [];
const PART_BYTES = 2;
/** Compound 2, checksum 5, and 29 for the encryption to come. */
const HEAD_BYTES = 36;
