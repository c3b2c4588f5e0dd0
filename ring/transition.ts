/**
 * The automatic changes of the ring document: cut-over, failover, return, retirement. The claimant proposes them; the
 * register decides them; nothing here knows when.
 *
 * Each takes the document of epoch e and returns that of e+1, or the same object when there is nothing to change.
 * T1  A partition changes owner by a cut-over that was planned in `next`, or by force because its owner is gone.
 * T2  By force the old owner's copy is listed as stranded, at the generation at which it owned it, unless the store is shared; with
 *     a word whether that ownership began by force itself, as it did when the one before it is listed too.
 * T3  A stranded entry goes only by `removeStranded`, or with its member by force-remove.
 * T4  A leaving member that dies is exiting, not down: the operator's word stands, and it is retired when nothing of it is
 *     stranded any more. So a committed leave completes after any fault, or waits visibly for the return of its disk.
 */

import type { Member, RingDocument, Stranded } from "./document.ts";
import { type Draft, findMember, memberNamed, reclaim, replaceMember, setOwner, setStatus, succeed } from "./draft.ts";
import { RingError } from "./errors.ts";
import type { Epoch, MemberId, NodeName, Partition } from "./ids.ts";

/** A transfer: planned (`next`) or over. */
export interface Move {
  readonly partition: Partition;
  readonly from: NodeName;
  readonly to: NodeName;
}

/** Transfers that are planned, by partition. */
export function plannedMoves(document: RingDocument): readonly Move[] {
  const moves: Move[] = [];
  document.next.forEach((to, partition) => {
    const from = document.owners[partition];
    if (to !== undefined && from !== undefined) moves.push({ partition: partition as Partition, from, to });
  });
  return moves;
}

/** Still to be done exactly so; false when it was cancelled, redirected or is over. */
export function isPlanned(document: RingDocument, move: Move): boolean {
  return document.owners[move.partition] === move.from && document.next[move.partition] === move.to;
}

/**
 * Cut-over of several partitions at once. Throws `RING_BUSY` when one of them is no longer planned: the proposer looks
 * at the document again (`isPlanned`) and proposes the rest.
 */
export function moveDone(document: RingDocument, moves: readonly Move[]): RingDocument {
  for (const move of moves) {
    if (isPlanned(document, move)) continue;
    throw new RingError(
      "RING_BUSY",
      `the transfer of partition ${move.partition} from ${move.from} to ${move.to} is not planned`,
    );
  }
  return succeed(document, (draft) => {
    for (const { partition, to } of moves) if (draft.owners[partition] !== to) setOwner(draft, partition, to);
  });
}

export interface DownOptions {
  /** Dead member → the peer that holds its directory. A dead one not named here is away. */
  readonly adopters?: ReadonlyMap<NodeName, NodeName>;
  /** False when every node sees the same store, so that nothing is left behind. */
  readonly keepStranded: boolean;
}

/**
 * Members found dead: their partitions go at once to the live members that the claim chooses, evenly; transfers to and
 * from them are planned anew. Members that are down or exiting already stay as they are. Throws `MEMBER_UNKNOWN`.
 */
export function markDown(document: RingDocument, names: readonly NodeName[], options: DownOptions): RingDocument {
  const adopters = lastAdopters(options.adopters ?? new Map(), names);
  return succeed(document, (draft) => {
    takeDown(draft, names, { ...options, adopters });
    force(draft, { ...options, adopters });
  });
}

/** First half of a forced change: statuses only, so that a plan can take several members down and claim once. */
export function takeDown(draft: Draft, names: readonly NodeName[], options: DownOptions): void {
  for (const name of names) {
    const { status } = memberNamed(draft, name);
    if (status === "leaving")
      setStatus(draft, name, "exiting"); // T4
    else if (status !== "exiting") setStatus(draft, name, "down");
  }
  releaseAdoptions(draft, new Set(names), options.adopters);
}

/** Second half: claims, and lists what the gone owners leave behind (T2). */
export function force(draft: Draft, options: DownOptions): void {
  const owners = [...draft.owners];
  const generations = [...draft.generations];
  const forced = new Set(draft.stranded.map(({ partition, generation }) => `${partition} ${generation}`));
  for (const partition of reclaim(draft)) {
    const owner = owners[partition];
    const member = owner === undefined ? undefined : findMember(draft, owner);
    if (!options.keepStranded || member === undefined) continue;
    const generation = generations[partition] as number;
    draft.stranded.push({
      partition,
      member: member.name,
      memberId: member.id,
      generation,
      ...(forced.has(`${partition} ${generation - 1}`) ? { byForce: true } : {}),
      where: whereabouts(draft, member.name, options.adopters),
    });
  }
}

/**
 * Entries in the hands of adopters that are gone: away, or with the next adopter. Whoever holds the adopter's own directory is on
 * that machine, where these lie as well, and takes them next.
 */
export function releaseAdoptions(
  draft: Draft,
  gone: ReadonlySet<NodeName>,
  adopters: ReadonlyMap<NodeName, NodeName> | undefined,
): void {
  if (!draft.stranded.some((entry) => entry.where.type === "adopter" && gone.has(entry.where.adopter))) return;
  draft.stranded = draft.stranded.map((entry) => {
    if (entry.where.type !== "adopter" || !gone.has(entry.where.adopter)) return entry;
    const held = adopters?.has(entry.member) === true ? entry.member : entry.where.adopter;
    return { ...entry, where: whereabouts(draft, held, adopters) };
  });
}

/**
 * A dead member is back: valid again, and the claim gives it its share back by transfers. What is stranded on its disk
 * stays listed until it is absorbed. Any other status stays as it is (T4).
 */
export function markReturned(document: RingDocument, name: NodeName): RingDocument {
  const { status } = memberNamed(document, name);
  if (status !== "down") return document;
  return succeed(document, (draft) => {
    setStatus(draft, name, "valid");
    reclaim(draft);
  });
}

/** Takes the partitions of a member that does badly, as a drain does, or gives it its share again. Its weight stays. */
export function setUnwell(
  document: RingDocument,
  { name, unwell }: { readonly name: NodeName; readonly unwell: boolean },
): RingDocument {
  const { unwell: was, ...member } = memberNamed(document, name);
  if ((was === true) === unwell) return document;
  return succeed(document, (draft) => {
    replaceMember(draft, unwell ? { ...member, unwell: true } : member);
    reclaim(draft);
  });
}

/** An epoch that changes nothing: it ends the doubt of whoever sealed a partition for it (ownership rule 13). */
export function passEpoch(document: RingDocument): RingDocument {
  return { ...document, epoch: (document.epoch + 1) as Epoch };
}

/** Plans `next` anew by the claim; changes nothing in a ring at rest. Partitions without an owner get one at once. */
export function rebalance(document: RingDocument): RingDocument {
  return succeed(document, (draft) => {
    reclaim(draft);
  });
}

/** Ends an adoption or a return for these entries (ownership rule 15). Entries that are not listed are ignored. */
export function removeStranded(
  document: RingDocument,
  entries: readonly Pick<Stranded, "partition" | "member" | "memberId" | "generation">[],
): RingDocument {
  const gone = new Set(entries.map(strandedKey));
  return succeed(document, (draft) => {
    draft.stranded = draft.stranded.filter((entry) => !gone.has(strandedKey(entry)));
  });
}

export interface AdopterChange {
  readonly member: NodeName;
  readonly memberId: MemberId;
  /** Absent: nobody holds the directory any more, its tasks are away. */
  readonly adopter?: NodeName;
}

/** Who holds the directory of a dead member, for all of its stranded entries. Throws `MEMBER_UNKNOWN` for the adopter. */
export function setAdopter(document: RingDocument, change: AdopterChange): RingDocument {
  const { adopter } = change;
  if (adopter !== undefined) memberNamed(document, adopter);
  return succeed(document, (draft) => {
    draft.stranded = draft.stranded.map((entry) => {
      if (entry.member !== change.member || entry.memberId !== change.memberId) return entry;
      const current = entry.where.type === "adopter" ? entry.where.adopter : undefined;
      if (current === adopter) return entry;
      return { ...entry, where: adopter === undefined ? { type: "away" } : { type: "adopter", adopter } };
    });
  });
}

/** Removes the exiting members that own nothing, vote no more, hold nobody's directory and left nothing stranded. */
export function retireMembers(document: RingDocument): RingDocument {
  return succeed(document, (draft) => {
    draft.members = draft.members.filter((member) => !isRetirable(document, member));
  });
}

function isRetirable(document: RingDocument, member: Member): boolean {
  const { name } = member;
  return (
    member.status === "exiting" &&
    !document.voters.includes(name) &&
    !document.owners.includes(name) &&
    !document.stranded.some(
      (entry) => entry.member === name || (entry.where.type === "adopter" && entry.where.adopter === name),
    )
  );
}

/** A member that restarted elsewhere under its own name and id: another machine id or directory path. */
export function setPlace(
  document: RingDocument,
  name: NodeName,
  place: { readonly machine: string; readonly directory: string },
): RingDocument {
  const member = memberNamed(document, name);
  if (member.machine === place.machine && member.directory === place.directory) return document;
  return succeed(document, (draft) =>
    replaceMember(draft, { ...member, machine: place.machine, directory: place.directory }),
  );
}

/** An adopter that goes as well leaves what it held to whoever holds its own directory. */
function lastAdopters(
  adopters: ReadonlyMap<NodeName, NodeName>,
  gone: readonly NodeName[],
): ReadonlyMap<NodeName, NodeName> {
  const last = new Map<NodeName, NodeName>();
  for (const [name, first] of adopters) {
    let adopter: NodeName | undefined = first;
    for (let looks = 0; adopter !== undefined && gone.includes(adopter) && looks < gone.length; looks++)
      adopter = adopters.get(adopter);
    if (adopter !== undefined && !gone.includes(adopter)) last.set(name, adopter);
  }
  return last;
}

function whereabouts(
  draft: Draft,
  member: NodeName,
  adopters: ReadonlyMap<NodeName, NodeName> | undefined,
): Stranded["where"] {
  const adopter = adopters?.get(member);
  const status = adopter === undefined ? undefined : findMember(draft, adopter)?.status;
  return adopter === undefined || status === undefined || status === "down"
    ? { type: "away" }
    : { type: "adopter", adopter };
}

function strandedKey(entry: Pick<Stranded, "partition" | "member" | "memberId" | "generation">): string {
  return `${entry.partition} ${entry.generation} ${entry.member} ${entry.memberId}`;
}
