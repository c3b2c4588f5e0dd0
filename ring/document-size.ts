/**
 * How large a ring document is as a message between nodes: what no link takes, no peer would ever learn.
 *
 * Z1  `mostBytes` is never less than the MessagePack form of the document, whoever owns what.
 * Z2  A change may make a document that is too large smaller, never larger.
 */

import type { Member, RingDocument } from "./document.ts";

/** What the size hangs on. Owners and plans count as if each named the member with the longest name. */
export type Sized = Pick<RingDocument, "ringSize" | "members" | "stranded" | "staged" | "applied">;

export function isTooLarge(ring: Sized): boolean {
  return mostBytes(ring) > DOCUMENT_BYTES_LIMIT;
}

/** Z1 */
export function mostBytes(ring: Sized): number {
  const { ringSize, members, stranded, staged, applied } = ring;
  let bytes = BASE_BYTES;
  let longest = 0;
  for (const member of members) {
    bytes += memberBytes(member);
    longest = Math.max(longest, member.name.length);
  }
  bytes += ringSize * (2 * (longest + TEXT_BYTES) + NUMBER_BYTES);
  for (const { member, memberId, where } of stranded)
    bytes += STRANDED_BYTES + member.length + memberId.length + (where.type === "adopter" ? where.adopter.length : 0);
  for (const change of staged) bytes += STAGED_BYTES + (change.type === "join" ? memberBytes(change.member) : 0);
  for (const id of applied) bytes += TEXT_BYTES + id.length;
  return bytes;
}

function memberBytes({ name, id, machine, directory }: Omit<Member, "status">): number {
  return MEMBER_BYTES + name.length + id.length + utf8Bytes(machine) + utf8Bytes(directory);
}

/** At least what the text takes. */
function utf8Bytes(text: string): number {
  let bytes = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : 3;
  }
  return bytes;
}

/** A link takes 4.1 MiB; the rest is for the consents that go with a vote. About 30,000 stranded entries with usual names. */
export const DOCUMENT_BYTES_LIMIT = 3_932_160;
/** Fields without a length of their own, voters included. */
const BASE_BYTES = 1_024;
/** Head of a text or of a list. */
const TEXT_BYTES = 3;
/** A u32. */
const NUMBER_BYTES = 5;
/** Field names, heads, status, weight and zone. */
const MEMBER_BYTES = 160;
/** Field names, heads, partition, generation, force and type. */
const STRANDED_BYTES = 97;
/** Field names, type, two names and a zone. */
const STAGED_BYTES = 320;
