/** The ids of tasks that ended, against a plain list. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { OldEnds } from "../../ring/tasks/old-ends.ts";
import { bitsOfId } from "../../ring/tasks/task-id.ts";

const id = (number: number): string => (Math.imul(number, 0x9e3779b1) >>> 0).toString(16).padStart(32, "9a7f");
const stateOf = (number: number): "done" | "cancelled" => (number % 3 === 0 ? "cancelled" : "done");

test.each([
  ["each its own", (number: number) => Math.imul(number, 0x85ebca6b)],
  ["few for many ids", (number: number) => number % 97],
])(
  "P2: it knows the last 32,768 ids at least, with how they ended, and none that never came; hashes: %s",
  (_, hash) => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 }), (counts) => {
        const ends = new OldEnds();
        let next = 0;
        for (const count of counts) {
          for (const until = next + count; next < until; next++)
            ends.add(bitsOfId(id(next)), hash(next), stateOf(next));
          const first = Math.max(0, next - 32_768);
          for (let look = 0; look <= 20; look++) {
            const number = Math.min(next - 1, first + Math.floor((look / 20) * (next - first)));
            expect(ends.find(bitsOfId(id(number)), hash(number))).toBe(stateOf(number));
          }
          expect(ends.find(bitsOfId(id(next + 1)), hash(next + 1))).toBeUndefined();
          const forgotten = next - 2 * 32_768 - 1;
          if (forgotten >= 0) expect(ends.find(bitsOfId(id(forgotten)), hash(forgotten))).toBeUndefined();
        }
      }),
      { numRuns: 10 },
    );
  },
);
