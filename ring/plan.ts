/**
 * The plan: what committing the staged changes would do, shown before anything moves (P8), and the commit that does
 * exactly that.
 *
 * P1  `planOf` and `commitPlan` run the same computation; a commit applies it only if its id is the one that was shown.
 * P2  The id is a hash of the staged changes and of who would end up with each partition, not of the epoch: a transfer
 *     that ends in between does not void a plan. It is computed from targets alone, never from how far transfers are.
 * P3  The ids of the last plans stay in the document, so a commit that is sent again answers ok.
 */

import type { Member, MemberStatus, RingDocument } from "./document.ts";
import { claimedTargets, type Draft, succeed, targetsOf } from "./draft.ts";
import { RingError } from "./errors.ts";
import { murmur3 } from "./hash.ts";
import type { Epoch, NodeName, Partition } from "./ids.ts";
import { APPLIED_LIMIT } from "./limits.ts";
import { type PlanWarning, warningsOf } from "./plan-warnings.ts";
import { applyStaged, canonicalText, type OvertakenChange } from "./staging.ts";
import { force } from "./transition.ts";
import { voterTarget } from "./voters.ts";

export interface Plan {
  /** 16 hex digits. */
  readonly id: string;
  /** The epoch it was computed at; for display (P2). */
  readonly epoch: Epoch;
  readonly ringSize: number;
  /** What happens, in order; steps without work are left out. */
  readonly transitions: readonly PlanTransition[];
  /** Sorted by name; newcomers and those that go included. */
  readonly members: readonly PlanMember[];
  /** Partitions whose place changes by this plan, by partition. Transfers under way that it leaves alone are not here. */
  readonly moves: readonly PlanMove[];
  /** Transfers under way that this plan stops: the partition stays where it is. */
  readonly cancelled: readonly Partition[];
  readonly voters: { readonly before: readonly NodeName[]; readonly target: number };
  readonly warnings: readonly PlanWarning[];
}

export type PlanTransition =
  /** The commit itself: statuses change, partitions of members that are gone change hands at once. */
  | { readonly type: "commit"; readonly changes: number; readonly forced: number }
  | { readonly type: "transfer"; readonly partitions: number }
  | { readonly type: "voters"; readonly from: number; readonly to: number }
  /** Members that own nothing any more are removed. */
  | { readonly type: "retire"; readonly members: readonly NodeName[] };

export interface PlanMember {
  readonly name: NodeName;
  /** Absent before a join. */
  readonly statusBefore?: MemberStatus;
  /** Right after the commit; absent once removed. */
  readonly statusAfter?: MemberStatus;
  readonly weight: number;
  readonly zone?: string;
  /** Partitions owned now, and once all transfers are over; divided by ringSize: the ring share. */
  readonly partitionsBefore: number;
  readonly partitionsAfter: number;
}

export interface PlanMove {
  readonly partition: Partition;
  /** Absent when nobody owned it. */
  readonly from?: NodeName;
  /** Absent when nobody is left to take it. */
  readonly to?: NodeName;
  /** `forced`: at once, with the commit, without its tasks. */
  readonly type: "transfer" | "forced";
}

export interface CommitOptions {
  /** False when every node sees the same store. Default true. */
  readonly keepStranded?: boolean;
}

/** The plan of the changes staged now; with none, a plan without moves. */
export function planOf(document: RingDocument, options: CommitOptions = {}): Plan {
  return outcomeOf(document, options).plan;
}

/**
 * Applies the plan with this id. The same document comes back when the id was applied before or there is nothing to do.
 * Throws `PLAN_CHANGED` when the staged changes or their result are not those of that plan.
 */
export function commitPlan(document: RingDocument, planId: string, options: CommitOptions = {}): RingDocument {
  const { plan, after } = outcomeOf(document, options);
  if (plan.id === planId) return after;
  if (document.applied.includes(planId)) return document; // P3
  const current = document.staged.length === 0 ? "nothing is staged" : `the plan is now ${plan.id}`;
  throw new RingError("PLAN_CHANGED", `plan ${planId.slice(0, 64)} is not the current one: ${current}`);
}

interface Outcome {
  readonly plan: Plan;
  readonly after: RingDocument;
}

function outcomeOf(document: RingDocument, options: CommitOptions): Outcome {
  let id = "";
  let overtaken: readonly OvertakenChange[] = [];
  let removed: ReadonlySet<NodeName> = new Set();
  const after = succeed(document, (draft) => {
    const applied = applyStaged(draft);
    ({ overtaken, removed } = applied);
    const targets = claimedTargets(draft, { homes: false }); // P2
    const staged = draft.staged;
    if (staged.length > 0) force(draft, { keepStranded: options.keepStranded ?? true });
    id = planId(document, { staged, targets, owners: draft.owners });
    if (staged.length === 0) return;
    draft.stranded = draft.stranded.filter((entry) => !applied.removed.has(entry.member));
    draft.staged = [];
    draft.applied = [...draft.applied.filter((old) => old !== id), id].slice(-APPLIED_LIMIT);
  });
  const moves = movesBetween(document, after);
  const members = membersOf(document, after);
  const plan: Plan = {
    id,
    epoch: document.epoch,
    ringSize: document.ringSize,
    transitions: transitionsOf(document, after, moves),
    members,
    moves,
    cancelled: cancelledBetween(document, after),
    voters: { before: document.voters, target: voterTarget(after.members) },
    warnings: warningsOf({ before: document, after, overtaken, removed, sharedStore: options.keepStranded === false }),
  };
  return { plan, after };
}

/**
 * P2. Targets without `homes` leave out how far transfers are; the commit itself prefers to keep what has not left yet.
 * What is taken from a member by force is part of the plan: once more has arrived there, more is lost than was shown.
 * So is the plan before it: the same changes staged again are another plan, or a commit of it could not be told from one
 * that is sent again.
 */
function planId(
  document: RingDocument,
  after: Pick<Draft, "staged" | "owners"> & { readonly targets: readonly (NodeName | undefined)[] },
): string {
  const taken = document.owners.flatMap((owner, at) => (after.owners[at] === owner ? [] : [[at, owner ?? ""]]));
  const text = JSON.stringify([
    document.ringId,
    after.staged.map(canonicalText),
    document.applied.at(-1) ?? "",
    after.targets.map((target) => target ?? ""),
    taken,
  ]);
  const bytes = new TextEncoder().encode(text);
  return ID_SEEDS.map((seed) => murmur3(bytes, seed).toString(16).padStart(8, "0")).join("");
}

function movesBetween(before: RingDocument, after: RingDocument): readonly PlanMove[] {
  const targets = targetsOf(before);
  const moves: PlanMove[] = [];
  for (let at = 0; at < before.ringSize; at++) {
    const partition = at as Partition;
    const from = before.owners[at];
    const source = from === undefined ? {} : { from };
    const to = after.next[at];
    if (after.owners[at] !== from) {
      const owner = after.owners[at];
      moves.push({ partition, ...source, ...(owner === undefined ? {} : { to: owner }), type: "forced" });
    } else if (to !== undefined && to !== targets[at]) moves.push({ partition, ...source, to, type: "transfer" });
  }
  return moves;
}

function cancelledBetween(before: RingDocument, after: RingDocument): readonly Partition[] {
  const cancelled: Partition[] = [];
  before.next.forEach((to, partition) => {
    const stays = after.next[partition] === undefined && after.owners[partition] === before.owners[partition];
    if (to !== undefined && stays) cancelled.push(partition as Partition);
  });
  return cancelled;
}

function membersOf(before: RingDocument, after: RingDocument): readonly PlanMember[] {
  const ownedBefore = counts(before.owners);
  const ownedAfter = counts(targetsOf(after));
  const old = new Map<NodeName, Member>(before.members.map((member) => [member.name, member]));
  const current = new Map<NodeName, Member>(after.members.map((member) => [member.name, member]));
  return [...new Set([...old.keys(), ...current.keys()])].sort().map((name) => {
    const was = old.get(name);
    const is = current.get(name);
    const { weight, zone } = (is ?? was) as Member;
    return {
      name,
      ...(was === undefined ? {} : { statusBefore: was.status }),
      ...(is === undefined ? {} : { statusAfter: is.status }),
      weight,
      ...(zone === undefined ? {} : { zone }),
      partitionsBefore: ownedBefore.get(name) ?? 0,
      partitionsAfter: ownedAfter.get(name) ?? 0,
    };
  });
}

function transitionsOf(
  before: RingDocument,
  after: RingDocument,
  moves: readonly PlanMove[],
): readonly PlanTransition[] {
  const transitions: PlanTransition[] = [];
  const forced = moves.filter((move) => move.type === "forced").length;
  const transferred = moves.length - forced;
  const target = voterTarget(after.members);
  const retiring = after.members.filter((member) => member.status === "leaving" || member.status === "exiting");
  if (before.staged.length > 0) transitions.push({ type: "commit", changes: before.staged.length, forced });
  if (transferred > 0) transitions.push({ type: "transfer", partitions: transferred });
  if (target !== before.voters.length) transitions.push({ type: "voters", from: before.voters.length, to: target });
  if (retiring.length > 0) transitions.push({ type: "retire", members: retiring.map((member) => member.name) });
  return transitions;
}

function counts(names: readonly (NodeName | undefined)[]): ReadonlyMap<NodeName, number> {
  const result = new Map<NodeName, number>();
  for (const name of names) if (name !== undefined) result.set(name, (result.get(name) ?? 0) + 1);
  return result;
}

/** Two independent 32-bit hashes: an id guards against mistakes, not against an attacker. */
const ID_SEEDS: readonly number[] = [0x7461736b, 0x72696e67];
