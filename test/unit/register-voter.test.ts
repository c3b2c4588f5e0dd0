import { describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { Epoch, NodeName, Partition } from "../../ring/ids.ts";
import type { Ballot, Consent, Envelope, RegisterBody, RegisterState } from "../../ring/register/messages.ts";
import { type Question, Voter, type VoterAnswer } from "../../ring/register/voter.ts";
import { changed, firstDocument, idOf, partitionsOf, taking } from "../simulation/register/documents.ts";

const [A, B, C, D] = ["a", "b", "c", "d"] as NodeName[] as [NodeName, NodeName, NodeName, NodeName];
const first = firstDocument(3);
const HELD_MS = 5_250;

class Desk {
  readonly voter = new Voter({ leaseMs: 5_000, driftMargin: 1.05 });
  state: RegisterState;

  constructor(document: RingDocument = first) {
    const undecided = { promised: undefined, accepted: undefined };
    this.state = { version: 1, member: A, memberId: idOf(document, A)!, starts: 1, document, ...undecided };
  }

  answer(now: number, from: NodeName, body: Question): VoterAnswer {
    const memberId = idOf(this.state.document!, from)!;
    const message: Envelope & Question = { ringId: first.ringId, history: 1, memberId, starts: 1, run: 1, ...body };
    const answer = this.voter.answer(now, this.state, from, message);
    if (answer.type === "reply") this.state = answer.state;
    return answer;
  }

  reply(now: number, from: NodeName, body: Question): RegisterBody | undefined {
    const answer = this.answer(now, from, body);
    return answer.type === "reply" ? answer.reply : undefined;
  }

  ask(now: number, from: NodeName): RegisterBody | undefined {
    return this.reply(now, from, { type: "ask", epoch: this.state.document!.epoch, request: 1 });
  }

  waitMs(now: number, member: NodeName): number {
    const inquire = { type: "inquire", epoch: this.state.document!.epoch, request: 1, members: [member] } as const;
    const reply = this.reply(now, B, inquire);
    return reply?.type === "inquired" ? reply.waitsMs[0]! : Number.NaN;
  }

  accept(now: number, document: RingDocument, consents: readonly Consent[] = [], round = 1): RegisterBody | undefined {
    return this.reply(now, B, {
      type: "accept",
      epoch: document.epoch,
      vote: { ballot: ballot(round), document, consents },
    });
  }
}

function ballot(round: number): Ballot {
  return { round, member: B, starts: 1 };
}

const takenFromD = changed(first, { owners: taking(first, D, B, partitionsOf(first, D)) }, "take from d");

describe("a voter", () => {
  test("refuses a revocation until its last grant, and on start every grant, has run out", () => {
    const desk = new Desk();
    desk.voter.start(0);
    expect(desk.accept(100, takenFromD)).toMatchObject({ type: "leased", waitMs: HELD_MS - 100 });
    expect(desk.accept(HELD_MS - 1, takenFromD)).toMatchObject({ type: "leased", waitMs: 1 });
    expect(desk.accept(HELD_MS, takenFromD)).toMatchObject({ type: "accepted" });
  });

  test("takes nothing into account but its own clock and the newest grant", () => {
    const desk = new Desk();
    desk.voter.start(0);
    desk.ask(7_000, D);
    expect(desk.waitMs(7_000, D)).toBe(HELD_MS);
    expect(desk.waitMs(7_000, C)).toBe(0);
  });

  test("stops renewing a member whose revocation it had to refuse, for two leases without another request", () => {
    const desk = new Desk();
    desk.ask(0, D);
    expect(desk.accept(100, takenFromD)).toMatchObject({ type: "leased" });
    expect(desk.ask(200, D)).toBeUndefined();
    expect(desk.ask(200, C)).toMatchObject({ type: "grant" });
    expect(desk.ask(10_099, D)).toBeUndefined();
    expect(desk.ask(10_100, D)).toMatchObject({ type: "grant" });
  });

  test("grants nothing once it has voted, until it knows what was decided", () => {
    const desk = new Desk();
    const next = changed(first, {}, "red");
    desk.accept(0, next);
    expect(desk.answer(1, D, { type: "ask", epoch: 1 as Epoch, request: 1 })).toEqual({ type: "silent" });
    desk.voter.learned(2, first, next);
    desk.state = { ...desk.state, document: next, promised: undefined, accepted: undefined };
    expect(desk.ask(3, D)).toMatchObject({ type: "grant", epoch: 2 });
    expect(desk.waitMs(4, C)).toBe(0);
  });

  test("acts as if it had granted every lease on learning other voters or skipping an epoch", () => {
    const other = changed(first, { voters: [A, B, D] }, "d for c");
    const desk = new Desk();
    desk.voter.learned(0, first, other);
    expect(desk.waitMs(0, C)).toBe(HELD_MS);
    const skipping = new Desk();
    skipping.voter.learned(0, first, { ...first, epoch: 3 as Epoch });
    expect(skipping.waitMs(0, C)).toBe(HELD_MS);
    const following = new Desk();
    following.voter.learned(0, first, changed(first, {}, "red"));
    expect(following.waitMs(0, C)).toBe(0);
  });

  test("needs no wait with a consent for exactly this epoch and these partitions", () => {
    const partitions = partitionsOf(first, D);
    const consent = { member: D, epoch: 2 as Epoch, partitions };
    const fresh = (): Desk => {
      const desk = new Desk();
      desk.ask(0, D);
      return desk;
    };
    expect(fresh().accept(1, takenFromD, [consent])).toMatchObject({ type: "accepted" });
    expect(fresh().accept(1, takenFromD, [{ ...consent, epoch: 3 as Epoch }])).toMatchObject({ type: "leased" });
    expect(fresh().accept(1, takenFromD, [{ ...consent, partitions: [0 as Partition] }])).toMatchObject({
      type: "leased",
    });
    expect(fresh().accept(1, takenFromD, [{ ...consent, member: C }])).toMatchObject({ type: "leased" });
  });

  test("treats an owner whose directory was replaced as another owner", () => {
    const members = first.members.map((member) =>
      member.name === D ? { ...member, id: "d#2" as typeof member.id } : member,
    );
    const desk = new Desk();
    desk.ask(0, D);
    expect(desk.accept(1, changed(first, { members }, "d again"))).toMatchObject({ type: "leased" });
  });

  test("promises the highest ballot, tells what it voted for, and repeats itself to repeated questions", () => {
    const desk = new Desk();
    const red = changed(first, {}, "red");
    const prepare = (round: number): Question => ({ type: "prepare", epoch: 2 as Epoch, ballot: ballot(round) });
    expect(desk.reply(0, B, prepare(5))).toMatchObject({ type: "promise", accepted: undefined });
    expect(desk.accept(0, red, [], 4)).toMatchObject({ type: "refused", promised: ballot(5) });
    expect(desk.accept(0, red, [], 5)).toMatchObject({ type: "accepted" });
    expect(desk.accept(0, red, [], 5)).toMatchObject({ type: "accepted" });
    expect(desk.reply(0, B, prepare(5))).toMatchObject({ type: "promise", accepted: { document: red } });
    expect(desk.reply(0, B, prepare(3))).toMatchObject({ type: "refused", promised: ballot(5) });
  });

  test("votes for no document that skips an epoch, changes two voters, or that the added check refuses", () => {
    const desk = new Desk();
    const vote = (document: RingDocument): VoterAnswer =>
      desk.answer(0, B, { type: "accept", epoch: 2 as Epoch, vote: { ballot: ballot(1), document, consents: [] } });
    expect(vote({ ...first, epoch: 3 as Epoch })).toEqual({ type: "dropped", reason: "invalid" });
    expect(vote(changed(first, { voters: [A, D, "e" as NodeName] }, "two"))).toEqual({
      type: "dropped",
      reason: "invalid",
    });
    expect(vote({ ...changed(first, {}, "short"), owners: [] })).toEqual({ type: "dropped", reason: "invalid" });
    expect(vote({ ...changed(first, {}, "none"), voters: [] })).toEqual({ type: "dropped", reason: "invalid" });
  });
});
