/** Residents whose partition goes while they run. */

import { expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import type { AppName } from "../../ring/ids.ts";
import { catalogue, partitionOf, World } from "../property/task-world.ts";

test("P4: a resident that was declared anew while its partition went and came runs again", () => {
  const overrides = new Map<string, { existence?: "deleted" | "implied" }>();
  const world = new World({ seed: 1, apps: catalogue({ overrides, residents: ["r"], names: ["a"] }) });
  world.sync();
  const partition = partitionOf(hashKey("a", "r"));
  expect(world.running.size).toBe(1);
  const first = world.started[0]!;
  // The app is deleted: its resident is told to stop, its handler takes its time.
  overrides.set("a", { existence: "deleted" });
  world.call((engine) => engine.appChanged(world.now, "a" as AppName));
  // Meanwhile the partition goes.
  world.call((engine) => engine.close(world.now, partition));
  world.running.delete(first.attemptId);
  world.call((engine) =>
    engine.ended(world.now, [
      { attemptId: first.attemptId, outcome: { type: "done", result: undefined }, stateChanges: [], children: [] },
    ]),
  );
  world.run(60_000);
  // The app is made again, and the partition comes back.
  overrides.delete("a");
  world.call((engine) => engine.appChanged(world.now, "a" as AppName));
  world.call((engine) => engine.open(world.now, partition, { history: 1, generation: 3, opens: 9 }, "none"));
  world.call((engine) => engine.loaded(world.now, partition));
  world.run(600_000);
  expect(world.engine.stats().residents).toBe(1);
  expect(world.started.filter((each) => each.resident === "r")).toHaveLength(2);
});

test("P8: the place of a resident whose partition goes is taken by one that waits for it", () => {
  const apps = catalogue({ residents: ["r", "s", "t", "u"], names: ["a"] });
  const world = new World({ seed: 1, apps, limits: { residents: 1 } });
  world.sync();
  const first = world.started[0]!;
  world.call((engine) => engine.close(world.now, first.partition));
  world.running.clear();
  expect(world.engine.stats().residents).toBe(1);
  expect(world.started).toHaveLength(2);
  expect(world.started[1]!.partition).not.toBe(first.partition);
});
