/**
 * The application health gate: whose partitions are taken because it says that it does badly, and when it gets them back.
 * Seen to fail without W1's break at a suspicion, without W2's doubling, and without each half of W3.
 */

import { expect, test } from "vitest";
import type { Member, RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { MemberId, NodeName, RingId } from "../../ring/ids.ts";
import type { MemberNotice } from "../../ring/membership/events.ts";
import { Wellness, type WellnessChange } from "../../ring/node/wellness.ts";
import { commitPlan, planOf } from "../../ring/plan.ts";
import { stageChange } from "../../ring/staging.ts";
import { checkSuccessor } from "../../ring/successor.ts";
import { moveDone, plannedMoves, setUnwell } from "../../ring/transition.ts";

const [A, B, C, D] = ["a", "b", "c", "d"] as const as unknown as [NodeName, NodeName, NodeName, NodeName];

test("a member that says for 5 s that its store or its progress is bad loses its partitions", () => {
  const { wellness, document } = world(A, B, C);
  wellness.notice(1_000, said(B, "progress"));
  wellness.notice(3_000, said(B, "store+partitions"));
  expect(wellness.changes(5_999, document, everybody)).toEqual([]);
  expect(wellness.changes(6_000, document, everybody)).toEqual([{ name: B, unwell: true }]);
  expect(wellness.changes(6_000, document, (name) => name !== B)).toEqual([]);
});

test("partitions that do not open take nothing away: they could not be handed over", () => {
  const { wellness, document } = world(A, B, C);
  wellness.notice(0, said(B, "partitions"));
  expect(wellness.changes(60_000, document, everybody)).toEqual([]);
});

test("what a member said before it was suspected, or as another process, does not count", () => {
  const { wellness, document } = world(A, B, C);
  wellness.notice(0, said(B, "store"));
  wellness.notice(4_000, said(B, "store", { type: "member-suspect" }));
  expect(wellness.changes(9_000, document, everybody)).toEqual([]);
  wellness.notice(9_000, said(B, "store", { type: "member-up" }));
  wellness.notice(12_000, said(B, "store", { start: "2" }));
  expect(wellness.changes(16_999, document, everybody)).toEqual([]);
  expect(wellness.changes(17_000, document, everybody)).toEqual([{ name: B, unwell: true }]);
});

test("it gets its share back once it is well for 20 s, and the next time for 40: at most 2 ring changes", () => {
  const { wellness, document } = world(A, B, C);
  let ring = document;
  const changedAt: number[] = [];
  for (let now = 0; now < 300_000; now += 1_000) {
    // 10 s ill, 15 s well, again and again; well from 150 s on, but for one time at 200 s.
    const isIll = (now < 150_000 && now % 25_000 < 10_000) || (now >= 200_000 && now < 210_000);
    wellness.notice(now, said(B, isIll ? "store" : "ok"));
    for (const change of wellness.changes(now, ring, everybody)) {
      changedAt.push(now);
      ring = apply(ring, change);
    }
    wellness.follow(now, ring);
  }
  expect(changedAt).toEqual([5_000, 155_000, 205_000, 250_000]);
});

test("it never takes from more than half, nor from the last that is well", () => {
  for (const [names, most] of [
    [[A, B], 1],
    [[A, B, C], 1],
    [[A, B, C, D], 2],
  ] as const) {
    const { wellness, document } = world(...names);
    for (const name of names.slice(1)) wellness.notice(0, said(name, "store"));
    expect(wellness.changes(10_000, document, everybody)).toHaveLength(most);
    wellness.notice(10_000, said(A, "progress"));
    expect(wellness.changes(60_000, document, everybody)).toEqual([]);
  }
  const { wellness, document } = world(A);
  wellness.notice(0, said(A, "store"));
  expect(wellness.changes(60_000, document, everybody)).toEqual([]);
});

test("one that is well and has no weight does not stand in for those that have", () => {
  const { wellness, document } = world(A, B);
  const drained = commit(stageChange(document, { type: "set-weight", name: A, weight: 0 }));
  wellness.notice(0, said(B, "store"));
  expect(wellness.changes(60_000, drained, everybody)).toEqual([]);
});

test("the ring drains an unwell member by transfers, keeps its weight, and gives it exactly as much again", () => {
  const { document } = world(A, B, C);
  const shares = (ring: RingDocument): number[] =>
    [A, B, C].map((name) => ring.owners.filter((owner) => owner === name).length);
  const gated = setUnwell(document, { name: B, unwell: true });
  expect(checkSuccessor(document, gated)).toEqual([]);
  expect(gated.owners).toEqual(document.owners);
  const drained = moveDone(gated, plannedMoves(gated));
  expect(shares(drained)).toEqual([8, 0, 8]);
  expect(setUnwell(drained, { name: B, unwell: true })).toBe(drained);
  const planned = setUnwell(drained, { name: B, unwell: false });
  expect(planned.members.find(({ name }) => name === B)).toEqual(document.members.find(({ name }) => name === B));
  expect(shares(moveDone(planned, plannedMoves(planned))).toSorted()).toEqual(shares(document).toSorted());
});

const everybody = (): boolean => true;

function world(...names: readonly NodeName[]): { readonly wellness: Wellness; readonly document: RingDocument } {
  const [first, ...others] = names.map(memberOf);
  let document = foundRing({ ringId: "ring" as RingId, ringSize: 16, member: first! });
  for (const member of others) document = commit(stageChange(document, { type: "join", member }));
  const wellness = new Wellness();
  wellness.follow(0, document);
  return { wellness, document };
}

function commit(document: RingDocument): RingDocument {
  const committed = commitPlan(document, planOf(document).id);
  return moveDone(committed, plannedMoves(committed));
}

function apply(ring: RingDocument, change: WellnessChange): RingDocument {
  const next = setUnwell(ring, change);
  return moveDone(next, plannedMoves(next));
}

function memberOf(name: NodeName): Omit<Member, "status"> {
  return { name, id: `id-${name}` as MemberId, weight: 100, machine: name, directory: `/data/${name}` };
}

function said(
  name: NodeName,
  health: string,
  { type = "member-updated", start = "1" }: { readonly type?: MemberNotice["type"]; readonly start?: string } = {},
): MemberNotice {
  const tags = new Map([
    ["starts", start],
    ["health", health],
  ]);
  return { type, member: { name, address: { host: "h", port: 1 }, state: "alive", incarnation: 1, tags } };
}
