/** What a run keeps of inputs that failed. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { failureOf } from "../../../pipe/token.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

test("P5: of inputs and errors of megabytes the beginnings are held", () => {
  const kept = [];
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let turn = 0; turn < 20; turn++) {
    const much = `${turn} ${"text ".repeat(300_000)}`;
    kept.push(failureOf({ fitting: "f", partition: 0 }, much, new Error(much)));
  }
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(8_000_000);
  expect(kept[19]?.error).toMatch(/^Error: 19 text /);
  expect(kept[19]?.error).toHaveLength(200);
});
