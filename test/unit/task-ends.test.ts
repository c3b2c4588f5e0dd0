/** How tasks end: done, dead, cancelled, too late; and what is told of it. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { KIND } from "../../ring/tasks/rows.ts";
import type { TaskState, TaskStatus } from "../../ring/tasks/task.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { newest } from "./task-looks.ts";

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

  test("a dead letter that was delayed once is retried at once", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k", maxAttempts: 1, delayMs: 60_000 });
    world.submit(record);
    world.sync();
    world.run(61_000);
    world.fail(newest(world));
    world.sync();
    world.ask("a", "k", { type: "retry-dead", ids: [record.id] });
    world.sync();
    expect(world.started.map((attempt) => attempt.record.id)).toEqual([record.id, record.id]);
    expect([...newest(world).record.wire]).toEqual([...record.wire]);
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
    expect(world.ask("a", "k", { type: "get", id: newest(world).record.id })).toMatchObject({
      status: { state: "running", waits: "HANDLER_STUCK (timeout)" },
    });
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

  test("a back-off of days lasts as long as was asked for, also over a restart", () => {
    const dayMs = 86_400_000;
    const weekly = taskType("weekly", { backoff: { baseMs: 7 * dayMs, maxMs: 7 * dayMs }, timeoutMs: 7 * dayMs });
    const world = new World({ seed: 1, apps: catalogue({ types: [taskType("work"), weekly] }) });
    world.submit(world.record({ app: "a", type: "work", key: "asked" }));
    world.submit(world.record({ app: "a", type: "weekly", key: "declared" }));
    world.sync();
    const [asked, declared] = world.started;
    const error = { name: "Error", message: "closed for a month" };
    world.end(asked!, { type: "failed", error, permanent: false, retryAfterMs: 30 * dayMs });
    world.fail(declared!);
    world.run(3 * dayMs);
    world.crash();
    world.run(60_000);
    expect(world.started).toHaveLength(2);
    world.run(4 * dayMs);
    expect(newest(world).record.key).toBe("declared");
    world.done(newest(world));
    world.run(22 * dayMs);
    expect(world.started).toHaveLength(3);
    world.run(dayMs);
    expect(newest(world).record.key).toBe("asked");
  });

  test("a task whose deadline passes while an aborted handler has yet to settle is not started again", () => {
    for (const reason of ["timeout", "lease"] as const) {
      const world = new World({ seed: 1, apps: catalogue({ types: [taskType("work", { timeoutMs: 300 })] }) });
      const late = world.record({ app: "a", type: "work", key: "k", deadlineMs: 500 });
      const next = world.record({ app: "a", type: "work", key: "k" });
      for (const record of [late, next]) world.submit(record);
      world.sync();
      if (reason === "lease") world.call((engine) => engine.abortAll(world.now, "lease"));
      world.run(600);
      expect(world.aborted.map((each) => each.reason)).toEqual([reason]);
      world.fail(newest(world));
      world.run(10_000);
      expect(world.started.map(({ record }) => record.id)).toEqual([late.id, next.id]);
      expect(world.ask("a", "k", { type: "get", id: late.id })).toMatchObject({
        status: { state: "dead", error: { name: "DEADLINE" } },
      });
    }
  });

  test("a cancelled task whose deadline passes before its handler settles is cancelled", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k", deadlineMs: 500 });
    world.submit(record);
    world.sync();
    world.ask("a", "k", { type: "cancel", id: record.id });
    world.run(600);
    world.fail(newest(world));
    world.sync();
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "cancelled" } });
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

  test("who is cancelled, or too late, between two attempts ran no longer than these: what it waited is no run", () => {
    for (const how of ["cancelled", "dead"] as const) {
      const world = new World({ seed: 1 });
      const deadline = how === "dead" ? { deadlineMs: 30_000 } : {};
      const record = world.record({ app: "a", type: "work", key: "k", ...deadline });
      world.submit(record);
      world.sync();
      const error = { name: "Error", message: "later" };
      world.end(newest(world), { type: "failed", error, permanent: false, retryAfterMs: 50_000 });
      world.run(40_000);
      if (how === "cancelled") world.ask("a", "k", { type: "cancel", id: record.id });
      world.sync();
      const [tried, ended] = world.events.map(({ outcome, started, runMs }) => ({ outcome, started, runMs }));
      expect(tried).toMatchObject({ outcome: "retry", started: true });
      expect(ended).toEqual({ outcome: how, started: false, runMs: 0 });
    }
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

  test("P4: an attempt that found no room on its node is made again, uncounted, however often; P8: and says why it waits", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "work", key: "k", maxAttempts: 2 });
    world.submit(record);
    world.sync();
    const error = { name: "QUEUE_FULL", message: "no room for a run" };
    for (let time = 1; time <= 5; time++) {
      expect(world.started).toHaveLength(time);
      world.end(newest(world), { type: "failed", error, permanent: false, retryAfterMs: 1_000, noRoom: true });
      world.sync();
      const status = { state: "retrying", waits: "RUNS_FULL", attempts: 0 };
      expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status });
      world.run(999);
      expect(world.started).toHaveLength(time);
      world.run(2);
    }
    expect(newest(world)).toMatchObject({ attempt: 1 });
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
    const kinds = world.partitionRows(partitionOf(hashKey("a", "k"))).map(({ key }) => key[0]);
    expect(new Set(kinds)).toEqual(new Set([KIND.ended])); // that they ended is known for longer
  });
});
