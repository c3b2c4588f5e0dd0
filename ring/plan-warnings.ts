/**
 * What an operator should know before a commit.
 */

import type { RingDocument } from "./document.ts";
import { isClaimable, targetsOf, weightOf } from "./draft.ts";
import type { NodeName } from "./ids.ts";
import type { OvertakenChange } from "./staging.ts";
import { voterTarget } from "./voters.ts";

export interface PlanWarning {
  readonly code: /** The loss of one member stops the ring. */
    | "NO_FAILOVER"
    /** A removed member's queued tasks and state are lost for good. */
    | "DATA_LOST"
    /** A member is taken down: what is on its disk waits for its return. */
    | "DATA_AWAY"
    /** A share differs from its weight's by more than a fifth: too few partitions for so many members or such weights, or no weight at all. */
    | "IMBALANCE"
    /** Some members name a zone and others do not, so the preflist cannot spread. */
    | "ZONES_MIXED"
    /** Nobody is left to own the ring. */
    | "NO_OWNER"
    /** The staged change is left out: events have overtaken it. */
    | "OVERTAKEN";
  readonly text: string;
  readonly member?: NodeName;
}

export interface PlanSituation {
  readonly before: RingDocument;
  readonly after: RingDocument;
  readonly overtaken: readonly OvertakenChange[];
  readonly removed: ReadonlySet<NodeName>;
  readonly sharedStore: boolean;
}

export function warningsOf(situation: PlanSituation): readonly PlanWarning[] {
  return [
    ...overtakenOf(situation),
    ...lossesOf(situation),
    ...absencesOf(situation),
    ...failoverOf(situation),
    ...balanceOf(situation),
    ...zonesOf(situation),
  ];
}

function overtakenOf({ overtaken }: PlanSituation): readonly PlanWarning[] {
  return overtaken.map(({ change, reason }) => ({ code: "OVERTAKEN", text: `${change.type} is left out: ${reason}` }));
}

function lossesOf({ before, removed }: PlanSituation): readonly PlanWarning[] {
  return [...removed].map((member) => {
    const owned = before.owners.filter((owner) => owner === member).length;
    const stranded = before.stranded.filter((entry) => entry.member === member).length;
    const text = `what is on the disk of ${member} is lost: ${owned} partitions it owns, ${stranded} stranded there`;
    return { code: "DATA_LOST", text, member };
  });
}

function absencesOf({ before, after, removed }: PlanSituation): readonly PlanWarning[] {
  const absent = new Map<NodeName, number>();
  for (const entry of after.stranded) {
    if (before.stranded.includes(entry) || removed.has(entry.member)) continue;
    absent.set(entry.member, (absent.get(entry.member) ?? 0) + 1);
  }
  return [...absent].map(([member, partitions]) => ({
    code: "DATA_AWAY",
    text: `tasks and state of ${partitions} partitions stay on the disk of ${member} until it returns`,
    member,
  }));
}

/** The voter set that the ring is on its way to: as many as the target, the absent ones replaced as far as members serve. */
function failoverOf({ after, sharedStore }: PlanSituation): readonly PlanWarning[] {
  const target = voterTarget(after.members);
  const serving = after.members.filter(isClaimable).length;
  const standing = Math.min(target, serving);
  if (standing - 1 >= Math.floor(target / 2) + 1) return [];
  if (sharedStore && target === 1 && serving > 1) return []; // any other member goes on for an only voter
  const more = after.members.some(({ status }) => status === "down") ? " more" : "";
  return [
    { code: "NO_FAILOVER", text: `the loss of one${more} member stops the ring: ${serving} serve, ${target} vote` },
  ];
}

function balanceOf({ after }: PlanSituation): readonly PlanWarning[] {
  const members = after.members.filter(isClaimable);
  if (members.length === 0) return [{ code: "NO_OWNER", text: "no member is left that can own partitions" }];
  const total = members.reduce((sum, member) => sum + weightOf(member), 0);
  if (total === 0) return [{ code: "IMBALANCE", text: "no member that is left has a weight: all get the same share" }];
  const targets = targetsOf(after);
  return members.flatMap((member) => {
    const share = targets.filter((target) => target === member.name).length;
    const ideal = (after.ringSize * weightOf(member)) / total;
    if (Math.abs(share - ideal) <= ideal * IMBALANCE_TOLERANCE) return [];
    const text = `${member.name} gets ${share} of ${after.ringSize} partitions; its weight asks for ${ideal.toFixed(1)}`;
    return [{ code: "IMBALANCE" as const, text, member: member.name }];
  });
}

function zonesOf({ after }: PlanSituation): readonly PlanWarning[] {
  const members = after.members.filter(isClaimable);
  const without = members.filter((member) => member.zone === undefined);
  if (without.length === 0 || without.length === members.length) return [];
  const text = `${without.map((member) => member.name).join(", ")} have no zone while others do`;
  return [{ code: "ZONES_MIXED", text }];
}

const IMBALANCE_TOLERANCE = 0.2;
