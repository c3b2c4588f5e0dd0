/**
 * Who votes: how many voters a ring of this size has, and the one change that brings it closer to that.
 *
 * V1  At most one voter goes and at most one comes per epoch (D3), and whoever comes has answered at this epoch
 *     (ownership rule 3).
 * V2  A dead voter is replaced, never just removed: down members count as members, so a loss never shrinks the voter set.
 * V3  A voter that leaves is replaced, or removed when the ring needs fewer voters or nobody can take its place.
 * V5  A voter that leaves does not go before dead ones if they would keep those that stay from deciding anything.
 * V6  A member that joins may vote before it owns anything: a change of voters takes more rounds than another, and would otherwise come
 *     with the first partitions, whose keys wait for it. It comes after those that own something, takes nobody's place, and only
 *     where the others decide without it: a newcomer that dies must not stop a ring that did without it.
 * V4  Voters spread over zones, then over machines, then by name; a lopsided set is evened out one voter per epoch.
 */

import type { Member, RingDocument } from "./document.ts";
import { memberNamed, succeed } from "./draft.ts";
import { RingError } from "./errors.ts";
import type { NodeName } from "./ids.ts";
import { byName } from "./preference.ts";

export interface VoterView {
  /** Members that the proposer sees alive; one that is restarting in its grace counts as alive. */
  readonly live: ReadonlySet<NodeName>;
  /** Members that have answered the proposer at this epoch: the only ones that may become voters. */
  readonly answered: ReadonlySet<NodeName>;
}

/** 1 voter with 1 or 2 members, 3 with 3 or 4, 5 with 5 or 6, then 7. Those that leave do not count. */
export function voterTarget(members: readonly Member[]): number {
  const staying = members.filter((member) => !isLeaving(member)).length;
  if (staying <= 2) return 1;
  if (staying <= 4) return 3;
  return staying <= 6 ? 5 : 7;
}

/**
 * What the loss of a single voter would stop or a loss has stopped already; nothing when the ring survives one. Without `live`
 * all but the down ones count as alive. With a store that all share any other member goes on for an only voter
 * (`node/sole-seat.ts`).
 */
export function lackOfFailover(
  { members, voters }: Pick<RingDocument, "members" | "voters">,
  live?: ReadonlySet<NodeName>,
  options: { readonly sharedStore?: boolean } = {},
): string | undefined {
  const stands = ({ name, status }: Member): boolean => (live === undefined ? status !== "down" : live.has(name));
  const standing = members.filter(stands);
  const voting = standing.filter(({ name }) => voters.includes(name)).length;
  const majority = Math.floor(voters.length / 2) + 1;
  const isShared = options.sharedStore === true && voters.length === 1;
  if (isShared ? standing.length > 1 : voting > majority) return undefined;
  if (!isShared && voting < majority)
    return `ring changes have stopped: ${voting} of ${voters.length} voters can be reached, and it takes ${majority}`;
  const more = isShared ? standing.length < members.length : voting < voters.length;
  return `the loss of one${more ? " more" : ""} voter stops ring changes`;
}

/** The voters that the next epoch should have: the same array when nothing is to change, else at most one swapped (V1). */
export function nextVoters(document: RingDocument, view: VoterView): readonly NodeName[] {
  const { voters } = document;
  const target = voterTarget(document.members);
  const leaving = voters.filter((name) => isLeaving(memberNamed(document, name)));
  const dead = voters.filter((name) => !view.live.has(name) && !leaving.includes(name));
  const going = worstOf(document, leaving) ?? worstOf(document, dead);
  if (voters.length > target) {
    const first = [going, worstOf(document, dead), worstOf(document, voters)].find(
      (name) => name !== undefined && canDecide(without(voters, name), view), // V5
    );
    return first === undefined ? voters : without(voters, first);
  }
  const coming = candidatesOf(document, view);
  if (going !== undefined) {
    const replacement = bestOf(document, without(voters, going), coming);
    if (replacement !== undefined) return withVoter(without(voters, going), replacement);
    if (leaving.includes(going) && mayRemove(document, view, going)) return without(voters, going); // V3
  }
  if (voters.length < target) {
    const addition = bestOf(document, voters, coming) ?? newcomerOf(document, view);
    return addition === undefined ? voters : withVoter(voters, addition);
  }
  return going === undefined ? evenedOut(document, coming) : voters;
}

/** The next epochs should change the voters, as far as the document tells. */
export function votersAreDue(document: RingDocument): boolean {
  const up = new Set(document.members.filter(({ status }) => status !== "down").map(({ name }) => name));
  return nextVoters(document, { live: up, answered: up }) !== document.voters;
}

/** The document with these voters; the same one when they are the same. Throws when D3 would break. */
export function setVoters(document: RingDocument, voters: readonly NodeName[]): RingDocument {
  const sorted = [...new Set(voters)].sort(byName);
  for (const name of sorted) memberNamed(document, name);
  const added = sorted.filter((name) => !document.voters.includes(name)).length;
  const removed = document.voters.filter((name) => !sorted.includes(name)).length;
  if (sorted.length === 0 || added > 1 || removed > 1) {
    throw new RingError(
      "INVALID_ARGUMENT",
      `voters change one at a time: ${document.voters.join(" ")} to ${sorted.join(" ")}`,
    );
  }
  return added === 0 && removed === 0
    ? document
    : succeed(document, (draft) => {
        draft.voters = sorted;
      });
}

function candidatesOf(
  document: RingDocument,
  view: VoterView,
  wanted: "valid" | "joining" = "valid",
): readonly Member[] {
  return document.members.filter(
    ({ name, status }) =>
      status === wanted && view.live.has(name) && view.answered.has(name) && !document.voters.includes(name),
  );
}

/** V6 */
function newcomerOf(document: RingDocument, view: VoterView): NodeName | undefined {
  const { voters, members } = document;
  const joining = members.filter(({ status }) => status === "joining");
  const sure = voters.filter((name) => view.live.has(name) && joining.every((member) => member.name !== name));
  if (sure.length <= (voters.length + 1) / 2) return undefined;
  return bestOf(document, voters, candidatesOf(document, view, "joining"));
}

/** Only if nobody alive might still answer and take its place, and the voters that stay are all alive. */
function mayRemove(document: RingDocument, view: VoterView, name: NodeName): boolean {
  const others = without(document.voters, name);
  const mightCome = document.members.some(
    (member) =>
      !isLeaving(member) &&
      member.status !== "down" &&
      view.live.has(member.name) &&
      !document.voters.includes(member.name),
  );
  return others.length > 0 && !mightCome && others.every((other) => view.live.has(other));
}

function canDecide(voters: readonly NodeName[], view: VoterView): boolean {
  return voters.filter((name) => view.live.has(name)).length > voters.length / 2;
}

/** Moves a voter from a crowded zone to one with at least two voters fewer: each such move makes the spread better (V4). */
function evenedOut(document: RingDocument, coming: readonly Member[]): readonly NodeName[] {
  const going = worstOf(document, document.voters);
  if (going === undefined) return document.voters;
  const others = without(document.voters, going);
  const replacement = bestOf(document, others, coming);
  if (replacement === undefined) return document.voters;
  const crowd = crowdOf(document, others);
  const better = crowd.inZone(memberNamed(document, replacement)) < crowd.inZone(memberNamed(document, going));
  return better ? withVoter(others, replacement) : document.voters;
}

/** The candidate from the zone, then machine, with the fewest of `voters`; first by name. */
function bestOf(
  document: RingDocument,
  voters: readonly NodeName[],
  candidates: readonly Member[],
): NodeName | undefined {
  const crowd = crowdOf(document, voters);
  return [...candidates].sort(
    (left, right) =>
      crowd.inZone(left) - crowd.inZone(right) ||
      crowd.onMachine(left) - crowd.onMachine(right) ||
      byName(left.name, right.name),
  )[0]?.name;
}

/** The one of `names` whose zone, then machine, has the most voters; last by name. */
function worstOf(document: RingDocument, names: readonly NodeName[]): NodeName | undefined {
  const crowd = crowdOf(document, document.voters);
  return names
    .map((name) => memberNamed(document, name))
    .sort(
      (left, right) =>
        crowd.inZone(right) - crowd.inZone(left) ||
        crowd.onMachine(right) - crowd.onMachine(left) ||
        byName(right.name, left.name),
    )[0]?.name;
}

interface Crowd {
  readonly inZone: (member: Member) => number;
  readonly onMachine: (member: Member) => number;
}

function crowdOf(document: RingDocument, voters: readonly NodeName[]): Crowd {
  const members = voters.map((name) => memberNamed(document, name));
  return {
    inZone: ({ zone }) => members.filter((member) => member.zone === zone).length,
    onMachine: ({ machine }) => members.filter((member) => member.machine === machine).length,
  };
}

function isLeaving(member: Member): boolean {
  return member.status === "leaving" || member.status === "exiting";
}

function without(voters: readonly NodeName[], name: NodeName | undefined): readonly NodeName[] {
  return voters.filter((voter) => voter !== name);
}

function withVoter(voters: readonly NodeName[], name: NodeName): readonly NodeName[] {
  return [...voters, name].sort(byName);
}
