/** Submits to the task engine: what is accepted, refused and recognised, and what an app costs. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { catalogue, partitionOf, RING_SIZE, taskType, World } from "../property/task-world.ts";
import { A, keysOf, newest, outcomeOf } from "./task-looks.ts";

describe("submit", () => {
  test("P1: a task is acknowledged and started only when its row is durable", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    const token = world.submit(record);
    expect(outcomeOf(world, token)).toBeUndefined();
    expect(world.started).toHaveLength(0);
    world.sync();
    expect(outcomeOf(world, token)).toEqual({ type: "accepted", id: record.id });
    expect(keysOf(world)).toEqual(["k"]);
  });

  test("P1: however many become durable together, all are acknowledged, and start in order of their lanes", () => {
    const world = new World({ seed: 1 });
    const tokens = Array.from({ length: 300 }, (_, index) =>
      world.submit(world.record({ app: "a", type: "work", key: `k${index % 150}` })),
    );
    expect(world.started).toHaveLength(0);
    world.sync();
    for (const token of tokens) expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
    while (world.running.size > 0) for (const attempt of [...world.running.values()]) world.done(attempt);
    expect(world.started).toHaveLength(300);
    expect(keysOf(world).slice(0, 150).sort()).toEqual(Array.from({ length: 150 }, (_, index) => `k${index}`).sort());
  });

  test("the same id again is a duplicate: while it waits for the disk, while it runs, and when it is done", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    const early = world.submit(record);
    expect(outcomeOf(world, early)).toBeUndefined(); // an answer is an acknowledgement
    world.sync();
    expect(outcomeOf(world, early)).toMatchObject({ type: "duplicate", id: record.id });
    expect(outcomeOf(world, world.submit(record))).toMatchObject({ type: "duplicate", state: "running" });
    world.done(newest(world));
    world.sync();
    expect(outcomeOf(world, world.submit(record))).toMatchObject({ type: "duplicate", state: "done" });
    expect(world.started).toHaveLength(1);
  });

  test("the same idempotency key of the same key answers with the first task, also after a restart", () => {
    const world = new World({ seed: 1 });
    const first = world.record({ app: "a", type: "work", key: "k", idempotencyKey: "once" });
    world.submit(first);
    world.sync();
    world.end(newest(world), { type: "done", result: Uint8Array.of(7) });
    world.sync();
    world.crash();
    const again = world.submit(world.record({ app: "a", type: "work", key: "k", idempotencyKey: "once" }));
    expect(outcomeOf(world, again)).toEqual({ type: "duplicate", id: first.id, state: "done" });
    expect(world.ask("a", "k", { type: "get", id: first.id })).toMatchObject({
      type: "task",
      status: { state: "done", result: Uint8Array.of(7), attempts: 1 },
    });
    const near = Array.from({ length: 100 }, (_, index) => `near${index}`).find(
      (key) => partitionOf(hashKey("a", key)) === partitionOf(first.hash),
    ) as string;
    const other = world.submit(world.record({ app: "a", type: "work", key: near, idempotencyKey: "once" }));
    world.sync();
    expect(outcomeOf(world, other)).toMatchObject({ type: "accepted" });
  });

  test("P5: queues are bounded per app, per node in tasks and in bytes; a full one says when to try again", () => {
    const world = new World({
      seed: 1,
      apps: catalogue({ limits: { queued: 5, running: 0 } }),
      limits: { queuedTasks: 8 },
    });
    const codes = (app: string, count: number): unknown[] => {
      const tokens = Array.from({ length: count }, (_, index) =>
        world.submit(world.record({ app, type: "work", key: `k${index}` })),
      );
      world.sync();
      return tokens.map((token) => world.outcomes.get(token)).filter((outcome) => outcome?.type === "refused");
    };
    const refused = codes("a", 7);
    expect(refused).toHaveLength(2);
    expect(refused[0]).toMatchObject({ code: "QUEUE_FULL", retryAfterMs: expect.any(Number) });
    expect(codes("b", 4)).toHaveLength(1); // the node's 8
    const small = new World({ seed: 1, limits: { queuedBytes: 1_000 } });
    const big = small.submit(small.record({ app: "a", type: "work", key: "k", payload: new Uint8Array(990) }));
    expect(outcomeOf(small, big)).toMatchObject({ code: "QUEUE_FULL" });
    world.call((engine) => engine.setShare(2, RING_SIZE));
    expect(world.engine.queuedOf(A)).toBe(5);
    expect(outcomeOf(world, world.submit(world.record({ app: "c", type: "work", key: "x" })))).toMatchObject({
      code: "QUEUE_FULL",
    });
  });

  test("room is made by ended tasks, once their end is durable", () => {
    const world = new World({ seed: 1, apps: catalogue({ limits: { queued: 1 } }) });
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    world.done(newest(world));
    expect(outcomeOf(world, world.submit(world.record({ app: "a", type: "work", key: "k" })))).toMatchObject({
      code: "QUEUE_FULL",
    });
    world.sync();
    const token = world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
  });

  test("an unknown app, an unknown type and a partition that is not here are told apart", () => {
    const world = new World({ seed: 1 });
    expect(outcomeOf(world, world.submit(world.record({ app: "nope", type: "work", key: "k" })))).toMatchObject({
      code: "APP_UNKNOWN",
    });
    expect(
      outcomeOf(world, world.submit(world.record({ app: "nope", type: "work", key: "k" }), "child")),
    ).toMatchObject({ code: "APP_NOT_HERE" });
    expect(outcomeOf(world, world.submit(world.record({ app: "a", type: "nope", key: "k" })))).toMatchObject({
      code: "TASK_TYPE_UNKNOWN",
    });
    const record = world.record({ app: "a", type: "work", key: "k" });
    const waiting = world.submit(record);
    world.call((engine) => engine.close(world.now, partitionOf(record.hash)));
    expect(outcomeOf(world, waiting)).toMatchObject({ code: "NO_OWNER" }); // it may be stored
    expect(outcomeOf(world, world.submit(record))).toMatchObject({ code: "NOT_OWNER" });
    world.sync();
    expect(world.started).toHaveLength(0);
  });

  test("submits that come while a partition is loading are decided when it is loaded", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    world.crash();
    const partition = partitionOf(record.hash);
    world.call((engine) => engine.open(world.now, partition, { history: 1, generation: 1, opens: 50 }, "none"));
    const token = world.submit(record);
    expect(outcomeOf(world, token)).toBeUndefined();
    world.engine.load(partition, world.partitionRows(partition));
    world.call((engine) => engine.loaded(world.now, partition));
    expect(outcomeOf(world, token)).toMatchObject({ type: "duplicate" });
  });
});

describe("many apps", () => {
  test("P5: an app costs nothing once nothing of it is left", () => {
    const names = Array.from({ length: 200 }, (_, index) => `event-${index}`);
    const world = new World({ seed: 1, apps: catalogue({ names, types: [taskType("plain", { state: "none" })] }) });
    for (const app of names) world.submit(world.record({ app, type: "plain", key: "k" }));
    world.sync();
    expect(world.started).toHaveLength(200);
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    expect(world.engine.stats().apps).toBe(200);
    world.run(2 * 3_600_000);
    expect(world.engine.stats()).toMatchObject({ apps: 0, queuedTasks: 0, queuedBytes: 0, running: 0, outbox: 0 });
  });
});
