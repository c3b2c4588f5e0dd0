/** The rules of beliefs and leave on one machine, message by message. */

import { describe, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import type { Alive } from "../../ring/membership/messages.ts";
import { encodeTags } from "../../ring/membership/tags.ts";
import { A, alive, B, Bench, C, D, ME } from "./membership-bench.ts";

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
