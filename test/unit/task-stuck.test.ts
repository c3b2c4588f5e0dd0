/** Lanes that are stuck for ever. */

import { describe, expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { catalogue, taskType, World } from "../property/task-world.ts";
import { A, keysOf, newest } from "./task-looks.ts";

const one = () =>
  catalogue({
    types: [taskType("work", { concurrency: 1 }), taskType("other"), taskType("loose", { order: "relaxed" })],
  });

describe("type slots", () => {
  test("P3, P8: a lane that got the freed slot, reads its state and is paused meanwhile gives the slot on", () => {
    const world = new World({ seed: 1, apps: one() });
    // every key has state, and none is cached: as after a restart
    for (const key of ["k0", "k1", "k2"]) {
      world.submit(world.record({ app: "a", type: "work", key }));
      world.sync();
      world.done(newest(world), { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] });
      world.sync();
    }
    world.crash();
    world.started.length = 0;
    world.submit(world.record({ app: "a", type: "work", key: "k0" }));
    world.sync();
    for (const key of ["k1", "k2"]) world.submit(world.record({ app: "a", type: "work", key }));
    world.sync();
    expect(keysOf(world)).toEqual(["k0"]);
    world.done(newest(world)); // frees the slot: k1 is woken, and reads its state
    expect(world.reads).toHaveLength(1);
    world.request("a", "k1", { type: "key", app: A, key: "k1", action: "pause" }); // while it is being read
    world.run(3_600_000);
    const k2 = world.request("a", "k2", { type: "key", app: A, key: "k2", action: "describe" });
    expect(world.running.size, JSON.stringify(k2)).toBe(1); // nothing runs, and k2 says TYPE_CONCURRENCY
    expect(keysOf(world)).toEqual(["k0", "k2"]);
  });

  test("P3, P8: a woken lane whose head is cancelled before its turn, with a task of another type behind", () => {
    const world = new World({
      seed: 1,
      apps: catalogue({
        types: [taskType("work", { concurrency: 1, state: "none" }), taskType("other", { state: "none" })],
        limits: { running: 2 },
      }),
    });
    const submit = (type: string, key: string) => {
      const record = world.record({ app: "a", type, key });
      world.submit(record);
      world.sync();
      return record;
    };
    submit("work", "k0"); // runs
    const first = submit("work", "k1"); // waits for the slot
    submit("other", "k1"); // behind it
    submit("work", "k2"); // waits for the slot
    submit("other", "x"); // runs: app is at its limit of 2
    submit("other", "y"); // ready, takes the place of k0
    expect(keysOf(world)).toEqual(["k0", "x"]);
    world.done(world.started[0] as Attempt); // frees the slot: k1 is woken, behind y; y starts, the app is full again
    expect(keysOf(world)).toEqual(["k0", "x", "y"]);
    world.ask("a", "k1", { type: "cancel", id: first.id });
    for (let turn = 0; turn < 10; turn++) {
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.run(1_000);
    }
    expect(world.running.size).toBe(0);
    expect(keysOf(world)).toContain("k2");
  });
});

describe("unknown types", () => {
  test("P3, P8: the head of a type that is no longer there is cancelled: the lane goes on", () => {
    let types = [taskType("old"), taskType("work")];
    const world = new World({
      seed: 1,
      apps: { find: (app) => catalogue({ types }).find(app), active: () => ["a" as AppName] },
    });
    world.call((engine) => engine.allowStarts(world.now, false));
    const head = world.record({ app: "a", type: "old", key: "k" });
    world.submit(head);
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    types = [taskType("work")]; // a new version of the code
    world.crash();
    world.run(1_000);
    expect(world.started).toHaveLength(0);
    world.ask("a", "k", { type: "cancel", id: head.id });
    world.run(3_600_000);
    expect(world.started.map((attempt) => attempt.record.type)).toEqual(["work"]);
  });
});

describe("limits changed at run time", () => {
  test("P4: a rate that is raised or lifted takes effect at once", () => {
    const overrides = new Map<string, Partial<AppOverride>>();
    const world = new World({ seed: 1, apps: catalogue({ overrides }) });
    overrides.set("a", { limits: { perSecond: 0.001 } });
    world.call((engine) => engine.appChanged(world.now, A));
    for (let count = 0; count < 5; count++) world.submit(world.record({ app: "a", type: "plain", key: `k${count}` }));
    world.run(5_000);
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.run(5_000);
    overrides.set("a", { limits: { perSecond: 0 } }); // no limit
    world.call((engine) => engine.appChanged(world.now, A));
    world.run(600_000); // ten minutes
    expect(world.started).toHaveLength(5);
  });
});

describe("residents", () => {
  test("P8: a resident that waits for a place starts when there is one", () => {
    const overrides = new Map<string, Partial<AppOverride>>();
    const world = new World({
      seed: 1,
      limits: { residents: 1 },
      apps: catalogue({ overrides, residents: ["r"], names: ["a", "b"] }),
    });
    world.run(1_000);
    expect(world.running.size).toBe(1);
    const first = newest(world);
    overrides.set(first.record.app, { existence: "deleted" });
    world.call((engine) => engine.appChanged(world.now, first.record.app));
    world.done(first);
    world.run(3_600_000);
    expect(world.started).toHaveLength(2);
  });

  test("P2: of an app that is deleted and made again no two runs of its resident overlap", () => {
    const overrides = new Map<string, Partial<AppOverride>>();
    const world = new World({ seed: 1, apps: catalogue({ overrides, residents: ["r"], names: ["a"] }) });
    world.run(1_000);
    expect(world.running.size).toBe(1);
    overrides.set("a", { existence: "deleted" });
    world.call((engine) => engine.appChanged(world.now, A));
    overrides.delete("a");
    world.call((engine) => engine.appChanged(world.now, A));
    world.run(1_000);
    // the first one has been told to stop and has not settled yet
    expect(world.running.size).toBe(1);
  });
});

describe("cancel", () => {
  test("P1: a cancel that comes after the timeout's abort is not lost", () => {
    const world = new World({ seed: 1, apps: catalogue({ types: [taskType("work", { timeoutMs: 1_000 })] }) });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    world.run(1_001); // timed out; its handler has not settled
    world.ask("a", "k", { type: "cancel", id: record.id });
    world.fail(newest(world));
    world.run(10_000);
    expect(world.started).toHaveLength(1);
  });
  test("P1: a cancelled attempt that is done but whose end is refused is not tried again", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    world.ask("a", "k", { type: "cancel", id: record.id });
    world.end(newest(world), { type: "done", result: new Uint8Array(100_000) });
    world.run(10_000);
    expect(world.started).toHaveLength(1);
  });
});
