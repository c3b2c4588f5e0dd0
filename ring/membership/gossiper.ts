/** When rumours are sent on their own: every interval to a few random members, and not at all when there is nothing to say. */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { BroadcastQueue } from "./broadcasts.ts";
import type { MemberTable } from "./member-table.ts";
import { isLive } from "./member-table.ts";
import type { Broadcast } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { SwimProfile } from "./profile.ts";

export class Gossiper {
  readonly #members: MemberTable;
  readonly #queue: BroadcastQueue;
  readonly #outbox: Outbox;
  readonly #profile: SwimProfile;
  #nextAt: Instant | undefined;
  #lastAt: Instant = Number.NEGATIVE_INFINITY;

  constructor(parts: {
    readonly members: MemberTable;
    readonly queue: BroadcastQueue;
    readonly outbox: Outbox;
    readonly profile: SwimProfile;
  }) {
    this.#members = parts.members;
    this.#queue = parts.queue;
    this.#outbox = parts.outbox;
    this.#profile = parts.profile;
  }

  nextDeadline(): Instant | undefined {
    return this.#nextAt;
  }

  spread(now: Instant, message: Broadcast): void {
    this.#queue.push(message);
    this.#plan(now);
  }

  /**
   * In a small ring whoever has news of his own tells everybody at once; the rumour goes round besides, for those whose
   * packet is lost. In a larger one the rumour must do.
   */
  tellAll(message: Broadcast): void {
    if (this.#members.liveCount() > TOLD_DIRECTLY) return;
    for (const record of this.#members.all())
      if (record.name !== this.#members.self.name && isLive(record)) this.#outbox.tell(record, message);
  }

  /** A message of the layer above. */
  spreadUser(now: Instant, payload: Uint8Array): void {
    this.#queue.pushUser(payload);
    this.#plan(now);
  }

  isSpreadingUser(): boolean {
    return this.#queue.userSize > 0;
  }

  /** True until what was said about this member has been sent often enough. */
  isSpreading(node: NodeName): boolean {
    return this.#queue.has(node);
  }

  due(now: Instant): void {
    if (this.#nextAt === undefined || now < this.#nextAt) return;
    const { gossipNodes, gossipIntervalMs, gossipToTheDeadMs } = this.#profile;
    const targets = this.#members.pick(
      gossipNodes,
      ({ state }) => state.type !== "left" && (state.type !== "dead" || now - state.since < gossipToTheDeadMs),
    );
    for (const target of targets) this.#outbox.gossip(target);
    this.#lastAt = now;
    // With nobody to tell, rumours wait for the first member: its arrival is a rumour itself, and begins this again.
    this.#nextAt = this.#queue.size > 0 && targets.length > 0 ? now + gossipIntervalMs : undefined;
  }

  #plan(now: Instant): void {
    this.#nextAt ??= Math.max(now, this.#lastAt + this.#profile.gossipIntervalMs);
  }
}

/** Members up to which one packet to each costs less than the rounds that it saves. */
const TOLD_DIRECTLY = 32;
