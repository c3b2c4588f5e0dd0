/** The rules of probes on one machine, message by message. */

import { describe, expect, test } from "vitest";
import type { SwimMessage } from "../../ring/membership/messages.ts";
import { A, alive, B, Bench, C, ME, replied } from "./membership-bench.ts";

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
