/** Promises that are asked for ahead of a proposal, and news that waits for no disk. */

import { describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { RegisterEffect, RegisterEvent } from "../../ring/register/events.ts";
import type { Ballot, Vote } from "../../ring/register/messages.ts";
import type { ProposerEffect, ProposerEvent } from "../../ring/register/proposal.ts";
import { Proposer } from "../../ring/register/proposer.ts";
import { Register } from "../../ring/register/register.ts";
import { changed, firstDocument, idOf } from "../simulation/register/documents.ts";

const [A, B, C, D] = ["a", "b", "c", "d"] as NodeName[] as [NodeName, NodeName, NodeName, NodeName];
const first = firstDocument(3);
const red = changed(first, {}, "red");

/** d proposes; a, b and c vote. */
function prepared(accepted?: Vote): { proposer: Proposer; ballot: Ballot; last: readonly ProposerEffect[] } {
  const proposer = new Proposer({ member: D, starts: 1, proposalTimeoutMs: 10_000, random: () => 0.5 });
  const ballot = { round: 1, member: D, starts: 1 };
  const asked = proposer.step(0, { type: "prepare", previous: first, promised: undefined });
  expect(asked).toEqual([{ type: "to-voters", to: [A, B, C], body: { type: "prepare", epoch: 2, ballot } }]);
  proposer.step(1, promise(A, ballot));
  return { proposer, ballot, last: proposer.step(1, promise(B, ballot, accepted)) };
}

function promise(from: NodeName, ballot: Ballot, accepted?: Vote): ProposerEvent {
  return { type: "promise", from, memberId: idOf(first, from)!, ballot, accepted };
}

function proposing(document: RingDocument): ProposerEvent {
  return { type: "propose", previous: first, document, consents: [], taken: [], promised: undefined };
}

describe("promises asked for ahead", () => {
  test("spare the proposal that comes then a round", () => {
    const { proposer, ballot, last } = prepared();
    expect(last).toEqual([]);
    expect(proposer.nextDeadline()).toBeUndefined();
    expect(proposer.step(2, proposing(red))).toMatchObject([
      { to: [A, B, C], body: { type: "accept", vote: { ballot, document: red } } },
    ]);
  });

  test("P7: serve one document only: the next proposal of the epoch uses another ballot", () => {
    const { proposer } = prepared();
    proposer.step(2, proposing(red));
    expect(proposer.step(10_002, { type: "tick" })).toMatchObject([{ type: "ended", outcome: { type: "timeout" } }]);
    expect(proposer.step(10_003, proposing(changed(first, {}, "blue")))).toMatchObject([
      { body: { type: "prepare", ballot: { round: 2 } } },
    ]);
  });

  test("P7: that bring a vote are used for that vote, and a proposal waits for it", () => {
    const vote = { ballot: { round: 1, member: B, starts: 1 }, document: changed(first, {}, "blue"), consents: [] };
    const { proposer, last } = prepared(vote);
    expect(last).toMatchObject([{ body: { type: "accept", vote: { document: vote.document } } }]);
    expect(proposer.step(2, proposing(red))).toEqual([]);
  });

  test("P7: are asked for anew when the proposal changes the voters", () => {
    const { proposer } = prepared();
    expect(proposer.step(2, proposing(changed(first, { voters: [A, B, D] }, "d for c")))).toMatchObject([
      { body: { type: "prepare", ballot: { round: 2 } } },
    ]);
  });

  test("are not asked for twice while nobody proposes, and again for a proposal that waits for them", () => {
    const proposer = new Proposer({ member: D, starts: 1, proposalTimeoutMs: 10_000, random: () => 0.5 });
    proposer.step(0, { type: "prepare", previous: first, promised: undefined });
    expect(proposer.step(proposer.nextDeadline()!, { type: "tick" })).toEqual([]);
    expect(proposer.nextDeadline()).toBeUndefined();
    proposer.step(200, { type: "prepare", previous: first, promised: undefined });
    expect(proposer.step(201, proposing(red))).toEqual([]);
    expect(proposer.step(proposer.nextDeadline()!, { type: "tick" })).toMatchObject([{ body: { type: "prepare" } }]);
  });

  test("are not wrested from whoever was promised more, while there is nothing to propose", () => {
    const proposer = new Proposer({ member: D, starts: 1, proposalTimeoutMs: 10_000, random: () => 0.5 });
    proposer.step(0, { type: "prepare", previous: first, promised: undefined });
    const ballot = { round: 1, member: D, starts: 1 };
    proposer.step(1, { type: "refused", from: A, ballot, promised: { round: 4, member: B, starts: 1 } });
    expect(proposer.nextDeadline()).toBeUndefined();
    expect(proposer.step(2, proposing(red))).toMatchObject([{ body: { type: "prepare", ballot: { round: 5 } } }]);
  });

  test("give way to a higher ballot: the proposal is refused and outbids it", () => {
    const { proposer, ballot } = prepared();
    proposer.step(2, proposing(red));
    proposer.step(3, { type: "refused", from: A, ballot, promised: { round: 4, member: B, starts: 1 } });
    expect(proposer.step(proposer.nextDeadline()!, { type: "tick" })).toMatchObject([
      { body: { type: "prepare", ballot: { round: 5 } } },
    ]);
  });

  test("end with the epoch", () => {
    const { proposer } = prepared();
    proposer.step(2, { type: "decided", document: red });
    const next = { ...proposing(changed(red, {}, "later")), previous: red } as ProposerEvent;
    expect(proposer.step(3, next)).toMatchObject([{ body: { type: "prepare", epoch: 3, ballot: { round: 1 } } }]);
  });
});

describe("the news of a decision", () => {
  test("leaves before its teller has written it down; what builds on it does not", () => {
    const state = {
      version: 1,
      member: A,
      memberId: idOf(first, A)!,
      starts: 0,
      document: first,
      promised: undefined,
      accepted: undefined,
    } as const;
    const register = new Register({ state, random: () => 0.5 });
    let written = 0;
    const feed = (event: RegisterEvent, syncs = true): readonly RegisterEffect[] => {
      const all: RegisterEffect[] = [];
      const queue = [...register.step(1, event)];
      for (let effect = queue.shift(); effect !== undefined; effect = queue.shift()) {
        all.push(effect);
        if (effect.type !== "persist" || !syncs) continue;
        written = effect.sequence;
        queue.push(...register.step(1, { type: "persisted", sequence: written }));
      }
      return all;
    };
    const hear = (type: "promise" | "accepted", syncs = true): readonly RegisterEffect[] => {
      const run = { ringId: first.ringId, history: 1, memberId: idOf(first, B)!, starts: 1, run: 1 };
      const ballot = { round: 1, member: A, starts: 1 };
      const body = { epoch: red.epoch, ballot, ...(type === "promise" ? { accepted: undefined } : {}) };
      return feed({ type: "message", from: B, message: { ...run, type, ...body } as never }, syncs);
    };
    feed({ type: "start" });
    feed({ type: "propose", document: red, consents: [] });
    hear("promise");
    const decided = hear("accepted", false);
    expect(decided).toMatchObject([
      { type: "persist", sequence: written + 1, state: { document: red } },
      { type: "send", to: B, message: { type: "decided" } },
      { type: "send", to: C, message: { type: "document" } },
      { type: "foreseen", document: red },
    ]);
    const late = register.step(2, { type: "persisted", sequence: written + 1 });
    expect(late.map(({ type }) => type).slice(0, 2)).toEqual(["decided", "proposal-ended"]);
  });
});
