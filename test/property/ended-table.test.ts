/** The table of ids whose ends are remembered no longer, against a plain list. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { EndedTable } from "../../ring/tasks/ended-table.ts";

const id = (number: number): string => number.toString(16).padStart(32, "9a7f");
/** Few, so that many ids share one. */
const hash = (number: number): number => (number * 7) % 97;

test("P2: it knows the last ones that were added, with how they ended, and no others", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2_000 }), { minLength: 1, maxLength: 20 }), (counts) => {
      const table = new EndedTable(2_048);
      const added: number[] = [];
      let next = 0;
      for (const count of counts) {
        for (let each = 0; each < count; each++, next++) {
          table.add(id(next), hash(next), next % 3 === 0 ? "cancelled" : "done");
          added.push(next);
        }
        const first = Math.max(0, added.length - 2_048);
        for (let look = 0; look < 50; look++) {
          const number = Math.floor((look / 50) * next);
          const expected = number < first ? undefined : number % 3 === 0 ? "cancelled" : "done";
          expect(table.find(id(number), hash(number))).toBe(expected);
        }
        expect(table.find(id(next + 1), hash(next + 1))).toBeUndefined();
        expect(table.size).toBe(Math.min(added.length, 2_048));
      }
    }),
    { numRuns: 20 },
  );
});
