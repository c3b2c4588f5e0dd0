/** Who starts of the tasks that become durable together, when there is room for few: all have entered before any starts. */
import { expect, test } from "vitest";
import { catalogue, taskType, World } from "../property/task-world.ts";
import { keysOf } from "./task-looks.ts";

test("P4: a flood of one app does not take every slot before another app of the same commit had its turn", () => {
  const world = new World({
    seed: 1,
    apps: catalogue({ limits: { queued: 10_000, running: 10_000, perSecond: 0, weight: 1 } }),
    limits: { running: 60 },
  });
  for (let index = 0; index < 200; index++) world.submit(world.record({ app: "a", type: "plain", key: `k${index}` }));
  for (let index = 0; index < 10; index++) world.submit(world.record({ app: "b", type: "plain", key: `k${index}` }));
  expect(world.started).toHaveLength(0);
  world.sync();
  expect(world.started).toHaveLength(60);
  expect(world.started.filter((attempt) => attempt.record.app === "b")).toHaveLength(10);
});

test("P4: weights hold among what became durable together", () => {
  const world = new World({
    seed: 1,
    apps: catalogue({
      limits: { queued: 10_000, running: 10_000, perSecond: 0, weight: 1 },
      appLimits: new Map([["b", { weight: 9 }]]),
    }),
    limits: { running: 60 },
  });
  for (let index = 0; index < 64; index++) world.submit(world.record({ app: "a", type: "plain", key: `k${index}` }));
  for (let index = 0; index < 64; index++) world.submit(world.record({ app: "b", type: "plain", key: `k${index}` }));
  world.sync();
  expect(world.started.filter((attempt) => attempt.record.app === "b").length).toBeGreaterThanOrEqual(50);
});

test("P4: a weight that is no whole number counts in full", () => {
  for (const [weight, expected] of [
    [0.1, 10],
    [0.7, 70],
    [1.5, 150],
    [2.25, 225],
  ] as const) {
    const world = new World({
      seed: 1,
      apps: catalogue({
        types: [taskType("plain", { state: "none", concurrency: 1_000 })],
        limits: { queued: 10_000, running: 10_000, perSecond: 0, weight: 1 },
        appLimits: new Map([["b", { weight }]]),
      }),
      limits: { running: 100 + expected },
    });
    for (const app of ["a", "b"])
      for (let index = 0; index < 400; index++) world.submit(world.record({ app, type: "plain", key: `k${index}` }));
    world.sync();
    const started = world.started.filter((attempt) => attempt.record.app === "b").length;
    expect(Math.abs(started - expected), `weight ${weight}: ${started}`).toBeLessThanOrEqual(2);
  }
});

test("P3: priority orders the lanes of what became durable together", () => {
  const world = new World({
    seed: 1,
    apps: catalogue({ limits: { queued: 10_000, running: 10, perSecond: 0, weight: 1 } }),
  });
  for (let index = 0; index < 64; index++)
    world.submit(world.record({ app: "a", type: "plain", key: `low${index}`, priority: 0 }));
  for (let index = 0; index < 10; index++)
    world.submit(world.record({ app: "a", type: "plain", key: `high${index}`, priority: 2 }));
  world.sync();
  expect(keysOf(world)).toHaveLength(10);
  expect(keysOf(world).filter((key) => key.startsWith("high"))).toHaveLength(10);
});

test("P3: priority orders the lanes that wait for a slot of their type", () => {
  const world = new World({ seed: 1, apps: catalogue({ types: [taskType("one", { concurrency: 1 })] }) });
  for (let index = 0; index < 5; index++) world.submit(world.record({ app: "a", type: "one", key: `low${index}` }));
  world.sync();
  world.submit(world.record({ app: "a", type: "one", key: "high", priority: 2 }));
  world.sync();
  for (let turn = 0; turn < 6; turn++) {
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
  }
  expect(keysOf(world)).toEqual(["low0", "high", "low1", "low2", "low3", "low4"]);
});
