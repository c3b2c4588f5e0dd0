/**
 * The compact plain-object form of a ring document, for msgpack, gRPC and disk: members stand once, everything else names
 * them by index.
 *
 * W1  `decodeDocument(encodeDocument(d))` equals d; so does a decode after JSON or msgpack.
 * W2  A decode of anything else throws `INVALID_ARGUMENT` (`document-check.ts` checks what the indexes resolve to).
 * W3  `v` is the version of this form: a newer one is refused, not guessed at.
 */

import type { Member, RingDocument, StagedChange, Stranded } from "./document.ts";
import { MEMBER_STATUSES, validateDocument } from "./document-check.ts";
import { RingError } from "./errors.ts";
import type { NodeName } from "./ids.ts";
import { MEMBER_LIMIT, RING_SIZE_MOST, STRANDED_LIMIT, VOTER_LIMIT } from "./limits.ts";

export interface EncodedDocument {
  readonly v: 1;
  readonly ring: string;
  readonly history: number;
  readonly epoch: number;
  /** [name, id, index into MEMBER_STATUSES, weight, machine, directory, zone or "", and 1 for an unwell one] */
  readonly members: readonly MemberRow[];
  /** Member indexes. */
  readonly voters: readonly number[];
  /** Member index per partition, -1 for nobody. */
  readonly owners: readonly number[];
  /** [partition, member index] of planned transfers. */
  readonly next: readonly (readonly [number, number])[];
  readonly generations: readonly number[];
  /** [partition, member index, member id, generation, adopter's index or -1, and 1 where that ownership began by force] */
  readonly stranded: readonly StrandedRow[];
  readonly staged: readonly StagedChange[];
  readonly applied: readonly string[];
}

export function encodeDocument(document: RingDocument): EncodedDocument {
  const indexes = new Map<NodeName, number>(document.members.map((member, index) => [member.name, index]));
  const indexOf = (name: NodeName | undefined): number => (name === undefined ? NOBODY : (indexes.get(name) ?? NOBODY));
  const next: (readonly [number, number])[] = [];
  document.next.forEach((name, partition) => {
    if (name !== undefined) next.push([partition, indexOf(name)]);
  });
  return {
    v: 1,
    ring: document.ringId,
    history: document.history,
    epoch: document.epoch,
    members: document.members.map(rowOf),
    voters: document.voters.map(indexOf),
    owners: document.owners.map(indexOf),
    next,
    generations: document.generations,
    stranded: document.stranded.map(({ partition, member, memberId, generation, where, byForce }) => {
      const adopter = where.type === "adopter" ? indexOf(where.adopter) : NOBODY;
      const row = [partition, indexOf(member), memberId, generation, adopter] as const;
      return byForce === true ? [...row, 1] : row;
    }),
    staged: document.staged,
    applied: document.applied,
  };
}

type MemberRow = readonly [string, string, number, number, string, string, string, 1?];
type StrandedRow = readonly [number, number, string, number, number, 1?];

function rowOf({ name, id, status, weight, machine, directory, zone = "", unwell }: Member): MemberRow {
  const index = MEMBER_STATUSES.indexOf(status);
  return unwell === true
    ? [name, id, index, weight, machine, directory, zone, 1]
    : [name, id, index, weight, machine, directory, zone];
}

/** Throws `INVALID_ARGUMENT`. */
export function decodeDocument(value: unknown): RingDocument {
  if (typeof value !== "object" || value === null) throw invalid("not an object");
  const fields = value as Readonly<Record<string, unknown>>;
  if (fields.v !== 1)
    throw invalid(`form ${typeof fields.v === "number" ? fields.v : `of type ${typeof fields.v}`} is not known here`);
  const members = rowsOf(fields.members, "members", MEMBER_LIMIT).map(memberOf);
  const nameAt = (index: unknown): unknown => {
    if (index === NOBODY) return undefined;
    const name = typeof index === "number" ? members[index]?.name : undefined;
    if (name === undefined) throw invalid("an index names no member");
    return name;
  };
  const owners = listOf(fields.owners, "owners", RING_SIZE_MOST);
  const next: unknown[] = new Array(owners.length).fill(undefined);
  for (const [partition, index] of rowsOf(fields.next, "next", RING_SIZE_MOST)) {
    if (typeof partition !== "number" || !(partition in owners)) throw invalid("next names no partition");
    next[partition] = nameAt(index);
  }
  return validateDocument({
    version: 1,
    ringId: fields.ring,
    history: fields.history,
    epoch: fields.epoch,
    ringSize: owners.length,
    members,
    voters: listOf(fields.voters, "voters", VOTER_LIMIT).map(nameAt),
    owners: owners.map(nameAt),
    next,
    generations: fields.generations,
    stranded: rowsOf(fields.stranded, "stranded", STRANDED_LIMIT).map((row) => strandedOf(row, nameAt)),
    staged: fields.staged,
    applied: fields.applied,
  });
}

type Unchecked<T> = { readonly [Field in keyof T]: unknown };

function memberOf(row: readonly unknown[]): Unchecked<Member> {
  const [name, id, status, weight, machine, directory, zone, unwell] = row;
  return {
    name,
    id,
    status: typeof status === "number" ? MEMBER_STATUSES[status] : undefined,
    weight,
    machine,
    directory,
    ...(zone === "" ? {} : { zone }),
    ...(unwell === undefined ? {} : { unwell: unwell === 1 ? true : unwell }),
  };
}

function strandedOf(row: readonly unknown[], nameAt: (index: unknown) => unknown): Unchecked<Stranded> {
  const [partition, member, memberId, generation, adopter, byForce] = row;
  const where = adopter === NOBODY ? { type: "away" } : { type: "adopter", adopter: nameAt(adopter) };
  return {
    partition,
    member: nameAt(member),
    memberId,
    generation,
    ...(byForce === undefined ? {} : { byForce: byForce === 1 ? true : byForce }),
    where,
  };
}

function listOf(value: unknown, what: string, limit: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > limit) throw invalid(`${what} is not a list of at most ${limit}`);
  return Array.from(value);
}

function rowsOf(value: unknown, what: string, limit: number): readonly (readonly unknown[])[] {
  return listOf(value, what, limit).map((row) => {
    if (!Array.isArray(row)) throw invalid(`${what} has an entry that is not a list`);
    return row;
  });
}

function invalid(detail: string): RingError {
  return new RingError("INVALID_ARGUMENT", `encoded ring document: ${detail}`);
}

const NOBODY = -1;
