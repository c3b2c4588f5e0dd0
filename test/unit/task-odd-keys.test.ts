/** Keys of tasks may hold any character. */

import { expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";

test("P1: the mark of state of a key with a NUL in it is not that of the key before the NUL", () => {
  const types = [taskType("work"), taskType("fresh", { onAway: "fresh" })];
  const p = partitionOf(hashKey("a", "k"));
  let n = 0;
  while (partitionOf(hashKey("a", `k\0${n}`)) !== p) n++;
  const other = `k\0${n}`;
  const one = (value: number) => Uint8Array.of(value);
  const oldest = new World({ seed: 1, apps: catalogue({ types }) });
  const [since, world] = [2, 3].map((generation) => {
    const owner = new World({ seed: generation, apps: catalogue({ types }) });
    owner.generation = generation;
    owner.crash("away");
    return owner;
  }) as [World, World];
  for (const [owner, key, count] of [
    [oldest, "k", 9],
    [oldest, other, 9],
    [since, other, 1], // without the older state, over which it wins
  ] as const) {
    owner.submit(owner.record({ app: "a", type: "fresh", key }));
    owner.sync();
    owner.done(newest(owner), { stateChanges: [{ name: "count", value: one(count) }] });
    owner.sync();
  }
  const absorb = (from: World) => {
    const rows = from.partitionRows(p);
    const { generation } = from;
    world.call((engine) =>
      engine.absorb(world.now, p, rows, { behind: true, generation, marks: new Map(), isLast: true }),
    );
    world.sync();
  };
  absorb(since);
  world.crash("away");
  absorb(oldest);
  const state = (key: string) => world.ask("a", key, { type: "read-state", app: A, key });
  expect(state("k")).toMatchObject({ values: new Map([["count", one(9)]]) });
  expect(state(other)).toMatchObject({ values: new Map([["count", one(1)]]) });
});
