import { expect, test } from "vitest";
import { Intake } from "../../services/api/intake.ts";

function turns(): { later: (run: () => void) => void; next: () => void } {
  let waiting: (() => void)[] = [];
  return {
    later: (run) => void waiting.push(run),
    next: () => {
      const now = waiting;
      waiting = [];
      for (const run of now) run();
    },
  };
}

test("what a turn takes in is bounded over all streams, and those told to wait go on in the next, in order", () => {
  const loop = turns();
  const intake = new Intake({ most: 500, later: loop.later });
  const went: string[] = [];
  expect(intake.took(242, () => went.push("a"))).toBe(false);
  expect(intake.took(242, () => went.push("b"))).toBe(false);
  expect(intake.took(242, () => went.push("c"))).toBe(true);
  expect(intake.took(1, () => went.push("d"))).toBe(true);
  expect(went).toEqual([]);
  loop.next();
  expect(went).toEqual(["c", "d"]);
  expect(intake.took(242, () => went.push("e"))).toBe(false); // a turn of its own
  loop.next();
  expect(went).toEqual(["c", "d"]);
});

test("a stream that takes more than a turn's in one frame waits for one turn", () => {
  const loop = turns();
  const intake = new Intake({ most: 500, later: loop.later });
  const went: string[] = [];
  expect(intake.took(1_024, () => went.push("a"))).toBe(true);
  loop.next();
  expect(went).toEqual(["a"]);
});
