/** What grows without bound, and what one app takes from another. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import type { AppName } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { A, newest, outcomeOf } from "./task-looks.ts";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

function heap(): number {
  gc();
  gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

describe("P5", () => {
  test("P5: state of keys that wait for their turn is bounded", () => {
    const KEYS = 400;
    const world = new World({
      seed: 1,
      apps: catalogue({ limits: { running: 2 } }),
      limits: { stateCacheBytes: 1_000_000 },
    });
    const value = new Uint8Array(100_000);
    for (let key = 0; key < KEYS; key++) {
      world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
      world.sync();
      world.done(newest(world), { stateChanges: [{ name: "n", value }] });
      world.sync();
    }
    expect(world.engine.stats().stateBytes).toBeLessThan(1_200_000);
    for (let key = 0; key < KEYS; key++) world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
    world.sync();
    expect(world.running.size).toBe(2);
    // 400 keys queued, two run: 40 MB, and 100,000 queued keys of 1 MiB each would be 100 GB
    expect(world.engine.stats().stateBytes).toBeLessThan(5_000_000);
  });

  test("P5: a schedule with a cron expression takes some hundred bytes, and not the room of a calendar", () => {
    const COUNT = 500;
    const world = new World({ seed: 1 });
    const put = (index: number): void => {
      const expression = `${index % 60} ${Math.floor(index / 60)} * * *`;
      const every = { type: "cron", expression, timeZone: "Europe/Berlin" } as const;
      const spec = {
        name: `n${index}`,
        key: "k",
        taskType: "plain",
        payload: new Uint8Array(8),
        misfire: "once",
      } as const;
      world.ask("a", "k", { type: "put-schedule", app: A, spec: { ...spec, every } });
    };
    put(0);
    const before = heap();
    for (let index = 1; index <= COUNT; index++) put(index);
    expect(world.ask("a", "k", { type: "list-schedules", limit: 1_000 })).toHaveProperty("schedules.length", COUNT + 1);
    expect((heap() - before) / COUNT).toBeLessThan(10_000);
  });

  test("P5, P4: payloads of schedules are bounded for all apps, and one app leaves room for those of the others", () => {
    const world = new World({ seed: 1, limits: { scheduleBytes: 1_000_000 } });
    const put = (app: string, name: string, bytes: number) => {
      const every = { type: "interval", everyMs: 3_600_000 } as const;
      const spec = {
        name,
        every,
        taskType: "plain",
        key: "k",
        payload: new Uint8Array(bytes),
        misfire: "once",
      } as const;
      return world.ask(app, "k", { type: "put-schedule", app: app as AppName, spec });
    };
    let taken = 0;
    for (const app of ["a", "b", "c"])
      for (let index = 0; index < 20; index++) if (put(app, `n${index}`, 100_000).type === "ok") taken++;
    expect(taken).toBeLessThan(10);
    expect(put("a", "more", 100_000)).toMatchObject({ code: "QUEUE_FULL" });
    expect(put("c", "n0", 1)).toEqual({ type: "ok" }); // it had no room for more
    const ofFirst = world.ask("a", "k", { type: "list-schedules", app: "a", limit: 100 });
    expect(ofFirst).toHaveProperty("schedules.length", 8);
    world.crash();
    expect(world.ask("a", "k", { type: "list-schedules", app: "a", limit: 100 })).toEqual(ofFirst);
    expect(put("a", "n0", 10)).toEqual({ type: "ok" }); // less than it had
    for (let index = 1; index < 8; index++)
      world.ask("a", "k", { type: "schedule", app: A, key: "k", name: `n${index}`, action: "delete" });
    expect(put("a", "more", 100_000)).toEqual({ type: "ok" });
  });

  test("P4: who waits for tasks of one app, however many, leaves room for who waits for those of another", () => {
    const world = new World({ seed: 1, limits: { waiters: 100 } });
    const ids = new Map<string, string>();
    for (const app of ["a", "b"]) {
      const record = world.record({ app, type: "work", key: "k" });
      ids.set(app, record.id);
      world.submit(record);
      world.sync();
    }
    const wait = (app: string, timeoutMs: number) =>
      world.request(app, "k", { type: "wait", id: ids.get(app) as string, timeoutMs });
    const refused = (): number => Array.from({ length: 200 }, () => wait("a", 5_000)).filter(Boolean).length;
    expect(refused()).toBe(120);
    expect(wait("b", 60_000)).toBeUndefined();
    world.run(10_000);
    expect(refused()).toBe(120); // those before have given up their room
    expect(wait("a", 5_000)).toMatchObject({ code: "QUEUE_FULL" });
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    for (const app of ["a", "b"]) {
      const record = world.record({ app, type: "work", key: "k" });
      ids.set(app, record.id);
      world.submit(record);
      world.sync();
    }
    expect(refused()).toBe(120);
  });

  test("P5: a partition that has gone is not kept by the ends of its tasks", () => {
    const world = new World({ seed: 1 });
    const partition = partitionOf(hashKey("a", "k"));
    const before = heap();
    for (let round = 0; round < 20; round++) {
      world.submit(world.record({ app: "a", type: "plain", key: "k" }));
      world.sync();
      world.done(newest(world));
      const payload = new Uint8Array(200_000);
      for (let n = 0; n < 20; n++) world.submit(world.record({ app: "a", type: "plain", key: "k", payload }));
      world.sync();
      world.call((engine) => engine.close(world.now, partition));
      world.rows.clear();
      world.running.clear();
      world.started.length = 0;
      world.events.splice(0);
      const term = { history: 1, generation: round + 2, opens: 1 };
      world.call((engine) => engine.open(world.now, partition, term, "none"));
      world.call((engine) => engine.loaded(world.now, partition));
    }
    expect(world.engine.stats().queuedTasks).toBe(0);
    expect(heap() - before).toBeLessThan(20_000_000); // 80 MB
  });

  test("P5: keys that come and go while their partition awaits older tasks are not kept", () => {
    const world = new World({ seed: 1 });
    world.crash("awaited");
    const turns = (count: number): number => {
      for (let n = 0; n < count; n++) {
        const record = world.record({ app: "a", type: "plain", key: "k" });
        world.submit(record);
        world.sync();
        world.request("a", "k", { type: "cancel", id: record.id });
        world.sync();
        world.outcomes.clear();
        world.answers.clear();
        world.events.length = 0;
      }
      return heap();
    };
    const before = turns(12_000); // so many ends are remembered
    expect(turns(12_000) - before).toBeLessThan(2_000_000);
  });

  test("P4: an app with many keys to read does not keep another's single key waiting", () => {
    const world = new World({ seed: 1, limits: { stateReads: 8 } });
    for (let key = 0; key < 300; key++) {
      world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
      world.sync();
      world.done(newest(world), { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] });
    }
    world.submit(world.record({ app: "b", type: "work", key: "k" }));
    world.sync();
    world.done(newest(world), { stateChanges: [{ name: "n", value: Uint8Array.of(1) }] });
    world.sync();
    world.crash();
    world.started.length = 0;
    for (let key = 0; key < 300; key++) world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
    world.syncUpTo(world.group);
    world.submit(world.record({ app: "b", type: "work", key: "k" }));
    world.closeGroup();
    world.syncUpTo(world.group);
    let turns = 0;
    while (!world.started.some((attempt) => attempt.record.app === "b") && turns++ < 1_000) {
      world.answerReads(); // eight of them
      for (const attempt of [...world.running.values()]) world.done(attempt);
    }
    expect(turns).toBeLessThan(12); // 64 attempts of app a at most are ahead, eight reads a turn
  });

  test("P5: tasks that come and are cancelled leave nothing behind in a paused app", () => {
    const overrides = new Map<string, Partial<AppOverride>>([["a", { paused: true }]]);
    const world = new World({
      seed: 1,
      apps: catalogue({ overrides }),
      limits: { resultsPerApp: 8, endedIdsPerNode: 1_024 },
    });
    const round = (count: number): void => {
      for (let each = 0; each < count; each++) {
        const key = `k${each % 10}`;
        const record = world.record({ app: "a", type: "plain", key });
        world.submit(record);
        world.sync();
        world.ask("a", key, { type: "cancel", id: record.id });
        world.answers.clear();
        world.outcomes.clear();
        world.events.length = 0;
      }
    };
    round(3_000);
    const before = heap();
    round(20_000);
    const grown = heap() - before;
    expect(world.engine.stats().queuedTasks).toBe(0);
    expect(grown / 20_000, "bytes left behind by each cancelled task").toBeLessThan(80);
  });

  test("P5: nor behind a type whose slots are taken", () => {
    const world = new World({
      seed: 1,
      apps: catalogue({ types: [taskType("plain", { state: "none", concurrency: 1, timeoutMs: 86_400_000 })] }),
      limits: { resultsPerApp: 8, endedIdsPerNode: 1_024 },
    });
    world.submit(world.record({ app: "a", type: "plain", key: "long" }));
    world.sync();
    const round = (count: number): void => {
      for (let each = 0; each < count; each++) {
        const key = `k${each % 10}`;
        const record = world.record({ app: "a", type: "plain", key });
        world.submit(record);
        world.sync();
        world.ask("a", key, { type: "cancel", id: record.id });
        world.answers.clear();
        world.outcomes.clear();
        world.events.length = 0;
      }
    };
    round(3_000);
    const before = heap();
    round(20_000);
    const grown = heap() - before;
    expect(grown / 20_000, "bytes left behind by each cancelled task").toBeLessThan(80);
  });

  test("P5: a task that waits does not keep the whole batch that it came in", () => {
    const world = new World({ seed: 1 });
    world.ask("a", "slow", { type: "key", app: A, key: "slow", action: "pause" });
    const before = heap();
    for (let batch = 0; batch < 100; batch++) {
      // one message of a client: a payload of 1 MiB for a fast key, and a small task for a key that waits
      const wires = [
        { key: `fast${batch}`, payload: new Uint8Array(1_000_000) },
        { key: "slow", payload: new Uint8Array(10) },
      ].map((fields) =>
        encodeRecord({
          app: "a",
          type: "plain",
          ...fields,
          id: mintId({ wallMs: world.wallMs, random: world.random, app: "a", key: fields.key }),
        }),
      );
      const message = Buffer.concat(wires);
      let at = 0;
      for (const wire of wires) {
        const record = parseRecord(message, at, at + wire.length);
        if (isRefused(record)) throw new Error(record.detail);
        at += wire.length;
        world.submit(record);
      }
      world.sync();
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.started.length = 0;
      world.sync();
      world.rows.clear();
      world.outcomes.clear();
      world.events.length = 0;
    }
    world.run(1_000);
    const { queuedTasks, queuedBytes } = world.engine.stats();
    expect(queuedTasks).toBe(100);
    const grown = heap() - before;
    expect(grown, `of ${queuedTasks} tasks with ${queuedBytes} bytes`).toBeLessThan(10_000_000);
  });
});

describe("P5, behind a task that waits", () => {
  test("P5: tasks that have ended do not keep their payloads", () => {
    const world = new World({ seed: 1 });
    world.ask("a", "slow", { type: "key", app: A, key: "slow", action: "pause" });
    for (let count = 0; count < 200; count++) world.submit(world.record({ app: "a", type: "plain", key: "slow" }));
    world.sync();
    const keys = Array.from({ length: 3_000 }, (_, each) => `fast${each}`)
      .filter((key) => partitionOf(hashKey("a", key)) === partitionOf(hashKey("a", "slow")))
      .slice(0, 300);
    expect(keys).toHaveLength(300);
    const before = heap();
    for (const key of keys) {
      world.submit(world.record({ app: "a", type: "plain", key, payload: new Uint8Array(1_000_000) }));
      world.sync();
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.started.length = 0;
      world.sync();
      world.rows.clear();
      world.outcomes.clear();
      world.events.length = 0;
    }
    const { queuedTasks, queuedBytes } = world.engine.stats();
    expect(queuedTasks).toBe(200);
    expect(heap() - before, `of ${queuedTasks} tasks with ${queuedBytes} bytes`).toBeLessThan(10_000_000);
  });

  test("P5: state of keys whose head backs off is bounded", () => {
    const world = new World({
      seed: 1,
      apps: catalogue({ types: [taskType("work", { backoff: { baseMs: 3_600_000, maxMs: 3_600_000 } })] }),
      limits: { stateCacheBytes: 1_000_000 },
    });
    const value = new Uint8Array(100_000);
    for (let key = 0; key < 200; key++) {
      world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
      world.sync();
      world.done(newest(world), { stateChanges: [{ name: "n", value }] });
      world.sync();
    }
    for (let key = 0; key < 200; key++) {
      world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
      world.sync();
      world.fail(newest(world)); // what it calls is down
      world.sync();
    }
    expect(world.running.size).toBe(0);
    expect(world.engine.stats().stateBytes).toBeLessThan(2_000_000);
  });
});

describe("P4", () => {
  test("P4: an app below its own limit does not fill the node's bytes for others", () => {
    const world = new World({ seed: 1, limits: { queuedBytes: 10_000_000 } });
    const payload = new Uint8Array(500_000);
    for (let count = 0; count < 30; count++) world.submit(world.record({ app: "a", type: "plain", key: "k", payload }));
    world.sync();
    const token = world.submit(world.record({ app: "b", type: "plain", key: "k", payload }));
    world.sync();
    expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
  });
});

describe("counters", () => {
  test("P5: a partition that closes while a dead letter is not durable yet leaves the count of dead letters right", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k", maxAttempts: 1 });
    world.submit(record);
    world.sync();
    const { partition } = newest(world) as Attempt;
    world.fail(newest(world));
    world.call((engine) => engine.close(world.now, partition));
    expect(world.engine.stats().dead).toBe(0);
  });
});
