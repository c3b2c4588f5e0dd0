/** The largest ring documents there may be, through the frames that carry them between nodes. */

import { expect, test } from "vitest";
import type { Member, RingDocument, Stranded } from "../../ring/document.ts";
import { validateDocument } from "../../ring/document-check.ts";
import { DOCUMENT_BYTES_LIMIT, isTooLarge, mostBytes } from "../../ring/document-size.ts";
import { succeed } from "../../ring/draft.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import { decodeFrame, encodeMessage, joinFrame } from "../../ring/io/peer/frame.ts";
import { PEER_LIMITS } from "../../ring/io/peer/limits.ts";
import type { RegisterMessage } from "../../ring/register/messages.ts";
import { sameContent } from "../../ring/register/voting.ts";

interface Shape {
  readonly members: number;
  readonly nameLength: number;
  readonly idLength: number;
  readonly directory: string;
  readonly where: "away" | "adopter";
}

const SHAPES: Readonly<Record<string, Shape>> = {
  "with usual names": { members: 200, nameLength: 9, idLength: 26, directory: "/var/lib/taskring", where: "away" },
  "with the shortest names": { members: 30, nameLength: 2, idLength: 2, directory: "/", where: "adopter" },
  "with the longest names": { members: 1_024, nameLength: 63, idLength: 64, directory: "/data", where: "adopter" },
  "with long directories": {
    members: 1_000,
    nameLength: 9,
    idLength: 26,
    directory: `/${"ü".repeat(1_200)}`,
    where: "away",
  },
};

function text(index: number, length: number): string {
  return index.toString(36).padStart(length, "0");
}

/** As many stranded entries as the limit allows. */
function largest(shape: Shape): RingDocument {
  const { nameLength, idLength, directory } = shape;
  const members: Member[] = Array.from({ length: shape.members }, (_, index) => ({
    name: text(index, nameLength) as NodeName,
    id: text(index, idLength) as MemberId,
    status: index % 2 === 0 ? "valid" : "down",
    weight: 1_000,
    unwell: true,
    zone: "z".repeat(63),
    machine: "m".repeat(32),
    directory,
  }));
  const name = (index: number): NodeName => members[index % members.length]!.name;
  const document: RingDocument = {
    version: 1,
    ringId: "r".repeat(64) as RingId,
    history: 0xffff_ffff,
    epoch: (2 ** 40) as Epoch,
    ringSize: 4_096,
    members,
    voters: [name(0), name(2), name(4), name(6), name(8), name(10), name(12)],
    owners: Array.from({ length: 4_096 }, (_, index) => name(index)),
    next: Array.from({ length: 4_096 }, (_, index) => name(index + 1)),
    generations: new Array<number>(4_096).fill(0xffff_ffff),
    stranded: [],
    staged: members.slice(0, 20).map(({ status: _status, unwell: _unwell, ...member }) => ({ type: "join", member })),
    applied: new Array<string>(32).fill("p".repeat(64)),
  };
  const entry = (index: number): Stranded => ({
    partition: (index % 4_096) as Partition,
    member: name(index),
    memberId: members[index % members.length]!.id,
    generation: 0xffff_ffff,
    byForce: true,
    where: shape.where === "away" ? { type: "away" } : { type: "adopter", adopter: name(index + 1) },
  });
  const perEntry = mostBytes({ ...document, stranded: [entry(0)] }) - mostBytes(document);
  const count = Math.floor((DOCUMENT_BYTES_LIMIT - mostBytes(document)) / perEntry);
  return { ...document, stranded: Array.from({ length: count }, (_, index) => entry(index)) };
}

/** The largest message that a document is part of: a vote with everybody's consent. */
function voteFor(document: RingDocument): RegisterMessage {
  const consents = document.members.map(({ name }, index) => ({
    member: name,
    epoch: document.epoch,
    partitions: document.owners.flatMap((_, at) => (at % document.members.length === index ? [at as Partition] : [])),
  }));
  const { ringId, history, epoch } = document;
  const ballot = { round: 2 ** 40, member: document.members[0]!.name, starts: 2 ** 40 };
  const memberId = document.members[0]!.id;
  const vote = { ballot, document, consents };
  return { ringId, history, memberId, starts: 2 ** 40, run: 2 ** 31, type: "accept", epoch, vote };
}

test.each(Object.entries(SHAPES))(
  "P7: the largest document %s reaches a peer whole, as news and as a vote",
  (_, shape) => {
    const document = largest(shape);
    expect(document.stranded.length).toBeGreaterThan(1_000);
    expect(isTooLarge(document)).toBe(false);
    validateDocument(document);
    const plain = encodeMessage({ type: "document", document });
    expect(plain.length).toBeLessThanOrEqual(mostBytes(document));
    const { messages, garbage } = decodeFrame(joinFrame([plain]));
    expect(garbage).toBe(0);
    expect(sameContent(messages, [{ type: "document", document }])).toBe(true);
    const self = document.members[0]!.name;
    const vote = encodeMessage({ type: "register", for: self, as: self, message: voteFor(document) });
    expect(vote.length).toBeLessThanOrEqual(PEER_LIMITS.messageBytes);
    expect(decodeFrame(joinFrame([vote])).garbage).toBe(0);
  },
);

test("P7: a change that would make a document too large is refused, one that makes it smaller never", () => {
  const document = largest(SHAPES["with usual names"]!);
  const more = document.stranded.slice(0, 100);
  const grow = (from: RingDocument): RingDocument =>
    succeed(from, (draft) => {
      draft.stranded = [...draft.stranded, ...more];
    });
  expect(() => grow(document)).toThrow(expect.objectContaining({ code: "RING_BUSY" }));
  const tooLarge = { ...document, stranded: [...document.stranded, ...more] };
  const smaller = succeed(tooLarge, (draft) => {
    draft.stranded = draft.stranded.slice(1);
  });
  expect(isTooLarge(smaller)).toBe(true);
  expect(smaller.stranded).toHaveLength(tooLarge.stranded.length - 1);
});
