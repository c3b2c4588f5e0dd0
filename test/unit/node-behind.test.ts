/** Whether older tasks go before newer ones is the owner's to say: it knows whether it waited for them (promise P3). */

import { expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import { documentOf, P0, Parts, strandedOn, talk } from "./node-parts.ts";

test("P3: tasks of a directory that the owner knows to be away join at the end, whatever its holder knows", () => {
  const held = strandedOn("c", 1, { type: "adopter", adopter: "c" as NodeName });
  const c = new Parts("c");
  c.follow(documentOf({ epoch: 1, owner: "c" }));
  const older = c.submit(P0);
  const b = new Parts("b");
  // The ring took the holder for gone; it has not heard of that.
  b.follow(documentOf({ epoch: 9, owner: "b", generation: 2, stranded: [strandedOn("c", 1)] }));
  b.allowStarts(true);
  const first = b.submit(P0);
  const newer = b.submit(P0);
  expect(b.started.length).toBe(1);
  c.follow(documentOf({ epoch: 8, owner: "b", generation: 2, stranded: [held] }));
  talk(c, b);
  expect(b.absorbed.length).toBe(1);
  expect(b.stored(P0)).toEqual([first, newer, older]);
});
