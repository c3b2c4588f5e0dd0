/** A partition that is loading: its tasks are made as their rows come, and count nowhere before it is in service. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { partitionOf, World } from "../property/task-world.ts";
import { keysOf, newest } from "./task-looks.ts";

const PARTITION = partitionOf(hashKey("a", "k"));

/** A world with three queued tasks of one key, whose partition is closed. */
function closed(): World {
  const world = new World({ seed: 1 });
  world.call((engine) => engine.allowStarts(world.now, false));
  for (let count = 0; count < 3; count++) world.submit(world.record({ app: "a", type: "plain", key: "k" }));
  world.sync();
  world.call((engine) => engine.close(world.now, PARTITION));
  world.sync();
  return world;
}

function beginToLoad(world: World): void {
  world.opens++;
  const term = { history: 1, generation: world.generation, opens: world.opens };
  world.call((engine) => engine.open(world.now, PARTITION, term, "none"));
  world.engine.load(PARTITION, world.partitionRows(PARTITION));
}

describe("a partition that is loading", () => {
  test("P4: counts nowhere, and all of it once it is loaded", () => {
    const world = closed();
    beginToLoad(world);
    expect(world.engine.stats()).toMatchObject({ queuedTasks: 0, queuedBytes: 0 });
    expect(world.engine.queuedOf("a" as never)).toBe(0);
    world.run(10_000);
    expect(world.engine.view(PARTITION)).toMatchObject({ queued: 0, oldestWaitMs: 0 });
    world.call((engine) => engine.loaded(world.now, PARTITION));
    expect(world.engine.stats().queuedTasks).toBe(3);
    expect(world.engine.queuedOf("a" as never)).toBe(3);
    world.call((engine) => engine.allowStarts(world.now, true));
    for (let ran = 1; ran <= 3; ran++) {
      expect(keysOf(world)).toHaveLength(ran);
      world.done([...world.running.values()][0]!);
      world.sync();
    }
    expect(world.engine.stats()).toMatchObject({ queuedTasks: 0, queuedBytes: 0, running: 0 });
  });

  test("keeps its app, however long it takes, so that all tasks of an app are counted in one place", () => {
    const world = closed();
    world.call((engine) => engine.allowStarts(world.now, true));
    world.run(130_000);
    expect(world.engine.stats().apps).toBe(0);
    beginToLoad(world);
    world.run(130_000); // idle apps are forgotten once a minute
    const other = world.record({ app: "a", type: "plain", key: "other" });
    world.submit(other);
    world.sync();
    world.call((engine) => engine.loaded(world.now, PARTITION));
    expect(world.engine.queuedOf("a" as never)).toBe(4);
    expect(world.engine.stats().queuedTasks).toBe(4);
  });

  test("P5: leaves nothing when it is given up, its app included", () => {
    const world = closed();
    world.call((engine) => engine.allowStarts(world.now, true));
    world.run(130_000);
    const { apps } = world.engine.stats();
    for (let turn = 0; turn < 3; turn++) {
      beginToLoad(world);
      world.call((engine) => engine.close(world.now, PARTITION));
    }
    expect(world.engine.stats()).toMatchObject({ queuedTasks: 0, queuedBytes: 0 });
    world.run(130_000);
    expect([apps, world.engine.stats().apps]).toEqual([0, 0]);
  });
});

test("P8: a back-off is not made longer by a wall clock that is behind the one it was written by", () => {
  const world = new World({ seed: 1 });
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.run(1_000);
  world.fail(newest(world));
  world.sync();
  world.wallMs -= 3_600_000;
  world.crash();
  world.run(5_000);
  expect(world.started).toHaveLength(2);
});
