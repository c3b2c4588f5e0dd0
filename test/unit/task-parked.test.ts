/** Submits that wait for older tasks (A3) cost nobody else anything, and are bounded (P4, P5). */

import { expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import { partitionOf, World } from "../property/task-world.ts";

function awaiting(limits: object): World {
  const world = new World({ seed: 2, limits });
  world.generation = 2;
  world.crash("awaited");
  return world;
}

test("P4: one app's keyed submit does not hold up the submits of other apps and keys to the partition", () => {
  const world = awaiting({});
  const keyed = world.record({ app: "a", type: "work", key: "k", idempotencyKey: "x" });
  const partition = partitionOf(keyed.hash);
  const waits = world.submit(keyed);
  let other = world.record({ app: "b", type: "work", key: "0" });
  for (let n = 1; partitionOf(other.hash) !== partition; n++)
    other = world.record({ app: "b", type: "work", key: `${n}` });
  const token = world.submit(other);
  const behind = world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.run(60_000); // an adoption may take long
  expect(world.outcomes.get(waits)).toBeUndefined();
  expect(world.outcomes.get(behind)).toBeUndefined(); // its order is promised
  expect(world.outcomes.get(token)?.type).toBe("accepted");
});

test("P4: nor may one app take all the room there is for submits that wait", () => {
  const world = awaiting({ parkedSubmits: 100 });
  for (let n = 0; n < 200; n++)
    world.submit(world.record({ app: "a", type: "work", key: `k${n}`, idempotencyKey: `x${n}` }));
  const token = world.submit(world.record({ app: "b", type: "work", key: "k", idempotencyKey: "x" }));
  world.run(1_000);
  expect(world.outcomes.get(token)).toBeUndefined(); // it waits, and is not refused
});

test("P5: what waits is bounded by bytes as what is queued is", () => {
  const world = awaiting({ queuedBytes: 1_048_576 });
  const payload = new Uint8Array(100_000);
  let refused = 0;
  for (let n = 0; n < 100; n++)
    world.submit(world.record({ app: "a", type: "work", key: `k${n}`, idempotencyKey: `x${n}`, payload }));
  world.run(1_000);
  for (const outcome of world.outcomes.values()) if (outcome.type === "refused") refused++;
  expect(refused).toBeGreaterThan(80);
  expect(world.engine.queuedOf("a" as AppName)).toBe(0);
});
