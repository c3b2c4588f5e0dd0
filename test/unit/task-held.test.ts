/** What a partition was asked before it is handed over, and reads its rows for: what it writes then may stay behind. */

import { expect, test } from "vitest";
import type { TaskAnswer } from "../../ring/tasks/engine-contract.ts";
import { catalogue, taskType, type World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";
import { absorb, dead, fails, owner, P } from "./task-owners.ts";

const MOVED = { type: "refused", code: "NOT_OWNER" };

/** Held while the rows that the request needs are on their way. */
function heldMeanwhile(world: World, ask: () => void): TaskAnswer | undefined {
  ask();
  expect(world.reads).toHaveLength(1);
  world.call((engine) => engine.hold(world.now, P));
  world.unsynced = [];
  world.answerReads();
  return [...world.answers.values()].at(-1);
}

test("P1: a dead letter is not retried here any more, and where it is asked again it is", () => {
  const world = owner(1);
  const { id } = fails(world);
  const retry = { type: "retry-dead", ids: [id] } as const;
  expect(heldMeanwhile(world, () => void world.request("a", "k", retry))).toMatchObject(MOVED);
  expect(world.unsynced).toEqual([]);
  expect(dead(world)).toBe(1);
  world.call((engine) => engine.release(world.now, P));
  expect(world.ask("a", "k", retry)).toEqual({ type: "count", count: 1 });
  expect(dead(world)).toBe(0);
});

test("P1: state that is kept aside is not dropped here any more, and where it is asked again it is", () => {
  const apps = () => catalogue({ types: [taskType("work", { onAway: "fresh" })] });
  const [older, world] = [owner(1, { apps: apps() }), owner(2, { apps: apps() })];
  for (const each of [older, world]) {
    each.submit(each.record({ app: "a", type: "work", key: "k" }));
    each.sync();
    each.done(newest(each), { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] });
    each.sync();
  }
  absorb(world, older);
  const drop = { type: "read-aside", app: A, key: "k", drop: true } as const;
  expect(heldMeanwhile(world, () => void world.request("a", "k", drop))).toMatchObject(MOVED);
  expect(world.unsynced).toEqual([]);
  world.call((engine) => engine.release(world.now, P));
  expect(world.ask("a", "k", drop)).toMatchObject({ type: "aside", values: [{ name: "n" }] });
  expect(world.ask("a", "k", drop)).toMatchObject({ type: "aside", values: [] });
});
