/** Long pieces of work: one in each turn of the event loop. */

import { expect, test } from "vitest";
import { Turns } from "../../ring/io/turns.ts";

test("P3: others have their turn between two pages that are read, however many are asked for", async () => {
  const turns = new Turns();
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
  expect(seen.join("")).toMatch(/^\|*1\|+2\|+3\|+4\|$/);
});
