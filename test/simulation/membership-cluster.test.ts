/**
 * Whole clusters of the membership machine in virtual time. Seen to fail: with `refute` made a no-op "a node that was
 * suspected wrongly" fails, without `wakeReconnect` "a ring that was cut in two", with `left` taken for `dead` "a leave".
 */

import { describe, expect, test } from "vitest";
import { PROFILES } from "../../ring/membership/profile.ts";
import { alive, SwimCluster, stateOf } from "./swim-cluster.ts";

const SEEDS = [1, 2, 3, 4, 5];
/** A trip takes 1 to 3 ms, and a join is a question, an answer and the news. */
const TWO_TRIPS_MS = 10;

describe.each([3, 10])("%i nodes", (count) => {
  test("joined through one seed, all see all within a second", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      cluster.grow(count);
      expect(cluster.now).toBeLessThan(1_000);
      const [first] = cluster.nodes;
      expect(first!.notices.filter(({ type }) => type === "member-up")).toHaveLength(count - 1);
      expect(cluster.nodes[1]!.outcomes.map(({ type }) => type)).toEqual(["joined"]);
    }
  });

  test("a crash is seen by all within twelve seconds, by suspicion first, and by nobody as a leave", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count);
      const victim = nodes[1]!;
      cluster.kill(victim);
      const others = nodes.filter((node) => node !== victim);
      cluster.until(() => others.every((node) => stateOf(node, victim.name) === "dead"), 12_000);
      for (const node of others) {
        const told = node.notices.filter(({ name }) => name === victim.name).map(({ type }) => type);
        expect(told).toEqual(["member-up", "member-suspect", "member-dead"]);
        expect(alive(node)).toHaveLength(count - 1);
      }
    }
  });

  test("a newcomer and a leave are known to all within two trips, without a round of gossip", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count - 1);
      cluster.run(1_700);
      const young = cluster.start("young", { port: 9_000, join: nodes[0]! });
      cluster.until(() => cluster.nodes.every((node) => alive(node).length === count), TWO_TRIPS_MS);
      cluster.run(1_700);
      cluster.give(young, { type: "leave" });
      const others = cluster.nodes.filter((node) => node !== young);
      cluster.until(() => others.every((node) => stateOf(node, "young") === "left"), TWO_TRIPS_MS);
    }
  });

  test("a node that was suspected wrongly refutes and is alive again", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count);
      const [accuser, victim] = nodes as [(typeof nodes)[0], (typeof nodes)[0]];
      const { name: node, incarnation } = victim.swim.self();
      const from = accuser.swim.self().name;
      cluster.give(nodes[2]!, {
        type: "received",
        from: accuser.address,
        messages: [{ type: "suspect", node, from, incarnation }],
      });
      expect(stateOf(nodes[2]!, victim.name)).toBe("suspect");
      cluster.until(() => nodes.every((other) => stateOf(other, victim.name) === "alive"), 3_000);
      cluster.run(30_000);
      expect(victim.swim.self().incarnation).toBeGreaterThan(incarnation);
      for (const other of nodes) expect(other.notices.some(({ type }) => type === "member-dead")).toBe(false);
    }
  });

  test("a leave is known to all as a leave within two seconds, and nobody ever calls it a failure", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count);
      const leaver = nodes[count - 1]!;
      const others = nodes.filter((node) => node !== leaver);
      cluster.give(leaver, { type: "leave" });
      cluster.until(() => others.every((node) => stateOf(node, leaver.name) === "left"), 2_000);
      cluster.until(() => leaver.outcomes.some(({ type }) => type === "left"), 6_000);
      cluster.kill(leaver);
      cluster.run(60_000);
      for (const node of others) {
        const told = node.notices.filter(({ name }) => name === leaver.name).map(({ type }) => type);
        expect(told).toEqual(["member-up", "member-left"]);
      }
    }
  });

  test("a ring that was cut in two for a minute is one again within fifteen seconds of the heal", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count);
      const half = Math.floor(count / 2);
      cluster.cut(nodes.slice(0, half), nodes.slice(half));
      cluster.run(60_000);
      expect(alive(nodes[0]!)).toHaveLength(half);
      expect(alive(nodes[half]!)).toHaveLength(count - half);
      cluster.heal();
      cluster.until(() => nodes.every((node) => alive(node).length === count), 15_000);
    }
  });

  test("P1: a ring that was cut in two for longer than strangers are remembered is one again: neither half forgets its members", () => {
    for (const seed of SEEDS.slice(0, 2)) {
      const cluster = new SwimCluster({ seed, profile: { ...PROFILES.lan, forgetAfterMs: 60_000 } });
      const nodes = cluster.grow(count + 1);
      const names = new Set(nodes.map(({ swim }) => swim.self().name));
      for (const node of nodes) cluster.give(node, { type: "keep", names });
      cluster.cut(nodes.slice(0, 2), nodes.slice(2));
      cluster.run(180_000);
      cluster.heal();
      cluster.until(() => nodes.every((node) => alive(node).length === count + 1), 15_000);
    }
  });

  test("a process that comes back under its name at its old address is alive again at once", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = [...cluster.grow(count)];
      const old = nodes[1]!;
      cluster.kill(old);
      cluster.run(20_000);
      const young = cluster.start(old.name, { port: old.address.port, join: nodes[0]! });
      nodes[1] = young;
      cluster.until(() => nodes.every((node) => alive(node).length === count), 1_500);
      expect(young.swim.self().incarnation).toBeGreaterThan(1);
    }
  });

  test("a dead node's name may come back at another address", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = [...cluster.grow(count)];
      const old = nodes[1]!;
      cluster.kill(old);
      cluster.run(20_000);
      const young = cluster.start(old.name, { port: 5_000, join: nodes[0]! });
      nodes[1] = young;
      cluster.until(() => nodes.every((node) => alive(node).length === count), 1_500);
      for (const node of nodes) expect(node.swim.member(young.swim.self().name)!.address).toEqual(young.address);
    }
  });

  test("a name that comes back at another address before its death was seen waits for it, then is alive", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = [...cluster.grow(count)];
      cluster.kill(nodes[1]!);
      const young = cluster.start(nodes[1]!.name, { port: 5_000, join: nodes[0]! });
      nodes[1] = young;
      cluster.until(
        () =>
          nodes.every(
            (node) => alive(node).length === count && node.swim.member(young.swim.self().name)?.address.port === 5_000,
          ),
        25_000,
      );
    }
  });

  test("with a rule for who supersedes whom, a restart at another address is believed at once", () => {
    for (const seed of SEEDS) {
      const supersedes = (known: ReadonlyMap<string, string>, claimed: ReadonlyMap<string, string>): boolean =>
        known.get("id") === claimed.get("id") && Number(claimed.get("start")) > Number(known.get("start"));
      const cluster = new SwimCluster({ seed, supersedes });
      const nodes = [...cluster.grow(count - 1)];
      const tags = (start: number): ReadonlyMap<string, string> => new Map([["id", "x"], ["start", `${start}`]]); // biome-ignore format: one line
      const old = cluster.start("moving", { port: 4_000, tags: tags(1), join: nodes[0]! });
      cluster.until(() => [...nodes, old].every((node) => alive(node).length === count), 2_000);
      cluster.kill(old);
      const young = cluster.start("moving", { port: 5_000, tags: tags(2), join: nodes[0]! });
      nodes.push(young);
      const name = young.swim.self().name;
      cluster.until(() => nodes.every((node) => node.swim.member(name)?.address.port === 5_000), 1_500);
      cluster.run(30_000);
      for (const node of nodes)
        expect(node.swim.member(name)).toMatchObject({ state: "alive", address: { port: 5_000 } });
    }
  });

  test("a tag that one node sets is known to all within a second", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count);
      cluster.run(5_000);
      cluster.give(nodes[2]!, { type: "set-tags", tags: new Map([["epoch", "7"]]) });
      const name = nodes[2]!.swim.self().name;
      cluster.until(() => nodes.every((node) => node.swim.member(name)?.tags.get("epoch") === "7"), 1_000);
      expect(nodes[0]!.notices.at(-1)).toMatchObject({ type: "member-updated", name: "n3" });
    }
  });

  test("a process that was stopped for ten seconds is alive again after it wakes, and calls nobody dead", () => {
    for (const seed of SEEDS) {
      const cluster = new SwimCluster({ seed });
      const nodes = cluster.grow(count);
      const sleeper = nodes[1]!;
      cluster.run(7_000);
      cluster.pause(sleeper);
      cluster.run(10_000);
      sleeper.notices.length = 0;
      cluster.resume(sleeper);
      cluster.until(() => nodes.every((node) => alive(node).length === count), 20_000);
      expect(sleeper.notices.filter(({ type }) => type === "member-dead")).toEqual([]);
    }
  });
});

test("with a tenth of all packets lost nobody is called dead in ten minutes", () => {
  for (const seed of SEEDS) {
    const cluster = new SwimCluster({ seed, loss: 0.1 });
    const nodes = cluster.grow(5);
    cluster.run(600_000);
    for (const node of nodes) expect(node.notices.some(({ type }) => type === "member-dead")).toBe(false);
  }
});

test("the fast profile sees a crash within four seconds", () => {
  for (const seed of SEEDS) {
    const cluster = new SwimCluster({ seed, profile: PROFILES.fast });
    const nodes = cluster.grow(3);
    cluster.kill(nodes[2]!);
    cluster.until(() => nodes.slice(0, 2).every((node) => stateOf(node, "n3") === "dead"), 4_000);
  }
});

test("an idle cluster of five takes few events, and a node alone none", () => {
  const cluster = new SwimCluster({ seed: 1 });
  const lone = cluster.start("lone", { port: 9_000 });
  cluster.give(lone, { type: "tick" });
  cluster.run(10_000);
  expect(cluster.events).toBeLessThan(3);
  const five = new SwimCluster({ seed: 1 });
  five.grow(5);
  five.run(10_000);
  five.events = 0;
  const began = performance.now();
  five.run(600_000);
  expect(five.events / 600 / 5).toBeLessThan(6);
  expect(600_000 / (performance.now() - began)).toBeGreaterThan(300);
});

test("the same seed gives the same history", () => {
  const history = (seed: number): string => {
    const cluster = new SwimCluster({ seed, loss: 0.05 });
    const nodes = cluster.grow(5);
    cluster.run(20_000);
    cluster.kill(nodes[3]!);
    cluster.run(40_000);
    return JSON.stringify(nodes.map(({ notices }) => notices)) + cluster.events;
  };
  expect(history(7)).toBe(history(7));
  expect(history(7)).not.toBe(history(8));
});
