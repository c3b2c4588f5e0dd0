/** Residents whose partition goes while they run. */

import { expect, test, vi } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import type { AppName } from "../../ring/ids.ts";
import { AppRun } from "../../ring/tasks/model.ts";
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

test("P4: a change of one app is no matter of the residents of hundreds of others", () => {
  const names = Array.from({ length: 500 }, (_, index) => `app-${index}`);
  const overrides = new Map<string, { existence: "deleted" }>();
  const world = new World({ seed: 1, apps: catalogue({ names, overrides, residents: ["r"] }) });
  world.sync();
  expect(world.running.size).toBe(500);
  const looks = vi.spyOn(AppRun.prototype, "paused", "get");
  try {
    overrides.set("app-7", { existence: "deleted" });
    world.call((engine) => engine.appChanged(world.now, "app-7" as AppName));
    const deleted = [...world.running.values()].find(({ record }) => record.app === "app-7");
    expect(world.aborted).toEqual([{ attemptId: deleted?.attemptId, reason: "cancelled" }]);
    if (deleted !== undefined) world.fail(deleted);
    overrides.delete("app-7");
    world.call((engine) => engine.appChanged(world.now, "app-7" as AppName));
    world.run(60_000);
    expect(world.running.size).toBe(500);
    expect(looks.mock.calls.length).toBeLessThan(50);
  } finally {
    looks.mockRestore();
  }
});
