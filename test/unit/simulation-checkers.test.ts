/** The simulator's checkers on facts made by hand. */

import { expect, test } from "vitest";
import type { NodeName } from "../../ring/ids.ts";
import type { Fact } from "../../services/testing/surroundings.ts";
import { Checkers } from "../simulation/checkers.ts";

test("a task that ends on a node that slept has ended, although another node has taken its key over", () => {
  const checkers = fresh();
  checkers.accepted("app/key", "one");
  checkers.accepted("app/key", "two");
  checkers.observe(start("n1", "one", 1));
  checkers.observe(start("n2", "two", 2));
  checkers.observe({ type: "attempt-end", node: "n2" as NodeName, attemptId: 2, life: 1, done: true });
  checkers.observe({ type: "attempt-end", node: "n1" as NodeName, attemptId: 1, life: 1, done: true });
  expect(checkers.unfinished()).toBe(0);
});

test("a task whose process died has not ended", () => {
  const checkers = fresh();
  checkers.accepted("app/key", "one");
  checkers.observe(start("n1", "one", 1));
  checkers.observe({ type: "life-over", node: "n1" as NodeName, life: 1 });
  checkers.observe({ type: "attempt-end", node: "n1" as NodeName, attemptId: 1, life: 1, done: true });
  expect(checkers.unfinished()).toBe(1);
});

function fresh(): Checkers {
  return new Checkers({ now: () => 0, trace: () => {}, paused: () => true });
}

function start(node: string, id: string, attemptId: number): Fact {
  const attempt = { attemptId, fence: BigInt(attemptId), record: { id, app: "app", key: "key" } };
  return { type: "attempt-start", node: node as NodeName, life: 1, attempt } as unknown as Fact;
}
