/** Keys with NUL in them. */

import { expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { partitionOf, World } from "../property/task-world.ts";
import { outcomeOf } from "./task-looks.ts";

test("two tasks of different keys and idempotency keys are not taken for one another", () => {
  const world = new World({ seed: 1 });
  // any pair in one partition will do
  const tail = Array.from({ length: 200 }, (_, each) => `y${each}`).find(
    (each) => partitionOf(hashKey("a", "x")) === partitionOf(hashKey("a", `x\0${each}`)),
  ) as string;
  const first = world.submit(world.record({ app: "a", type: "plain", key: `x\0${tail}`, idempotencyKey: "z" }));
  world.sync();
  const second = world.submit(world.record({ app: "a", type: "plain", key: "x", idempotencyKey: `${tail}\0z` }));
  world.sync();
  expect(outcomeOf(world, first)).toMatchObject({ type: "accepted" });
  expect(outcomeOf(world, second)).toMatchObject({ type: "accepted" }); // it is answered `duplicate`, and never runs
  expect(world.started).toHaveLength(2);
});
