/** The task engine, promise by promise and rule by rule, in virtual time. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import type { AppName, Partition } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import type { Attempt, TaskState, TaskStatus } from "../../ring/tasks/task.ts";
import { deriveId, mintId } from "../../ring/tasks/task-id.ts";
import { catalogue, partitionOf, RING_SIZE, taskType, WALL_MS, World } from "../property/task-world.ts";

const A = "a" as AppName;

function keysOf(world: World): string[] {
  return world.started.map((attempt) => attempt.record.key);
}

function newest(world: World): Attempt {
  return world.started.at(-1) as Attempt;
}

function outcomeOf(world: World, token: number): unknown {
  return world.outcomes.get(token);
}

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
    expect(outcomeOf(world, waiting)).toMatchObject({ code: "NOT_OWNER" });
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

describe("ends", () => {
  test("P1: a task that fails for the last time is a dead letter, its lane goes on; retried it runs again, at the end", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k", maxAttempts: 2, payload: Uint8Array.of(5) });
    world.submit(record);
    const next = world.record({ app: "a", type: "work", key: "k" });
    world.submit(next);
    world.sync();
    world.fail(newest(world));
    world.run(200);
    world.fail(newest(world), "boom");
    expect(newest(world).record.id).toBe(next.id);
    world.sync();
    world.crash();
    expect(world.ask("a", "k", { type: "list-dead", limit: 10 })).toMatchObject({
      statuses: [{ id: record.id, attempts: 2, error: { message: "boom" } }],
    });
    expect(world.ask("a", "k", { type: "retry-dead", ids: [record.id] })).toEqual({ type: "count", count: 1 });
    world.done(newest(world)); // `next`, which ran again after the crash
    expect(newest(world).record.id).toBe(record.id);
    expect([...newest(world).record.wire]).toEqual([...record.wire]);
    world.fail(newest(world));
    world.run(200);
    world.fail(newest(world));
    world.sync();
    expect(world.ask("a", "k", { type: "drop-dead", ids: [record.id] })).toEqual({ type: "count", count: 1 });
    world.crash();
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({
      type: "refused",
      code: "TASK_NOT_FOUND",
    });
  });

  test("with no room for another dead letter a task is tried on and says why", () => {
    const world = new World({ seed: 1, limits: { deadPerApp: 1 } });
    for (const key of ["k", "l"]) world.submit(world.record({ app: "a", type: "work", key, maxAttempts: 1 }));
    world.sync();
    for (const attempt of [...world.running.values()]) world.fail(attempt);
    world.sync();
    expect(world.ask("a", "l", { type: "get", id: world.started[1]!.record.id })).toMatchObject({
      status: { state: "retrying", waits: "DEAD_LETTERS_FULL" },
    });
    world.run(61_000);
    expect(world.started).toHaveLength(3);
  });

  test("a handler past its timeout is aborted; the lane waits for it, and its late result counts as a failure (rule 21)", () => {
    const world = new World({ seed: 1 });
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    world.run(30_000);
    expect(world.aborted).toEqual([{ attemptId: newest(world).attemptId, reason: "timeout" }]);
    world.run(60_000);
    expect(world.started).toHaveLength(1);
    world.done(newest(world));
    world.run(200);
    expect(newest(world)).toMatchObject({ attempt: 2, record: { id: world.started[0]!.record.id } });
  });

  test("a deadline kills a waiting task and aborts a running one", () => {
    const world = new World({ seed: 1 });
    const running = world.record({ app: "a", type: "work", key: "k", deadlineMs: 500 });
    const waiting = world.record({ app: "a", type: "work", key: "k", deadlineMs: 400 });
    const delayed = world.record({ app: "a", type: "work", key: "k", deadlineMs: 400, delayMs: 10_000 });
    for (const record of [running, waiting, delayed]) world.submit(record);
    world.sync();
    expect(newest(world).deadline).toBe(world.now + 500);
    world.run(600);
    expect(world.aborted.map((each) => each.reason)).toEqual(["deadline"]);
    world.done(newest(world));
    world.sync();
    for (const record of [running, waiting, delayed]) {
      expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({
        status: { state: "dead", error: { name: "DEADLINE" } },
      });
    }
    expect(world.started).toHaveLength(1);
    expect(world.engine.view(partitionOf(running.hash))).toMatchObject({ queued: 0, delayed: 0, dead: 3 });
  });

  test("P1: a task that is cancelled, or too late, while it waits for a slot of its type does not run when there is one", () => {
    for (const how of ["cancelled", "dead"] as const) {
      for (const behind of [0, 1, 40]) {
        const world = new World({ seed: 1, apps: catalogue({ types: [taskType("work", { concurrency: 1 })] }) });
        world.submit(world.record({ app: "a", type: "work", key: "first" }));
        world.sync();
        const deadline = how === "dead" ? { deadlineMs: 1_000 } : {};
        const late = Array.from({ length: 1 + behind }, () =>
          world.record({ app: "a", type: "work", key: "second", ...deadline }),
        );
        const last = world.record({ app: "a", type: "work", key: "second" });
        for (const record of [...late, last]) world.submit(record);
        world.sync();
        if (how === "cancelled") for (const { id } of late) world.ask("a", "second", { type: "cancel", id });
        else world.run(1_001);
        for (const { id } of late)
          expect(world.ask("a", "second", { type: "get", id })).toMatchObject({ status: { state: how } });
        while (world.running.size > 0) for (const attempt of [...world.running.values()]) world.done(attempt);
        world.sync();
        expect(world.started.map(({ record }) => record.key)).toEqual(["first", "second"]);
        expect(world.started[1]!.record.id).toBe(last.id);
        expect(world.engine.stats().queuedTasks).toBe(0);
      }
    }
  });

  test("P1: cancel ends a waiting task at once and aborts a running one", () => {
    const world = new World({ seed: 1 });
    const records = [0, 1, 2].map((index) =>
      world.record({ app: "a", type: "work", key: "k", ...(index === 2 ? { delayMs: 50 } : {}) }),
    );
    for (const record of records) world.submit(record);
    world.sync();
    expect(world.ask("a", "k", { type: "cancel", id: records[1]!.id })).toMatchObject({
      status: { state: "cancelled" },
    });
    expect(world.ask("a", "k", { type: "cancel", id: records[2]!.id })).toMatchObject({
      status: { state: "cancelled" },
    });
    expect(world.ask("a", "k", { type: "cancel", id: records[0]!.id })).toMatchObject({ status: { state: "running" } });
    expect(world.aborted).toMatchObject([{ reason: "cancelled" }]);
    world.fail(newest(world));
    world.run(1_000);
    expect(world.started).toHaveLength(1);
    expect(world.ask("a", "k", { type: "get", id: records[0]!.id })).toMatchObject({ status: { state: "cancelled" } });
  });

  test("an attempt aborted for the node's sake is not counted", () => {
    const world = new World({ seed: 1 });
    world.submit(world.record({ app: "a", type: "work", key: "k", maxAttempts: 1 }));
    world.sync();
    world.call((engine) => engine.allowStarts(world.now, false));
    world.call((engine) => engine.abortAll(world.now, "lease"));
    world.fail(newest(world));
    expect(world.started).toHaveLength(1);
    world.call((engine) => engine.allowStarts(world.now, true));
    expect(newest(world)).toMatchObject({ attempt: 1 });
    expect(world.started).toHaveLength(2);
  });

  test("wait is answered when the end is durable, or with the present state at its timeout", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    world.call((engine) =>
      engine.request(world.now, partitionOf(record.hash), { type: "wait", id: record.id, timeoutMs: 10_000 }, 90_001),
    );
    world.call((engine) =>
      engine.request(world.now, partitionOf(record.hash), { type: "wait", id: record.id, timeoutMs: 100 }, 90_002),
    );
    world.advance(100);
    expect(world.answers.get(90_002)).toMatchObject({ status: { state: "running" } });
    world.done(newest(world));
    expect(world.answers.get(90_001)).toBeUndefined();
    world.sync();
    expect(world.answers.get(90_001)).toMatchObject({ status: { state: "done" } });
  });

  test("wait with the state that is known is answered by the next start, retry or end, and at once if it is older", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    let asked = 90_000;
    const ask = (since: { readonly state: TaskState; readonly attempts: number }): number => {
      const request = { type: "wait", id: record.id, timeoutMs: 60_000, since } as const;
      world.call((engine) => engine.request(world.now, partitionOf(record.hash), request, ++asked));
      return asked;
    };
    world.call((engine) => engine.allowStarts(world.now, false));
    world.submit(record);
    world.sync();
    const start = ask({ state: "queued", attempts: 0 });
    world.advance(1_000);
    expect(world.answers.get(start)).toBeUndefined();
    world.call((engine) => engine.allowStarts(world.now, true));
    expect(world.answers.get(start)).toMatchObject({ status: { state: "running" } });
    expect(world.answers.get(ask({ state: "queued", attempts: 0 }))).toMatchObject({ status: { state: "running" } });
    const { attempts } = (world.answers.get(start) as { status: TaskStatus }).status;
    const retry = ask({ state: "running", attempts });
    world.fail(newest(world));
    expect(world.answers.get(retry)).toMatchObject({ status: { state: "retrying" } });
    const again = ask((world.answers.get(retry) as { status: TaskStatus }).status);
    world.advance(30_000);
    expect(world.answers.get(again)).toMatchObject({ status: { state: "running" } });
    const end = ask((world.answers.get(again) as { status: TaskStatus }).status);
    world.done(newest(world));
    world.sync();
    expect(world.answers.get(end)).toMatchObject({ status: { state: "done" } });
  });

  test("P5: results are kept within their count and their time, rows included", () => {
    const world = new World({ seed: 1, limits: { resultsPerApp: 10, resultsMs: 60_000 } });
    const ids: string[] = [];
    for (let index = 0; index < 30; index++) {
      const record = world.record({ app: "a", type: "work", key: "k" });
      ids.push(record.id);
      world.submit(record);
      world.sync();
      world.end(newest(world), { type: "done", result: Uint8Array.of(index) });
      world.sync();
    }
    expect(world.ask("a", "k", { type: "get", id: ids[0]! })).toMatchObject({ code: "TASK_NOT_FOUND" });
    expect(world.ask("a", "k", { type: "get", id: ids[29]! })).toMatchObject({ status: { result: Uint8Array.of(29) } });
    world.run(130_000);
    expect(world.ask("a", "k", { type: "get", id: ids[29]! })).toMatchObject({ code: "TASK_NOT_FOUND" });
    expect(world.partitionRows(partitionOf(hashKey("a", "k")))).toEqual([]);
  });
});

describe("state", () => {
  test("is written with the ack, read once, and evicted when memory is short", () => {
    const world = new World({ seed: 1, limits: { stateCacheBytes: 2_000 } });
    for (let round = 1; round <= 3; round++) {
      for (let key = 0; key < 20; key++) {
        world.submit(world.record({ app: "a", type: "work", key: `k${key}` }));
        world.sync();
        expect(newest(world).state.get("count")?.[0] ?? 0).toBe(round - 1);
        world.done(newest(world), { stateChanges: [{ name: "count", value: Uint8Array.of(round) }] });
        world.sync();
      }
    }
    expect(world.ask("a", "k3", { type: "read-state", app: A, key: "k3" })).toEqual({
      type: "state",
      values: new Map([["count", Uint8Array.of(3)]]),
    });
    world.submit(world.record({ app: "a", type: "work", key: "k3" }));
    world.sync();
    world.done(newest(world), { stateChanges: [{ name: "count", value: undefined }] });
    expect(world.ask("a", "k3", { type: "read-state", app: A, key: "k3" })).toEqual({
      type: "state",
      values: new Map(),
    });
  });

  test("P1: that is not durable yet is not forgotten: the store would answer with older state", () => {
    const world = new World({ seed: 1, limits: { stateCacheBytes: 1 } });
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    const submitted = world.group;
    world.done(newest(world), { stateChanges: [{ name: "count", value: Uint8Array.of(1) }] });
    world.syncUpTo(submitted);
    world.answerReads();
    world.sync();
    expect(world.started).toHaveLength(2);
    expect(newest(world).state.get("count")).toEqual(Uint8Array.of(1));
  });

  test("of a failed attempt is not written, and too much of it fails the attempt", () => {
    const world = new World({ seed: 1, limits: { stateValueBytes: 10 } });
    world.submit(world.record({ app: "a", type: "work", key: "k", maxAttempts: 2 }));
    world.sync();
    world.end(
      newest(world),
      { type: "failed", error: { name: "E", message: "" }, permanent: false },
      { stateChanges: [{ name: "x", value: Uint8Array.of(1) }] },
    );
    world.run(200);
    expect(newest(world).state.size).toBe(0);
    world.done(newest(world), { stateChanges: [{ name: "x", value: new Uint8Array(11) }] });
    world.sync();
    expect(world.ask("a", "k", { type: "list-dead", limit: 1 })).toMatchObject({
      statuses: [{ error: { name: "INVALID_ARGUMENT" } }],
    });
  });
});

describe("older tasks elsewhere", () => {
  test("P1: an adopting owner starts nothing before the older tasks are there, then those first (rule 15)", () => {
    const old = new World({ seed: 1 });
    const older = [0, 1].map(() => old.record({ app: "a", type: "work", key: "k" }));
    for (const record of older) old.submit(record);
    old.sync();
    const partition = partitionOf(older[0]!.hash);

    const world = new World({ seed: 2 });
    world.generation = 2;
    world.crash("awaited");
    const newer = world.record({ app: "a", type: "work", key: "k" });
    const token = world.submit(newer);
    world.sync();
    expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
    expect(world.request("a", "k", { type: "get", id: newer.id })).toMatchObject({
      status: { waits: "OLDER_TASKS_AWAITED" },
    });
    for (let twice = 0; twice < 2; twice++)
      world.call((engine) => engine.absorb(world.now, partition, old.partitionRows(partition), { behind: false }));
    world.sync();
    expect(world.started).toHaveLength(0);
    world.call((engine) => engine.olderDone(world.now, partition));
    for (let turn = 0; turn < 3; turn++) world.done(newest(world));
    expect(world.started.map((attempt) => attempt.record.id)).toEqual([older[0]!.id, older[1]!.id, newer.id]);
  });

  test("P2: a task that is submitted again while its end is on the way from elsewhere does not run twice, on its way to the disk or in its lane", () => {
    for (const isDurable of [false, true]) {
      const old = new World({ seed: 1 });
      const record = old.record({ app: "a", type: "work", key: "k" });
      old.submit(record);
      old.sync();
      old.end(newest(old), { type: "done", result: Uint8Array.of(7) });
      old.sync();
      const partition = partitionOf(record.hash);
      const world = new World({ seed: 2 });
      world.generation = 2;
      world.crash("awaited");
      const token = world.submit(record);
      if (isDurable) world.sync();
      world.call((engine) => engine.absorb(world.now, partition, old.partitionRows(partition), { behind: false }));
      world.sync();
      world.call((engine) => engine.olderDone(world.now, partition));
      world.run(1_000);
      expect(outcomeOf(world, token)).toMatchObject({ type: "accepted" });
      expect(world.started).toHaveLength(0);
      expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "done" } });
      expect(world.engine.stats().queuedTasks).toBe(0);
    }
  });

  test("absorbed tasks that are done are not absorbed again, also after a restart", () => {
    const old = new World({ seed: 1 });
    const record = old.record({ app: "a", type: "work", key: "k" });
    old.submit(record);
    old.sync();
    const partition = partitionOf(record.hash);
    const world = new World({ seed: 2 });
    world.generation = 2;
    world.crash("away");
    world.call((engine) => engine.absorb(world.now, partition, old.partitionRows(partition), { behind: true }));
    world.sync();
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "running" } });
    world.done(newest(world));
    world.sync();
    world.crash("away");
    world.call((engine) => engine.absorb(world.now, partition, old.partitionRows(partition), { behind: true }));
    world.run(1_000);
    expect(world.started).toHaveLength(1);
  });

  test("keys whose state is away wait, types that never touch state run, and `fresh` goes on with new state (rule 17)", () => {
    const types = [taskType("work"), taskType("plain", { state: "none" }), taskType("fresh", { onAway: "fresh" })];
    const old = new World({ seed: 1, apps: catalogue({ types }) });
    for (const key of ["k", "f"]) {
      old.submit(old.record({ app: "a", type: "work", key }));
      old.sync();
      old.done(newest(old), {
        stateChanges: [
          { name: "count", value: Uint8Array.of(9) },
          { name: "old", value: Uint8Array.of(1) },
        ],
      });
    }
    old.sync();

    const world = new World({ seed: 2, apps: catalogue({ types }) });
    world.generation = 2;
    world.crash("away");
    const first = world.record({ app: "a", type: "work", key: "k" });
    world.submit(first);
    world.sync();
    expect(newest(world)).toMatchObject({ stateAway: true, attempt: 1 });
    world.end(newest(world), { type: "state-away" });
    world.submit(world.record({ app: "a", type: "work", key: "another" }));
    world.submit(world.record({ app: "a", type: "plain", key: "p" }));
    world.submit(world.record({ app: "a", type: "fresh", key: "f" }));
    world.sync();
    expect(keysOf(world)).toEqual(["k", "p", "f"]);
    expect(world.request("a", "k", { type: "get", id: first.id })).toMatchObject({
      status: { waits: "STATE_AWAY", attempts: 0 },
    });
    world.done(newest(world), { stateChanges: [{ name: "count", value: Uint8Array.of(1) }] });
    world.sync();
    world.crash("away");
    for (let partition = 0; partition < RING_SIZE; partition++) {
      world.call((engine) =>
        engine.absorb(world.now, partition as Partition, old.partitionRows(partition), { behind: true }),
      );
    }
    world.sync();
    for (const attempt of [...world.running.values()])
      if (attempt.stateAway) world.end(attempt, { type: "state-away" });
    for (let partition = 0; partition < RING_SIZE; partition++)
      world.call((engine) => engine.olderDone(world.now, partition as Partition));
    world.sync();
    const again = world.started.find((attempt) => attempt.record.id === first.id && !attempt.stateAway);
    expect(again?.state.get("count")).toEqual(Uint8Array.of(9));
    expect(world.ask("a", "f", { type: "read-state", app: A, key: "f" })).toEqual({
      type: "state",
      values: new Map([["count", Uint8Array.of(1)]]),
    });
  });

  test("a row that cannot be read is set aside and the rest is loaded", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    const partition = partitionOf(record.hash);
    const good = world.partitionRows(partition);
    const bad = [
      { key: Uint8Array.of(0x10, 1), value: Uint8Array.of(1) },
      { key: good[0]!.key.map((byte, index) => (index === 14 ? 77 : byte)), value: good[0]!.value.slice(0, 30) },
      { key: Uint8Array.of(0x30, 200), value: Uint8Array.of() },
      { key: Uint8Array.of(0x50, 1), value: Uint8Array.of(9, 9) },
      { key: Uint8Array.of(0x70), value: Uint8Array.of() },
    ];
    const foreign = { key: Uint8Array.of(0xa0, 1), value: Uint8Array.of(1) };
    world.call((engine) => engine.open(world.now, partition, { history: 1, generation: 1, opens: 99 }, "none"));
    expect(world.engine.load(partition, [...good, ...bad, foreign])).toEqual(bad);
    world.call((engine) => engine.loaded(world.now, partition));
    expect(newest(world).record.id).toBe(record.id);
    expect(world.aborted).toMatchObject([{ reason: "handoff" }]); // the attempt of the vnode before
  });
});

describe("children", () => {
  function parent(world: World): Attempt {
    world.submit(world.record({ app: "a", type: "work", key: "p" }));
    world.sync();
    return newest(world);
  }
  function child(world: World, seed: string): { id: string; wire: Uint8Array } {
    const id = deriveId({ app: "b", key: "c", seed });
    return { id, wire: world.record({ app: "b", type: "plain", key: "c", id }).wire };
  }

  test("P1: are sent when durable with the parent's ack, again after a restart, until their owner has them", () => {
    const world = new World({ seed: 1 });
    world.done(parent(world), { children: [child(world, "1"), child(world, "2")] });
    expect(world.outbox).toHaveLength(0);
    world.sync();
    expect(world.outbox).toHaveLength(2);
    world.crash();
    expect(world.outbox).toHaveLength(2);
    const [first, second] = world.outbox.splice(0);
    world.call((engine) =>
      engine.childSent(world.now, first!.partition, first!.outboxId, { type: "accepted", id: first!.record.id }),
    );
    world.call((engine) =>
      engine.childSent(world.now, second!.partition, second!.outboxId, {
        type: "refused",
        code: "QUEUE_FULL",
        detail: "",
      }),
    );
    world.run(200);
    expect(world.outbox.map((each) => each.record.id)).toEqual([second!.record.id]);
    world.call((engine) =>
      engine.childSent(world.now, second!.partition, world.outbox[0]!.outboxId, {
        type: "duplicate",
        id: "",
        state: "done",
      }),
    );
    world.sync();
    world.crash();
    expect(world.outbox).toHaveLength(0);
  });

  test("of a failed attempt are not sent", () => {
    const world = new World({ seed: 1 });
    world.end(
      parent(world),
      { type: "failed", error: { name: "E", message: "" }, permanent: true },
      { children: [child(world, "1")] },
    );
    world.run(1_000);
    expect(world.outbox).toHaveLength(0);
  });

  test("that are refused for good become dead letters at their parent, and a retry sends them again", () => {
    const world = new World({ seed: 1 });
    world.done(parent(world), { children: [child(world, "1")] });
    world.sync();
    const [sent] = world.outbox.splice(0);
    world.call((engine) =>
      engine.childSent(world.now, sent!.partition, sent!.outboxId, {
        type: "refused",
        code: "TASK_TYPE_UNKNOWN",
        detail: "no",
      }),
    );
    world.sync();
    world.crash();
    expect(world.ask("a", "p", { type: "list-dead", limit: 5 })).toMatchObject({
      statuses: [{ id: sent!.record.id, error: { name: "TASK_TYPE_UNKNOWN" } }],
    });
    expect(world.ask("a", "p", { type: "retry-dead", ids: [sent!.record.id] })).toEqual({ type: "count", count: 1 });
    expect(world.outbox.map((each) => each.record.id)).toEqual([sent!.record.id]);
  });

  test("are accepted once at their owner, also when both sides restart", () => {
    const world = new World({ seed: 1 });
    const { wire } = child(world, "1");
    const record = world.record({ app: "b", type: "plain", key: "c", id: deriveId({ app: "b", key: "c", seed: "1" }) });
    expect([...record.wire]).toEqual([...wire]);
    world.submit(record, "child");
    world.sync();
    world.done(newest(world));
    world.sync();
    world.crash();
    expect(outcomeOf(world, world.submit(record, "child"))).toMatchObject({ type: "duplicate", state: "done" });
  });
});

describe("schedules", () => {
  const every = (everyMs: number, misfire: "once" | "skip" = "once") => ({
    name: "poll",
    every: { type: "interval" as const, everyMs },
    taskType: "plain",
    key: "feed",
    payload: Uint8Array.of(1),
    misfire,
  });

  test("fire once per tick, go on after a restart without repeating, and make up one missed firing (rule 19)", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    world.onStart = (attempt) => expect(attempt.record.key).toBe("feed");
    const finish = (): void => {
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.sync();
    };
    for (let second = 0; second < 5; second++) {
      world.run(1_000);
      finish();
    }
    expect(world.started).toHaveLength(5);
    expect(new Set(world.started.map((attempt) => attempt.record.id)).size).toBe(5);
    world.crash();
    world.run(1);
    expect(world.started).toHaveLength(5);
    world.run(999);
    finish();
    expect(world.started).toHaveLength(6);
    world.now += 10_500;
    world.wallMs += 10_500;
    world.crash();
    world.run(1);
    finish();
    expect(world.started).toHaveLength(7);
  });

  test("firings coalesce while one waits or runs", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    world.run(7_300);
    expect(world.started).toHaveLength(1);
    world.done(newest(world));
    world.run(1);
    expect(world.started).toHaveLength(2);
    world.done(newest(world));
    world.run(100);
    expect(world.started).toHaveLength(2);
  });

  test("a wall clock behind the last tick waits, and one far ahead fires once", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    world.run(3_000);
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    const before = world.started.length;
    world.wallMs -= 60_000;
    world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
    world.run(50_000);
    expect(world.started).toHaveLength(before);
    world.wallMs += 3_600_000;
    world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
    world.run(1);
    expect(world.started).toHaveLength(before + 1);
  });

  test("made at run time they are kept, listed, paused, run by hand and deleted; cron follows its time zone", () => {
    const world = new World({ seed: 1 });
    const spec = {
      name: "nightly",
      every: { type: "cron" as const, expression: "30 2 * * *", timeZone: "Europe/Berlin" },
      taskType: "plain",
      key: "n",
      payload: new Uint8Array(),
      misfire: "once" as const,
    };
    expect(world.ask("a", "n", { type: "put-schedule", app: A, spec })).toEqual({ type: "ok" });
    expect(
      world.ask("a", "n", {
        type: "put-schedule",
        app: A,
        spec: { ...spec, name: "bad", every: { type: "cron", expression: "61 * * * *" } },
      }),
    ).toMatchObject({ code: "INVALID_ARGUMENT" });
    world.crash();
    const listed = world.ask("a", "n", { type: "list-schedules", limit: 10 });
    expect(listed).toMatchObject({ schedules: [{ name: "nightly", declared: false, spec: "30 2 * * *" }] });
    // 2023-11-14T22:13:20Z: the next 02:30 in Berlin is 01:30 UTC.
    expect(listed.type === "schedules" && listed.schedules[0]?.nextFireAtMs).toBe(Date.UTC(2023, 10, 15, 1, 30));
    world.run(Date.UTC(2023, 10, 15, 1, 30) - WALL_MS);
    expect(world.started).toHaveLength(1);
    world.ask("a", "n", { type: "schedule", app: A, key: "n", name: "nightly", action: "pause" });
    world.done(newest(world));
    world.run(3 * 86_400_000);
    expect(world.started).toHaveLength(1);
    world.ask("a", "n", { type: "schedule", app: A, key: "n", name: "nightly", action: "run" });
    expect(world.started).toHaveLength(2);
    // Asked twice of one id: one task, while it runs, over a crash, and when it is done.
    world.done(newest(world));
    const taskId = mintId({ wallMs: WALL_MS + world.now, random: () => 0.5, app: A, key: "n" });
    const byHand = { type: "schedule", app: A, key: "n", name: "nightly", action: "run", taskId } as const;
    const firings = (): number => world.started.filter((attempt) => attempt.record.id === taskId).length;
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    world.run(10);
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    expect(firings()).toBe(1);
    world.crash();
    world.run(10);
    expect(firings()).toBe(2); // the attempt that the crash cut off, again
    world.done(newest(world));
    world.run(10);
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    world.run(10);
    world.crash();
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    world.run(10);
    expect(firings()).toBe(2);
    expect(
      world.ask("a", "n", { ...byHand, taskId: `${taskId.slice(0, 28)}${taskId.endsWith("0000") ? "0001" : "0000"}` }),
    ).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(world.ask("a", "n", { type: "schedule", app: A, key: "n", name: "nightly", action: "delete" })).toEqual({
      type: "ok",
    });
    world.crash();
    expect(world.ask("a", "n", { type: "list-schedules", limit: 10 })).toEqual({ type: "schedules", schedules: [] });
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

describe("residents", () => {
  test("run at the owner, start again with delay, stop when the partition is held", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], residents: ["rss"] }) });
    const partition = partitionOf(hashKey("a", "rss"));
    expect(world.started).toHaveLength(1);
    expect(newest(world)).toMatchObject({ resident: "rss", partition, record: { app: "a", key: "rss" } });
    world.fail(newest(world));
    expect(world.started).toHaveLength(1);
    world.run(100);
    expect(world.started).toHaveLength(2);
    world.call((engine) => engine.hold(world.now, partition));
    expect(world.aborted).toMatchObject([{ reason: "handoff" }]);
    expect(world.engine.inFlight(partition)).toHaveLength(1);
    world.done(newest(world));
    expect(world.engine.inFlight(partition)).toHaveLength(0);
    world.run(60_000);
    expect(world.started).toHaveLength(2);
    world.call((engine) => engine.release(world.now, partition));
    world.run(100);
    expect(world.started).toHaveLength(3);
    expect(newest(world).fence > world.started[1]!.fence).toBe(true);
  });
});
