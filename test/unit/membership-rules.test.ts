/** The rules of beliefs, probes and leave on one machine, message by message. */

import { describe, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import type { SwimEffect, SwimEvent } from "../../ring/membership/events.ts";
import type { Alive, NodeState, StreamResponse, SwimMessage } from "../../ring/membership/messages.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import { encodeTags } from "../../ring/membership/tags.ts";
import { OUR_VERSIONS } from "../../ring/membership/versions.ts";

const ME = parseNodeName("me");
const A = parseNodeName("a");
const B = parseNodeName("b");
const C = parseNodeName("c");
const D = parseNodeName("d");
const META = encodeTags(new Map());

class Bench {
  readonly swim: Swim;
  now = 0;
  effects: SwimEffect[] = [];
  /** Whether the others answer pings. */
  answering = false;

  constructor(others: readonly Alive["node"][] = []) {
    this.swim = new Swim({
      name: ME,
      address: { host: "10.0.0.1", port: 1 },
      tags: new Map(),
      profile: PROFILES.lan,
      random: () => 0.5,
    });
    this.receive(...others.map((node) => alive(node)));
    this.take();
  }

  give(event: SwimEvent): readonly SwimEffect[] {
    const effects = this.swim.step(this.now, event);
    this.effects.push(...effects);
    return effects;
  }

  receive(...messages: readonly SwimMessage[]): readonly SwimEffect[] {
    return this.give({ type: "received", from: { host: "10.0.0.99", port: 99 }, messages });
  }

  /** On time, tick by tick. */
  runTo(at: number): void {
    for (let next = this.swim.nextDeadline(); next !== undefined && next <= at; next = this.swim.nextDeadline()) {
      this.now = Math.max(this.now, next);
      const effects = this.give({ type: "tick" });
      const sent = this.answering ? effects.flatMap((effect) => (effect.type === "send" ? effect.messages : [])) : [];
      for (const message of sent)
        if (message.type === "ping") this.receive({ type: "ack", sequence: message.sequence });
    }
    this.now = at;
  }

  take(): readonly SwimEffect[] {
    return this.effects.splice(0);
  }

  state(node: Alive["node"]): string {
    const view = this.swim.member(node);
    return view ? `${view.state}/${view.incarnation}` : "unknown";
  }

  sent(type: SwimMessage["type"]): readonly SwimMessage[] {
    return this.effects
      .flatMap((effect) => (effect.type === "send" ? effect.messages : []))
      .filter((m) => m.type === type);
  }
}

describe("news", () => {
  test("alive needs a higher incarnation, suspect and dead at least the same", () => {
    const bench = new Bench([A, B]);
    bench.receive({ type: "suspect", node: A, from: B, incarnation: 0 });
    expect(bench.state(A)).toBe("alive/1");
    bench.receive({ type: "suspect", node: A, from: B, incarnation: 1 });
    expect(bench.state(A)).toBe("suspect/1");
    bench.receive(alive(A));
    expect(bench.state(A)).toBe("suspect/1");
    bench.receive(alive(A, { incarnation: 2 }));
    expect(bench.state(A)).toBe("alive/2");
    bench.receive({ type: "dead", node: A, from: B, incarnation: 2 });
    expect(bench.state(A)).toBe("dead/2");
    bench.receive(alive(A, { incarnation: 2 }));
    expect(bench.state(A)).toBe("dead/2");
  });

  test("what is said of a stranger is ignored, unless it is alive", () => {
    const bench = new Bench();
    bench.receive(
      { type: "suspect", node: A, from: B, incarnation: 1 },
      { type: "dead", node: A, from: A, incarnation: 1 },
    );
    expect(bench.state(A)).toBe("unknown");
  });

  test("a suspicion of a dead member does not bring it back", () => {
    const bench = new Bench([A, B]);
    bench.receive(
      { type: "dead", node: A, from: B, incarnation: 1 },
      { type: "suspect", node: A, from: B, incarnation: 9 },
    );
    expect(bench.state(A)).toBe("dead/1");
  });

  test("an accusation of this node is refuted with a higher incarnation, and costs it health", () => {
    const bench = new Bench([A, B]);
    bench.receive({ type: "suspect", node: ME, from: A, incarnation: 7 });
    expect(bench.state(ME)).toBe("alive/8");
    bench.receive({ type: "dead", node: ME, from: ME, incarnation: 8 });
    expect(bench.state(ME)).toBe("alive/9");
    expect(bench.swim.healthScore).toBe(2);
    bench.runTo(200);
    expect(bench.sent("alive")).toContainEqual(expect.objectContaining({ node: ME, incarnation: 9 }));
  });

  test("what another process said under this name and address is answered with something newer", () => {
    const bench = new Bench([A]);
    const mine = (more: Partial<Alive>): Alive => alive(ME, { address: bench.swim.self().address, ...more });
    bench.receive(mine({ incarnation: 5 }));
    expect(bench.state(ME)).toBe("alive/6");
    bench.receive(mine({ incarnation: 6, meta: Uint8Array.of(1) }));
    expect(bench.state(ME)).toBe("alive/7");
    // Its own words that come back, and old ones, are no news.
    bench.receive(mine({ incarnation: 7, meta: encodeTags(new Map()) }), mine({ incarnation: 6 }));
    expect(bench.state(ME)).toBe("alive/7");
  });

  test("a dead member that comes back as the process it was is a flap, a restarted one is none", () => {
    const started = (times: string): Uint8Array => encodeTags(new Map([["starts", times]]));
    const bench = new Bench();
    bench.receive(alive(A, { meta: started("1") }), { type: "dead", node: A, from: B, incarnation: 1 });
    bench.receive(alive(A, { meta: started("1"), incarnation: 2 }));
    expect(bench.swim.counters.flaps).toBe(1);
    bench.receive({ type: "dead", node: A, from: B, incarnation: 2 });
    bench.receive(alive(A, { meta: started("2"), incarnation: 3 }));
    expect(bench.swim.counters.flaps).toBe(1);
  });

  test("a flood of names is taken up to a limit, where the longest gone give way and the living do not", () => {
    const bench = new Bench([A, B]);
    bench.receive({ type: "dead", node: A, from: B, incarnation: 1 });
    for (let index = 0; index < 9_000; index++) bench.receive(alive(parseNodeName(`m${index}`)));
    expect(bench.swim.members()).toHaveLength(8_192);
    expect([bench.state(A), bench.state(B)]).toEqual(["unknown", "alive/1"]);
    expect(bench.swim.counters.refused).toBe(9_000 - 8_190);
  });

  test("an incarnation that nobody reaches is refused, so that its owner can still refute", () => {
    const bench = new Bench([A]);
    for (const incarnation of [2 ** 31, 2 ** 32 - 1]) {
      bench.receive(alive(A, { incarnation }), { type: "suspect", node: ME, from: A, incarnation });
      bench.receive({ type: "dead", node: A, from: ME, incarnation });
    }
    expect([bench.state(A), bench.state(ME), bench.swim.counters.refused]).toEqual(["alive/1", "alive/1", 6]);
  });

  test("one alive with zero versions cannot poison the ring", () => {
    const bench = new Bench([A]);
    bench.receive(alive(B, { versions: [1, 5, 2, 0, 0, 0] }), alive(C, { versions: [0, 0, 0, 0, 0, 0] }));
    expect([bench.state(B), bench.state(C), bench.swim.counters.refused]).toEqual(["unknown", "unknown", 2]);
  });

  test("a second accuser shortens the suspicion and is passed on, a third voice of the same is not", () => {
    const bench = new Bench([A, B, C, D]);
    bench.receive({ type: "suspect", node: A, from: B, incarnation: 1 });
    bench.take();
    bench.now = 300;
    bench.receive({ type: "suspect", node: A, from: C, incarnation: 1 });
    expect(bench.sent("suspect")).toEqual(expect.arrayContaining([expect.objectContaining({ from: C })]));
    bench.receive(
      { type: "suspect", node: A, from: C, incarnation: 1 },
      { type: "suspect", node: A, from: D, incarnation: 1 },
    );
    bench.runTo(4_100);
    expect(bench.state(A)).toBe("dead/1");
  });

  test("a leave that arrives after the failure makes it a leave", () => {
    const bench = new Bench([A, B]);
    bench.receive(
      { type: "dead", node: A, from: B, incarnation: 1 },
      { type: "dead", node: A, from: A, incarnation: 1 },
    );
    expect(bench.state(A)).toBe("left/1");
    bench.receive({ type: "dead", node: A, from: B, incarnation: 1 });
    expect(bench.state(A)).toBe("left/1");
  });

  test("a live name at another address is a conflict; dead or left it may move, whatever its incarnation", () => {
    const bench = new Bench([A, B]);
    const moved = alive(A, { incarnation: 9, address: { host: "10.0.0.7", port: 7 } });
    expect(bench.receive(moved)).toContainEqual(
      expect.objectContaining({ type: "conflict", name: A, claimed: moved.address }),
    );
    // Both go on gossiping: it is counted each time, and said once a minute.
    expect(bench.receive(moved).filter(({ type }) => type === "conflict")).toEqual([]);
    bench.now = 60_000;
    expect(bench.receive(moved).filter(({ type }) => type === "conflict")).toHaveLength(1);
    expect(bench.swim.counters.conflicts).toBe(3);
    bench.receive({ type: "dead", node: A, from: B, incarnation: 5 });
    bench.receive({ ...moved, incarnation: 1 });
    expect(bench.swim.member(A)).toMatchObject({ state: "alive", incarnation: 1, address: moved.address });
    bench.receive({ type: "dead", node: A, from: A, incarnation: 1 });
    bench.receive(alive(A, { incarnation: 1 }));
    expect(bench.swim.member(A)).toMatchObject({ state: "alive", address: alive(A).address });
    expect(bench.receive(alive(ME, { incarnation: 9 }))).toContainEqual(
      expect.objectContaining({ type: "conflict", name: ME }),
    );
    expect(bench.state(ME)).toBe("alive/1");
  });

  test("other tags of a live member are an update, the same ones are no news", () => {
    const bench = new Bench([A]);
    bench.receive(alive(A, { incarnation: 2 }));
    bench.receive(alive(A, { incarnation: 3, meta: encodeTags(new Map([["k", "v"]])) }));
    const notices = bench.take().filter(({ type }) => type.startsWith("member-"));
    expect(notices).toEqual([
      { type: "member-updated", member: expect.objectContaining({ tags: new Map([["k", "v"]]), incarnation: 3 }) },
    ]);
  });

  test("garbage in meta shows no tags and stops nothing", () => {
    const bench = new Bench();
    bench.receive(alive(A, { meta: Uint8Array.of(255, 0xc1) }), alive(B));
    expect(bench.swim.member(A)!.tags).toEqual(new Map());
    expect(bench.state(B)).toBe("alive/1");
  });
});

describe("push/pull", () => {
  test("is answered with what was believed before, and never kills: a remote dead becomes a suspicion", () => {
    const bench = new Bench([A, B]);
    const nodes = [state(A, "dead"), state(B, "left"), state(C, "alive"), state(D, "suspect")];
    const effects = bench.give(request(nodes));
    const reply = effects.find((effect) => effect.type === "reply");
    if (reply?.response.type !== "push-pull") throw new Error("no reply");
    expect(reply.response.nodes.map(({ name }) => name)).toEqual([ME, A, B]);
    expect([A, B, C, D].map((name) => bench.state(name))).toEqual(["suspect/1", "left/1", "alive/1", "unknown"]);
  });

  test("with a node that speaks another version is not merged at all", () => {
    const bench = new Bench([A]);
    bench.give(request([state(B, "alive"), { ...state(C, "alive"), versions: [1, 5, 2, 0, 0, 0] }]));
    expect([bench.state(B), bench.swim.counters.mergesRefused]).toEqual(["unknown", 1]);
  });

  test("so many addresses are joined at most; for the rest the answer is no", () => {
    const bench = new Bench();
    const addresses = Array.from({ length: 300 }, (_, index) => ({ host: "10.0.0.2", port: index + 1 }));
    bench.give({ type: "join", addresses });
    expect(bench.effects.filter(({ type }) => type === "exchange")).toHaveLength(4);
    expect(bench.effects.filter(({ type }) => type === "join-failed")).toHaveLength(300 - 256);
  });

  test("who was held dead by the one that it joins refutes, and tells it so in a second exchange", () => {
    const bench = new Bench();
    const to = { host: "10.0.0.2", port: 9 };
    bench.give({ type: "join", addresses: [to] });
    const [asked] = bench.take().filter((effect) => effect.type === "exchange");
    const mine: NodeState = { ...state(ME, "dead"), incarnation: 4, address: bench.swim.self().address };
    bench.give(replied(asked!.exchange, { type: "push-pull", join: false, nodes: [mine, state(A, "alive")], userState: new Uint8Array(0) })); // biome-ignore format: one line
    expect(bench.state(ME)).toBe("alive/5");
    const [again] = bench.effects.filter((effect) => effect.type === "exchange");
    expect(again).toMatchObject({ to, request: { join: false } });
    const nodes = again!.request.type === "push-pull" ? again!.request.nodes : [];
    expect(nodes.find(({ name }) => name === ME)).toMatchObject({ incarnation: 5, state: "alive" });
  });

  test("a join tells its outcome per address; this node itself is none", () => {
    const bench = new Bench();
    const addresses = [1, 2, 3, 4, 5, 6].map((port) => ({ host: "10.0.0.2", port }));
    bench.give({ type: "join", addresses: [...addresses, { host: "10.0.0.1", port: 1 }] });
    const asked = bench.take().filter((effect) => effect.type === "exchange");
    expect(asked).toHaveLength(4);
    bench.give(
      replied(asked[0]!.exchange, {
        type: "push-pull",
        join: false,
        nodes: [state(A, "alive")],
        userState: new Uint8Array(0),
      }),
    );
    bench.give({ type: "exchange-failed", exchange: asked[1]!.exchange, reason: "refused" });
    bench.give(replied(asked[2]!.exchange, { type: "error", text: "busy" }));
    expect(bench.effects.filter(({ type }) => type === "joined")).toHaveLength(1);
    expect(bench.effects.filter(({ type }) => type === "join-failed")).toHaveLength(2);
    expect(bench.effects.filter(({ type }) => type === "exchange")).toHaveLength(2);
    expect(bench.state(A)).toBe("alive/1");
    bench.give(replied(999, { type: "ack", sequence: 1 }));
  });
});

describe("the gone", () => {
  const told = (bench: Bench): readonly number[] =>
    bench.effects.flatMap((effect) => (effect.type === "send" ? [effect.to.port] : []));
  const port = alive(A).address.port;

  test("are told things for half a minute when dead, so that they can refute, and never when they left", () => {
    for (const [from, sinceMs, heard] of [
      [B, 1_000, true],
      [B, 31_000, false],
      [A, 1_000, false],
    ] as const) {
      // biome-ignore format: one line
      const bench = new Bench([A, B]);
      bench.answering = true;
      bench.receive({ type: "dead", node: A, from, incarnation: 1 });
      bench.runTo(sinceMs);
      bench.take();
      bench.receive(alive(B, { incarnation: 2 }));
      bench.runTo(sinceMs + 1_000);
      expect(told(bench).includes(port)).toBe(heard);
    }
  });

  test("are asked for full state now and then when dead, so that a cut ring heals, and never when they left", () => {
    const asked = (from: Alive["node"]): number => {
      // In this order the bench's chance would fall on the gone one, if it were among those to choose from.
      const bench = new Bench([B, A]);
      bench.answering = true;
      bench.receive({ type: "dead", node: A, from, incarnation: 1 });
      bench.runTo(60_000);
      return bench.effects.filter((effect) => effect.type === "exchange" && effect.to.port === port).length;
    };
    expect([asked(B), asked(A)]).toEqual([6, 0]);
  });

  test("are forgotten after a day", () => {
    const bench = new Bench([A, B, C]);
    bench.answering = true;
    bench.receive(
      { type: "dead", node: A, from: B, incarnation: 1 },
      { type: "dead", node: C, from: C, incarnation: 1 },
    );
    bench.now = 24 * 3_600_000;
    bench.runTo(bench.now + 10_000);
    expect([bench.state(A), bench.state(B), bench.state(C)]).toEqual(["unknown", "alive/1", "unknown"]);
  });
});

test("full state is exchanged every 5 s in rings of up to 32, and more seldom in larger ones", () => {
  const perMinute = (members: number): number => {
    const bench = new Bench(Array.from({ length: members - 1 }, (_, index) => parseNodeName(`m${index}`)));
    bench.answering = true;
    bench.runTo(60_000);
    return bench.effects.filter((effect) => effect.type === "exchange" && effect.request.type === "push-pull").length;
  };
  expect([2, 32, 33, 64, 65].map(perMinute)).toEqual([12, 12, 6, 6, 4]);
});

describe("probes", () => {
  test("a silent member is asked for through others and over TCP, then suspected with a nack or without", () => {
    const bench = new Bench([A, B, C]);
    bench.runTo(600);
    const [ping] = bench.sent("ping") as [Extract<SwimMessage, { type: "ping" }>];
    expect(bench.sent("indirect-ping")).toEqual([]);
    bench.runTo(1_100);
    expect(bench.sent("indirect-ping")).toHaveLength(2);
    expect(bench.effects).toContainEqual(
      expect.objectContaining({ type: "exchange", request: expect.objectContaining({ type: "ping" }) }),
    );
    bench.receive({ type: "nack", sequence: ping.sequence }, { type: "nack", sequence: ping.sequence });
    bench.runTo(1_499);
    expect(bench.state(ping.node!)).toBe("alive/1");
    bench.runTo(1_500);
    expect(bench.state(ping.node!)).toBe("suspect/1");
    expect(bench.swim.healthScore).toBe(0);
  });

  test("each nack that does not come costs this node health: it may be the one that hears nothing", () => {
    const bench = new Bench([A, B, C]);
    bench.runTo(1_500);
    expect(bench.swim.healthScore).toBe(2);
    // And it is slower to accuse: the next probe has three times as long.
    bench.runTo(4_499);
    expect(bench.swim.counters.probesFailed).toBe(1);
    bench.runTo(4_500);
    expect(bench.swim.counters.probesFailed).toBe(2);
  });

  test("a machine that refuses the connection makes probe and suspicion short, and costs this node no health", () => {
    const bench = new Bench([A, B, C]);
    bench.runTo(1_100);
    const fallback = bench.effects.find((effect) => effect.type === "exchange" && effect.request.type === "ping");
    if (fallback?.type !== "exchange" || fallback.request.type !== "ping") throw new Error("no fallback");
    const node = fallback.request.node!;
    bench.give({ type: "exchange-failed", exchange: fallback.exchange, reason: "ECONNREFUSED", refused: true });
    bench.runTo(1_300);
    expect([bench.state(node), bench.swim.healthScore]).toEqual(["suspect/1", 0]);
    bench.runTo(3_300);
    expect(bench.state(node)).toBe("suspect/1");
    bench.runTo(3_500);
    expect(bench.state(node)).toBe("dead/1");
  });

  test("an answer over TCP alone is an answer", () => {
    const bench = new Bench([A, B, C]);
    bench.runTo(1_100);
    const fallback = bench.effects.find((effect) => effect.type === "exchange" && effect.request.type === "ping");
    if (fallback?.type !== "exchange" || fallback.request.type !== "ping") throw new Error("no fallback");
    bench.give(replied(fallback.exchange, { type: "ack", sequence: fallback.request.sequence }));
    bench.runTo(1_600);
    expect(bench.state(fallback.request.node!)).toBe("alive/1");
    expect(bench.swim.counters.probesOverStreamOnly).toBe(1);
  });

  test("a suspect is told so in the same packet", () => {
    const bench = new Bench([A]);
    bench.receive({ type: "suspect", node: A, from: B, incarnation: 1 });
    const probe = bench.effects.find((effect) => effect.type === "send" && effect.messages[0]!.type === "ping");
    if (probe?.type !== "send") throw new Error("no probe");
    expect(probe.checksum).toBe(true);
    expect(probe.messages[1]).toEqual({ type: "suspect", node: A, from: ME, incarnation: 1 });
  });

  test("a suspect that answers this node's own probe is not declared dead by it, however long nobody hears it refute", () => {
    const bench = new Bench([A]);
    bench.receive({ type: "suspect", node: A, from: B, incarnation: 1 });
    for (let second = 1; second <= 60; second++) {
      for (const ping of bench.sent("ping") as Extract<SwimMessage, { type: "ping" }>[])
        bench.receive({ type: "ack", sequence: ping.sequence });
      bench.take();
      bench.runTo(second * 400);
    }
    expect(bench.state(A)).toBe("suspect/1");
    bench.take();
    bench.runTo(60 * 400 + 9_000);
    expect(bench.state(A)).toBe("dead/1");
    // Before the verdict it was told once more, directly.
    expect(bench.effects).toContainEqual(
      expect.objectContaining({ type: "send", messages: [expect.objectContaining({ type: "suspect", from: ME })] }),
    );
  });

  test("a refutation goes to the accuser at once, besides being spread", () => {
    const bench = new Bench([A, B]);
    bench.take();
    bench.receive({ type: "suspect", node: ME, from: A, incarnation: 9 });
    const [first] = bench.effects;
    expect(first).toMatchObject({ type: "send", to: alive(A).address });
    expect(bench.sent("alive")).toContainEqual(expect.objectContaining({ node: ME, incarnation: 10 }));
    expect(bench.state(ME)).toBe("alive/10");
  });

  test("a ping is answered to its source, one for somebody else not at all", () => {
    const bench = new Bench();
    const address = { host: "10.0.0.5", port: 5 };
    bench.receive({ type: "ping", sequence: 1, node: ME, source: { address } }, { type: "ping", sequence: 2 });
    bench.receive({ type: "ping", sequence: 3, node: A });
    expect(bench.effects.map((effect) => effect.type === "send" && effect.to.port)).toEqual([5, 99]);
  });

  test("a relayed ack carries the asker's sequence; without an ack a nack goes out before the asker's deadline", () => {
    const bench = new Bench();
    const target = { host: "10.0.0.3", port: 3 };
    const ask = (sequence: number): SwimMessage => ({ type: "indirect-ping", sequence, target, node: A, nack: true });
    bench.receive(ask(70), ask(71));
    const [first] = bench.sent("ping") as [Extract<SwimMessage, { type: "ping" }>];
    bench.receive({ type: "ack", sequence: first.sequence });
    expect(bench.sent("ack")).toEqual([{ type: "ack", sequence: 70 }]);
    bench.runTo(450);
    expect(bench.sent("nack")).toEqual([{ type: "nack", sequence: 71 }]);
    bench.runTo(10_000);
    expect(bench.swim.nextDeadline()).toBeUndefined();
  });

  test.each([
    { protocol: 5, checksum: true, nack: true, overTcp: true },
    { protocol: 4, checksum: false, nack: true, overTcp: true },
    { protocol: 3, checksum: false, nack: false, overTcp: true },
    { protocol: 2, checksum: false, nack: false, overTcp: false },
  ])("a peer gets only what protocol $protocol knows", ({ protocol, checksum, nack, overTcp }) => {
    const bench = new Bench();
    bench.receive(...[A, B].map((node) => alive(node, { versions: [1, protocol, 2, 2, 5, 4] })));
    bench.runTo(1_400);
    const [asked] = bench.sent("indirect-ping");
    expect(asked).toMatchObject({ nack });
    const exchanges = bench.effects.filter((effect) => effect.type === "exchange" && effect.request.type === "ping");
    expect(exchanges).toHaveLength(overTcp ? 1 : 0);
    const rumours = bench.effects.filter((effect) => effect.type === "send" && effect.messages[0]!.type === "alive");
    expect(rumours.length).toBeGreaterThan(0);
    for (const rumour of rumours) expect(rumour).toMatchObject({ checksum });
  });

  test("a flood of questions for others is relayed up to a limit, and again when those have ended", () => {
    const bench = new Bench();
    const ask: SwimMessage = { type: "indirect-ping", sequence: 7, target: alive(A).address, nack: false };
    for (let count = 0; count < 2_000; count++) bench.receive(ask);
    expect(bench.sent("ping")).toHaveLength(1_024);
    bench.runTo(1_000);
    bench.take();
    bench.receive(ask);
    expect(bench.sent("ping")).toHaveLength(1);
  });

  test("a relayed ack goes to where the asker says it listens, without such a word to where the question came from", () => {
    const bench = new Bench();
    const ask: SwimMessage = { type: "indirect-ping", sequence: 7, target: alive(A).address, nack: true };
    const source = { address: { host: "10.0.0.5", port: 5 }, name: B };
    const before = bench.effects.length;
    bench.receive({ ...ask, source }, ask);
    for (const ping of bench.sent("ping") as readonly Extract<SwimMessage, { type: "ping" }>[])
      bench.receive({ type: "ack", sequence: ping.sequence });
    const acks = bench.effects
      .slice(before)
      .filter((effect) => effect.type === "send" && effect.messages[0]!.type === "ack");
    expect(acks.map((effect) => effect.type === "send" && effect.to)).toEqual([
      source.address,
      { host: "10.0.0.99", port: 99 },
    ]);
  });

  test("a process that wakes late accuses nobody before it has read what came meanwhile", () => {
    const bench = new Bench([A]);
    bench.runTo(600);
    const [ping] = bench.sent("ping") as [Extract<SwimMessage, { type: "ping" }>];
    bench.now = 9_000;
    bench.give({ type: "tick" });
    expect([bench.state(A), bench.swim.counters.stalls, bench.swim.healthScore]).toEqual(["alive/1", 1, 1]);
    bench.receive({ type: "ack", sequence: ping.sequence });
    expect(bench.swim.healthScore).toBe(0);
    bench.receive({ type: "suspect", node: A, from: B, incarnation: 1 });
    bench.now = 60_000;
    bench.give({ type: "tick" });
    // What it sent may wait in the socket: it has a probe's time and a round of gossip to be read.
    bench.runTo(60_600);
    expect(bench.state(A)).toBe("suspect/1");
    bench.runTo(61_000);
    expect(bench.state(A)).toBe("dead/1");
  });

  test("a blocked loop costs health once", () => {
    const bench = new Bench();
    bench.now = 5_000;
    bench.give({ type: "loop-lag", lagMs: 400 });
    bench.give({ type: "loop-lag", lagMs: 400 });
    bench.give({ type: "loop-lag", lagMs: 20 });
    expect(bench.swim.healthScore).toBe(1);
  });
});

describe("leave", () => {
  test("is spread, still answers pings, accuses nobody, and is final", () => {
    const bench = new Bench([A, B]);
    bench.give({ type: "leave" });
    bench.receive(alive(ME, { incarnation: 5, address: { host: "10.0.0.1", port: 1 } }), { type: "ping", sequence: 4 });
    expect([bench.state(ME), bench.sent("ack").length]).toEqual(["left/1", 1]);
    bench.runTo(3_000);
    expect(bench.effects.filter(({ type }) => type === "left")).toHaveLength(1);
    expect(bench.sent("dead").length).toBeGreaterThanOrEqual(4);
    expect(bench.sent("ping")).toEqual([]);
    bench.give({ type: "join", addresses: [{ host: "10.0.0.2", port: 1 }] });
    bench.give({ type: "set-tags", tags: new Map([["k", "v"]]) });
    expect([bench.state(ME), bench.swim.nextDeadline()]).toEqual(["left/1", undefined]);
  });

  test("of a node alone is over at once", () => {
    expect(new Bench().give({ type: "leave" })).toContainEqual({ type: "left" });
  });
});

test("a node with too many tags is refused with a reason", () => {
  const bench = new Bench();
  expect(() => bench.give({ type: "set-tags", tags: new Map([["k", "x".repeat(600)]]) })).toThrow(/tags take/);
});

function alive(node: Alive["node"], changes: Partial<Alive> = {}): Alive {
  const address = { host: "10.0.0.2", port: 100 + node.charCodeAt(0) };
  return { type: "alive", incarnation: 1, node, address, meta: META, versions: OUR_VERSIONS, ...changes };
}

function state(name: Alive["node"], of: NodeState["state"]): NodeState {
  const { address, meta, versions, incarnation } = alive(name);
  return { name, address, meta, versions, incarnation, state: of };
}

function request(nodes: readonly NodeState[]): SwimEvent {
  const from = { host: "10.0.0.2", port: 50_000 };
  return {
    type: "stream-request",
    stream: 1,
    from,
    request: { type: "push-pull", join: true, nodes, userState: new Uint8Array(0) },
  };
}

function replied(exchange: number, response: StreamResponse): SwimEvent {
  return { type: "exchange-replied", exchange, response };
}
