import { describe, expect, test } from "vitest";
import { parseNodeName } from "../../ring/ids.ts";
import { BroadcastQueue, retransmitLimit } from "../../ring/membership/broadcasts.ts";
import { LocalHealth } from "../../ring/membership/local-health.ts";
import type { Broadcast, SwimMessage, Versions } from "../../ring/membership/messages.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Suspicion, suspicionMs, suspicionTerms } from "../../ring/membership/suspicion.ts";
import { malformed, NO_VERSIONS, OUR_VERSIONS, VersionTally } from "../../ring/membership/versions.ts";

describe("suspicion", () => {
  test("in a ring too small for confirmations the timeout is the shortest at once", () => {
    expect(suspicionTerms(3, PROFILES.lan)).toEqual({ wanted: 0, minMs: 4_000, maxMs: 24_000 });
    expect(suspicionMs(suspicionTerms(3, PROFILES.lan), 0)).toBe(4_000);
    expect(suspicionTerms(4, PROFILES.lan).wanted).toBe(2);
  });

  test("it grows with the logarithm of the ring, and half as fast beyond a hundred members", () => {
    expect(suspicionTerms(10, PROFILES.lan).minMs).toBe(4_000);
    expect(suspicionTerms(100, PROFILES.lan).minMs).toBe(8_000);
    expect(suspicionTerms(1_000, PROFILES.lan).minMs).toBe(10_000);
    expect(suspicionTerms(0, PROFILES.lan).minMs).toBe(4_000);
  });

  // memberlist's own table: k = 3, min 2 s, max 30 s.
  test.each([
    [0, 30_000],
    [1, 16_000],
    [2, 7_810],
    [3, 2_000],
    [4, 2_000],
  ])("after %i of 3 confirmations a suspicion of 2 to 30 s lasts %i ms", (confirmations, ms) => {
    expect(suspicionMs({ wanted: 3, minMs: 2_000, maxMs: 30_000 }, confirmations)).toBe(ms);
  });

  test("an accuser counts once, the first not at all, and only as many as are wanted", () => {
    const suspicion = new Suspicion(100, name("a"), { wanted: 2, minMs: 4_000, maxMs: 24_000 });
    expect(suspicion.firesAt).toBe(24_100);
    expect(suspicion.confirm(name("a"))).toBe(false);
    expect(suspicion.confirm(name("b"))).toBe(true);
    expect(suspicion.confirm(name("b"))).toBe(false);
    expect(suspicion.firesAt).toBeLessThan(24_100);
    expect(suspicion.confirm(name("c"))).toBe(true);
    expect(suspicion.firesAt).toBe(4_100);
    expect(suspicion.confirm(name("d"))).toBe(false);
    expect(suspicion.confirmations).toBe(2);
  });

  test("after a stall it is extended once", () => {
    const suspicion = new Suspicion(0, name("a"), { wanted: 0, minMs: 4_000, maxMs: 24_000 });
    suspicion.extendTo(9_000);
    suspicion.extendTo(12_000);
    expect(suspicion.firesAt).toBe(9_000);
  });
});

describe("broadcasts", () => {
  test("a rumour is sent multiplier times the digits of the ring's size", () => {
    expect([1, 5, 9, 10, 99, 100, 999].map((members) => retransmitLimit(4, members))).toEqual([4, 4, 4, 8, 8, 12, 12]);
  });

  test("a newer rumour about a member replaces the older and begins anew", () => {
    const queue = new BroadcastQueue();
    queue.push(rumour("a", 1));
    queue.take(1_000, 4);
    queue.push(rumour("a", 2));
    expect(queue.take(1_000, 1)).toEqual([rumour("a", 2)]);
    expect(queue.size).toBe(0);
  });

  test("the least sent goes first, then the longest, then the newest, as far as there is room", () => {
    const queue = new BroadcastQueue();
    queue.push(rumour("a", 1));
    expect(namesOf(queue.take(1_000, 4))).toEqual(["a"]);
    for (const node of ["b", "a-longer-name", "c"]) queue.push(rumour(node, 1));
    expect(namesOf(queue.take(1_000, 4))).toEqual(["a-longer-name", "c", "b", "a"]);
    expect(namesOf(queue.take(50, 4))).toEqual(["c"]);
    expect(queue.take(10, 4)).toEqual([]);
  });

  test("of messages of the layer above the oldest give way at a limit", () => {
    const queue = new BroadcastQueue();
    for (let count = 0; count < 2_000; count++) queue.pushUser(Uint8Array.of(count >>> 8, count & 0xff));
    expect(queue.userSize).toBe(1_024);
    const [first] = queue.take(200, 4);
    expect(first).toMatchObject({ payload: Uint8Array.of(1_999 >>> 8, 1_999 & 0xff) });
  });

  test("it is dropped after so many sends, each receiver counted", () => {
    const queue = new BroadcastQueue();
    queue.push(rumour("a", 1));
    const sends = Array.from({ length: 6 }, () => queue.take(1_000, 4).length);
    expect(sends).toEqual([1, 1, 1, 1, 0, 0]);
    expect(queue.has(name("a"))).toBe(false);
  });
});

test("local health stays between 0 and 7 and scales the deadline", () => {
  const health = new LocalHealth(8);
  health.change(-3);
  expect(health.scale(1_000)).toBe(1_000);
  health.change(20);
  expect([health.score, health.scale(1_000)]).toEqual([7, 8_000]);
});

test("zero versions are malformed, and a speaker out of another's range fits not", () => {
  expect(malformed(OUR_VERSIONS)).toBe(false);
  expect(malformed([1, 5, 2, 0, 0, 0])).toBe(false);
  expect(malformed([0, 0, 0, 2, 5, 4])).toBe(true);
  expect(malformed([3, 2, 2, 2, 5, 4])).toBe(true);
  const live = new VersionTally();
  live.add(OUR_VERSIONS);
  expect(live.fits([[1, 5, 2, 2, 5, 5]])).toBe(true);
  expect(live.fits([[1, 5, 2, 0, 0, 0]])).toBe(false);
  expect(live.fits([[3, 5, 3, 2, 5, 4]])).toBe(false);
});

test("what those that are gone spoke binds nobody, and one that goes takes nothing from its like", () => {
  const live = new VersionTally();
  const newer: Versions = [2, 5, 3, 2, 5, 4];
  for (const versions of [newer, newer, NO_VERSIONS]) live.add(versions);
  live.remove(newer);
  expect(live.fits([OUR_VERSIONS]), "one is left that does not understand 2").toBe(true);
  expect(live.fits([[1, 5, 1, 2, 5, 4]])).toBe(false);
  live.remove(newer);
  live.remove(NO_VERSIONS);
  expect(live.fits([[1, 5, 1, 2, 5, 4]])).toBe(true);
  expect(live.fits([])).toBe(true);
});

function name(text: string): ReturnType<typeof parseNodeName> {
  return parseNodeName(text);
}

function rumour(node: string, incarnation: number): Broadcast {
  return { type: "suspect", node: name(node), from: name("x"), incarnation };
}

function namesOf(messages: readonly SwimMessage[]): readonly string[] {
  return messages.map((message) => ("node" in message ? String(message.node) : message.type));
}
