/**
 * A voter's side of leases: to whom it granted one, and for how long it must still refuse to take from them.
 *
 * G1  A grant counts for `leaseMs` x margin on the voter's own clock, so that it outlives the holder's lease although
 *     the two clocks drift (ownership rule 10).
 * G2  A voter that may not know all grants acts as if it had just granted every lease (`grantEveryone`): on start, and on
 *     learning another voter set or skipping an epoch (rule 10).
 * G3  A member whose revocation was refused because of a grant gets no further one until the epoch is decided (rule 11).
 *     That protects only progress, never safety, so it lapses when nobody has asked again for two leases: a proposer that
 *     died right after asking must not lock a healthy member out of a ring at rest.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";

export interface GrantsOptions {
  readonly leaseMs: number;
  /** Above 1 by more than twice the worst drift of a clock. */
  readonly driftMargin: number;
}

export class Grants {
  readonly #heldMs: number;
  readonly #withholdMs: number;
  readonly #grantedAt = new Map<NodeName, Instant>();
  /** Until when to refuse renewals (G3). */
  readonly #withheld = new Map<NodeName, Instant>();
  #everyoneAt = Number.NEGATIVE_INFINITY;
  #except: NodeName | undefined;

  constructor(options: GrantsOptions) {
    this.#heldMs = options.leaseMs * options.driftMargin;
    this.#withholdMs = options.leaseMs * 2;
  }

  /** False when the member gets none now (G3). The caller has checked epochs and votes. */
  grant(now: Instant, member: NodeName): boolean {
    const until = this.#withheld.get(member);
    if (until !== undefined && now < until) return false;
    this.#withheld.delete(member);
    this.#grantedAt.set(member, now);
    return true;
  }

  /** `except`: whose earlier leases are proved to have ended. */
  grantEveryone(now: Instant, except?: NodeName): void {
    this.#everyoneAt = now;
    this.#except = except;
  }

  /** How long this voter must still refuse to take partitions from the member without its consent; 0 for not at all. */
  waitMs(now: Instant, member: NodeName): number {
    const everyoneAt = member === this.#except ? Number.NEGATIVE_INFINITY : this.#everyoneAt;
    const last = Math.max(everyoneAt, this.#grantedAt.get(member) ?? Number.NEGATIVE_INFINITY);
    return Math.max(0, Math.ceil(last + this.#heldMs - now));
  }

  withhold(now: Instant, member: NodeName): void {
    this.#withheld.set(member, now + this.#withholdMs);
  }

  /** The epoch is decided: renewals resume, and names that are no longer members are forgotten once run out. */
  decided(now: Instant, isMember: (name: NodeName) => boolean): void {
    this.#withheld.clear();
    for (const name of this.#grantedAt.keys()) {
      if (!isMember(name) && this.waitMs(now, name) === 0) this.#grantedAt.delete(name);
    }
  }
}
