import { describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import type { Epoch, NodeName, RingId } from "../../ring/ids.ts";
import type { RegisterEffect, RegisterEvent, RegisterOptions } from "../../ring/register/events.ts";
import type { RegisterBody, RegisterMessage, RegisterState } from "../../ring/register/messages.ts";
import { Proposer } from "../../ring/register/proposer.ts";
import { recover } from "../../ring/register/recover.ts";
import { Register } from "../../ring/register/register.ts";
import { changed, firstDocument, idOf, partitionsOf, taking } from "../simulation/register/documents.ts";

const [A, B, C, D] = ["a", "b", "c", "d"] as NodeName[] as [NodeName, NodeName, NodeName, NodeName];
const first = firstDocument(3);

function stateOf(name: NodeName, document: RingDocument = first, starts = 0): RegisterState {
  const memberId = idOf(document, name)!;
  return { version: 1, member: name, memberId, starts, document, promised: undefined, accepted: undefined };
}

/** A register whose every write is synced at once. */
class Synced {
  readonly register: Register;
  disk: RegisterState;

  constructor(state: RegisterState, options: Partial<RegisterOptions> = {}) {
    this.disk = state;
    this.register = new Register({ state, random: () => 0.5, ...options });
    this.feed(0, { type: "start" });
  }

  feed(now: number, event: RegisterEvent): readonly RegisterEffect[] {
    const effects: RegisterEffect[] = [];
    const queue = [...this.register.step(now, event)];
    for (let effect = queue.shift(); effect !== undefined; effect = queue.shift()) {
      effects.push(effect);
      if (effect.type !== "persist") continue;
      this.disk = effect.state;
      queue.push(...this.register.step(now, { type: "persisted", sequence: effect.sequence }));
    }
    return effects;
  }

  hear(
    now: number,
    from: NodeName,
    body: RegisterBody,
    envelope: Partial<RegisterMessage> = {},
  ): readonly RegisterEffect[] {
    const memberId = idOf(first, from)!;
    const message = {
      ringId: first.ringId,
      history: 1,
      memberId,
      starts: 1,
      run: 1,
      ...envelope,
      ...body,
    } as RegisterMessage;
    return this.feed(now, { type: "message", from, message });
  }
}

function sent(effects: readonly RegisterEffect[]): readonly string[] {
  return effects.flatMap((effect) => (effect.type === "send" ? [`${effect.to} ${effect.message.type}`] : []));
}

function types(effects: readonly RegisterEffect[]): readonly string[] {
  return effects.map(({ type }) => type);
}

describe("the register", () => {
  test("raises and syncs its start counter before anything leaves", () => {
    const register = new Register({ state: stateOf(A, first, 6), random: () => 0.5 });
    const effects = register.step(0, { type: "start" });
    expect(effects).toMatchObject([{ type: "persist", sequence: 1, state: { starts: 7 } }]);
    expect(sent(register.step(1, { type: "persisted", sequence: 1 }))).toEqual(["b ask", "c ask"]);
  });

  test("P3: a grant that the process before had asked for is none: its voters count it from that asking", () => {
    const asked = (starts: number): number => {
      const register = new Register({ state: stateOf(D, first, starts), random: () => 0.5 });
      register.step(0, { type: "start" });
      const ask = register.step(1, { type: "persisted", sequence: 1 }).find(({ type }) => type === "send");
      return ask?.type === "send" && ask.message.type === "ask" ? ask.message.request : -1;
    };
    const young = new Synced(stateOf(D, first, 1));
    const grant = (request: number): void => {
      for (const voter of [A, B]) young.hear(2_000, voter, { type: "grant", epoch: 1 as Epoch, request });
    };
    grant(asked(0));
    expect(young.register.heldUntil(2_000)).toBeUndefined();
    grant(asked(1));
    expect(young.register.heldUntil(2_000)).toBe(5_000);
  });

  test("P7: a lone voter decides alone, by writes only, and holds its lease", () => {
    const alone = new Synced(stateOf(A, firstDocument(1)));
    expect(alone.register.heldUntil(1)).toBe(5_000);
    const next = changed(firstDocument(1), {}, "red");
    const effects = alone.feed(10, { type: "propose", document: next, consents: [] });
    expect(effects).toContainEqual({
      type: "decided",
      document: next,
      previous: alone.disk.document === next ? firstDocument(1) : undefined,
    });
    expect(effects).toContainEqual({ type: "proposal-ended", epoch: 2, outcome: { type: "chosen" } });
    expect(sent(effects)).toEqual([]);
    expect(alone.disk).toMatchObject({ document: next, promised: undefined, accepted: undefined });
  });

  test("P3: a lone voter that restarts waits out the leases it may have granted", () => {
    const alone = new Synced(stateOf(A, firstDocument(1)));
    const document = firstDocument(1);
    const next = changed(document, { owners: taking(document, D, A, partitionsOf(document, D)) }, "take from d");
    const refused = alone.feed(10, { type: "propose", document: next, consents: [] });
    expect(refused).toContainEqual({
      type: "proposal-ended",
      epoch: 2,
      outcome: { type: "refused", reason: "leased", waitMs: 5_240 },
    });
    const ended = alone.feed(5_250, { type: "propose", document: next, consents: [] });
    expect(ended).toContainEqual({ type: "proposal-ended", epoch: 2, outcome: { type: "chosen" } });
  });

  test("says when a member becomes revocable", () => {
    const alone = new Synced(stateOf(A, firstDocument(1)));
    const early = alone.feed(250, { type: "ask-revocable", member: D });
    expect(early).toEqual([{ type: "revocable", member: D, majority: false, waitMs: 5_000 }]);
    const late = alone.feed(5_250, { type: "ask-revocable", member: D });
    expect(late).toEqual([{ type: "revocable", member: D, majority: true, waitMs: 0 }]);
    const asking = new Synced(stateOf(D));
    asking.feed(0, { type: "ask-revocable", member: A });
    expect(asking.feed(1_000, { type: "tick" })).toContainEqual({
      type: "revocable",
      member: A,
      majority: false,
      waitMs: 1_000,
    });
  });

  test("refuses a second proposal, and one that is not the next document", () => {
    const node = new Synced(stateOf(A), {
      checkSuccessor: (_, next) => (next.applied[0] === "bad" ? "bad" : undefined),
    });
    const outcome = (document: RingDocument): unknown =>
      node.feed(1, { type: "propose", document, consents: [] }).find(({ type }) => type === "proposal-ended");
    expect(outcome({ ...first, epoch: 5 as Epoch })).toMatchObject({ outcome: { reason: "invalid" } });
    expect(outcome(changed(first, {}, "bad"))).toMatchObject({ outcome: { reason: "invalid", detail: "bad" } });
    expect(outcome(changed(first, {}, "red"))).toBeUndefined();
    expect(outcome(changed(first, {}, "blue"))).toMatchObject({ outcome: { reason: "busy" } });
  });

  test("gives up a proposal whose voters do not answer, and one whose new voters could not decide", () => {
    const node = new Synced(stateOf(D));
    node.feed(1, { type: "propose", document: changed(first, { voters: [A, C] }, "without b"), consents: [] });
    for (const voter of [A, B]) {
      node.hear(2, voter, {
        type: "promise",
        epoch: 2 as Epoch,
        ballot: { round: 1, member: D, starts: 1 },
        accepted: undefined,
      });
    }
    const effects = node.feed(10_001, { type: "tick" });
    expect(sent(effects)).not.toContain("a accept");
    expect(effects).toContainEqual({
      type: "proposal-ended",
      epoch: 2,
      outcome: { type: "refused", reason: "no-majority" },
    });
  });

  test("a refused proposer outbids the ballot that stood in its way", () => {
    const proposer = new Proposer({ member: D, starts: 1, proposalTimeoutMs: 10_000, random: () => 0.5 });
    const document = changed(first, {}, "red");
    proposer.step(0, { type: "propose", previous: first, document, consents: [], taken: [], promised: undefined });
    const ballot = { round: 1, member: D, starts: 1 };
    proposer.step(1, { type: "refused", from: A, ballot, promised: { round: 9, member: B, starts: 1 } });
    const [again] = proposer.step(proposer.nextDeadline()!, { type: "tick" });
    expect(again).toMatchObject({ body: { type: "prepare", ballot: { round: 10 } } });
  });

  test("refuses another ring, loudly but once for each peer", () => {
    const node = new Synced(stateOf(A));
    const pull = { type: "pull", epoch: 1 as Epoch } as const;
    const other = { ringId: "ring-2" as RingId };
    expect(node.hear(1, B, pull, other)).toEqual([{ type: "wrong-ring", from: B, ringId: "ring-2" }]);
    expect(node.hear(2, B, pull, other)).toEqual([]);
    expect(node.feed(3, { type: "learn", document: { ...first, ...other, epoch: 9 as Epoch } })).toEqual([]);
    expect(node.register.counters.wrongRing).toBe(3);
  });

  test("answers a message for a decided epoch with the document and one from a later epoch with a pull", () => {
    const next = changed(first, {}, "red");
    const node = new Synced(stateOf(A, next));
    const prepare = (epoch: number): RegisterBody => ({
      type: "prepare",
      epoch: epoch as Epoch,
      ballot: { round: 1, member: B, starts: 1 },
    });
    expect(sent(node.hear(1, B, prepare(2)))).toEqual(["b document"]);
    expect(sent(node.hear(1, B, prepare(9)))).toEqual(["b pull"]);
    expect(sent(node.hear(1, B, { type: "ask", epoch: 1 as Epoch, request: 1 }))).toEqual(["b document"]);
    expect(sent(node.hear(1, B, { type: "pull", epoch: 1 as Epoch }))).toEqual(["b document"]);
    expect(sent(node.hear(1, B, { type: "pull", epoch: 2 as Epoch }))).toEqual([]);
  });

  test("answers a question about a later decision once it knows the document that it builds on, and only the newest", () => {
    const ballot = { round: 4, member: B, starts: 1 };
    const second = changed(first, {}, "second");
    const third = changed(second, {}, "third");
    const node = new Synced(stateOf(A));
    expect(sent(node.hear(1, B, { type: "prepare", epoch: 3 as Epoch, ballot: { ...ballot, round: 1 } }))).toEqual([
      "b pull",
    ]);
    expect(
      sent(node.hear(2, B, { type: "accept", epoch: 3 as Epoch, vote: { ballot, document: third, consents: [] } })),
    ).toEqual(["b pull"]);
    const learnt = node.hear(3, C, { type: "document", document: second });
    expect(sent(learnt).filter((each) => each.startsWith("b "))).toEqual(["b ask", "b accepted"]);
    expect(node.disk).toMatchObject({ document: second, accepted: { ballot, document: third } });
    expect(sent(node.hear(4, B, { type: "document", document: third }))).not.toContain("b accepted");
  });

  test("forgets a question about a decision that it learns", () => {
    const ballot = { round: 4, member: B, starts: 1 };
    const second = changed(first, {}, "second");
    const third = changed(second, {}, "third");
    const node = new Synced(stateOf(A));
    node.hear(1, B, { type: "prepare", epoch: 3 as Epoch, ballot });
    const learnt = node.hear(2, C, { type: "document", document: third });
    expect(sent(learnt)).not.toContain("b promise");
    expect(node.disk).toMatchObject({ document: third, promised: undefined });
  });

  test("P7: a newer history ends the older one", () => {
    const node = new Synced(stateOf(A));
    for (const voter of [B, C]) node.hear(1, voter, { type: "grant", epoch: 1 as Epoch, request: 1 });
    expect(node.register.heldUntil(2)).toBe(5_000);
    const recovered = recover(stateOf(B), { voters: [B] });
    expect(recovered.document).toMatchObject({ history: 2, epoch: 2, voters: [B] });
    const voted = { ...stateOf(B), promised: { round: 3, member: C, starts: 1 } };
    expect(recover(voted, { voters: [B] })).toMatchObject({ promised: undefined, accepted: undefined });
    const effects = node.hear(10, B, { type: "document", document: recovered.document! }, { history: 2 });
    expect(types(effects)).toEqual(["persist", "lease", "superseded"]);
    expect(node.disk.document).toEqual(recovered.document);
    expect(node.register.heldUntil(11)).toBeUndefined();
    expect(node.hear(12, B, { type: "ask", epoch: 2 as Epoch, request: 1 }, { history: 2 })).toEqual([]);
    expect(node.register.nextDeadline()).toBeUndefined();
    expect(sent(new Synced(recovered).hear(1, A, { type: "ask", epoch: 1 as Epoch, request: 1 }))).toEqual([
      "a document",
    ]);
    expect(() => recover(stateOf(B), { voters: ["z" as NodeName] })).toThrow(/z/);
    expect(() => recover({ ...stateOf(B), document: undefined }, { voters: [B] })).toThrow(/no ring document/);
  });

  test("P7: a recovery is of one directory: those of another would decide a second document for the same epoch", () => {
    const second = changed(first, {}, "known to a alone");
    const [ofA, ofB, ofC] = [stateOf(A, second), stateOf(B), stateOf(C)].map((state) =>
      recover(state, { voters: [A, B, C] }),
    ) as [RegisterState, RegisterState, RegisterState];
    const nodes = new Map([ofB, ofC].map((state) => [state.member, new Synced(state)]));
    const mail: { from: NodeName; effects: readonly RegisterEffect[] }[] = [];
    const third = changed(ofB.document!, {}, "decided by b and c");
    mail.push({ from: B, effects: nodes.get(B)!.feed(1, { type: "propose", document: third, consents: [] }) });
    for (let letter = mail.shift(); letter !== undefined; letter = mail.shift()) {
      const { from, effects } = letter;
      for (const effect of effects)
        if (effect.type === "send" && nodes.has(effect.to))
          mail.push({
            from: effect.to,
            effects: nodes.get(effect.to)!.feed(2, { type: "message", from, message: effect.message }),
          });
    }
    const decided = nodes.get(C)!.disk.document!;
    expect(decided).toEqual(third);
    expect([decided.history, decided.epoch]).toEqual([ofA.document!.history, ofA.document!.epoch]);
    expect(decided).not.toEqual(ofA.document); // and neither would ever learn the other's
    const spared = new Synced(stateOf(C));
    spared.hear(1, A, { type: "document", document: ofA.document! }, { history: 2 });
    expect(spared.disk.document).toEqual(ofA.document);
  });

  test("notices a register file that was restored, and takes a late message of an earlier run for what it is", () => {
    const peer = new Synced(stateOf(A));
    const ask = { type: "ask", epoch: 1 as Epoch, request: 1 } as const;
    expect(sent(peer.hear(1, B, ask, { starts: 5, run: 1 }))).toEqual(["b grant"]);
    expect(peer.hear(2, B, ask, { starts: 4, run: 7 })).toMatchObject([
      { message: { type: "stale", seen: { starts: 5 } } },
    ]);
    expect(sent(peer.hear(3, B, ask, { starts: 5, run: 2 }))).toEqual(["b stale"]);
    const seen = { memberId: idOf(first, B)!, starts: 5, run: 1 };
    const running = new Synced(stateOf(B, first, 5));
    expect(running.hear(1, A, { type: "stale", seen })).toEqual([]);
    const restored = new Synced(stateOf(B, first, 3));
    expect(types(restored.hear(1, A, { type: "stale", seen }))).toEqual(["lease", "restored"]);
    expect(restored.feed(2, { type: "tick" })).toEqual([]);
  });

  test("P3: a suspended machine has no lease until it has asked again", () => {
    const node = new Synced(stateOf(A));
    for (const voter of [B, C]) node.hear(1, voter, { type: "grant", epoch: 1 as Epoch, request: 1 });
    const effects = node.feed(100, { type: "suspended" });
    expect(effects).toContainEqual({ type: "lease", heldUntil: undefined });
    expect(sent(effects)).toContain("b ask");
    expect(node.register.heldUntil(101)).toBeUndefined();
  });

  test("an adopter votes for the dead member but neither proposes nor asks for leases", () => {
    const adopter = new Synced(stateOf(A), { acceptorOnly: true });
    expect(adopter.register.nextDeadline()).toBeUndefined();
    const ballot = { round: 1, member: B, starts: 1 };
    expect(sent(adopter.hear(1, B, { type: "prepare", epoch: 2 as Epoch, ballot }))).toEqual(["b promise"]);
    expect(sent(adopter.hear(2, B, { type: "ask", epoch: 1 as Epoch, request: 1 }))).toEqual(["b grant"]);
    const [ended] = adopter.feed(3, { type: "propose", document: changed(first, {}, "red"), consents: [] });
    expect(ended).toMatchObject({ outcome: { type: "refused", reason: "not-proposer" } });
  });

  test("a joiner believes only a document that lists it under its own id", () => {
    const joiner = new Synced({ ...stateOf(D), document: undefined });
    const members = first.members.filter(({ name }) => name !== D);
    expect(joiner.hear(1, A, { type: "document", document: { ...first, members } })).toEqual([]);
    expect(joiner.hear(1, A, { type: "ask", epoch: 1 as Epoch, request: 1 })).toEqual([]);
    expect(types(joiner.hear(2, A, { type: "document", document: first }))).toContain("decided");
  });
});
