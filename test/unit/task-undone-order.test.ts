/** What one owner undid, and what a later one had of an older directory without hearing of that. */

import { expect, test } from "vitest";
import { KIND } from "../../ring/tasks/rows.ts";
import { catalogue, World } from "../property/task-world.ts";
import { A } from "./task-looks.ts";
import { absorb, fails, owner, P, types } from "./task-owners.ts";

function key(world: World, action: "pause" | "resume") {
  world.ask("a", "k", { type: "key", app: A, key: "k", action });
}

const spec = {
  name: "s",
  key: "k",
  taskType: "plain",
  every: { type: "interval" as const, everyMs: 3_600_000 },
  payload: Uint8Array.of(1),
  misfire: "once" as const,
};

function here(world: World) {
  const paused = world.ask("a", "k", { type: "key", app: A, key: "k", action: "describe" });
  const schedules = world.ask("a", "k", { type: "list-schedules", limit: 9 });
  const dead = world.ask("a", "k", { type: "list-dead", limit: 9 });
  return {
    paused: (paused as unknown as { key: { paused: boolean } }).key.paused,
    dead: (dead as unknown as { statuses: unknown[] }).statuses.length,
    schedules: (schedules as unknown as { schedules: unknown[] }).schedules.length,
  };
}

test.each([
  ["undoing first", false],
  ["undoing last", false],
  ["undoing first", true],
  ["undoing last", true],
] as const)(
  "P1: what an owner had of an older directory is as old as that: %s, restart between %s",
  (order, restarts) => {
    const oldest = owner(1);
    const record = fails(oldest, { idempotencyKey: "i" });
    key(oldest, "pause");
    oldest.ask("a", "k", { type: "put-schedule", app: A, spec });
    const undoing = owner(2);
    absorb(undoing, oldest);
    key(undoing, "resume");
    undoing.ask("a", "k", { type: "schedule", app: A, key: "k", name: "s", action: "delete" });
    undoing.ask("a", "k", { type: "drop-dead", ids: [record.id] });
    const unknowing = owner(3);
    absorb(unknowing, oldest);
    unknowing.crash("away");
    const world = owner(4);
    const [first, second] = order === "undoing first" ? [undoing, unknowing] : [unknowing, undoing];
    absorb(world, first);
    if (restarts) world.crash("away");
    absorb(world, second);
    expect(here(world)).toEqual({ paused: false, dead: 0, schedules: 0 });
    const token = world.submit(world.record({ app: "a", type: "plain", key: "k", idempotencyKey: "i" }));
    world.sync();
    expect(world.outcomes.get(token)).toMatchObject({ type: "accepted" });
  },
);

test.each([true, false])("P1: a retried dead letter is not one again, older first %s", (olderFirst) => {
  const oldest = owner(1);
  const record = fails(oldest);
  const newer = owner(2);
  absorb(newer, oldest);
  newer.call((engine) => engine.allowStarts(newer.now, false));
  newer.ask("a", "k", { type: "retry-dead", ids: [record.id] });
  const world = owner(3);
  world.call((engine) => engine.allowStarts(world.now, false));
  for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(world, each);
  expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "queued" } });
});

test("P1: what an older version undid is as old as its directory, after a restart as well", () => {
  const oldest = owner(2);
  key(oldest, "resume"); // and as older versions wrote it
  for (const [name, { key: at }] of oldest.rows.get(P)!)
    if (at[0] === KIND.undone) oldest.rows.get(P)!.set(name, { key: at, value: Uint8Array.of(1) });
  const newer = owner(3);
  key(newer, "pause");
  for (const [name, { key: at }] of newer.rows.get(P)!) if (at[0] === KIND.undone) newer.rows.get(P)!.delete(name);
  const world = owner(4);
  absorb(world, oldest);
  world.crash("away");
  absorb(world, newer);
  expect(here(world)).toMatchObject({ paused: true });
});

test.each([true, false])(
  "P1: a declared schedule whose app is not loaded here: newest counts, older first %s",
  (olderFirst) => {
    const apps = catalogue({ names: ["a"], types, schedules: [spec] });
    const act = (world: World, action: "pause" | "resume") =>
      world.ask("a", "k", { type: "schedule", app: A, key: "k", name: "s", action });
    const oldest = owner(1, { apps });
    oldest.sync();
    const newer = owner(2, { apps });
    absorb(newer, oldest);
    act(newer, "pause");
    const without = owner(3, { apps: catalogue({ names: ["b"], types }) });
    for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(without, each);
    const world = new World({ seed: 3, apps });
    world.generation = 3;
    world.opens = without.opens;
    for (const [partition, rows] of without.rows) world.rows.set(partition, rows);
    world.crash("away");
    expect(world.ask("a", "k", { type: "list-schedules", limit: 9 })).toMatchObject({ schedules: [{ paused: true }] });
  },
);
