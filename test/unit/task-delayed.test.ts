/** Delayed tasks of one key start in the order in which they were due (promise P3), whoever serves their partition then, or nobody. */

import { expect, test } from "vitest";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import { partitionOf, World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";

function delayed(world: World, delayMs: number): TaskRecord {
  return world.record({ app: "a", type: "work", key: "k", delayMs });
}

/** The order in which so many tasks start from now on. */
function starts(world: World, count: number): readonly string[] {
  for (let turn = 0; turn < count; turn++) {
    world.run(1_000);
    world.done(newest(world));
  }
  return world.started.map(({ record }) => record.id);
}

const idsOf = (records: readonly TaskRecord[]): readonly string[] => records.map(({ id }) => id);

test("P3: those that came due while their partition was held start before what is submitted after its release", () => {
  const world = new World({ seed: 1 });
  const [first, second, cancelled] = [10, 60, 80].map((delayMs) => delayed(world, delayMs)) as [
    TaskRecord,
    TaskRecord,
    TaskRecord,
  ];
  for (const record of [second, first, cancelled]) world.submit(record);
  world.sync();
  const partition = partitionOf(first.hash);
  world.call((engine) => engine.hold(world.now, partition));
  const rows = world.partitionRows(partition);
  world.run(140);
  expect(world.partitionRows(partition)).toEqual(rows); // what is written now may stay behind
  world.ask("a", "k", { type: "cancel", id: cancelled.id });
  world.call((engine) => engine.release(world.now, partition));
  expect(world.request("a", "k", { type: "key", app: A, key: "k", action: "describe" })).toMatchObject({
    key: { queued: 2, running: true },
  });
  const last = delayed(world, 0);
  world.submit(last);
  world.sync();
  expect(starts(world, 3)).toEqual(idsOf([first, second, last]));
});
