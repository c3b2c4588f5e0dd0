/** What is to happen later on a node, however much that is. */

import { expect, test } from "vitest";
import { Timers } from "../../../pipe/timers.ts";

test("timers run when they are due, in that order, and those that they add run the next time", () => {
  const timers = new Timers();
  const ran: string[] = [];
  for (const [at, name] of [
    [30, "third"],
    [10, "first"],
    [20, "second"],
    [20, "as late, added later"],
  ] as const)
    timers.add(at, () => {
      ran.push(name);
      if (name === "first") timers.add(0, () => ran.push("added"));
    });
  expect(timers.first).toBe(10);
  timers.run(9);
  expect(ran).toEqual([]);
  timers.run(20);
  expect(ran).toEqual(["first", "second", "as late, added later"]);
  expect(timers.first).toBe(0);
  timers.run(20);
  expect(ran.at(-1)).toBe("added");
  timers.run(30);
  expect(ran.at(-1)).toBe("third");
  expect(timers.first).toBe(Number.POSITIVE_INFINITY);
});

test("P5: to know the first deadline takes no longer where 65,000 inputs wait to be tried again", () => {
  const timers = new Timers();
  for (let input = 0; input < 65_000; input++) timers.add(1_000 + ((input * 7_919) % 65_000), () => undefined);
  const start = performance.now();
  let firsts = 0;
  for (let look = 0; look < 4_000; look++) firsts += timers.first;
  for (let now = 0; now < 1_000; now++) timers.run(now);
  expect(performance.now() - start).toBeLessThan(300);
  expect(firsts).toBe(4_000_000);
});
