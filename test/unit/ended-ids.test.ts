/** Rows of ended ids on disk: of one commit each, then of some. */

import { expect, test } from "vitest";
import { readEnded } from "../../ring/tasks/ended-row.ts";
import { comparePositions, KIND, type Position, readPosition } from "../../ring/tasks/rows.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import { partitionOf, World } from "../property/task-world.ts";
import { newest } from "./task-looks.ts";

function endOne(world: World): TaskRecord {
  const record = world.record({ app: "a", type: "plain", key: "k" });
  world.submit(record);
  world.sync();
  world.done(newest(world));
  world.sync();
  return record;
}

function endedRows(world: World, { hash }: TaskRecord): { position: Position; ids: string[] }[] {
  return world
    .partitionRows(partitionOf(hash))
    .filter(({ key }) => key[0] === KIND.ended)
    .map(({ key, value }) => ({ position: readPosition(key), ids: readEnded(value).map(({ id }) => id) }));
}

test("P2: ends of 64 commits come to lie in one row, in the place of the first of them, and each is known after a crash at any time", () => {
  const world = new World({ seed: 1 });
  const records: TaskRecord[] = [];
  let first: Position | undefined;
  for (let count = 1; count <= 130; count++) {
    records.push(endOne(world));
    const rows = endedRows(world, records[0]!);
    first ??= rows[0]!.position;
    expect(rows.length, `${count} ends`).toBe(Math.floor(count / 64) + (count % 64));
    expect(rows.flatMap(({ ids }) => ids)).toEqual(records.map(({ id }) => id));
    expect(rows[0]!.position).toEqual(first);
    expect(rows.every(({ position }, at) => at === 0 || comparePositions(rows[at - 1]!.position, position) < 0)).toBe(
      true,
    );
  }
  world.crash();
  const tokens = records.map((record) => world.submit(record));
  world.sync();
  expect(new Set(tokens.map((token) => world.outcomes.get(token)?.type))).toEqual(new Set(["duplicate"]));
  const after = endOne(world);
  expect(endedRows(world, after).at(-1)!.ids).toEqual([after.id]);
});

test("the oldest rows give way many ids at a time, and at least as many as are to be kept stay", () => {
  const world = new World({ seed: 1, limits: { endedIdsPerPartition: 1_024 } });
  const records = Array.from({ length: 1_300 }, () => endOne(world));
  const kept = endedRows(world, records[0]!).flatMap(({ ids }) => ids);
  expect(kept.length).toBeGreaterThanOrEqual(1_024 - 64);
  expect(kept.length).toBeLessThanOrEqual(1_024 + 2 * 64);
  expect(kept).toEqual(records.slice(-kept.length).map(({ id }) => id));
});

test("a partition that keeps few ids has rows of few", () => {
  const world = new World({ seed: 1, limits: { endedIdsPerPartition: 64 } });
  const records = Array.from({ length: 9 }, () => endOne(world));
  expect(endedRows(world, records[0]!).map(({ ids }) => ids.length)).toEqual([4, 4, 1]);
});

test("P1: no row leaves a partition that is being handed over", () => {
  const world = new World({ seed: 1 });
  const records = Array.from({ length: 63 }, () => endOne(world));
  const before = endedRows(world, records[0]!);
  const last = world.record({ app: "a", type: "plain", key: "k" });
  world.submit(last);
  world.sync();
  world.call((engine) => engine.hold(world.now, partitionOf(last.hash)));
  world.done(newest(world));
  world.sync();
  const rows = endedRows(world, records[0]!);
  expect(rows.slice(0, 63)).toEqual(before);
  expect(rows.flatMap(({ ids }) => ids)).toContain(last.id);
});

test("P2: ids of rows that were put together after a copy of them left are known, whichever of the two comes first", () => {
  const old = new World({ seed: 1 });
  const records = Array.from({ length: 40 }, () => endOne(old));
  const partition = partitionOf(records[0]!.hash);
  const copy = old.partitionRows(partition);
  for (let count = 0; count < 30; count++) records.push(endOne(old));
  const later = old.partitionRows(partition);
  for (const directories of [
    [copy, later],
    [later, copy],
  ]) {
    const world = new World({ seed: 2 });
    world.generation = 2;
    world.crash("awaited");
    for (const rows of directories) {
      const from = { behind: false, generation: 1, marks: new Map() };
      world.call((engine) => engine.absorb(world.now, partition, rows, from));
      world.sync();
    }
    expect(endedRows(world, records[0]!)[0]!.ids).toHaveLength(64);
    for (const isAfterCrash of [false, true]) {
      if (isAfterCrash) world.crash();
      const tokens = records.map((record) => world.submit(record));
      world.sync();
      const types = tokens.map((token) => world.outcomes.get(token)?.type);
      expect(types, `after a crash: ${isAfterCrash}`).toEqual(records.map(() => "duplicate"));
    }
  }
});
