/** What operators undid and did again at owners whose directories come in any order. */

import { describe, expect, test } from "vitest";
import { catalogue, type World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";
import { absorb, dead, fails, owner, P, types } from "./task-owners.ts";

const spec = {
  name: "s",
  key: "k",
  taskType: "plain",
  every: { type: "interval" as const, everyMs: 3_600_000 },
  payload: Uint8Array.of(1),
  misfire: "once" as const,
};

function key(world: World, action: "pause" | "resume") {
  world.ask("a", "k", { type: "key", app: A, key: "k", action });
}

function schedule(world: World, action: "put" | "delete") {
  if (action === "put") world.ask("a", "k", { type: "put-schedule", app: A, spec });
  else world.ask("a", "k", { type: "schedule", app: A, key: "k", name: "s", action });
}

function here(world: World) {
  const paused = world.ask("a", "k", { type: "key", app: A, key: "k", action: "describe" });
  const schedules = world.ask("a", "k", { type: "list-schedules", limit: 9 });
  return {
    paused: (paused as unknown as { key: { paused: boolean } }).key.paused,
    dead: dead(world),
    schedules: (schedules as unknown as { schedules: unknown[] }).schedules.length,
  };
}

test.each([true, false])("P1: what a newer owner did again is there, older first %s", (olderFirst) => {
  const older = owner(2);
  const record = fails(older);
  key(older, "resume");
  schedule(older, "put");
  schedule(older, "delete");
  older.ask("a", "k", { type: "drop-dead", ids: [record.id] });
  const newer = owner(3);
  key(newer, "pause");
  schedule(newer, "put");
  const token = newer.submit(record);
  newer.sync();
  expect(newer.outcomes.get(token)).toMatchObject({ type: "accepted" });
  const world = owner(4);
  for (const each of olderFirst ? [older, newer] : [newer, older]) absorb(world, each);
  expect(here(world)).toEqual({ paused: true, dead: 0, schedules: 1 });
  expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "queued" } });
});

test.each([true, false])("P1: what a newer owner undid is not there, older first %s", (olderFirst) => {
  const oldest = owner(1);
  const record = fails(oldest, { idempotencyKey: "i" });
  key(oldest, "pause");
  schedule(oldest, "put");
  const newer = owner(2);
  absorb(newer, oldest);
  key(newer, "resume");
  schedule(newer, "delete");
  newer.ask("a", "k", { type: "drop-dead", ids: [record.id] });
  const world = owner(3);
  for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(world, each);
  expect(here(world)).toEqual({ paused: false, dead: 0, schedules: 0 });
  world.call((engine) => engine.olderDone(world.now, P));
  world.sync();
  world.crash("none");
  expect(here(world)).toEqual({ paused: false, dead: 0, schedules: 0 });
  const token = world.submit(world.record({ app: "a", type: "plain", key: "k", idempotencyKey: "i" }));
  world.sync();
  expect(world.outcomes.get(token)).toMatchObject({ type: "accepted" });
});

test("P1: a key that this owner was told to pause stays so, whatever an older one undid", () => {
  const oldest = owner(1);
  key(oldest, "pause");
  const newer = owner(2);
  key(newer, "resume");
  const world = owner(3);
  absorb(world, oldest);
  key(world, "pause");
  world.crash("away");
  absorb(world, newer);
  expect(here(world)).toMatchObject({ paused: true });
});

describe("of a schedule what the newest owner was told counts", () => {
  const declared = { ...spec, every: { type: "interval" as const, everyMs: 1_000 } };
  const act = (world: World, action: "pause" | "resume") =>
    world.ask("a", "k", { type: "schedule", app: A, key: "k", name: "s", action });
  const here = (world: World) => world.ask("a", "k", { type: "list-schedules", limit: 9 });

  describe.each([true, false])("declared %s", (isDeclared) => {
    const apps = () => (isDeclared ? catalogue({ names: ["a"], types, schedules: [declared] }) : catalogue({ types }));
    test.each([
      ["pause", "older first", false],
      ["pause", "newer first", false],
      ["resume", "older first", false],
      ["resume", "newer first", false],
      ["pause", "older first", true],
      ["resume", "newer first", true],
    ] as const)("P1: %s, %s, restart between %s", (action, order, restarts) => {
      const oldest = owner(1, { apps: apps() });
      if (!isDeclared) oldest.ask("a", "k", { type: "put-schedule", app: A, spec: declared });
      if (action === "resume") act(oldest, "pause");
      oldest.sync();
      const newer = owner(2, { apps: apps() });
      absorb(newer, oldest);
      act(newer, action);
      const world = owner(3, { apps: apps() });
      const [first, second] = order === "older first" ? [oldest, newer] : [newer, oldest];
      absorb(world, first);
      if (restarts) world.crash("away");
      absorb(world, second);
      expect(here(world)).toMatchObject({ schedules: [{ paused: action === "pause" }] });
    });
  });

  test.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])("resumed behind its last tick: declared %s, older first %s", (isDeclared, olderFirst) => {
    const apps = () => (isDeclared ? catalogue({ names: ["a"], types, schedules: [declared] }) : catalogue({ types }));
    const oldest = owner(1, { apps: apps() });
    if (!isDeclared) oldest.ask("a", "k", { type: "put-schedule", app: A, spec: declared });
    oldest.wallMs += 3_600_000;
    oldest.call((engine) => engine.setWallOffset(oldest.wallMs - oldest.now));
    oldest.run(1);
    oldest.done(newest(oldest));
    const newer = owner(2, { apps: apps() });
    absorb(newer, oldest);
    expect(here(newer)).toMatchObject({ schedules: [{ waits: "CLOCK_BEHIND" }] });
    act(newer, "resume");
    const world = owner(3, { apps: apps() });
    for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(world, each);
    expect(here(world)).not.toMatchObject({ schedules: [{ waits: expect.anything() }] });
    world.run(1_000);
    expect(world.started).toHaveLength(1);
  });

  test.each([true, false])(
    "P2: a tick that fired in the newer directory is not due again, older first %s",
    (olderFirst) => {
      const oldest = owner(1);
      oldest.ask("a", "k", { type: "put-schedule", app: A, spec: declared });
      const newer = owner(2);
      absorb(newer, oldest);
      newer.wallMs += 3_600_000;
      newer.call((engine) => engine.setWallOffset(newer.wallMs - newer.now));
      newer.run(1);
      newer.done(newest(newer));
      const world = owner(3);
      for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(world, each);
      expect(here(world)).toMatchObject({ schedules: [{ waits: "CLOCK_BEHIND" }] });
    },
  );

  test.each([true, false])("P1: another task type, older first %s", (olderFirst) => {
    const oldest = owner(1);
    schedule(oldest, "put");
    const newer = owner(2);
    absorb(newer, oldest);
    newer.ask("a", "k", { type: "put-schedule", app: A, spec: { ...spec, taskType: "work" } });
    const world = owner(3);
    for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(world, each);
    expect(here(world)).toMatchObject({ schedules: [{ taskType: "work" }] });
  });
});

test("one that was put with other times fires no tick of before that, though an older directory stood there", () => {
  const oldest = owner(1);
  schedule(oldest, "put");
  const world = owner(2);
  world.run(3 * 3_600_000);
  world.ask("a", "k", {
    type: "put-schedule",
    app: A,
    spec: { ...spec, every: { type: "interval", everyMs: 3_000_000 } },
  });
  absorb(world, oldest);
  world.run(1_000);
  expect(world.started).toHaveLength(0);
  world.run(3_000_000);
  expect(world.started).toHaveLength(1);
});

describe("a task that waits in an older directory and is dead in a newer one", () => {
  /** `oldest` has it queued, `newer` as a dead letter. */
  function left() {
    const oldest = owner(1);
    oldest.call((engine) => engine.allowStarts(oldest.now, false));
    const record = oldest.record({ app: "a", type: "plain", key: "k" });
    oldest.submit(record);
    oldest.sync();
    const newer = owner(2);
    absorb(newer, oldest);
    newer.end(newest(newer), { type: "failed", error: { name: "E", message: "" }, permanent: true });
    newer.sync();
    return { oldest, newer, record };
  }

  test.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])("P1: does not run before an operator says so: behind %s, older first %s", (behind, olderFirst) => {
    const { oldest, newer, record } = left();
    const world = owner(3, { older: behind ? "away" : "awaited" });
    world.call((engine) => engine.allowStarts(world.now, false));
    for (const each of olderFirst ? [oldest, newer] : [newer, oldest]) absorb(world, each, behind);
    world.call((engine) => engine.olderDone(world.now, P, true));
    world.call((engine) => engine.allowStarts(world.now, true));
    world.run(1_000);
    expect([world.started.length, dead(world), world.engine.stats().dead]).toEqual([0, 1, 1]);
    world.crash(behind ? "away" : "awaited");
    expect(dead(world)).toBe(1);
    world.call((engine) => engine.olderDone(world.now, P, true));
    world.call((engine) => engine.allowStarts(world.now, false));
    world.ask("a", "k", { type: "retry-dead", ids: [record.id] });
    if (behind) for (const each of [newer, oldest]) absorb(world, each);
    world.call((engine) => engine.allowStarts(world.now, true));
    world.run(1_000);
    expect([world.started.length, dead(world)]).toEqual([1, 0]);
  });
});
