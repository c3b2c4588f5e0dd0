/** What was said to operators and services holds, whatever fails meanwhile; the checkers stand in `operators.ts`. */

import { describe, expect, test } from "vitest";
import { simulate } from "./world.ts";

describe("operators at work while things fail", () => {
  test.each([1, 2])(
    "P1, P8: seed %i: what was cancelled, dropped, retried, paused and scheduled stays so, and every task says how it ended",
    (seed) => {
      const { violations, operated } = simulate({ seed, operators: true });
      expect(violations).toEqual([]);
      expect(Math.min(...Object.values(operated))).toBeGreaterThan(10);
    },
  );

  test("P2: with clean handoffs only, nothing that has ended runs again", () => {
    const { violations, reruns } = simulate({ seed: 1, minutes: 3, faults: "moves", operators: true });
    expect(violations).toEqual([]);
    expect(reruns).toBe(0);
  });

  test("P1: seed 9200: what a former owner absorbs before it knows that it is none stays listed until the present one has it", () => {
    expect(simulate({ seed: 9_200, operators: true }).violations).toEqual([]);
  }, 120_000);

  test("P1: seed 413009: a node that comes back and owns nothing any more brings its results along", () => {
    expect(simulate({ seed: 413_009, storms: "slow", operators: true }).violations).toEqual([]);
  });
});
