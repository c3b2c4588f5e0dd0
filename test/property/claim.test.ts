/**
 * The claim over all ring sizes and up to 64 members: quotas, moves, determinism; and the preference order under it.
 * Ideal numbers are computed here, by other means than in `ring/claim.ts`.
 */

import { describe, expect, test } from "vitest";
import { type Claimant, claim, quotas } from "../../ring/claim.ts";
import type { NodeName } from "../../ring/ids.ts";
import { hashRingOf, partitionKey, preferenceOf, preferenceTable } from "../../ring/preference.ts";
import { fc } from "../arbitrary.ts";

const SIZES = [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

function named(count: number, weight = 100): Claimant[] {
  return Array.from({ length: count }, (_, at) => ({ name: `node-${at + 1}` as NodeName, weight }));
}

function countsOf(owners: readonly NodeName[], members: readonly Claimant[]): number[] {
  const counts = new Map<NodeName, number>();
  for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  return members.map((member) => counts.get(member.name) ?? 0);
}

function movesBetween(before: readonly (NodeName | undefined)[], after: readonly NodeName[]): number {
  return after.filter((owner, at) => owner !== before[at]).length;
}

/** With equal weights: the least number of moves to any layout with max − min <= 1, by giving the extras to the richest. */
function idealMoves(ringSize: number, counts: readonly number[]): number {
  const floor = Math.floor(ringSize / counts.length);
  const extras = ringSize - floor * counts.length;
  const kept = [...counts]
    .sort((left, right) => right - left)
    .map((count, at) => Math.min(count, at < extras ? floor + 1 : floor));
  return ringSize - kept.reduce((sum, count) => sum + count, 0);
}

function shuffled<T>(values: readonly T[], seed: number): T[] {
  const result = [...values];
  let state = seed >>> 0;
  for (let at = result.length - 1; at > 0; at--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = state % (at + 1);
    [result[at], result[other]] = [result[other] as T, result[at] as T];
  }
  return result;
}

describe("with equal weights", () => {
  test.each(SIZES)(
    "in a ring of %i, shares of 1 to 64 members differ by at most one and every step moves the least",
    (ringSize) => {
      const stride = ringSize >= 1024 ? 9 : ringSize >= 256 ? 3 : 1;
      let owners: readonly NodeName[] = [];
      for (let count = 1; count <= 64; count += count < 8 ? 1 : stride) {
        const members = named(count);
        const after = claim({ ringSize, owners, members });
        const counts = countsOf(after, members);
        expect(counts.reduce((sum, owned) => sum + owned, 0)).toBe(ringSize);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        expect(movesBetween(owners, after)).toBe(idealMoves(ringSize, countsOf(owners, members)));
        expect(claim({ ringSize, owners: after, members })).toEqual(after);
        owners = after;
      }
    },
  );

  test.each([64, 256, 1024])("growing 3 to 4, 5, 8 and 10 to 11 in a ring of %i moves the ideal number", (ringSize) => {
    for (const steps of [
      [3, 4, 5, 8],
      [10, 11],
    ]) {
      let owners: readonly NodeName[] = claim({ ringSize, owners: [], members: named(steps[0]!) });
      for (const count of steps.slice(1)) {
        const before = owners;
        owners = claim({ ringSize, owners, members: named(count) });
        const counts = countsOf(owners, named(count));
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        const newcomers = count - new Set(before).size;
        expect(movesBetween(before, owners)).toBe(newcomers * Math.floor(ringSize / count));
      }
    }
  });

  test("from any layout, lopsided and partly unowned ones too, the moves are the least possible", () => {
    const layouts = fc.record({
      ringSize: fc.constantFrom(8, 16, 64, 256),
      count: fc.integer({ min: 1, max: 64 }),
      picks: fc.array(fc.integer({ min: -3, max: 70 }), { minLength: 256, maxLength: 256 }),
    });
    fc.assert(
      fc.property(layouts, ({ ringSize, count, picks }) => {
        const members = named(count);
        const owners = picks.slice(0, ringSize).map((pick) => (pick < 0 ? undefined : (`node-${pick}` as NodeName)));
        const after = claim({ ringSize, owners, members });
        const before = owners.map((owner) => (members.some(({ name }) => name === owner) ? owner : undefined));
        const owned = countsOf(
          before.filter((owner) => owner !== undefined),
          members,
        );
        expect(movesBetween(before, after)).toBe(idealMoves(ringSize, owned));
      }),
      { numRuns: 300 },
    );
  });

  test("a member that leaves gives only its own partitions away", () => {
    for (const ringSize of SIZES) {
      const members = named(12);
      const before = claim({ ringSize, owners: [], members });
      const after = claim({ ringSize, owners: before, members: members.slice(1) });
      before.forEach((owner, at) => {
        if (owner !== "node-1") expect(after[at]).toBe(owner);
      });
    }
  });
});

describe("with weights", () => {
  const weighted = fc.record({
    ringSize: fc.constantFrom(...SIZES.slice(0, 7)),
    weights: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 64 }),
    before: fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 64 }),
  });

  test("every share is the exact one rounded down or up, the larger remainder first, and weight 0 owns nothing", () => {
    fc.assert(
      fc.property(weighted, ({ ringSize, weights, before }) => {
        fc.pre(weights.some((weight) => weight > 0));
        const old = before.map((weight, at) => ({ name: `node-${at + 1}` as NodeName, weight }));
        const members = weights.map((weight, at) => ({ name: `node-${at + 1}` as NodeName, weight }));
        const owners = claim({ ringSize, owners: [], members: old });
        const after = claim({ ringSize, owners, members });
        const counts = countsOf(after, members);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const remainders: { up: boolean; remainder: number }[] = [];
        counts.forEach((count, at) => {
          const exact = BigInt(ringSize) * BigInt(weights[at] as number);
          const floor = Number(exact / BigInt(total));
          const remainder = Number(exact % BigInt(total));
          expect([floor, floor + (remainder > 0 ? 1 : 0)]).toContain(count);
          remainders.push({ up: count > floor, remainder });
        });
        const up = remainders.filter((share) => share.up).map((share) => share.remainder);
        const down = remainders.filter((share) => !share.up).map((share) => share.remainder);
        if (up.length > 0 && down.length > 0) expect(Math.min(...up)).toBeGreaterThanOrEqual(Math.max(...down));
        const owned = countsOf(owners, members);
        const least = counts.reduce((sum, quota, at) => sum + Math.max(0, quota - (owned[at] as number)), 0);
        expect(movesBetween(owners, after)).toBe(least);
      }),
      { numRuns: 300 },
    );
  });

  test("when every weight is 0 all count as equal", () => {
    expect(countsOf(claim({ ringSize: 8, owners: [], members: named(4, 0) }), named(4))).toEqual([2, 2, 2, 2]);
  });

  test("equal remainders go to those that own more than the rounded-down share, then by name", () => {
    expect(quotas(8, named(3), [0, 3, 3])).toEqual([2, 3, 3]);
    expect(quotas(8, named(3), [0, 0, 0])).toEqual([3, 3, 2]);
  });
});

test("neither the order of the members nor what was claimed before changes the result", () => {
  fc.assert(
    fc.property(fc.constantFrom(8, 64, 512), fc.integer({ min: 1, max: 40 }), fc.nat(), (ringSize, count, seed) => {
      const members = named(count);
      const expected = claim({ ringSize, owners: [], members });
      expect(claim({ ringSize, owners: [], members: shuffled(members, seed) })).toEqual(expected);
    }),
    { numRuns: 100 },
  );
});

test("a partition without an owner goes back to who still holds it, if there is room", () => {
  const members = named(3);
  const homes = claim({ ringSize: 64, owners: [], members });
  const owners = homes.map((home, at) => (at % 4 === 0 ? ("node-9" as NodeName) : home));
  expect(claim({ ringSize: 64, owners, members, homes })).toEqual(homes);
});

test("the preference order is the one in which hashring meets the members", () => {
  for (const count of [1, 2, 7, 14, 28, 49, 64]) {
    const names = named(count).map((member) => member.name);
    const table = preferenceTable(names, 128);
    const ring = hashRingOf(names);
    for (let partition = 0; partition < 128; partition++) {
      expect(preferenceOf(table, partition)).toEqual(ring.range(partitionKey(partition), count));
    }
  }
});

test("a new member leaves the preference order of the others as it was, at 7, 14, 28 and 49 members too", () => {
  for (let count = 1; count < 50; count++) {
    const before = preferenceTable(
      named(count).map((member) => member.name),
      64,
    );
    const after = preferenceTable(
      named(count + 1).map((member) => member.name),
      64,
    );
    for (let partition = 0; partition < 64; partition++) {
      const others = preferenceOf(after, partition).filter((name) => name !== `node-${count + 1}`);
      expect(others).toEqual(preferenceOf(before, partition));
    }
  }
});

test("no member is preferred by more than three times its share of partitions", () => {
  const names = named(16).map((member) => member.name);
  const table = preferenceTable(names, 4096);
  const first = new Map<NodeName, number>();
  for (let partition = 0; partition < 4096; partition++) {
    const name = preferenceOf(table, partition)[0] as NodeName;
    first.set(name, (first.get(name) ?? 0) + 1);
  }
  expect(Math.max(...first.values())).toBeLessThan(3 * 256);
  expect(first.size).toBe(16);
});
