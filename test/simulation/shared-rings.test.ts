/**
 * Rings whose nodes share one store, most of them of two nodes with one voter: dead, paused, cut off from the others or from
 * the store, under a store clock that is set back and forth.
 *
 * Seen to fail: without the wait for the voter's lease in the store (V2, in most seeds).
 */

import { expect, test } from "vitest";
import { simulate } from "./world.ts";

test.for([
  { nodes: 2, seeds: [4, 7, 10, 11, 13, 20] },
  { nodes: 3, seeds: [1, 2] },
])(
  "P7: a ring of $nodes on one store has one history and one owner of each partition, whoever dies",
  ({ nodes, seeds }) => {
    for (const seed of seeds)
      expect(simulate({ seed, nodes, minutes: 4, shared: true }).violations, `seed ${seed}`).toEqual([]);
  },
);
