/** The seat of a ring's only voter in a store that all share: who speaks for it, and what leaves. */

import { describe, expect, test } from "vitest";
import type { RingDocument } from "../../ring/document.ts";
import { foundRing } from "../../ring/founding.ts";
import type { Epoch, MemberId, NodeName, RingId } from "../../ring/ids.ts";
import type { NodeEffect, SeatClaim, SeatFound } from "../../ring/node/effects.ts";
import type { Here } from "../../ring/node/here.ts";
import { Seat } from "../../ring/node/seat.ts";
import { SoleSeat } from "../../ring/node/sole-seat.ts";
import type { RegisterEffect, RegisterEvent } from "../../ring/register/events.ts";
import type { Ballot, RegisterBody, RegisterMessage, RegisterState, Vote } from "../../ring/register/messages.ts";
import { Register } from "../../ring/register/register.ts";

describe("an only voter whose seat is in the store", () => {
  test("P7: promises, accepts and grants nothing while it may not answer", () => {
    const voter = new Acceptor({ mayAnswer: false });
    expect(voter.hear({ type: "prepare", epoch: NEXT, ballot: ballot(1) })).toEqual([]);
    expect(voter.hear({ type: "ask", epoch: NOW, request: 1 })).toEqual([]);
    expect(voter.hear({ type: "inquire", epoch: NOW, request: 1, members: [B] })).toEqual([]);
    expect(voter.hear({ type: "accept", epoch: NEXT, vote: vote(1) })).toEqual([]);
    voter.mayAnswer = true;
    expect(voter.hear({ type: "prepare", epoch: NEXT, ballot: ballot(1) })).toEqual(["promise"]);
    expect(voter.hear({ type: "ask", epoch: NOW, request: 2 })).toEqual(["grant"]);
  });

  test("P7: what it said and could not have written down is not let out by what it learns later", () => {
    const voter = new Acceptor({ mayAnswer: true });
    voter.syncs = false;
    expect(voter.hear({ type: "accept", epoch: NEXT, vote: vote(1) })).toEqual([]);
    voter.syncs = true;
    expect(voter.feed({ type: "learn", document: { ...ring, epoch: NEXT, voters: [B] } })).toEqual([]);
    expect(voter.register.state.document?.epoch).toBe(NEXT);
  });

  test("P7: goes on from what was said in its name meanwhile, and from nothing of its own", () => {
    const voter = new Acceptor({ mayAnswer: true });
    voter.syncs = false;
    expect(voter.hear({ type: "prepare", epoch: NEXT, ballot: ballot(3) })).toEqual([]);
    voter.syncs = true;
    const said: RegisterState = { ...stateOf(A, ring), promised: ballot(5), accepted: vote(5) };
    expect(voter.feed({ type: "seated", state: said })).not.toContain("promise");
    expect(voter.hear({ type: "prepare", epoch: NEXT, ballot: ballot(4) })).toEqual(["refused"]);
    expect(voter.hear({ type: "prepare", epoch: NEXT, ballot: ballot(6) })).toEqual(["promise"]);
    expect(voter.register.state.accepted?.ballot).toEqual(ballot(5));
  });

  test("P7: every state of it goes to the store under the token, until another votes", () => {
    const { seat, sole, effects } = own();
    expect(claimsOf(effects)).toMatchObject([{ of: idOf(A), own: { state: { member: A } } }]);
    expect(persistsOf(effects).at(-1)).not.toHaveProperty("seat"); // it has none yet, and is mute
    sole.claimed(idOf(A), { type: "held", token: "t1" });
    expect(persistsOf(effects).at(-1)).toMatchObject({ of: A, seat: { token: "t1", state: { member: A } } });
    seat.receive(A, B, envelope(B, { type: "prepare", epoch: NEXT, ballot: ballot(1) }));
    expect(persistsOf(effects).at(-1)).toMatchObject({ seat: { token: "t1", state: { promised: ballot(1) } } });
    seat.learn({ ...ring, epoch: NEXT, voters: [B] });
    expect(persistsOf(effects).at(-1)).not.toHaveProperty("seat");
  });
});

describe("a member whose only voter is gone", () => {
  test("P7: takes its seat when the voter's lease in the store was not renewed for longer than it lasts, by its own clock", () => {
    const { sole, at, claims } = other();
    sole.confirm(FOUND);
    expect(claims()).toEqual([{ of: idOf(A), history: 1, epoch: 4 }]); // a look
    sole.claimed(idOf(A), { type: "refused", found: FOUND });
    at(1_000 + 5_249);
    expect(claims().filter(({ seen }) => seen !== undefined)).toEqual([]);
    sole.claimed(idOf(A), { type: "refused", found: FOUND });
    at(1_000 + 5_500);
    expect(claims().at(-1)?.seen).toEqual({ token: "t1", beat: "b1" });
  });

  test("P7: waits anew when the voter's lease was renewed", () => {
    const { sole, at, claims } = other();
    sole.confirm(FOUND);
    at(5_000);
    sole.confirm({ ...FOUND, beat: "b2" });
    sole.claimed(idOf(A), { type: "refused", found: { ...FOUND, beat: "b2" } });
    at(5_000 + 5_200);
    expect(claims().filter(({ seen }) => seen !== undefined)).toEqual([]);
  });

  test("takes it at once when the lock of the voter's directory proves its death", () => {
    const { sole, at, claims } = other();
    sole.confirm(FOUND);
    sole.claimed(idOf(A), { type: "refused", found: FOUND });
    sole.proveDead(idOf(A), true);
    at(1_300);
    expect(claims().at(-1)?.seen).toEqual({ token: "t1", beat: "dead" });
  });

  test("P7: speaks for it as the run that it was, from what was kept; waits for every lease but its own", () => {
    const { sole, at, persists, sent, now } = other();
    sole.confirm(FOUND);
    const kept = { run: 77, state: { ...stateOf(A, ring), starts: 9, promised: ballot(5) } };
    at(7_000);
    sole.claimed(idOf(A), { type: "held", token: "t2", kept });
    expect(sole.holding()).toEqual([A]);
    expect(persists().at(-1)).toMatchObject({ of: A, seat: { token: "t2", run: 77, state: { starts: 9 } } });
    sole.persisted("t1", 1); // of somebody else's time
    expect(sole.receive(A, B, envelope(B, { type: "inquire", epoch: NOW, request: 1, members: [A, B] }))).toBe(true);
    expect(sent()).toEqual([]);
    sole.persisted("t2", 1);
    expect(sent()).toMatchObject([{ type: "inquired", starts: 9, run: 77, waitsMs: [0, 5_250] }]);
    expect(sole.mayAnswer(A, now())).toBe(true);
  });

  test("P7: of an open decision that follows a newer document than the one kept nothing was said", () => {
    const { sole, at, persists } = other();
    sole.confirm(FOUND);
    at(7_000);
    const before = { ...ring, epoch: 3 as Epoch };
    const kept = { run: 77, state: { ...stateOf(A, before), promised: ballot(5), accepted: vote(5) } };
    sole.claimed(idOf(A), { type: "held", token: "t2", kept });
    expect(persists().at(-1)?.state).toMatchObject({
      document: { epoch: 4 },
      promised: undefined,
      accepted: undefined,
    });
  });

  test("P3: gives up its lease of the voters with the answer that shows that it has lost the seat", () => {
    const { sole, at, voided } = other();
    sole.confirm(FOUND);
    at(7_000);
    sole.claimed(idOf(A), { type: "held", token: "t2", kept: { run: 77, state: stateOf(A, ring) } });
    sole.confirm({ ...FOUND, token: "t2" });
    expect(voided()).toBe(0);
    sole.confirm({ ...FOUND, token: "t3" });
    expect(voided()).toBe(1);
    expect(sole.holding()).toEqual([]);
    expect(sole.mayAnswer(A, 7_000)).toBe(false);
  });

  test("P7: answers nothing while its own lease in the store is lost", () => {
    const parts = other();
    parts.sole.confirm(FOUND);
    parts.at(7_000);
    parts.sole.claimed(idOf(A), { type: "held", token: "t2", kept: { run: 77, state: stateOf(A, ring) } });
    parts.loseStore();
    expect(parts.sole.mayAnswer(A, 7_000)).toBe(false);
  });

  test("learns from the store what the ring decided without it", () => {
    const { sole, learnt } = other();
    const newer = { ...ring, epoch: 9 as Epoch };
    sole.confirm(FOUND);
    sole.claimed(idOf(A), { type: "refused", found: FOUND, newer });
    expect(learnt()).toEqual([newer]);
  });

  test("leaves the seat to a voter that is back, if the ring still wants it", () => {
    const parts = other();
    parts.sole.confirm(FOUND);
    parts.at(7_000);
    parts.sole.claimed(idOf(A), { type: "held", token: "t2", kept: { run: 77, state: stateOf(A, ring) } });
    parts.link();
    parts.at(9_000);
    expect(parts.sole.holding()).toEqual([A]);
    parts.at(10_100);
    expect(parts.sole.holding()).toEqual([]);
    expect(parts.effects.at(-1)).toEqual({ type: "leave-seat", token: "t2" });
  });
});

const [A, B] = ["a", "b"] as NodeName[] as [NodeName, NodeName];
const NOW = 4 as Epoch;
const NEXT = 5 as Epoch;
const ring: RingDocument = ringOfTwo();
const FOUND: SeatFound = { of: idOf(A), holder: idOf(A), token: "t1", beat: "b1" };

function ringOfTwo(): RingDocument {
  const member = { name: A, id: idOf(A), weight: 100, machine: "m1", directory: "/a" };
  const founded = foundRing({ ringId: "r".repeat(32) as RingId, ringSize: 8, member });
  const second = { ...founded.members[0]!, name: B, id: idOf(B), machine: "m2" };
  return { ...founded, epoch: NOW, members: [...founded.members, second] };
}

function idOf(name: NodeName): MemberId {
  return name.repeat(32) as MemberId;
}

function stateOf(name: NodeName, document: RingDocument): RegisterState {
  return {
    version: 1,
    member: name,
    memberId: idOf(name),
    starts: 1,
    document,
    promised: undefined,
    accepted: undefined,
  };
}

function ballot(round: number): Ballot {
  return { round, member: B, starts: 1 };
}

function vote(round: number): Vote {
  return { ballot: ballot(round), document: { ...ring, epoch: NEXT }, consents: [] };
}

function envelope(from: NodeName, body: RegisterBody): RegisterMessage {
  return { ringId: ring.ringId, history: 1, memberId: idOf(from), starts: 1, run: 1, ...body };
}

/** The register of the only voter. */
class Acceptor {
  readonly register: Register;
  mayAnswer: boolean;
  syncs = true;

  constructor(options: { readonly mayAnswer: boolean }) {
    this.mayAnswer = options.mayAnswer;
    const state = stateOf(A, ring);
    this.register = new Register({ state, random: () => 0.5, mayAnswer: () => this.mayAnswer });
    this.feed({ type: "start" });
  }

  hear(body: RegisterBody): readonly string[] {
    return this.feed({ type: "message", from: B, message: envelope(B, body) });
  }

  /** Types of the answers that left. */
  feed(event: RegisterEvent): readonly string[] {
    const answers: string[] = [];
    const queue: RegisterEffect[] = [...this.register.step(100, event)];
    for (let effect = queue.shift(); effect !== undefined; effect = queue.shift()) {
      if (effect.type === "send" && effect.to === B && effect.message.type !== "document")
        answers.push(effect.message.type);
      if (effect.type === "persist" && this.syncs)
        queue.push(...this.register.step(100, { type: "persisted", sequence: effect.sequence }));
    }
    return answers.filter((type) => type !== "ask");
  }
}

/** The only voter's own node. */
function own(): { readonly seat: Seat; readonly sole: SoleSeat; readonly effects: NodeEffect[] } {
  const effects: NodeEffect[] = [];
  const here = hereOf(A, effects);
  const seat: Seat = new Seat(here, {
    state: stateOf(A, ring),
    leaseMs: 5_000,
    random: () => 0.5,
    hooks: {
      foreseen: () => undefined,
      decided: () => undefined,
      proposalEnded: () => undefined,
      revocable: () => undefined,
      leaseChanged: () => undefined,
      leaseWarning: () => undefined,
      speakerFor: () => undefined,
      countsAsDead: () => false,
      holds: () => false,
      toHeld: () => undefined,
      mayAnswer: (now) => sole.mayAnswer(A, now),
      seatWrite: (of, state) => sole.writeOf(of, state),
    },
  });
  const sole: SoleSeat = new SoleSeat(here, {
    memberId: idOf(A),
    random: () => 0.5,
    leaseMs: 5_000,
    hooks: {
      storeHeld: () => true,
      reachesStore: () => true,
      isRestarting: () => false,
      own: () => seat.own,
      seated: (kept) => seat.seated(kept),
      registerEffects: (of, made) => seat.perform(of, made),
      learn: (document) => seat.learn(document),
      announce: () => undefined,
      voidLease: () => undefined,
    },
  });
  seat.start();
  seat.persisted(1);
  sole.follow(ring);
  return { seat, sole, effects };
}

interface Other {
  readonly sole: SoleSeat;
  readonly effects: NodeEffect[];
  at(now: number): void;
  now(): number;
  claims(): SeatClaim[];
  persists(): Extract<RegisterEffect, { type: "persist" }>[];
  sent(): RegisterMessage[];
  learnt(): RingDocument[];
  voided(): number;
  link(): void;
  loseStore(): void;
}

/** Node b, which has no link to a. */
function other(): Other {
  const effects: NodeEffect[] = [];
  const made: RegisterEffect[] = [];
  const learnt: RingDocument[] = [];
  let voided = 0;
  let isLinked = false;
  let isHeld = true;
  const here = { ...hereOf(B, effects), linked: (name: NodeName) => name === B || isLinked };
  const sole: SoleSeat = new SoleSeat(here, {
    memberId: idOf(B),
    random: () => 0.5,
    leaseMs: 5_000,
    hooks: {
      storeHeld: () => isHeld,
      reachesStore: () => true,
      isRestarting: () => false,
      own: () => ({ state: stateOf(B, ring), run: 1 }),
      seated: () => undefined,
      registerEffects: (_of, list) => void made.push(...list),
      learn: (document) => void learnt.push(document),
      announce: () => undefined,
      voidLease: () => {
        voided++;
      },
    },
  });
  const persists = (): Extract<RegisterEffect, { type: "persist" }>[] =>
    made.flatMap((effect) =>
      effect.type === "persist" ? [{ ...effect, of: A, seat: sole.writeOf(A, effect.state) }] : [],
    );
  sole.follow(ring);
  return {
    sole,
    effects,
    at: (now) => {
      here.now = now;
      sole.tick();
    },
    now: () => here.now,
    claims: () => claimsOf(effects),
    persists,
    sent: () => made.flatMap((effect) => (effect.type === "send" ? [effect.message] : [])),
    learnt: () => learnt,
    voided: () => voided,
    link: () => {
      isLinked = true;
    },
    loseStore: () => {
      isHeld = false;
    },
  };
}

function hereOf(self: NodeName, effects: NodeEffect[]): Here & { now: number } {
  return {
    self,
    memberId: "id-here" as never,
    now: 1_000,
    document: ring,
    sharedStore: true,
    emit: (effect) => void effects.push(effect),
    send: () => undefined,
    linked: () => true,
    note: () => undefined,
  };
}

function claimsOf(effects: readonly NodeEffect[]): SeatClaim[] {
  return effects.flatMap((effect) => (effect.type === "claim-seat" ? [effect.claim] : []));
}

function persistsOf(effects: readonly NodeEffect[]): Extract<NodeEffect, { type: "persist-register" }>[] {
  return effects.flatMap((effect) => (effect.type === "persist-register" ? [effect] : []));
}
