/**
 * The first document of a ring, and the first of a new history.
 */

import type { Member, RingDocument } from "./document.ts";
import { memberNamed } from "./draft.ts";
import { RingError } from "./errors.ts";
import type { Epoch, NodeName, RingId } from "./ids.ts";
import { isRingSize, isWeight, isZone, RING_SIZE_LEAST, RING_SIZE_MOST, VOTER_LIMIT } from "./limits.ts";
import { byName } from "./preference.ts";

export interface Founding {
  readonly ringId: RingId;
  /** A power of two from 8 to 4096; fixed for the life of the ring. */
  readonly ringSize: number;
  readonly member: Omit<Member, "status">;
}

/** Epoch 1 of history 1: one member, the sole voter, owns everything. Throws `INVALID_ARGUMENT`. */
export function foundRing(founding: Founding): RingDocument {
  const { ringSize, member, ringId } = founding;
  if (!isRingSize(ringSize)) {
    throw new RingError(
      "INVALID_ARGUMENT",
      `ringSize ${ringSize} is not a power of two from ${RING_SIZE_LEAST} to ${RING_SIZE_MOST}`,
    );
  }
  checkMember(member);
  return {
    version: 1,
    ringId,
    history: 1,
    epoch: 1 as Epoch,
    ringSize,
    members: [{ ...member, status: "valid" }],
    voters: [member.name],
    owners: new Array<NodeName>(ringSize).fill(member.name),
    next: new Array<undefined>(ringSize).fill(undefined),
    generations: new Array<number>(ringSize).fill(1),
    stranded: [],
    staged: [],
    applied: [],
  };
}

/**
 * History h+1 with a stated voter set, after a majority of voters is lost for good (ownership rule 6). Who owns what is
 * left as it was: the new voters mark the absent ones down, as after any loss. What may be lost is the caller's to print.
 */
export function recoverRing(document: RingDocument, voters: readonly NodeName[]): RingDocument {
  const names = [...new Set(voters)].sort(byName);
  for (const name of names) memberNamed(document, name);
  if (names.length === 0 || names.length > VOTER_LIMIT) {
    throw new RingError("INVALID_ARGUMENT", `a ring has 1 to ${VOTER_LIMIT} voters, not ${names.length}`);
  }
  return {
    ...document,
    history: document.history + 1,
    epoch: (document.epoch + 1) as Epoch,
    voters: names,
    staged: [],
  };
}

/** What the parsers of names do not check. Throws `INVALID_ARGUMENT`. */
export function checkMember(member: Omit<Member, "status">): void {
  if (!isWeight(member.weight))
    throw new RingError("INVALID_ARGUMENT", `weight ${member.weight} is not a whole number from 0 to 1000`);
  if (member.zone !== undefined && !isZone(member.zone)) {
    throw new RingError(
      "INVALID_ARGUMENT",
      `zone ${JSON.stringify(member.zone.slice(0, 80))} is not 1 to 63 of A-Z a-z 0-9 . _ -`,
    );
  }
}
