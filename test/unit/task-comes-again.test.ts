/** Rows of a dead node's directory that come a second time, before the ring has ended its adoption (ownership rule 15). */

import { expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { KIND } from "../../ring/tasks/rows.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { partitionOf, World } from "../property/task-world.ts";

test("P2: a task that was submitted here as well does not run again, after many ends and after a restart", () => {
  for (const restart of [false, true]) {
    const old = new World({ seed: 1 });
    const record = submitted(old);
    const { id, hash } = record;
    const partition = partitionOf(hash);
    const world = adopting({ resultsPerApp: 50, endedIdsPerPartition: 1 });
    world.submit(record);
    world.sync();
    come(world, partition, old);
    world.call((engine) => engine.olderDone(world.now, partition, true));
    world.sync();
    world.done(newest(world));
    for (let index = 0; index < 60; index++) endOne(world);
    if (restart) world.crash("awaited");
    come(world, partition, old);
    world.call((engine) => engine.olderDone(world.now, partition, true));
    world.run(100);
    expect(world.started.filter((attempt) => attempt.record.id === id)).toHaveLength(1);
  }
});

test("P2: ids of ended tasks stay known, in memory and on disk", () => {
  for (const restart of [false, true]) {
    const old = new World({ seed: 1 });
    for (let index = 0; index < 60; index++) endOne(old);
    const [first, later] = [old.started[0]!.record, old.started[50]!.record];
    const partition = partitionOf(first.hash);
    const world = adopting({ endedIdsPerPartition: 64 });
    const rows = (): number => world.partitionRows(partition).filter(({ key }) => key[0] === KIND.ended).length;
    come(world, partition, old);
    const before = rows();
    world.call((engine) => engine.olderDone(world.now, partition, true));
    world.sync();
    if (restart) world.crash("awaited");
    come(world, partition, old);
    world.call((engine) => engine.olderDone(world.now, partition));
    world.sync();
    const tokens = [first, later].map((record) => world.submit(record));
    world.sync();
    expect(tokens.map((token) => world.outcomes.get(token)?.type)).toEqual(["duplicate", "duplicate"]);
    expect(rows()).toBe(before);
  }
});

test("P2: absorbed tasks run once though more of them end than ids are kept", () => {
  const old = new World({ seed: 1 });
  const partition = partitionOf(submitted(old).hash);
  for (let index = 1; index < 30; index++) submitted(old);
  const world = adopting({ dedupePerApp: 20 });
  come(world, partition, old);
  world.call((engine) => engine.olderDone(world.now, partition, true));
  world.sync();
  for (let index = 0; index < 30; index++) {
    world.done(newest(world));
    world.sync();
  }
  expect(world.started).toHaveLength(30);
  come(world, partition, old);
  world.run(100);
  expect(world.started).toHaveLength(30);
});

test("P2: a dead letter that was retried and done does not come again, after many ends and a restart", () => {
  const old = new World({ seed: 1 });
  const { id, hash } = submitted(old);
  old.end(newest(old), { type: "failed", error: { name: "E", message: "" }, permanent: true });
  old.sync();
  const partition = partitionOf(hash);
  const world = adopting({ endedIdsPerPartition: 1 });
  come(world, partition, old);
  world.call((engine) => engine.olderDone(world.now, partition, true));
  world.request("a", "k", { type: "retry-dead", ids: [id] });
  world.sync();
  world.done(newest(world));
  for (let index = 0; index < 5; index++) endOne(world);
  world.crash("awaited");
  come(world, partition, old);
  expect(world.ask("a", "k", { type: "list-dead", limit: 9 })).toMatchObject({ statuses: [] });
});

test("P2: an absorbed task that ended is known after its window, while its rows may come again", () => {
  for (const restart of [false, true]) {
    const old = new World({ seed: 1 });
    const { hash } = submitted(old);
    const partition = partitionOf(hash);
    const world = adopting({});
    world.crash("away");
    come(world, partition, old);
    world.done(newest(world));
    world.run(25 * 3_600_000);
    if (restart) world.crash("away");
    come(world, partition, old);
    expect(world.started).toHaveLength(1);
  }
});

test("P1: a row that cannot be read is set aside once", () => {
  const old = new World({ seed: 1 });
  const partition = partitionOf(submitted(old).hash);
  const damaged = { key: Uint8Array.of(KIND.task, 1, 2), value: Uint8Array.of(3) };
  const world = adopting({});
  const bring = (): readonly unknown[] => {
    const from = { behind: false, generation: 1, marks: new Map<string, number>() };
    let unreadable: readonly unknown[] = [];
    world.call((engine) => {
      unreadable = engine.absorb(world.now, partition, [...old.partitionRows(partition), damaged], from);
    });
    return unreadable;
  };
  expect(bring()).toEqual([damaged]);
  world.call((engine) => engine.olderDone(world.now, partition, true));
  world.sync();
  expect(bring()).toEqual([]);
});

function adopting(limits: object): World {
  const world = new World({ seed: 2, limits });
  world.generation = 2;
  world.crash("awaited");
  return world;
}

function come(world: World, partition: Partition, from: World): void {
  world.call((engine) =>
    engine.absorb(world.now, partition, from.partitionRows(partition), {
      behind: false,
      generation: 1,
      marks: new Map(),
    }),
  );
  world.sync();
}

function submitted(world: World): ReturnType<World["record"]> {
  const record = world.record({ app: "a", type: "work", key: "k" });
  world.submit(record);
  world.sync();
  return record;
}

function endOne(world: World): void {
  submitted(world);
  world.done(newest(world));
  world.sync();
}

function newest(world: World): Attempt {
  return world.started.at(-1)!;
}
