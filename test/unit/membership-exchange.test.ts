/** The rules of full-state exchanges on one machine, message by message. */

import { describe, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import type { NodeState } from "../../ring/membership/messages.ts";
import { A, B, Bench, C, D, ME, replied, request, state } from "./membership-bench.ts";

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
    bench.give(
      replied(asked!.exchange, {
        type: "push-pull",
        join: false,
        nodes: [mine, state(A, "alive")],
        userState: new Uint8Array(0),
      }),
    );
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

test("full state is exchanged every 5 s in rings of up to 32, and more seldom in larger ones", () => {
  const perMinute = (members: number): number => {
    const bench = new Bench(Array.from({ length: members - 1 }, (_, index) => parseNodeName(`m${index}`)));
    bench.answering = true;
    bench.runTo(60_000);
    return bench.effects.filter((effect) => effect.type === "exchange" && effect.request.type === "push-pull").length;
  };
  expect([2, 32, 33, 64, 65].map(perMinute)).toEqual([12, 12, 6, 6, 4]);
});
