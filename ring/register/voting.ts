/**
 * Who votes on a document, and what a document must satisfy before anybody votes for it.
 *
 * V1  A voter is a (name, member id): the same name with another directory is not the voter it was (ownership rule 4).
 * V2  Consecutive documents differ by at most one voter: one added, one removed, or one replaced (rule 3).
 * V3  A partition is taken without consent when its owner, as (name, member id), changes and no consent of that owner
 *     for exactly the new epoch names it (rules 10 and 13).
 */

import type { RingDocument } from "../document.ts";
import type { MemberId, NodeName, Partition } from "../ids.ts";
import { VOTER_LIMIT } from "../limits.ts";
import type { Consent } from "./messages.ts";

/** Id of the directory behind a name, or undefined when the document does not know the name. */
function memberIdOf(document: RingDocument, name: NodeName): MemberId | undefined {
  return document.members.find((member) => member.name === name)?.id;
}

export function isMember(document: RingDocument, name: NodeName, id: MemberId): boolean {
  return memberIdOf(document, name) === id;
}

export function isVoter(document: RingDocument, name: NodeName, id: MemberId): boolean {
  return document.voters.includes(name) && isMember(document, name, id);
}

export function majorityOf(voters: readonly NodeName[]): number {
  return Math.floor(voters.length / 2) + 1;
}

/** A majority of `voters` is among those that answered. */
export function isMajority(voters: readonly NodeName[], answered: { has(name: NodeName): boolean }): boolean {
  let count = 0;
  for (const voter of voters) if (answered.has(voter)) count += 1;
  return count >= majorityOf(voters);
}

export function sameVoters(a: RingDocument, b: RingDocument): boolean {
  if (a.voters.length !== b.voters.length) return false;
  return a.voters.every((voter) => b.voters.includes(voter) && memberIdOf(a, voter) === memberIdOf(b, voter));
}

/** Voters of `next` that did not vote on it as voters of `previous`. */
export function newcomersOf(previous: RingDocument, next: RingDocument): readonly NodeName[] {
  return next.voters.filter(
    (voter) => !previous.voters.includes(voter) || memberIdOf(previous, voter) !== memberIdOf(next, voter),
  );
}

/** Why no voter of `previous` may vote for `next`, or undefined. Holds for every proposal, whatever it changes. */
export function proposalFault(previous: RingDocument, next: RingDocument): string | undefined {
  if (next.ringId !== previous.ringId) return "another ring";
  if (next.history !== previous.history) return "another history";
  if (next.epoch !== previous.epoch + 1) return "not the next epoch";
  if (next.ringSize !== previous.ringSize) return "the ring size is fixed";
  if (next.owners.length !== next.ringSize || next.generations.length !== next.ringSize) return "partitions missing";
  if (next.voters.length === 0 || next.voters.length > VOTER_LIMIT) return `1 to ${VOTER_LIMIT} voters`;
  if (new Set(next.voters).size !== next.voters.length) return "a voter twice";
  if (next.voters.some((voter) => memberIdOf(next, voter) === undefined)) return "a voter that is no member";
  if (newcomersOf(previous, next).length > 1 || newcomersOf(next, previous).length > 1)
    return "more than one voter changed"; // V2
  return undefined;
}

/** Owners that `next` takes at least one partition from without their consent (V3), each once. */
export function takenWithoutConsent(
  previous: RingDocument,
  next: RingDocument,
  consents: readonly Consent[],
): readonly NodeName[] {
  const given = consentedPartitions(consents.filter((consent) => consent.epoch === next.epoch));
  const replaced = new Set<NodeName>();
  for (const { name, id } of previous.members) if (memberIdOf(next, name) !== id) replaced.add(name);
  const taken = new Set<NodeName>();
  for (let partition = 0; partition < previous.ringSize; partition += 1) {
    const owner = previous.owners[partition];
    if (owner === undefined || taken.has(owner)) continue;
    if (owner === next.owners[partition] && !replaced.has(owner)) continue;
    if (given.get(owner)?.has(partition as Partition)) continue;
    taken.add(owner);
  }
  return [...taken];
}

/** Those who must hear of the decision at once: both voter sets, and who lost or gained a partition. */
export function concernedBy(previous: RingDocument, next: RingDocument): ReadonlySet<NodeName> {
  const names = new Set<NodeName>([...previous.voters, ...next.voters]);
  for (let partition = 0; partition < next.ringSize; partition += 1) {
    const from = previous.owners[partition];
    const to = next.owners[partition];
    if (from === to) continue;
    if (from !== undefined) names.add(from);
    if (to !== undefined) names.add(to);
  }
  return names;
}

/** Same content, whatever the order of properties; a property that is undefined equals an absent one. */
export function sameContent(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = a as Readonly<Record<string, unknown>>;
  const right = b as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(left)) if (!sameContent(left[key], right[key])) return false;
  return Object.keys(right).every((key) => left[key] !== undefined || right[key] === undefined);
}

function consentedPartitions(consents: readonly Consent[]): ReadonlyMap<NodeName, ReadonlySet<Partition>> {
  const given = new Map<NodeName, Set<Partition>>();
  for (const { member, partitions } of consents) {
    const known = given.get(member) ?? new Set<Partition>();
    for (const partition of partitions) known.add(partition);
    given.set(member, known);
  }
  return given;
}

/** A voter proposes to itself last: its own vote is written down, and what leaves behind it would look as if it had waited. */
export function withLast(members: readonly NodeName[], last: NodeName): readonly NodeName[] {
  if (!members.includes(last)) return members;
  return [...members.filter((member) => member !== last), last];
}
