/**
 * A ring document under change: a mutable copy that becomes the document of the next epoch, or nothing when it is equal.
 *
 * Every transition is `succeed(document, (draft) => …)`. Pure: the same document and change give the same successor.
 * A1  A change that changes nothing returns the very document it was given, at its epoch.
 * A2  Owners change only through `setOwner`, which raises the generation and clears the next owner (D2).
 * A3  After every change statuses are settled: a joining member that owns something, or that nothing is planned for, is
 *     valid; a leaving member that owns nothing is exiting.
 */

import { claim } from "./claim.ts";
import type { Member, MemberStatus, RingDocument, StagedChange, Stranded } from "./document.ts";
import { isTooLarge, mostBytes } from "./document-size.ts";
import { RingError } from "./errors.ts";
import type { Epoch, NodeName, Partition } from "./ids.ts";
import { STRANDED_LIMIT } from "./limits.ts";
import { byName } from "./preference.ts";

export interface Draft {
  readonly ringSize: number;
  /** Sorted by name. */
  members: Member[];
  voters: readonly NodeName[];
  readonly owners: (NodeName | undefined)[];
  readonly next: (NodeName | undefined)[];
  readonly generations: number[];
  stranded: Stranded[];
  staged: readonly StagedChange[];
  applied: readonly string[];
}

/** The document of the next epoch, or the same one when `change` left everything as it was (A1). */
export function succeed(document: RingDocument, change: (draft: Draft) => void): RingDocument {
  const draft = draftOf(document);
  change(draft);
  settle(draft);
  const unchanged =
    same(document.members, draft.members) &&
    same(document.voters, draft.voters) &&
    same(document.owners, draft.owners) &&
    same(document.next, draft.next) &&
    same(document.generations, draft.generations) &&
    same(document.stranded, draft.stranded) &&
    same(document.staged, draft.staged) &&
    same(document.applied, draft.applied);
  if (unchanged) return document;
  checkSize(document, draft);
  return { ...document, ...draft, epoch: (document.epoch + 1) as Epoch };
}

/** Throws `RING_BUSY`. What is too large already may still be made smaller (Z2). */
function checkSize(document: RingDocument, draft: Draft): void {
  const { stranded } = draft;
  if (stranded.length > document.stranded.length && stranded.length > STRANDED_LIMIT)
    throw new RingError(
      "RING_BUSY",
      `more than ${STRANDED_LIMIT} stranded entries: return or force-remove absent members`,
    );
  if (isTooLarge(draft) && mostBytes(draft) > mostBytes(document))
    throw new RingError(
      "RING_BUSY",
      `the ring document would be too large to be told, with ${stranded.length} stranded entries and ${draft.members.length} members: return or force-remove absent members`,
    );
}

/** Several transitions as one change: each sees the last one's result, and the epoch rises once. */
export function asOneChange(
  document: RingDocument,
  transitions: readonly ((document: RingDocument) => RingDocument)[],
): RingDocument {
  let current = document;
  for (const transition of transitions) current = transition(current);
  return current === document ? document : { ...current, epoch: (document.epoch + 1) as Epoch };
}

export function draftOf(document: RingDocument): Draft {
  return {
    ringSize: document.ringSize,
    members: [...document.members],
    voters: document.voters,
    owners: [...document.owners],
    next: [...document.next],
    generations: [...document.generations],
    stranded: [...document.stranded],
    staged: document.staged,
    applied: document.applied,
  };
}

/** Who has each partition once the planned transfers are over. */
export function targetsOf(ring: Pick<RingDocument, "owners" | "next">): readonly (NodeName | undefined)[] {
  return ring.owners.map((owner, partition) => ring.next[partition] ?? owner);
}

export function findMember(ring: { readonly members: readonly Member[] }, name: NodeName): Member | undefined {
  return ring.members.find((member) => member.name === name);
}

/** Throws `MEMBER_UNKNOWN`. */
export function memberNamed(ring: { readonly members: readonly Member[] }, name: NodeName): Member {
  const member = findMember(ring, name);
  if (member === undefined) throw new RingError("MEMBER_UNKNOWN", `no member is named ${name}`);
  return member;
}

export function insertMember(draft: Draft, member: Member): void {
  draft.members = [...draft.members, member].sort((left, right) => byName(left.name, right.name));
}

export function replaceMember(draft: Draft, member: Member): void {
  draft.members = draft.members.map((old) => (old.name === member.name ? member : old));
}

export function setStatus(draft: Draft, name: NodeName, status: MemberStatus): void {
  const member = memberNamed(draft, name);
  if (member.status !== status) replaceMember(draft, { ...member, status });
}

export function setOwner(draft: Draft, partition: number, owner: NodeName | undefined): void {
  draft.owners[partition] = owner;
  draft.next[partition] = undefined;
  draft.generations[partition] = (draft.generations[partition] as number) + 1;
}

/** May be given partitions. */
export function isClaimable(member: Member): boolean {
  return member.status === "valid" || member.status === "joining";
}

/** The weight that counts: none while it does badly. */
export function weightOf(member: Member): number {
  return member.unwell === true ? 0 : member.weight;
}

/** Where the partitions should end up, by the claim over what is planned now; undefined when nobody can take them. */
export function claimedTargets(draft: Draft, options: { readonly homes: boolean }): readonly (NodeName | undefined)[] {
  let members = draft.members.filter(isClaimable);
  if (members.length === 0) members = draft.members.filter((member) => member.status === "leaving"); // better than nobody
  if (members.length === 0) return draft.owners.map(() => undefined);
  return claim({
    ringSize: draft.ringSize,
    owners: targetsOf(draft),
    members: members.map((member) => ({ name: member.name, weight: weightOf(member) })),
    ...(options.homes ? { homes: draft.owners } : {}),
  });
}

/**
 * Brings the draft to the claim: a partition whose owner still serves gets a next owner; one whose owner is gone (down,
 * exiting, no member) changes hands at once. Returns the partitions that changed hands.
 */
export function reclaim(draft: Draft): readonly Partition[] {
  const targets = claimedTargets(draft, { homes: true });
  const serving = new Set(draft.members.filter(isServing).map((member) => member.name));
  const forced: Partition[] = [];
  for (let partition = 0; partition < draft.ringSize; partition++) {
    const owner = draft.owners[partition];
    const target = targets[partition];
    if (owner !== undefined && serving.has(owner)) {
      draft.next[partition] = target === owner ? undefined : target;
    } else if (owner !== target) {
      setOwner(draft, partition, target);
      forced.push(partition as Partition);
    } else draft.next[partition] = undefined;
  }
  return forced;
}

/** Runs tasks now, or will as soon as it owns something. */
function isServing(member: Member): boolean {
  return isClaimable(member) || member.status === "leaving";
}

function settle(draft: Draft): void {
  const owning = new Set(draft.owners);
  const awaiting = new Set(draft.next);
  for (const member of draft.members) {
    const { name, status } = member;
    if (status === "joining" && (owning.has(name) || !awaiting.has(name))) setStatus(draft, name, "valid");
    if (status === "leaving" && !owning.has(name)) setStatus(draft, name, "exiting");
  }
}

function same(left: readonly unknown[], right: readonly unknown[]): boolean {
  return left === right || (left.length === right.length && left.every((value, index) => value === right[index]));
}
