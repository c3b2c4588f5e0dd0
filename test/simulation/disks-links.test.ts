/** Disks that fail or stand still, and links that break or stay down while gossip goes on. */

import { expect, test } from "vitest";
import { simulate } from "./world.ts";

test.each([
  [1, { disks: true }],
  [2, { disks: true, operators: true }],
  [1, { links: true }],
  [2, { links: true }],
] as const)("P1, P3, P7: seed %i, %o: nothing is lost, and everything settles between the faults", (seed, options) => {
  const { violations, faults } = simulate({ seed, ...options });
  expect(violations).toEqual([]);
  expect(Object.keys(faults).length).toBeGreaterThan(4);
});
