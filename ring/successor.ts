/**
 * Checks that one ring document may follow another: the invariants of the ring as a list of what is broken.
 *
 * For asserts before a proposal and for the simulator's checkers; it shares no code with the transitions it checks.
 * D1 to D3 are in `document.ts`. Besides:
 * N1  Ring id, ring size and history stay; the epoch rises by one.
 * N2  A member keeps its id, except when a name comes back with a new one and has no vote before or after.
 * N3  Owners, next owners, voters and those who hold stranded entries are members; a next owner is not the owner.
 * N4  Down and exiting members own nothing and nothing is planned for them.
 * N5  An owner changed by force leaves a stranded entry at its old generation, unless it was removed. Rings with a
 *     shared store pass `sharedStore`. That its ownership began by force is said only if the one before was listed.
 */

import type { RingDocument } from "./document.ts";
import type { NodeName } from "./ids.ts";

export interface SuccessorOptions {
  readonly sharedStore?: boolean;
}

/** Empty when `next` may follow `previous`; else a sentence for each broken invariant. */
export function checkSuccessor(
  previous: RingDocument,
  next: RingDocument,
  options: SuccessorOptions = {},
): readonly string[] {
  const broken = [...checkDocument(next)];
  if (next.ringId !== previous.ringId) broken.push("N1: the ring id changed");
  if (next.ringSize !== previous.ringSize) broken.push("N1: the ring size changed");
  if (next.history !== previous.history) broken.push("N1: the history changed");
  if (next.epoch !== previous.epoch + 1) broken.push(`N1: epoch ${next.epoch} follows ${previous.epoch}`);
  const came = next.voters.filter((name) => !previous.voters.includes(name));
  const went = previous.voters.filter((name) => !next.voters.includes(name));
  if (came.length > 1 || went.length > 1) broken.push(`D3: voters ${went.join(" ")} went and ${came.join(" ")} came`);
  for (const member of next.members) {
    const old = previous.members.find((other) => other.name === member.name);
    if (old === undefined || old.id === member.id) continue;
    if (previous.voters.includes(member.name) || next.voters.includes(member.name)) {
      broken.push(`N2: voter ${member.name} changed its id`);
    }
  }
  for (let partition = 0; partition < Math.min(previous.ringSize, next.ringSize); partition++) {
    broken.push(...checkPartition(previous, next, partition, options));
  }
  return broken;
}

/** The invariants that one document can show. */
export function checkDocument(document: RingDocument): readonly string[] {
  const broken: string[] = [];
  const { ringSize } = document;
  for (const list of [document.owners, document.next, document.generations]) {
    if (list.length !== ringSize) broken.push(`D1: ${list.length} entries for ${ringSize} partitions`);
  }
  const statuses = new Map(document.members.map((member) => [member.name, member.status]));
  const isGone = (name: NodeName): boolean => {
    const status = statuses.get(name);
    return status === "down" || status === "exiting";
  };
  document.owners.forEach((owner, partition) => {
    const next = document.next[partition];
    for (const name of [owner, next]) {
      if (name === undefined) continue;
      if (!statuses.has(name)) broken.push(`N3: ${name} has partition ${partition} and is no member`);
      else if (isGone(name)) broken.push(`N4: ${name} is ${statuses.get(name)} and has partition ${partition}`);
    }
    if (next !== undefined && next === owner) broken.push(`N3: partition ${partition} is to move to its owner`);
    if (owner === undefined && document.members.some((member) => member.status === "valid")) {
      broken.push(`D1: partition ${partition} has no owner although a member is valid`);
    }
  });
  if (document.voters.length === 0) broken.push("D3: there are no voters");
  for (const name of document.voters) if (!statuses.has(name)) broken.push(`D3: voter ${name} is no member`);
  for (const entry of document.stranded) {
    const adopter = entry.where.type === "adopter" ? entry.where.adopter : entry.member;
    if (!statuses.has(entry.member) || !statuses.has(adopter)) {
      broken.push(`N3: a stranded entry of partition ${entry.partition} names no member`);
    }
  }
  return broken;
}

function checkPartition(
  previous: RingDocument,
  next: RingDocument,
  partition: number,
  options: SuccessorOptions,
): readonly string[] {
  const before = previous.owners[partition];
  const after = next.owners[partition];
  const generation = previous.generations[partition] as number;
  const raised = (next.generations[partition] as number) - generation;
  if (raised !== (before === after ? 0 : 1)) {
    return [`D2: the generation of partition ${partition} changed by ${raised}, its owner from ${before} to ${after}`];
  }
  const isForced = before !== undefined && after !== before && previous.next[partition] !== after;
  const old = next.members.find((member) => member.name === before);
  if (!isForced || options.sharedStore === true || old === undefined) return [];
  const wasId = previous.members.find((member) => member.name === before)?.id;
  const listed = next.stranded.find(
    (entry) => entry.partition === partition && entry.member === before && entry.generation === generation,
  );
  const wasForced = previous.stranded.some(
    (entry) => entry.partition === partition && entry.generation === generation - 1,
  );
  if (listed?.byForce === true && !wasForced)
    return [`N5: partition ${partition} came to ${before} by a handoff, and its entry says by force`];
  const isRemoved = old.id !== wasId || (old.status === "exiting" && previous.voters.includes(old.name));
  return listed !== undefined || isRemoved
    ? []
    : [`N5: partition ${partition} was taken from ${before} and nothing is stranded`];
}
