/** Random runs with narrow types, rates, pauses, cancels, deadlines, deletions; when all is quiet nothing is stuck and all counters are 0. */

import { expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { catalogue, partitionOf, taskType, World } from "./task-world.ts";

const FROM = Number(process.env.SEED ?? 1);
const SEEDS = Number(process.env.SEEDS ?? 150);
const APPS = ["a", "b", "c"] as AppName[];

test("no lane is stuck, no counter drifts", () => {
  const failures: string[] = [];
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    try {
      run(seed);
    } catch (error) {
      failures.push(`seed ${seed}: ${(error as Error).message.slice(0, 400)}`);
    }
  }
  expect(failures.slice(0, 10), `${failures.length} seeds`).toEqual([]);
}, 120_000);

function run(seed: number): void {
  const overrides = new Map<string, Partial<AppOverride>>();
  const world = new World({
    seed,
    apps: catalogue({
      types: [
        taskType("one", { concurrency: 1 }),
        taskType("two", { concurrency: 2, order: "relaxed" }),
        taskType("none", { state: "none", concurrency: 1 }),
        taskType("wide", { timeoutMs: 500 }),
      ],
      limits: { running: 3, queued: 60 },
      residents: seed % 2 === 0 ? ["r"] : [],
      overrides,
    }),
    callsPerGroup: [1, 3, 10][seed % 3] as number,
    limits: {
      running: 5,
      stateCacheBytes: [2_000, 100_000][seed % 2] as number,
      stateReads: 4,
      residents: 2,
      deadPerApp: 500,
      queuedBytes: 100_000,
    },
  });
  const pick = (count: number): number => Math.floor(world.random() * count);
  const busy = new Map<string, number>();
  const open = new Map<string, { app: AppName; key: string }>();
  world.onStart = (attempt: Attempt): void => {
    const name = `${attempt.record.app}/${attempt.record.key}`;
    if (busy.has(name)) throw new Error(`two attempts of ${name}`);
    busy.set(name, attempt.attemptId);
    if (attempt.resident === undefined && world.running.size > 5 + 2) throw new Error("more than the node's limit");
    for (const app of APPS) {
      const mine = [...world.running.values()].filter((each) => each.record.app === app && each.resident === undefined);
      if (mine.filter((each) => each.record.type === "one").length > 1) throw new Error("type one runs twice");
      if (mine.filter((each) => each.record.type === "none").length > 1) throw new Error("type none runs twice");
    }
  };
  const end = (attempt: Attempt, healthy: boolean): void => {
    busy.delete(`${attempt.record.app}/${attempt.record.key}`);
    const luck = healthy ? 0 : pick(10);
    if (luck > 7) world.fail(attempt);
    else
      world.done(attempt, {
        stateChanges:
          attempt.record.type === "none" || attempt.resident !== undefined || pick(2) === 0
            ? []
            : [{ name: "n", value: new Uint8Array(pick(300)) }],
      });
  };
  const override = (app: AppName, next: Partial<AppOverride> | undefined): void => {
    if (next === undefined) overrides.delete(app);
    else overrides.set(app, next);
    world.call((engine) => engine.appChanged(world.now, app));
  };
  for (let step = 0; step < 300; step++) {
    const dice = pick(100);
    const app = APPS[pick(3)] as AppName;
    const key = `k${pick(6)}`;
    const running = [...world.running.values()];
    if (dice < 35) {
      const record = world.record({
        app,
        key,
        type: ["one", "one", "two", "none", "wide"][pick(5)] as string,
        delayMs: pick(8) === 0 ? pick(500) : 0,
        deadlineMs: pick(6) === 0 ? 1 + pick(900) : 0,
        priority: pick(3) - 1,
        maxAttempts: pick(3),
        ...(pick(5) === 0 ? { idempotencyKey: `i${pick(50)}` } : {}),
        payload: new Uint8Array(pick(3_000)),
      });
      open.set(record.id, { app, key });
      world.submit(record);
    } else if (dice < 55 && running.length > 0) end(running[pick(running.length)] as Attempt, false);
    else if (dice < 63) world.sync();
    else if (dice < 68) world.closeGroup();
    else if (dice < 72) world.answerReads();
    else if (dice < 80) world.advance(pick(300));
    else if (dice < 88) {
      const ids = [...open];
      const found = ids[pick(Math.max(1, ids.length))];
      if (found !== undefined) world.request(found[1].app, found[1].key, { type: "cancel", id: found[0] });
    } else if (dice < 92)
      world.request(app, key, { type: "key", app, key, action: pick(2) === 0 ? "pause" : "resume" });
    else if (dice < 95)
      override(
        app,
        [
          undefined,
          { paused: true },
          { limits: { perSecond: 0.01 } },
          { limits: { perSecond: 20 } },
          { limits: { running: 1 } },
          { existence: "deleted" as const },
        ][pick(6)],
      );
    else if (dice < 97) {
      const partition = partitionOf(pick(2 ** 32));
      world.call((engine) => engine.hold(world.now, partition));
      world.advance(pick(200));
      world.call((engine) => engine.release(world.now, partition));
    } else if (dice < 98) {
      busy.clear();
      world.crash();
    }
  }
  for (const app of APPS) {
    override(app, undefined);
    for (let key = 0; key < 6; key++)
      world.request(app, `k${key}`, { type: "key", app, key: `k${key}`, action: "resume" });
  }
  let quiet = 0;
  for (let turn = 0; turn < 3_000 && quiet < 60; turn++) {
    world.sync();
    const running = [...world.running.values()].filter((attempt) => attempt.resident === undefined);
    for (const attempt of running) end(attempt, true);
    quiet = running.length === 0 ? quiet + 1 : 0;
    world.advance(200);
  }
  world.sync();
  const stats = world.engine.stats();
  const stuck = [...open].flatMap(([id, { app, key }]) => {
    const answer = world.request(app, key, { type: "get", id });
    return answer?.type === "task" && !["done", "dead", "cancelled"].includes(answer.status.state)
      ? [`${app}/${key} ${answer.status.type} ${answer.status.state} ${answer.status.waits}`]
      : [];
  });
  if (stuck.length > 0) throw new Error(`stuck: ${stuck.join("; ")}`);
  const { queuedTasks, queuedBytes, running, outbox } = stats;
  if (queuedTasks + queuedBytes + running + outbox !== 0) throw new Error(JSON.stringify(stats));
  for (const view of world.engine.appViews(10))
    if (view.queued + view.running !== 0) throw new Error(JSON.stringify(view));
}
