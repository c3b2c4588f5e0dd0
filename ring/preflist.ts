/**
 * The preflist of a partition: its owner first, then whom to try next.
 *
 * L1  The rest follows the partition's preference order, so it is the order in which failover would choose too.
 * L2  Zones: each next entry comes from the zone used least so far, if any; members without a zone count as one zone.
 * L3  A computation over the document: the same everywhere that knows the same epoch.
 */

import type { Member, RingDocument } from "./document.ts";
import type { NodeName, Partition } from "./ids.ts";
import { preferenceOf, preferenceTable } from "./preference.ts";

export interface PreflistOptions {
  /** Leave out the members of which this says false, the owner too. */
  readonly alive?: (name: NodeName) => boolean;
}

/** At most `count` names, no name twice. After the owner only `valid` members follow. */
export function preflist(
  document: RingDocument,
  partition: Partition,
  count: number,
  options: PreflistOptions = {},
): readonly NodeName[] {
  const members = new Map<NodeName, Member>(document.members.map((member) => [member.name, member]));
  const alive = options.alive ?? (() => true);
  const owner = document.owners[partition];
  const table = preferenceTable([...members.keys()], document.ringSize);
  const rest = preferenceOf(table, partition).filter(
    (name) => name !== owner && members.get(name)?.status === "valid" && alive(name),
  );
  const chosen: NodeName[] = [];
  const usedOfZone = new Map<string, number>();
  const take = (name: NodeName): void => {
    chosen.push(name);
    const zone = members.get(name)?.zone ?? NO_ZONE;
    usedOfZone.set(zone, (usedOfZone.get(zone) ?? 0) + 1);
  };
  if (owner !== undefined && alive(owner) && count > 0) take(owner);
  while (chosen.length < count && rest.length > 0) {
    let best = 0;
    let bestUsed = Number.POSITIVE_INFINITY;
    for (let at = 0; at < rest.length && bestUsed > 0; at++) {
      const used = usedOfZone.get(members.get(rest[at] as NodeName)?.zone ?? NO_ZONE) ?? 0;
      if (used < bestUsed) {
        best = at;
        bestUsed = used;
      }
    }
    take(rest.splice(best, 1)[0] as NodeName);
  }
  return chosen;
}

/** Not a possible zone name. */
const NO_ZONE = "";
