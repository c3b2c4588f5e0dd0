/**
 * The claim: which member should own each partition, given who owns it now.
 *
 * C1  Quotas are exact: ringSize × weight / total weight, rounded by largest remainder. Weight 0 owns nothing.
 * C2  Sticky: a member keeps what it has up to its quota; only the excess and what has no owner moves, so no claim with
 *     these quotas moves less.
 * C3  Equal remainders go first to members that own more than the rounded-down share, then by name; so with equal weights
 *     max − min <= 1 and the moves are the least of all such layouts.
 * C4  Where the excess goes, and which part of it, is decided by each partition's preference order (`preference.ts`).
 * C5  A function of its arguments alone: every node that computes it gets the same answer.
 */

import type { NodeName } from "./ids.ts";
import { byName, preferenceTable } from "./preference.ts";

export interface Claimant {
  readonly name: NodeName;
  /** 0 to 1,000. When every weight is 0 all count as equal: serving goes before preference. */
  readonly weight: number;
  /** Zones do not change who owns; they spread the preflist (`preflist.ts`). */
  readonly zone?: string;
}

export interface ClaimRequest {
  readonly ringSize: number;
  /** Indexed by partition. Names that are not among `members` count as no owner. */
  readonly owners: readonly (NodeName | undefined)[];
  /** At least one; any order. */
  readonly members: readonly Claimant[];
  /** Where a partition without an owner goes first if there is room: who still holds it while a transfer is under way. */
  readonly homes?: readonly (NodeName | undefined)[];
}

/** The owner of each partition. Throws when there are no members. */
export function claim(request: ClaimRequest): readonly NodeName[] {
  const { ringSize } = request;
  const members = [...request.members].sort((left, right) => byName(left.name, right.name));
  if (members.length === 0) throw new Error("claim: at least one member is needed");
  const indexes = new Map<NodeName, number>(members.map((member, index) => [member.name, index]));
  const owner = new Int32Array(ringSize).fill(NOBODY);
  const owned = new Int32Array(members.length);
  for (let partition = 0; partition < ringSize; partition++) {
    const index = indexOf(indexes, request.owners[partition]);
    owner[partition] = index;
    if (index !== NOBODY) owned[index] = (owned[index] as number) + 1;
  }
  /** Above 0: may take so many. Below 0: must give so many. */
  const room = quotas(ringSize, members, owned).map((quota, index) => quota - (owned[index] as number));
  const place = (partition: number, to: number): void => {
    const from = owner[partition] as number;
    if (from !== NOBODY) room[from] = (room[from] as number) + 1;
    room[to] = (room[to] as number) - 1;
    owner[partition] = to;
  };
  if (request.homes !== undefined) {
    for (let partition = 0; partition < ringSize; partition++) {
      const home = indexOf(indexes, request.homes[partition]);
      if (owner[partition] === NOBODY && home !== NOBODY && (room[home] as number) > 0) place(partition, home);
    }
  }
  if (room.some((count) => count > 0)) placeByPreference(ringSize, members, owner, room, place);
  return Array.from(owner, (index) => (members[index] as Claimant).name);
}

/**
 * Rank by rank, so that a partition that moves goes to the best member that has room. One pass ends with every quota met:
 * whoever has room at the end would have been offered whatever is left over.
 */
function placeByPreference(
  ringSize: number,
  members: readonly Claimant[],
  owner: Int32Array,
  room: readonly number[],
  place: (partition: number, to: number) => void,
): void {
  const width = members.length;
  const { order } = preferenceTable(
    members.map((member) => member.name),
    ringSize,
  );
  for (let rank = 0; rank < width; rank++) {
    for (let partition = 0; partition < ringSize; partition++) {
      const to = order[partition * width + rank] as number;
      if ((room[to] as number) <= 0) continue;
      const from = owner[partition] as number;
      if (from === NOBODY || (room[from] as number) < 0) place(partition, to);
    }
  }
}

/**
 * Exact shares of `ringSize` by weight (C1, C3); the sum is `ringSize`. `members` are sorted by name; `owned` counts what
 * each has now and decides between equal remainders.
 */
export function quotas(
  ringSize: number,
  members: readonly Claimant[],
  owned: { readonly [index: number]: number },
): number[] {
  const weightless = members.every((member) => member.weight === 0);
  const weights = members.map((member) => (weightless ? 1 : member.weight));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const shares = weights.map((weight, index) => {
    const floor = Math.floor((ringSize * weight) / total);
    const remainder = ringSize * weight - floor * total; // exact: below 2^53
    return { index, floor, remainder, above: (owned[index] ?? 0) > floor };
  });
  const result = shares.map((share) => share.floor);
  const left = ringSize - result.reduce((sum, quota) => sum + quota, 0);
  shares.sort(
    (left, right) =>
      right.remainder - left.remainder || Number(right.above) - Number(left.above) || left.index - right.index,
  );
  for (const share of shares.slice(0, left)) result[share.index] = share.floor + 1;
  return result;
}

function indexOf(indexes: ReadonlyMap<NodeName, number>, name: NodeName | undefined): number {
  return name === undefined ? NOBODY : (indexes.get(name) ?? NOBODY);
}

const NOBODY = -1;
