/** What comes most often, against exact counts. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { FrequentItems } from "../../services/metrics/frequent.ts";

test("no count is too low by more than its share of all, nothing frequent is missing, and little is kept", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 40 }),
      fc.array(fc.nat({ max: 300 }), { maxLength: 3_000 }),
      (width, stream) => {
        const found = new FrequentItems<number>(width);
        const exact = new Map<number, number>();
        for (const item of stream) {
          // A few come far more often than the rest.
          const one = item < 100 ? item % 3 : item;
          exact.set(one, (exact.get(one) ?? 0) + 1);
          found.add(String(one), 2, () => one);
        }
        const top = found.top(Number.POSITIVE_INFINITY);
        const most = stream.length / width;
        expect(found.seen).toBe(stream.length);
        for (const { item, count, weight } of top) {
          expect(count).toBeLessThanOrEqual(exact.get(item) as number);
          expect(count).toBeGreaterThanOrEqual((exact.get(item) as number) - most);
          expect(weight).toBe(2 * count);
        }
        const there = new Set(top.map(({ item }) => item));
        for (const [item, count] of exact) if (count > most) expect(there.has(item)).toBe(true);
        expect(top.map(({ count }) => count)).toEqual(top.map(({ count }) => count).sort((a, b) => b - a));
        expect(found.kept).toBeLessThanOrEqual(width * (Math.log2(Math.max(2, most)) + 2));
      },
    ),
    { numRuns: 200 },
  );
});

test("what comes seldom and weighs much is kept, and is among the first", () => {
  const found = new FrequentItems<string>(10);
  found.add("long", 500, () => "long");
  for (let item = 0; item < 1_000; item++) found.add(String(item), 1, () => String(item));
  for (let turn = 0; turn < 30; turn++) found.add("often", 1, () => "often");
  expect(found.top(1)).toMatchObject([
    { item: "often", count: 30 },
    { item: "long", count: 1, weight: 500 },
  ]);
});
