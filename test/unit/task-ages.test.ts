/** How long tasks have waited, as metrics and operators are told: from when they became runnable, not from when they were accepted. */

import { expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { newest } from "./task-looks.ts";

const HOUR_MS = 3_600_000;

test("a delayed task has waited since it was due", () => {
  const world = new World({ seed: 1 });
  world.submit(world.record({ app: "a", type: "work", key: "k", delayMs: HOUR_MS }));
  world.sync();
  world.run(HOUR_MS + 1_000);
  expect(world.engine.appViews(1)[0]?.oldestWaitMs).toBeLessThan(2_000);
  world.done(newest(world));
  world.sync();
  expect(world.events.at(-1)?.waitMs).toBeLessThan(2_000);
});

test("a task of a relaxed lane has waited since its back-off was over", () => {
  const work = taskType("work", { order: "relaxed", attempts: 3, backoff: { baseMs: HOUR_MS, maxMs: HOUR_MS } });
  const world = new World({ seed: 1, apps: catalogue({ types: [work] }) });
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  for (let attempt = 1; attempt < 3; attempt++) {
    world.fail(newest(world));
    world.sync();
    world.run(HOUR_MS + 1_000);
    expect(newest(world).attempt).toBe(attempt + 1);
    expect(world.engine.appViews(1)[0]?.oldestWaitMs).toBeLessThanOrEqual(HOUR_MS / 2 + 1_000); // half of it is jitter
  }
  expect(Math.max(...world.events.map(({ waitMs }) => waitMs))).toBeLessThan(2_000);
});

test("a task that is cancelled before it was due has not waited", () => {
  const world = new World({ seed: 1 });
  const record = world.record({ app: "a", type: "work", key: "k", delayMs: HOUR_MS });
  world.submit(record);
  world.sync();
  world.run(HOUR_MS / 2);
  world.ask("a", "k", { type: "cancel", id: record.id });
  const [{ outcome, started, waitMs, runMs } = {}] = world.events;
  expect([outcome, started, waitMs, runMs]).toEqual(["cancelled", false, 0, 0]);
});

test("a task that stands still is seen behind one that is to start much later", () => {
  const world = new World({ seed: 1 });
  world.submit(world.record({ app: "a", type: "work", key: "k", delayMs: HOUR_MS }));
  world.sync();
  world.call((engine) => engine.allowStarts(world.now, false));
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  world.run(60_000);
  const partition = partitionOf(hashKey("a", "k"));
  expect(world.engine.view(partition)?.oldestWaitMs).toBeGreaterThan(50_000);
});
