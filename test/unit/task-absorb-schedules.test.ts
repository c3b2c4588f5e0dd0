/** Schedules that come from other directories: paused, with their ticks, and with firings that wait or run. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { absorb, owner } from "./task-heirs.ts";
import { A, newest } from "./task-looks.ts";

const one = (n: number) => Uint8Array.of(n);

describe("schedules", () => {
  const every = (misfire: "once" | "skip" = "once") => ({
    name: "poll",
    every: { type: "interval" as const, everyMs: 86_400_000 },
    taskType: "plain",
    key: "feed",
    payload: one(1),
    misfire,
  });
  const p = partitionOf(hashKey("a", "feed"));

  /** The next owner after the death of `old`, whose tasks have come. */
  function heirOf(old: World, apps: ReturnType<typeof catalogue>): World {
    const world = owner({ older: "awaited", apps });
    [world.now, world.wallMs] = [old.now, old.wallMs];
    world.crash("awaited");
    absorb(world, p, old.partitionRows(p), false);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    return world;
  }

  test("P2: a tick that fired here is not fired again when the directory of an older owner returns", () => {
    const types = [taskType("plain", { state: "none", timeoutMs: 7 * 86_400_000 })];
    const apps = catalogue({ names: ["a"], schedules: [every()], types });
    const old = new World({ seed: 1, apps });
    old.run(1_000); // declared, its row is written; then its machine is away
    const world = owner({ older: "away", apps, limits: { endedIdsPerPartition: 1 } });
    world.now = old.now;
    world.wallMs = old.wallMs;
    world.crash("away");
    for (let day = 0; day < 2; day++) {
      world.run(86_400_000);
      for (const attempt of [...world.running.values()]) world.end(attempt, { type: "done", result: one(7) });
      world.sync();
    }
    expect(world.started).toHaveLength(2);
    world.run(2 * 3_600_000); // results are kept for an hour
    for (let other = 0; other < 4; other++) {
      world.submit(world.record({ app: "a", type: "plain", key: "feed" }));
      world.sync();
      world.done(newest(world));
      world.sync();
    }
    world.crash("away"); // this node restarts: of the ids only the last one is left
    world.run(1_000);
    expect(world.started).toHaveLength(6);
    absorb(world, p, old.partitionRows(p), true); // the machine is back
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.run(1_000);
    const ids = world.started.map(({ record }) => record.id);
    expect(ids).toEqual([...new Set(ids)]);
    expect(ids).toHaveLength(6);
  });

  test("P1: a declared schedule that an operator paused stays paused after a failover", () => {
    const apps = catalogue({ names: ["a"], schedules: [{ ...every(), every: { type: "interval", everyMs: 1_000 } }] });
    const old = new World({ seed: 1, apps });
    expect(old.ask("a", "feed", { type: "schedule", app: A, key: "feed", name: "poll", action: "pause" })).toEqual({
      type: "ok",
    });
    const world = owner({ older: "awaited", apps });
    absorb(world, p, old.partitionRows(p), false);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.run(10_000);
    expect(world.ask("a", "feed", { type: "list-schedules", limit: 9 })).toMatchObject({
      schedules: [{ paused: true }],
    });
    expect(world.started).toHaveLength(0);
  });

  test.each(["awaited", "away"] as const)("P1: nor does a restart before it has come lose that: %s", (older) => {
    const apps = catalogue({ names: ["a"], schedules: [{ ...every(), every: { type: "interval", everyMs: 1_000 } }] });
    const old = new World({ seed: 1, apps });
    old.ask("a", "feed", { type: "schedule", app: A, key: "feed", name: "poll", action: "pause" });
    const world = owner({ older, apps });
    world.run(1_500);
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    world.crash(older);
    world.sync();
    const fired = world.started.length;
    absorb(world, p, old.partitionRows(p), older === "away");
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.run(10_000);
    expect(world.ask("a", "feed", { type: "list-schedules", limit: 9 })).toMatchObject({
      schedules: [{ paused: true }],
    });
    expect(world.started).toHaveLength(fired);
  });

  test("rule 19: nor are ticks lost that passed before that restart", () => {
    const apps = catalogue({ names: ["a"], schedules: [every()] });
    const old = new World({ seed: 1, apps });
    old.run(1_000);
    const world = owner({ older: "awaited", apps });
    [world.now, world.wallMs] = [old.now + 86_400_000, old.wallMs + 86_400_000];
    world.crash("awaited");
    world.sync();
    world.crash("awaited");
    absorb(world, p, old.partitionRows(p), false);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.run(1_000);
    expect(world.started).toHaveLength(1);
  });

  test("rule 19: a firing that came from the dead owner and still runs is waited for", () => {
    const apps = catalogue({ names: ["a"], schedules: [{ ...every(), every: { type: "interval", everyMs: 1_000 } }] });
    const old = new World({ seed: 1, apps });
    old.run(1_500);
    expect(old.started).toHaveLength(1);
    const world = heirOf(old, apps);
    old.crash(); // the control: had it only restarted
    old.run(5_000);
    expect(old.engine.view(p)?.queued).toBe(1);
    world.run(5_000);
    expect(world.started).toHaveLength(1);
    // As after a restart: none waits beside the one that runs.
    expect(world.engine.view(p)?.queued).toBe(1);
  });

  test("rule 19: so is one that waits behind a thousand tasks of its kind", () => {
    const schedule = { ...every(), every: { type: "interval" as const, everyMs: 1_000 } };
    const apps = catalogue({ names: ["a"], schedules: [schedule] });
    const old = new World({ seed: 1, apps });
    const { key, taskType: type } = schedule;
    for (let index = 0; index < 1_100; index++) old.submit(old.record({ app: "a", type, key }));
    old.run(1_500);
    expect(old.engine.view(p)?.queued).toBe(1_101); // the firing is the last
    const world = heirOf(old, apps);
    world.run(5_000);
    expect(world.engine.view(p)?.queued).toBe(1_101);
  });

  test("rule 19: a firing that came from the dead owner and waits to be tried again is waited for", () => {
    const type = taskType("plain", { order: "relaxed", state: "none", backoff: { baseMs: 60_000, maxMs: 60_000 } });
    const schedule = { ...every(), every: { type: "interval" as const, everyMs: 1_000 } };
    const apps = catalogue({ names: ["a"], types: [type], schedules: [schedule] });
    const old = new World({ seed: 1, apps });
    old.run(1_500);
    old.fail(newest(old));
    old.sync();
    const world = heirOf(old, apps);
    world.run(10_000);
    expect(world.started).toHaveLength(0);
  });
});
