/** What is kept of an error that a handler threw. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { describe as described } from "../../services/runner/outcome.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

test("P5: of an error with megabytes of text, as one that quotes an answer, a kilobyte is held", () => {
  const kept = [];
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let turn = 0; turn < 40; turn++) kept.push(described(new Error(`${turn} ${"answer ".repeat(300_000)}`)));
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(10_000_000);
  expect(kept[39]?.message).toMatch(/^39 answer .*…$/);
  expect(kept[39]?.message).toHaveLength(1_000);
});

test("P5: tasks that fail for one reason hold one text", () => {
  const of = (): Error =>
    Object.assign(new Error("down"), { stack: `Error: down\n${"    at call (file.ts:1)\n".repeat(100)}` });
  const kept = [];
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let turn = 0; turn < 20_000; turn++) kept.push(described(of()));
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(10_000_000);
  expect(kept[19_999]?.stack).toBe(of().stack);
});
