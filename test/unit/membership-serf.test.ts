/** Serf's layer on one machine: intents, user events, and what is passed on. */

import { describe, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import type { SwimEffect, SwimEvent } from "../../ring/membership/events.ts";
import type { Alive, SwimMessage, User, Versions } from "../../ring/membership/messages.ts";
import { decodeMsgpack } from "../../ring/membership/msgpack.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import { encodeTags } from "../../ring/membership/tags.ts";
import { OUR_VERSIONS } from "../../ring/membership/versions.ts";
import { typed } from "../../ring/membership/wire.ts";

const ME = parseNodeName("me");
const AGENT: Versions = [1, 5, 2, 2, 5, 5];
const LEAVE = 0;
const JOIN = 1;
const EVENT = 3;
const QUERY = 4;
const ANSWER = 5;

class Bench {
  readonly swim: Swim;
  now = 0;
  effects: SwimEffect[] = [];

  constructor(versions: Versions) {
    this.swim = new Swim({
      name: ME,
      address: { host: "10.0.0.1", port: 1 },
      tags: new Map(),
      profile: PROFILES.lan,
      random: () => 0.5,
    });
    this.receive(alive("agent", versions));
    // What this node has to say of itself is spread.
    this.runTo(3_000);
    this.effects = [];
  }

  give(event: SwimEvent): void {
    this.effects.push(...this.swim.step(this.now, event));
  }

  receive(...messages: readonly SwimMessage[]): void {
    this.give({ type: "received", from: { host: "10.0.0.2", port: 2 }, messages });
  }

  runTo(at: number): void {
    for (let next = this.swim.nextDeadline(); next !== undefined && next <= at; next = this.swim.nextDeadline()) {
      this.now = Math.max(this.now, next);
      this.give({ type: "tick" });
      for (const effect of this.effects)
        if (effect.type === "send")
          for (const message of effect.messages)
            if (message.type === "ping") this.receive({ type: "ack", sequence: message.sequence });
    }
    this.now = at;
  }

  /** Everything sent since, in order. */
  sent(): readonly SwimMessage[] {
    return this.effects.flatMap((effect) => (effect.type === "send" ? effect.messages : []));
  }

  /** Serf messages sent, the same ones once. */
  serf(): readonly { readonly type: number; readonly fields: Record<string, unknown> }[] {
    const seen = new Map<string, { readonly type: number; readonly fields: Record<string, unknown> }>();
    for (const message of this.sent()) {
      if (message.type !== "user") continue;
      const fields = decodeMsgpack(message.payload.subarray(1), { dialect: "modern" }) as Record<string, unknown>;
      seen.set(Buffer.from(message.payload).toString("hex"), { type: message.payload[0]!, fields });
    }
    return [...seen.values()];
  }
}

describe("a leave", () => {
  test("among serf agents is announced first, and told when everybody has heard it", () => {
    const bench = new Bench(AGENT);
    bench.give({ type: "leave" });
    expect(bench.swim.self().state).toBe("alive");
    bench.runTo(bench.now + 5_000);
    const kinds = bench.sent().map(({ type }) => type);
    expect(kinds.lastIndexOf("user")).toBeLessThan(kinds.indexOf("dead"));
    expect(bench.serf()).toMatchObject([{ type: LEAVE }]);
    expect(bench.effects).toContainEqual({ type: "left" });
    expect(bench.swim.self().state).toBe("left");
  });

  test("among our own nodes is told at once", () => {
    const bench = new Bench(OUR_VERSIONS);
    bench.give({ type: "leave" });
    expect(bench.swim.self().state).toBe("left");
    bench.runTo(bench.now + 5_000);
    expect(bench.serf()).toEqual([]);
  });

  test("that somebody invents is answered with a join of a later time", () => {
    const bench = new Bench(AGENT);
    bench.receive(intent(LEAVE, "me", 41));
    bench.runTo(bench.now + 1_000);
    expect(bench.serf()).toEqual([{ type: JOIN, fields: { LTime: 43, Node: "me" } }]);
    expect(bench.swim.self().state).toBe("alive");
  });

  test("has a later time than anything heard, also from full state", () => {
    const bench = new Bench(AGENT);
    const userState = typed(2, { LTime: 99, StatusLTimes: { agent: 98 }, LeftMembers: null, EventLTime: 1 });
    const request = { type: "push-pull", join: false, nodes: [], userState } as const;
    bench.give({ type: "stream-request", stream: 1, from: { host: "10.0.0.2", port: 2 }, request });
    bench.give({ type: "leave" });
    bench.runTo(bench.now + 1_000);
    expect(bench.serf()).toEqual([{ type: LEAVE, fields: { LTime: 101, Node: "me" } }]);
  });
});

describe("a user event", () => {
  test("is told once and passed on", () => {
    const bench = new Bench(AGENT);
    const event = user(EVENT, { LTime: 5, Name: "deploy", Payload: Uint8Array.of(1, 2), CC: false });
    bench.receive(event, event);
    bench.runTo(bench.now + 2_000);
    bench.receive(event);
    const told = bench.effects.filter(({ type }) => type === "user-event");
    expect(told).toEqual([{ type: "user-event", name: "deploy", payload: Uint8Array.of(1, 2), lamport: 5 }]);
    expect(bench.sent().filter(({ type }) => type === "user")).toHaveLength(4);
    bench.receive(user(EVENT, { LTime: 6, Name: "deploy", Payload: Uint8Array.of(1, 2), CC: false }));
    expect(bench.effects.filter(({ type }) => type === "user-event")).toHaveLength(2);
  });

  test("may come over TCP, which is closed without an answer", () => {
    const bench = new Bench(AGENT);
    const event = user(EVENT, { LTime: 5, Name: "deploy", Payload: new Uint8Array(2_000) });
    bench.give({ type: "stream-request", stream: 9, from: { host: "10.0.0.2", port: 2 }, request: event });
    expect(bench.effects).toContainEqual(expect.objectContaining({ type: "user-event", name: "deploy", lamport: 5 }));
    expect(bench.effects).toContainEqual({ type: "refuse", stream: 9 });
  });

  test("of a flood only the newest are passed on, and what nobody can read is counted", () => {
    const bench = new Bench(AGENT);
    for (let time = 1; time <= 3_000; time++)
      bench.receive(user(EVENT, { LTime: time, Name: "x", Payload: new Uint8Array(100) }));
    bench.effects = [];
    bench.runTo(bench.now + 1_000);
    for (const effect of bench.effects)
      if (effect.type === "send") expect(effect.messages.length).toBeLessThanOrEqual(15);
    const before = bench.swim.counters.refused;
    for (const payload of [[], [3], [3, 0xc1], [0, 0x80], [1, 0x81], [9], [4, 0x90], [77, 1]])
      bench.receive({ type: "user", payload: Uint8Array.from(payload) });
    bench.receive(user(EVENT, { LTime: 2 ** 60, Name: "x" }), user(LEAVE, { LTime: 1, Node: "" }));
    expect(bench.swim.counters.refused - before).toBeGreaterThanOrEqual(6);
  });
});

describe("a query", () => {
  const query = (more: Record<string, unknown> = {}): SwimMessage =>
    user(QUERY, { LTime: 7, ID: 99, Addr: Uint8Array.of(10, 0, 0, 2), Port: 2, Flags: 1, Name: "_serf_ping", ...more });
  const answers = (bench: Bench): readonly unknown[] =>
    bench.effects.flatMap((effect) =>
      effect.type === "send"
        ? effect.messages.flatMap((message) =>
            message.type === "user" && message.payload[0] === ANSWER
              ? [{ to: effect.to, fields: decodeMsgpack(message.payload.subarray(1), { dialect: "modern" }) }]
              : [],
          )
        : [],
    );

  test("is told to have arrived, once, to the member that asks, and is passed on", () => {
    const bench = new Bench(AGENT);
    bench.receive(query(), query());
    bench.runTo(bench.now + 1_000);
    expect(answers(bench)).toEqual([
      { to: { host: "10.0.0.2", port: 2 }, fields: { LTime: 7, ID: 99, From: "me", Flags: 1 } },
    ]);
    expect(bench.serf().filter(({ type }) => type === QUERY)).toHaveLength(1);
  });

  test("is not answered to strangers, without being asked to, or for chosen members", () => {
    const bench = new Bench(AGENT);
    bench.receive(query({ Port: 3 }), query({ ID: 1, Flags: 0 }), query({ ID: 2, Filters: [Uint8Array.of(0, 0x90)] }));
    bench.runTo(bench.now + 1_000);
    expect(answers(bench)).toEqual([]);
  });
});

test("an intent of another member is passed on, an older one not", () => {
  const bench = new Bench(AGENT);
  bench.receive(intent(LEAVE, "agent", 9), intent(JOIN, "agent", 8));
  bench.runTo(bench.now + 1_000);
  expect(bench.serf()).toEqual([{ type: LEAVE, fields: { LTime: 9, Node: "agent" } }]);
});

test("a refused connection shortens the suspicion, tells the suspect at once, and its refutation counts", () => {
  const bench = new Bench(OUR_VERSIONS);
  const found = silentProbe(bench);
  bench.give({ type: "exchange-failed", exchange: found, reason: "refused", refused: true });
  const refusedAt = bench.now;
  quiet(bench, refusedAt + 200);
  expect(bench.swim.members()[1]!.state).toBe("suspect");
  expect(bench.sent().some(({ type }) => type === "suspect")).toBe(true);
  expect(bench.swim.healthScore).toBe(0);
  bench.receive(alive("agent", OUR_VERSIONS, 2));
  expect(bench.swim.members()[1]!.state).toBe("alive");
  expect(bench.swim.counters).toMatchObject({ suspicions: 1, suspicionsRefuted: 1, probesRefused: 1 });
  const again = silentProbe(bench);
  bench.give({ type: "exchange-failed", exchange: again, reason: "refused", refused: true });
  const begun = bench.now;
  quiet(bench, begun + 2_000);
  expect(bench.swim.members()[1]!.state).toBe("suspect");
  quiet(bench, begun + 2_300);
  expect(bench.swim.members()[1]!.state).toBe("dead");
});

/** Lets nobody answer until the next TCP ping. */
function silentProbe(bench: Bench): number {
  bench.effects = [];
  for (;;) {
    const next = bench.swim.nextDeadline()!;
    bench.now = next;
    bench.give({ type: "tick" });
    for (const effect of bench.effects)
      if (effect.type === "exchange" && effect.request.type === "ping") return effect.exchange;
  }
}

function quiet(bench: Bench, at: number): void {
  for (let next = bench.swim.nextDeadline(); next !== undefined && next <= at; next = bench.swim.nextDeadline()) {
    bench.now = next;
    bench.give({ type: "tick" });
  }
  bench.now = at;
}

function alive(name: string, versions: Versions, incarnation = 1): Alive {
  const node = parseNodeName(name);
  return {
    type: "alive",
    incarnation,
    node,
    address: { host: "10.0.0.2", port: 2 },
    meta: encodeTags(new Map()),
    versions,
  };
}

function user(type: number, fields: Record<string, unknown>): User {
  return { type: "user", payload: typed(type, fields) };
}

function intent(type: number, name: string, time: number): SwimMessage {
  return user(type, { LTime: time, Node: name });
}
