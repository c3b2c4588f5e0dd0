/** Who starts next: order within a lane, and fairness between lanes and apps. */

import { describe, expect, test } from "vitest";
import type { AppName, Partition } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import type { Attempt, TaskRecord } from "../../ring/tasks/task.ts";
import { catalogue, partitionOf, RING_SIZE, taskType, World } from "../property/task-world.ts";
import { A, keysOf, newest } from "./task-looks.ts";
import { absorb, owner, P } from "./task-owners.ts";

describe("lanes", () => {
  test("P3: a failing head blocks its lane during back-off, and only it (rule 20)", () => {
    const world = new World({ seed: 1 });
    for (const key of ["k", "k", "other"]) world.submit(world.record({ app: "a", type: "work", key }));
    world.sync();
    world.fail(world.started[0] as Attempt);
    world.done(world.started[1] as Attempt);
    world.sync();
    expect(keysOf(world)).toEqual(["k", "other"]);
    world.run(150);
    expect(world.started.slice(2).map((attempt) => [attempt.record.key, attempt.attempt])).toEqual([["k", 2]]);
    world.done(newest(world));
    expect(newest(world).attempt).toBe(1);
    expect(newest(world).record.id).not.toBe(world.started[0]?.record.id);
  });

  test("P3: with order relaxed later tasks pass a failing one, still one at a time", () => {
    const world = new World({ seed: 1 });
    for (let count = 0; count < 3; count++) world.submit(world.record({ app: "a", type: "loose", key: "k" }));
    world.sync();
    const first = newest(world);
    world.fail(first);
    expect(world.started).toHaveLength(2);
    world.advance(500); // the first is due again, and waits for the running one
    expect(world.started).toHaveLength(2);
    world.done(newest(world));
    expect(newest(world).record.id).toBe(first.record.id);
    expect(newest(world).attempt).toBe(2);
  });

  test("P3: with order relaxed those that failed come back to their places, and many of a long lane cost little each", () => {
    const types = [taskType("loose", { order: "relaxed", state: "none", backoff: { baseMs: 1_000, maxMs: 1_000 } })];
    const world = new World({ seed: 1, apps: catalogue({ types }) });
    const records = Array.from({ length: 20_000 }, () => world.record({ app: "a", type: "loose", key: "k" }));
    for (const record of records) world.submit(record);
    world.sync();
    for (let failed = 0; failed < records.length; failed++) world.fail(newest(world));
    expect(world.started).toHaveLength(records.length);
    world.now += 2_000;
    const beganAt = performance.now();
    while ((world.engine.nextDeadline() ?? Number.POSITIVE_INFINITY) <= world.now) world.advance(0);
    expect(performance.now() - beganAt).toBeLessThan(2_000); // sorted for each of them, the lane took twenty times that
    const first = newest(world).record.id;
    while (world.running.size > 0) world.done(newest(world));
    const again = world.started.slice(records.length).map((attempt) => attempt.record.id);
    expect(again[0]).toBe(first);
    expect(again.slice(1)).toEqual(records.map((record) => record.id).filter((id) => id !== first));
  });

  test("P3: many of one key that were submitted again take the places that they had elsewhere, and cost little each", () => {
    const [older, world] = [owner(1), owner(2, { older: "awaited" })];
    const records = Array.from({ length: 10_000 }, () => older.record({ app: "a", type: "work", key: "k" }));
    for (const record of records) older.submit(record);
    older.sync();
    for (const record of records.toReversed()) world.submit(record); // behind each other, as their answers were lost
    const last = world.record({ app: "a", type: "work", key: "k" });
    world.submit(last);
    world.sync();
    const beganAt = performance.now();
    absorb(world, older, false);
    expect(performance.now() - beganAt).toBeLessThan(3_000); // sorted for each of them, the lane took four times that
    world.call((engine) => engine.olderDone(world.now, P));
    for (const { id } of [...records, last].slice(0, 20)) {
      expect(newest(world).record.id).toBe(id);
      world.done(newest(world));
    }
  });

  test("P8: a paused key whose first task was cancelled shows the next one, and says why it waits", () => {
    const world = new World({ seed: 1 });
    world.ask("a", "k", { type: "key", app: A, key: "k", action: "pause" });
    const [first, second] = [0, 1].map(() => world.record({ app: "a", type: "work", key: "k" })) as [
      TaskRecord,
      TaskRecord,
    ];
    for (const record of [first, second]) world.submit(record);
    world.sync();
    world.ask("a", "k", { type: "cancel", id: first.id });
    expect(world.ask("a", "k", { type: "key", app: A, key: "k", action: "describe" })).toMatchObject({
      key: { queued: 1, head: { id: second.id, type: "work" }, waits: "KEY_PAUSED" },
    });
  });

  test("P3: a delayed task joins its lane at the end when it is due, and keeps that place over a restart", () => {
    const world = new World({ seed: 1, apps: catalogue({ limits: { running: 1 } }) });
    const blocker = world.record({ app: "a", type: "work", key: "z" });
    const late = world.record({ app: "a", type: "work", key: "k", delayMs: 100 });
    const early = world.record({ app: "a", type: "work", key: "k" });
    world.submit(blocker);
    world.submit(late);
    world.submit(early);
    world.sync();
    world.advance(100);
    const last = world.record({ app: "a", type: "work", key: "k" });
    world.submit(last);
    world.sync();
    world.crash();
    for (let turn = 0; turn < 4; turn++) {
      world.done(newest(world));
      world.sync();
    }
    const order = world.started
      .slice(1)
      .map((attempt) => attempt.record.id)
      .filter((id) => id !== blocker.id);
    expect(order).toEqual([early.id, late.id, last.id]);
  });

  test("a wall clock that jumps neither loses nor doubles a delayed task", () => {
    for (const jumpMs of [-3_600_000, 3_600_000]) {
      const world = new World({ seed: 1 });
      world.submit(world.record({ app: "a", type: "work", key: "k", delayMs: 1_000 }));
      world.sync();
      world.wallMs += jumpMs;
      world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
      world.crash(); // the instant is worked out anew from wall times
      world.run(1_001);
      expect(world.started).toHaveLength(1);
      world.done(newest(world));
      world.run(10_000);
      expect(world.started).toHaveLength(1);
    }
  });

  test("P3: priority orders lanes of an app, never tasks of a lane", () => {
    const world = new World({ seed: 1, apps: catalogue({ limits: { running: 1 } }) });
    world.submit(world.record({ app: "a", type: "work", key: "first" }));
    world.sync();
    world.submit(world.record({ app: "a", type: "work", key: "low", priority: -1 }));
    world.submit(world.record({ app: "a", type: "work", key: "low", priority: 100 }));
    world.submit(world.record({ app: "a", type: "work", key: "usual" }));
    world.submit(world.record({ app: "a", type: "work", key: "high", priority: 5 }));
    world.sync();
    for (let turn = 0; turn < 4; turn++) world.done(newest(world));
    expect(keysOf(world)).toEqual(["first", "high", "usual", "low", "low"]);
    expect(world.started.slice(3).map((attempt) => attempt.record.priority)).toEqual([-1, 100]);
  });

  test("a paused key waits, also over a restart, and goes on when resumed", () => {
    const world = new World({ seed: 1 });
    expect(world.ask("a", "k", { type: "key", app: A, key: "k", action: "pause" })).toMatchObject({
      key: { paused: true },
    });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    world.crash();
    world.run(1_000);
    expect(world.started).toHaveLength(0);
    expect(world.request("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { waits: "KEY_PAUSED" } });
    world.ask("a", "k", { type: "key", app: A, key: "k", action: "resume" });
    expect(world.started).toHaveLength(1);
  });

  test("a key of an app that is neither loaded nor has tasks is not paused: its name is a mistake", () => {
    const world = new World({ seed: 1 });
    for (const action of ["pause", "resume"] as const)
      expect(world.ask("typo", "k", { type: "key", app: "typo" as AppName, key: "k", action })).toMatchObject({
        type: "refused",
        code: "APP_UNKNOWN",
      });
  });

  test("nothing starts without the right to, nor in a held partition (E3)", () => {
    const world = new World({ seed: 1 });
    world.call((engine) => engine.allowStarts(world.now, false));
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    expect(world.started).toHaveLength(0);
    world.call((engine) => engine.hold(world.now, partitionOf(record.hash)));
    world.call((engine) => engine.allowStarts(world.now, true));
    expect(world.started).toHaveLength(0);
    world.call((engine) => engine.release(world.now, partitionOf(record.hash)));
    expect(world.started).toHaveLength(1);
    expect(world.engine.inFlight(partitionOf(record.hash))).toMatchObject([{ taskType: "work", app: "a" }]);
  });
});

describe("fairness", () => {
  test("P4: an app that floods does not hold up another: each gets its weight's share of the slots", () => {
    const weights = new Map([
      ["a", { weight: 1 }],
      ["b", { weight: 3 }],
    ]);
    const world = new World({
      seed: 1,
      apps: catalogue({ appLimits: weights, limits: { running: 100 } }),
      limits: { running: 4 },
    });
    for (let index = 0; index < 2_000; index++)
      world.submit(world.record({ app: "a", type: "work", key: `k${index}` }));
    world.sync();
    for (let index = 0; index < 300; index++) world.submit(world.record({ app: "b", type: "work", key: `k${index}` }));
    world.sync();
    for (let turn = 0; turn < 396; turn++) world.done([...world.running.values()][0] as Attempt);
    const started = { a: 0, b: 0 };
    for (const attempt of world.started.slice(4)) started[attempt.record.app as "a" | "b"]++;
    expect(started.b).toBeGreaterThan(290);
    expect(started.a).toBeGreaterThan(90);
  });

  test("P4: an app's running cap, its rate and its types' concurrency hold", () => {
    const types = [taskType("work", { concurrency: 2 }), taskType("plain", { state: "none" })];
    const world = new World({
      seed: 1,
      apps: catalogue({ types, limits: { running: 5 }, appLimits: new Map([["b", { perSecond: 10 }]]) }),
    });
    for (let index = 0; index < 10; index++) {
      world.submit(world.record({ app: "a", type: "work", key: `w${index}` }));
      world.submit(world.record({ app: "a", type: "plain", key: `p${index}` }));
    }
    world.sync();
    expect(world.started.filter((attempt) => attempt.record.type === "work")).toHaveLength(2);
    expect(world.started).toHaveLength(5);
    for (let turn = 0; turn < 20; turn++) {
      const attempt = [...world.running.values()][0];
      if (attempt !== undefined) world.done(attempt);
      expect([...world.running.values()].filter((each) => each.record.type === "work").length).toBeLessThanOrEqual(2);
    }
    expect(world.started).toHaveLength(20);
    for (let index = 0; index < 30; index++) world.submit(world.record({ app: "b", type: "plain", key: `k${index}` }));
    world.sync();
    for (let turn = 0; turn < 20; turn++) {
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.run(50);
    }
    expect(world.started.length - 20).toBeGreaterThanOrEqual(9);
    expect(world.started.length - 20).toBeLessThanOrEqual(12);
  });

  test("a partition that waits for a rate, a cap or a slot of its type is not runnable, so nobody takes it for stalled", () => {
    const types = [taskType("work", { concurrency: 1 }), taskType("plain", { state: "none" })];
    const appLimits = new Map([
      ["b", { perSecond: 1 }],
      ["c", { running: 1 }],
    ]);
    for (const [app, type] of [
      ["a", "work"],
      ["b", "plain"],
      ["c", "plain"],
    ] as const) {
      const world = new World({ seed: 1, apps: catalogue({ types, appLimits }) });
      for (let index = 0; index < 30; index++) world.submit(world.record({ app, type, key: `k${index}` }));
      world.sync();
      world.run(100);
      const waiting = Array.from({ length: RING_SIZE }, (_, partition) =>
        world.engine.view(partition as Partition),
      ).filter((view) => view !== undefined && view.queued > 0 && view.running === 0);
      expect(waiting.length, app).toBeGreaterThan(0);
      expect(
        waiting.filter((view) => view?.runnable),
        app,
      ).toEqual([]);
    }
  });

  test("P4: nor is one that waits until the node, which runs all it may, has a place again", () => {
    const world = new World({ seed: 1, limits: { running: 2 } });
    const records = ["k0", "k1", "k2"].map((key) => world.record({ app: "a", type: "work", key }));
    for (const record of records) world.submit(record);
    world.sync();
    expect(world.started).toHaveLength(2);
    const last = records[2]!;
    expect(world.request("a", "k2", { type: "get", id: last.id })).toMatchObject({
      status: { state: "queued", waits: "NODE_CONCURRENCY" },
    });
    expect(world.engine.view(partitionOf(last.hash))).toMatchObject({ queued: 1, running: 0, runnable: false });
  });

  test("a paused app waits and says so; resumed it goes on", () => {
    const overrides = new Map<string, Partial<AppOverride>>([["a", { paused: true }]]);
    const world = new World({ seed: 1, apps: catalogue({ overrides }) });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    expect(world.request("a", "k", { type: "get", id: record.id })).toMatchObject({
      status: { state: "queued", waits: "APP_PAUSED" },
    });
    expect(world.engine.view(partitionOf(record.hash))).toMatchObject({ queued: 1, runnable: false });
    overrides.set("a", { paused: false });
    world.call((engine) => engine.appChanged(world.now, A));
    expect(world.started).toHaveLength(1);
  });
});
