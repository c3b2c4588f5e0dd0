/**
 * The border at which a ring document from a peer or a disk becomes a `RingDocument`: everything is checked once, here.
 *
 * K1  What comes back holds D1 to D3 as far as one document can show them, and every limit of `limits.ts`.
 * K2  It is a fresh value made of known fields only; nothing of the input is shared or passed through.
 * K3  Anything else throws `INVALID_ARGUMENT` naming the field; no input can make this throw something else.
 */

import type { Member, MemberStatus, RingDocument, StagedChange, Stranded } from "./document.ts";
import { RingError } from "./errors.ts";
import { checkMember } from "./founding.ts";
import { type Epoch, type MemberId, type NodeName, type Partition, parseNodeName, type RingId } from "./ids.ts";
import {
  APPLIED_LIMIT,
  DIRECTORY_LENGTH_LIMIT,
  ID_LENGTH_LIMIT,
  isRingSize,
  isZone,
  MACHINE_LENGTH_LIMIT,
  MEMBER_LIMIT,
  RING_SIZE_MOST,
  STAGED_LIMIT,
  STRANDED_LIMIT,
  U32_MOST,
  VOTER_LIMIT,
  WEIGHT_MOST,
} from "./limits.ts";

export const MEMBER_STATUSES: readonly MemberStatus[] = ["joining", "valid", "leaving", "exiting", "down"];

/** Accepts the document's own shape, also after JSON, which writes absent owners as null. Throws `INVALID_ARGUMENT`. */
export function validateDocument(value: unknown): RingDocument {
  const fields = recordOf(value, "document");
  if (fields.version !== 1)
    throw invalid(
      `version ${typeof fields.version === "number" ? fields.version : `of type ${typeof fields.version}`} is not known here`,
    );
  const ringSize = wholeOf(fields.ringSize, "ringSize", 0, RING_SIZE_MOST);
  if (!isRingSize(ringSize)) throw invalid("ringSize is not a power of two from 8 to 4096");
  const members = listOf(fields.members, "members", MEMBER_LIMIT).map(memberOf);
  const names = new Set(members.map((member) => member.name));
  const nameOf = (name: unknown, what: string): NodeName => {
    if (!names.has(name as NodeName)) throw invalid(`${what} names no member`);
    return name as NodeName;
  };
  const nameOrNobody = (name: unknown, what: string): NodeName | undefined =>
    name === undefined || name === null ? undefined : nameOf(name, what);
  const document: RingDocument = {
    version: 1,
    ringId: textOf(fields.ringId, "ringId", ID_LENGTH_LIMIT) as RingId,
    history: wholeOf(fields.history, "history", 1, U32_MOST),
    epoch: wholeOf(fields.epoch, "epoch", 1, Number.MAX_SAFE_INTEGER) as Epoch,
    ringSize,
    members,
    voters: listOf(fields.voters, "voters", VOTER_LIMIT).map((name) => nameOf(name, "voters")),
    owners: perPartition(fields.owners, "owners", ringSize).map((name) => nameOrNobody(name, "owners")),
    next: perPartition(fields.next, "next", ringSize).map((name) => nameOrNobody(name, "next")),
    generations: perPartition(fields.generations, "generations", ringSize).map((generation) =>
      wholeOf(generation, "generations", 0, U32_MOST),
    ),
    stranded: listOf(fields.stranded, "stranded", STRANDED_LIMIT).map((entry) => strandedOf(entry, ringSize, nameOf)),
    staged: listOf(fields.staged, "staged", STAGED_LIMIT).map(stagedOf),
    applied: listOf(fields.applied, "applied", APPLIED_LIMIT).map((id) => textOf(id, "applied", ID_LENGTH_LIMIT)),
  };
  checkWhole(document);
  return document;
}

/** Throws `INVALID_ARGUMENT`. */
function stagedOf(value: unknown): StagedChange {
  const fields = recordOf(value, "staged");
  switch (fields.type) {
    case "join": {
      const { status: _status, ...member } = memberOf({
        ...recordOf(fields.member, "staged.member"),
        status: "joining",
      });
      return { type: "join", member };
    }
    case "replace":
      return { type: "replace", name: nodeNameOf(fields.name), by: nodeNameOf(fields.by) };
    case "set-weight":
      return {
        type: "set-weight",
        name: nodeNameOf(fields.name),
        weight: wholeOf(fields.weight, "weight", 0, WEIGHT_MOST),
      };
    case "set-zone": {
      const zone = zoneOf(fields.zone);
      return { type: "set-zone", name: nodeNameOf(fields.name), ...(zone === undefined ? {} : { zone }) };
    }
    case "leave":
    case "force-remove":
    case "down":
      return { type: fields.type, name: nodeNameOf(fields.name) };
    default:
      throw invalid("staged has a change of an unknown type");
  }
}

function memberOf(value: unknown): Member {
  const fields = recordOf(value, "members");
  const status = MEMBER_STATUSES.find((known) => known === fields.status);
  if (status === undefined) throw invalid("members has an unknown status");
  const zone = zoneOf(fields.zone);
  if (fields.unwell !== undefined && fields.unwell !== true) throw invalid("members has an unwell that is not true");
  const member: Member = {
    name: nodeNameOf(fields.name),
    id: textOf(fields.id, "member id", ID_LENGTH_LIMIT) as MemberId,
    status,
    weight: wholeOf(fields.weight, "weight", 0, WEIGHT_MOST),
    ...(fields.unwell === true ? { unwell: true } : {}),
    ...(zone === undefined ? {} : { zone }),
    machine: textOf(fields.machine, "machine", MACHINE_LENGTH_LIMIT),
    directory: textOf(fields.directory, "directory", DIRECTORY_LENGTH_LIMIT),
  };
  checkMember(member);
  return member;
}

function strandedOf(value: unknown, ringSize: number, nameOf: (name: unknown, what: string) => NodeName): Stranded {
  const fields = recordOf(value, "stranded");
  const where = recordOf(fields.where, "stranded.where");
  if (where.type !== "away" && where.type !== "adopter") throw invalid("stranded.where has an unknown type");
  if (fields.byForce !== undefined && fields.byForce !== true) throw invalid("stranded has a byForce that is not true");
  return {
    partition: wholeOf(fields.partition, "stranded.partition", 0, ringSize - 1) as Partition,
    member: nameOf(fields.member, "stranded.member"),
    memberId: textOf(fields.memberId, "stranded.memberId", ID_LENGTH_LIMIT) as MemberId,
    generation: wholeOf(fields.generation, "stranded.generation", 0, U32_MOST),
    ...(fields.byForce === true ? { byForce: true } : {}),
    where:
      where.type === "away"
        ? { type: "away" }
        : { type: "adopter", adopter: nameOf(where.adopter, "stranded.adopter") },
  };
}

/** What only the fields together show. */
function checkWhole(document: RingDocument): void {
  checkSorted(
    document.members.map((member) => member.name),
    "members",
  );
  checkSorted(document.voters, "voters");
  if (document.voters.length === 0) throw invalid("voters is empty");
  if (new Set(document.members.map((member) => member.id)).size < document.members.length) {
    throw invalid("members has one id twice");
  }
  document.next.forEach((next, partition) => {
    const owner = document.owners[partition];
    if (next !== undefined && (owner === undefined || owner === next))
      throw invalid(`next of partition ${partition} is no transfer`);
  });
}

function checkSorted(names: readonly string[], what: string): void {
  names.forEach((name, at) => {
    if (at > 0 && (names[at - 1] as string) >= name) throw invalid(`${what} is not sorted by name, or has one twice`);
  });
}

function perPartition(value: unknown, what: string, ringSize: number): readonly unknown[] {
  const list = listOf(value, what, ringSize);
  if (list.length !== ringSize) throw invalid(`${what} has ${list.length} entries for ${ringSize} partitions`); // D1
  return list;
}

function recordOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(`${what} is not an object`);
  return value as Record<string, unknown>;
}

/** A dense copy: holes of a sparse array become undefined. */
function listOf(value: unknown, what: string, limit: number): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`${what} is not a list`);
  if (value.length > limit) throw invalid(`${what} has ${value.length} entries; ${limit} is the limit`);
  return Array.from(value);
}

function textOf(value: unknown, what: string, limit: number): string {
  if (typeof value !== "string") throw invalid(`${what} is not a text`);
  if (value.length === 0 || value.length > limit)
    throw invalid(`${what} has ${value.length} characters, not 1 to ${limit}`);
  return value;
}

function wholeOf(value: unknown, what: string, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most) {
    throw invalid(`${what} is not a whole number from ${least} to ${most}`);
  }
  return value;
}

function nodeNameOf(value: unknown): NodeName {
  return parseNodeName(textOf(value, "name", ID_LENGTH_LIMIT));
}

function zoneOf(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string" || !isZone(value)) throw invalid("zone is not 1 to 63 of A-Z a-z 0-9 . _ -");
  return value;
}

function invalid(detail: string): RingError {
  return new RingError("INVALID_ARGUMENT", `ring document: ${detail}`);
}
