/** Delayed tasks of one key start in the order in which they were due (promise P3), whoever serves their partition then, or nobody. */

import { expect, test } from "vitest";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import { partitionOf, World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";
import { absorb, owner } from "./task-owners.ts";

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

test("P3: those that came due while nobody served them start before what is submitted when somebody does", () => {
  const world = new World({ seed: 1 });
  const [second, first] = [delayed(world, 60), delayed(world, 10)];
  for (const record of [second, first]) world.submit(record);
  world.sync();
  world.now += 100;
  world.wallMs += 100;
  world.crash();
  const last = delayed(world, 0);
  world.submit(last);
  world.sync();
  expect(starts(world, 3)).toEqual(idsOf([first, second, last]));
});

test.each(["failed", "cancelled"] as const)(
  "P3: one that comes due while others are on their way to the disk comes behind them, before and after a restart (%s)",
  (end) => {
    const world = new World({ seed: 1 });
    const late = delayed(world, 100);
    const early = delayed(world, 0);
    const token = world.submit(late);
    world.sync();
    world.advance(99);
    world.submit(early);
    world.advance(1); // due, and the other one is not synced yet
    expect(world.started).toEqual([]);
    expect(world.request("a", "k", { type: "get", id: late.id })).toMatchObject({
      status: { state: "queued", waits: "COMMIT" },
    });
    if (end === "cancelled") world.request("a", "k", { type: "cancel", id: late.id });
    world.sync();
    expect(world.outcomes.get(token)?.type).toBe("accepted"); // once
    expect(world.started.map(({ record }) => record.id)).toEqual([early.id]);
    if (end === "failed") world.fail(newest(world));
    else world.done(newest(world));
    world.sync();
    world.crash();
    const rest = { failed: [early, late], cancelled: [] }[end];
    expect(starts(world, rest.length)).toEqual(idsOf([early, ...rest]));
    world.run(10_000);
    expect(world.started).toHaveLength(1 + rest.length);
  },
);

/** The last one first. */
function submitted(world: World): readonly TaskRecord[] {
  const records = [3_000, 1_000, 2_000].map((delayMs) => delayed(world, delayMs));
  for (const record of records) world.submit(record);
  world.sync();
  return [records[1]!, records[2]!, records[0]!];
}

function passes(world: World, ms: number): void {
  world.now += ms;
  world.wallMs += ms;
}

test("P3: those that were due while nobody served them start in that order", () => {
  const world = new World({ seed: 1 });
  const records = submitted(world);
  passes(world, 60_000);
  world.crash();
  expect(starts(world, 3)).toEqual(idsOf(records));
});

test("P3: so do those that came from another directory, also after one more restart", () => {
  const world = owner(2);
  const older = owner(1);
  const records = submitted(older);
  passes(world, 60_000);
  absorb(world, older);
  expect(world.engine.nextDeadline()).toBe(world.now); // not a minute ago: whoever wakes it would take itself for late
  world.crash();
  expect(starts(world, 3)).toEqual(idsOf(records));
});
