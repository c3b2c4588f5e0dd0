/**
 * Directories of dead members that the ring believes to be in the hands of a peer, which does not have them any more. Nothing of
 * their partitions starts, nor moves, while their tasks are awaited from there.
 *
 * B1  A peer that is gone has none, unless another one on that machine may take it over.
 * B2  One that is there and does not say for `LEFT_MS` that it has it has given it back (`adoption.ts`, A7): its disk fails. It tries
 *     again, and so may others; what comes then comes late. The member itself sends its rows when it is back, and can be linked to.
 */

import type { RingDocument } from "../document.ts";
import { findMember } from "../draft.ts";
import type { MemberId, NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { RESTART_GRACE_MS } from "./adoption.ts";
import type { Liveness } from "./liveness.ts";

interface Adoption {
  readonly member: NodeName;
  readonly memberId: MemberId;
  readonly adopter: NodeName;
}

export class LostAdoptions {
  readonly #liveness: Liveness;
  /** By member: since when nobody has its directory. */
  readonly #leftSince = new Map<MemberId, Instant>();
  #lookedAt: Instant = Number.NEGATIVE_INFINITY;

  constructor(liveness: Liveness) {
    this.#liveness = liveness;
  }

  /** Each member once. `mayBeSaved`: others on the member's machine are there. */
  in(now: Instant, document: RingDocument, mayBeSaved: (member: NodeName) => boolean): readonly Adoption[] {
    const adoptions = new Map<MemberId, Adoption>();
    for (const { member, memberId, where } of document.stranded)
      if (where.type === "adopter") adoptions.set(memberId, { member, memberId, adopter: where.adopter });
    if (now - this.#lookedAt > UNSEEN_MS) this.#leftSince.clear();
    this.#lookedAt = now;
    const left = new Set([...adoptions.values()].filter((adoption) => this.#isLeft(now, adoption, document)));
    for (const id of this.#leftSince.keys()) if (!left.has(adoptions.get(id)!)) this.#leftSince.delete(id);
    for (const { memberId } of left) if (!this.#leftSince.has(memberId)) this.#leftSince.set(memberId, now);
    return [...adoptions.values()].filter(({ member, memberId, adopter }) =>
      this.#isGone(now, adopter) ? !mayBeSaved(member) : now - (this.#leftSince.get(memberId) ?? now) >= LEFT_MS,
    );
  }

  /** B1 */
  #isGone(now: Instant, name: NodeName): boolean {
    return !this.#liveness.live(now, name) && !this.#liveness.awaited(now, name);
  }

  /** B2 */
  #isLeft(now: Instant, { member, adopter }: Adoption, document: RingDocument): boolean {
    const liveness = this.#liveness;
    if (!liveness.reached(now, adopter) || !liveness.acts(now, adopter)) return false;
    const isCutOff = findMember(document, member)?.status === "down" && !liveness.awaited(now, member);
    return liveness.speakerFor(member) === undefined && (isCutOff || this.#isGone(now, member));
  }
}

/** A peer that has restarted leaves a directory that was stopped on purpose for so long, and what failed is tried again twice before. */
const LEFT_MS: number = RESTART_GRACE_MS + 15_000;
/** Another node proposed meanwhile, or this one stood still: what was seen before that says nothing. Longer than a proposal takes. */
const UNSEEN_MS = 30_000;
