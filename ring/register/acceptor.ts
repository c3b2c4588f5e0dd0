/**
 * The acceptor of the one open decision: what a member answers to prepare and accept, and what it must sync first.
 *
 * A1  Nothing is promised or accepted below the highest ballot promised.
 * A2  A voter accepts a document that takes partitions from an owner only with that owner's consent for exactly this
 *     epoch, or when its grant to that owner has run out (ownership rules 10 and 13); else it stops renewing it (rule 11).
 * A3  A member that is a voter only of the proposed document accepts too, because a majority of both sets must (rule 1).
 *     It has granted nothing at this epoch, so A2 does not bind it.
 */

import type { RingDocument } from "../document.ts";
import type { Epoch } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Grants } from "./grants.ts";
import { type Ballot, compareBallots, type RegisterBody, type RegisterState, type Vote } from "./messages.ts";
import { isVoter, takenWithoutConsent } from "./voting.ts";

/** The reply goes out once `state` is synced. */
export interface AcceptorStep {
  readonly state: RegisterState;
  readonly reply: RegisterBody;
}

/** The caller has checked that this member votes and that `ballot` is for `document.epoch + 1`. */
export function prepare(state: RegisterState, document: RingDocument, ballot: Ballot): AcceptorStep {
  const { promised, accepted } = state;
  const epoch = (document.epoch + 1) as Epoch;
  const order = promised === undefined ? 1 : compareBallots(ballot, promised);
  if (promised !== undefined && order < 0) return { state, reply: { type: "refused", epoch, ballot, promised } }; // A1
  const next = order === 0 ? state : { ...state, promised: ballot };
  return { state: next, reply: { type: "promise", epoch, ballot, accepted } };
}

/** The caller has checked the epoch, `proposalFault`, and that this member votes on `document` or on the next (A3). */
export function accept(
  now: Instant,
  state: RegisterState,
  document: RingDocument,
  vote: Vote,
  grants: Grants,
): AcceptorStep {
  const { promised, accepted } = state;
  const { ballot } = vote;
  const epoch = vote.document.epoch;
  if (promised !== undefined && compareBallots(ballot, promised) < 0) {
    return { state, reply: { type: "refused", epoch, ballot, promised } }; // A1
  }
  if (accepted !== undefined && compareBallots(ballot, accepted.ballot) === 0) {
    return { state, reply: { type: "accepted", epoch, ballot } };
  }
  const waitMs = isVoter(document, state.member, state.memberId) ? mustWaitMs(now, document, vote, grants) : 0; // A3
  if (waitMs > 0) return { state, reply: { type: "leased", epoch, ballot, waitMs } }; // A2
  return { state: { ...state, promised: ballot, accepted: vote }, reply: { type: "accepted", epoch, ballot } };
}

function mustWaitMs(now: Instant, document: RingDocument, vote: Vote, grants: Grants): number {
  let longestMs = 0;
  for (const owner of takenWithoutConsent(document, vote.document, vote.consents)) {
    const waitMs = grants.waitMs(now, owner);
    if (waitMs > 0) grants.withhold(now, owner); // A2
    longestMs = Math.max(longestMs, waitMs);
  }
  return longestMs;
}
