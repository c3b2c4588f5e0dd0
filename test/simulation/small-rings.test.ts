/**
 * Rings of two and three nodes, which have one voter at times: what larger rings hide.
 *
 * Seen to fail: with two nodes, seeds 14 and 18, where nobody claimed once the only voter was dead and adopted (its tasks
 * stayed absorbed but not released, its restart waited for ever); with three nodes, seed 3, where a node that had left
 * and come back missed the answer to its pull because the answerer's link was not up yet.
 */

import { expect, test } from "vitest";
import { simulate } from "./world.ts";

test.for([
  { nodes: 2, seeds: [1, 2, 3, 14, 18] },
  { nodes: 3, seeds: [1, 2, 3, 4, 5] },
])("P1: a ring of $nodes loses nothing and comes to rest, whoever of it dies or leaves", ({ nodes, seeds }) => {
  for (const seed of seeds) expect(simulate({ seed, nodes, minutes: 4 }).violations, `seed ${seed}`).toEqual([]);
});
