/**
 * Ring documents for the register model and the register's tests: small, and changed without the rules of the claim.
 */

import type { Member, RingDocument } from "../../../ring/document.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../../../ring/ids.ts";

export const NAMES: readonly NodeName[] = ["a", "b", "c", "d", "e"] as NodeName[];
const RING_SIZE = 8;

export function memberIdFor(name: NodeName, directory: number): MemberId {
  return `${name}#${directory}` as MemberId;
}

export function idOf(document: RingDocument, name: NodeName): MemberId | undefined {
  return document.members.find((member) => member.name === name)?.id;
}

/** Epoch 1; the first `voterCount` names in some order vote, partitions are dealt round. */
export function firstDocument(voterCount: number, random: () => number = () => 0.99): RingDocument {
  const voters = [...NAMES];
  for (let index = voters.length - 1; index > 0; index -= 1) {
    const other = Math.floor(random() * (index + 1));
    [voters[index], voters[other]] = [voters[other]!, voters[index]!];
  }
  return {
    version: 1,
    ringId: "ring-1" as RingId,
    history: 1,
    epoch: 1 as Epoch,
    ringSize: RING_SIZE,
    members: NAMES.map(memberOf),
    voters: voters.slice(0, voterCount).sort(),
    owners: Array.from({ length: RING_SIZE }, (_, partition) => NAMES[partition % NAMES.length]),
    next: new Array<undefined>(RING_SIZE).fill(undefined),
    generations: new Array<number>(RING_SIZE).fill(1),
    stranded: [],
    staged: [],
    applied: [],
  };
}

export interface Changes {
  readonly owners?: RingDocument["owners"];
  readonly voters?: RingDocument["voters"];
  readonly members?: RingDocument["members"];
}

/** The next epoch; `tag` tells it from other documents of the same content. */
export function changed(document: RingDocument, changes: Changes, tag: string): RingDocument {
  return { ...document, ...changes, epoch: (document.epoch + 1) as Epoch, applied: [tag] };
}

export function taking(
  document: RingDocument,
  from: NodeName,
  to: NodeName,
  partitions: readonly Partition[],
): RingDocument["owners"] {
  return document.owners.map((owner, partition) =>
    owner === from && partitions.includes(partition as Partition) ? to : owner,
  );
}

/** One voter more, one less, or another one, so that the number stays near `wanted`. */
export function nextVoters(document: RingDocument, wanted: number, random: () => number): readonly NodeName[] {
  const { voters } = document;
  const others = NAMES.filter((name) => !voters.includes(name));
  const comer = others[Math.floor(random() * others.length)];
  const goer = voters[Math.floor(random() * voters.length)];
  const isGrowing = voters.length < wanted || (voters.length === wanted && random() < 0.3);
  const isShrinking = voters.length > 1 && (voters.length > wanted || random() < 0.2);
  const kept = isGrowing && comer !== undefined && !isShrinking ? voters : voters.filter((voter) => voter !== goer);
  const isComing = comer !== undefined && (kept.length === voters.length || !isShrinking);
  return (isComing ? [...kept, comer] : kept).toSorted();
}

export function partitionsOf(document: RingDocument, owner: NodeName): readonly Partition[] {
  const partitions: Partition[] = [];
  for (let partition = 0; partition < RING_SIZE; partition += 1) {
    if (document.owners[partition] === owner) partitions.push(partition as Partition);
  }
  return partitions;
}

function memberOf(name: NodeName): Member {
  return { name, id: memberIdFor(name, 1), status: "valid", weight: 100, machine: "m1", directory: `/data/${name}` };
}
