/**
 * Staged changes: what an operator asked for, kept in the document until it is committed or cleared.
 *
 * G1  A change is checked against the ring as the changes staged before it would leave it.
 * G2  Some member that may own partitions always remains.
 * G3  The same change staged again is no change, so a retry is safe; a newer weight, zone or join replaces the older one.
 * G4  A staged change that events have overtaken is left out of the plan, with a warning, and goes with the commit.
 */

import type { Member, RingDocument, StagedChange } from "./document.ts";
import {
  type Draft,
  draftOf,
  findMember,
  insertMember,
  isClaimable,
  memberNamed,
  replaceMember,
  setStatus,
  succeed,
  targetsOf,
} from "./draft.ts";
import { RingError } from "./errors.ts";
import { checkMember } from "./founding.ts";
import type { NodeName } from "./ids.ts";
import { isWeight, isZone, MEMBER_LIMIT, STAGED_LIMIT, WEIGHT_MOST } from "./limits.ts";
import { releaseAdoptions, takeDown } from "./transition.ts";

/** The document with one more staged change. Throws `MEMBER_UNKNOWN` or `INVALID_ARGUMENT`. */
export function stageChange(document: RingDocument, change: StagedChange): RingDocument {
  const text = canonicalText(change);
  if (document.staged.some((staged) => canonicalText(staged) === text)) return document; // G3
  const older = document.staged.findIndex((staged) => isReplacedBy(staged, change));
  const before = older < 0 ? document.staged : document.staged.slice(0, older);
  const after = older < 0 ? [] : document.staged.slice(older + 1);
  if (before.length + after.length >= STAGED_LIMIT) {
    throw new RingError("INVALID_ARGUMENT", `${STAGED_LIMIT} changes are staged already: commit or clear them first`);
  }
  const draft = draftOf(document);
  for (const staged of before) applyIfPossible(draft, staged);
  applyChange(draft, change); // G1
  return succeed(document, (next) => {
    next.staged = [...before, change, ...after];
  });
}

/** Drops all staged changes. */
export function clearStaged(document: RingDocument): RingDocument {
  return succeed(document, (draft) => {
    if (draft.staged.length > 0) draft.staged = [];
  });
}

export interface OvertakenChange {
  readonly change: StagedChange;
  readonly reason: string;
}

export interface AppliedChanges {
  /** Gone by the operator's word: the caller drops what is stranded on their disks. */
  readonly removed: ReadonlySet<NodeName>;
  readonly overtaken: readonly OvertakenChange[];
}

/** Applies the staged changes to members and `next`; the caller claims (`force` in `transition.ts`) and settles. */
export function applyStaged(draft: Draft): AppliedChanges {
  const removed = new Set<NodeName>();
  const overtaken: OvertakenChange[] = [];
  for (const change of draft.staged) {
    const reason = applyIfPossible(draft, change);
    if (reason !== undefined) overtaken.push({ change, reason });
    else if (change.type === "force-remove") removed.add(change.name);
  }
  return { removed, overtaken };
}

/** One text for equal changes, whatever the order of their fields; what a plan id is made of. */
export function canonicalText(change: StagedChange): string {
  switch (change.type) {
    case "join": {
      const { name, id, weight, zone, machine, directory } = change.member;
      return JSON.stringify(["join", name, id, weight, zone ?? "", machine, directory]);
    }
    case "replace":
      return JSON.stringify(["replace", change.name, change.by]);
    case "set-weight":
      return JSON.stringify(["set-weight", change.name, change.weight]);
    case "set-zone":
      return JSON.stringify(["set-zone", change.name, change.zone ?? ""]);
    case "leave":
    case "force-remove":
    case "down":
      return JSON.stringify([change.type, change.name]);
  }
}

/** Why it could not be applied, or undefined. */
function applyIfPossible(draft: Draft, change: StagedChange): string | undefined {
  try {
    applyChange(draft, change);
    return undefined;
  } catch (error) {
    if (error instanceof RingError) return error.message;
    throw error;
  }
}

/** Changes the draft only when it does not throw. */
function applyChange(draft: Draft, change: StagedChange): void {
  switch (change.type) {
    case "join":
      applyJoin(draft, change.member);
      return;
    case "leave":
      checkCanLeave(draft, change.name);
      setStatus(draft, change.name, "leaving");
      return;
    case "replace":
      applyReplace(draft, change.name, change.by);
      return;
    case "force-remove":
      applyForceRemove(draft, change.name);
      return;
    case "down":
      checkCanLeave(draft, change.name, ["leaving"]);
      takeDown(draft, [change.name], { keepStranded: true });
      return;
    case "set-weight":
      applyWeight(draft, change.name, change.weight);
      return;
    case "set-zone":
      applyZone(draft, change.name, change.zone);
      return;
  }
}

function applyJoin(draft: Draft, newcomer: Omit<Member, "status">): void {
  checkMember(newcomer);
  const known = findMember(draft, newcomer.name);
  if (known !== undefined) {
    const detail =
      known.id === newcomer.id
        ? "is a member already"
        : `is the name of another member, which is ${known.status}; force-remove that one first`;
    throw new RingError("INVALID_ARGUMENT", `${newcomer.name} ${detail}`);
  }
  // What the former one owned would go on with this one, at its generation, as if nobody had gone.
  if (draft.owners.includes(newcomer.name))
    throw new RingError(
      "INVALID_ARGUMENT",
      `the member of that name is still to be removed: commit that before another ${newcomer.name} joins`,
    );
  if (draft.members.some((member) => member.id === newcomer.id)) {
    throw new RingError("INVALID_ARGUMENT", `the directory of ${newcomer.name} belongs to another member`);
  }
  if (draft.members.length >= MEMBER_LIMIT)
    throw new RingError("INVALID_ARGUMENT", `a ring has at most ${MEMBER_LIMIT} members`);
  insertMember(draft, { ...newcomer, status: "joining" });
}

/** The newcomer takes the weight and exactly the partitions of the one it replaces. */
function applyReplace(draft: Draft, name: NodeName, by: NodeName): void {
  const newcomer = findMember(draft, by);
  if (newcomer === undefined)
    throw new RingError("MEMBER_UNKNOWN", `${by} is no member yet: stage its join first, then this`);
  const targets = targetsOf(draft);
  if (name === by) throw new RingError("INVALID_ARGUMENT", `${name} cannot replace itself`);
  if (!isClaimable(newcomer))
    throw new RingError("INVALID_ARGUMENT", `${by} is ${newcomer.status}; a member that joins can replace another`);
  if (targets.includes(by))
    throw new RingError(
      "INVALID_ARGUMENT",
      `${by} has partitions of its own; only a member without any can replace another`,
    );
  const old = memberNamed(draft, name);
  if (!isClaimable(old)) throw new RingError("INVALID_ARGUMENT", `${name} is ${old.status} and cannot be replaced`);
  setStatus(draft, name, "leaving");
  if (newcomer.weight !== old.weight) replaceMember(draft, { ...newcomer, weight: old.weight });
  targets.forEach((target, partition) => {
    if (target === name) draft.next[partition] = by;
  });
}

/** A voter stays listed, exiting and without partitions, until it votes no more: voters change one at a time. */
function applyForceRemove(draft: Draft, name: NodeName): void {
  memberNamed(draft, name);
  checkOthersRemain(draft, name);
  if (draft.voters.includes(name)) setStatus(draft, name, "exiting");
  else draft.members = draft.members.filter((member) => member.name !== name);
  releaseAdoptions(draft, new Set([name]), undefined);
}

function applyWeight(draft: Draft, name: NodeName, weight: number): void {
  const member = memberNamed(draft, name);
  if (!isWeight(weight))
    throw new RingError("INVALID_ARGUMENT", `weight ${weight} is not a whole number from 0 to ${WEIGHT_MOST}`);
  if (weight === 0 && !draft.members.some((other) => other.name !== name && isClaimable(other) && other.weight > 0)) {
    throw new RingError("INVALID_ARGUMENT", `${name} is the last member with a weight`);
  }
  if (member.weight !== weight) replaceMember(draft, { ...member, weight });
}

function applyZone(draft: Draft, name: NodeName, zone: string | undefined): void {
  if (zone !== undefined && !isZone(zone)) {
    throw new RingError(
      "INVALID_ARGUMENT",
      `zone ${JSON.stringify(zone.slice(0, 80))} is not 1 to 63 of A-Z a-z 0-9 . _ -`,
    );
  }
  const { zone: old, ...rest } = memberNamed(draft, name);
  if (old !== zone) replaceMember(draft, zone === undefined ? rest : { ...rest, zone });
}

function checkCanLeave(draft: Draft, name: NodeName, also: readonly Member["status"][] = []): void {
  const member = memberNamed(draft, name);
  if (!isClaimable(member) && !also.includes(member.status)) {
    const hint = member.status === "down" ? "; wait for its return, or force-remove it" : "";
    throw new RingError("INVALID_ARGUMENT", `${name} is ${member.status} already${hint}`);
  }
  checkOthersRemain(draft, name);
}

function checkOthersRemain(draft: Draft, name: NodeName): void {
  if (draft.members.some((member) => member.name !== name && isClaimable(member))) return; // G2
  throw new RingError("INVALID_ARGUMENT", `${name} is the last member that can own partitions`);
}

function isReplacedBy(older: StagedChange, newer: StagedChange): boolean {
  if (older.type !== newer.type) return false;
  if (older.type === "join" && newer.type === "join") return older.member.name === newer.member.name;
  const isSetting = older.type === "set-weight" || older.type === "set-zone";
  return isSetting && "name" in newer && older.name === newer.name;
}
