/** Faults that come together, and no faults at all but partitions that move all the time. */

import { describe, expect, test } from "vitest";
import { simulate } from "./world.ts";

describe("storms", () => {
  test.each([1, 2, 3, 4])(
    "P1, P3, P7: seed %i: many deaths at once lose nothing, and everything settles between them",
    (seed) => {
      const { violations, faults } = simulate({ seed, minutes: 15, storms: true });
      expect(violations).toEqual([]);
      expect(Object.keys(faults).length).toBeGreaterThan(4);
    },
  );

  test("P1: seed 2094: with everything slow, members that come back in the middle of moves lose nothing", () => {
    const { violations, faults } = simulate({ seed: 2_094, storms: "slow" });
    expect(violations).toEqual([]);
    expect(Object.keys(faults)).toEqual(["slow"]);
  });
});

test.each([1, 2])("P2: seed %i: with clean handoffs only, no task that has ended runs again", (seed) => {
  const { violations, reruns, epochs, accepted } = simulate({ seed, minutes: 5, faults: "moves", tasksPerSecond: 50 });
  expect(violations).toEqual([]);
  expect(epochs).toBeGreaterThan(100);
  expect(accepted).toBeGreaterThan(10_000);
  expect(reruns).toBe(0);
});
