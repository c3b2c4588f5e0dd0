/** Long pieces of work: one in each turn of the event loop, or a few. */

import { expect, test } from "vitest";
import { Turns } from "../../ring/io/turns.ts";

test.each([
  [1, /^\|*1\|+2\|+3\|+4\|$/],
  [2, /^\|*12\|+34\|$/],
])(
  "P3: others have their turn between pages that are read, however many are asked for: %i in a turn",
  async (pieces, order) => {
    const turns = new Turns(pieces);
    const seen: string[] = [];
    const asked = (name: string): void =>
      turns.add(() => {
        seen.push(name);
        if (name === "1") asked("4");
      });
    for (const name of ["1", "2", "3"]) asked(name);
    while (!seen.includes("4")) {
      await new Promise<void>((done) => setImmediate(done));
      seen.push("|");
    }
    expect(seen.join("")).toMatch(order);
  },
);
