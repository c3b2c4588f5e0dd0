/** Promises that the task engine keeps by itself, each in one plain case: every wait explains itself, residents back off. */

import { describe, expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import type { Attempt, TaskRecord, TaskStatus } from "../../ring/tasks/task.ts";
import { catalogue, partitionOf, taskType, World, type WorldOptions } from "../property/task-world.ts";

function world(options: Omit<WorldOptions, "seed"> = {}): World {
  return new World({ seed: 1, ...options });
}

function submitted(of: World, key: string, fields: { type?: string; delayMs?: number } = {}): TaskRecord {
  const record = of.record({ app: "a", type: fields.type ?? "work", key, ...fields });
  of.submit(record);
  of.sync();
  return record;
}

function statusOf(of: World, record: TaskRecord): TaskStatus {
  const answer = of.request(record.app, record.key, { type: "get", id: record.id });
  if (answer?.type !== "task") throw new Error(`no status but ${JSON.stringify(answer)}`);
  return answer.status;
}

function newest(of: World): Attempt {
  return of.started.at(-1)!;
}

describe("P8: a task that waits says for what:", () => {
  test("its place in the lane, a back-off, a delay", () => {
    const of = world();
    const [head, second] = [submitted(of, "k"), submitted(of, "k")];
    expect(statusOf(of, head).waits).toBeUndefined();
    expect(statusOf(of, second).waits).toBe("BEHIND_RUNNING_HEAD");
    of.fail(newest(of));
    expect([statusOf(of, head).waits, statusOf(of, second).waits]).toEqual(["BACK_OFF", "BEHIND_FAILING_HEAD"]);
    const delayed = submitted(of, "later", { delayMs: 5_000 });
    expect(statusOf(of, delayed)).toMatchObject({ waits: "DELAY", dueAtMs: of.wallMs + 5_000 });
  });

  test("a limit of its type, its app or its node", () => {
    const narrow = world({ apps: catalogue({ types: [taskType("work", { concurrency: 1 })] }) });
    submitted(narrow, "k1");
    expect(statusOf(narrow, submitted(narrow, "k2")).waits).toBe("TYPE_CONCURRENCY");
    const few = world({ apps: catalogue({ limits: { running: 1 } }) });
    submitted(few, "k1");
    expect(statusOf(few, submitted(few, "k2")).waits).toBe("APP_CONCURRENCY");
    const slow = world({ apps: catalogue({ limits: { perSecond: 1 } }) });
    for (const key of ["k1", "k2", "k3"]) submitted(slow, key);
    expect(statusOf(slow, submitted(slow, "k4")).waits).toBe("RATE_LIMITED");
    const small = world({ limits: { running: 1 } });
    submitted(small, "k1");
    expect(statusOf(small, submitted(small, "k2")).waits).toBe("NODE_CONCURRENCY");
  });

  test("an operator, a lease, a move, a type that is not loaded", () => {
    const overrides = new Map<string, Partial<AppOverride>>([["a", { paused: true }]]);
    const paused = world({ apps: catalogue({ overrides }) });
    expect(statusOf(paused, submitted(paused, "k")).waits).toBe("APP_PAUSED");
    const keyed = world();
    keyed.ask("a", "k", { type: "key", app: "a" as AppName, key: "k", action: "pause" });
    expect(statusOf(keyed, submitted(keyed, "k")).waits).toBe("KEY_PAUSED");
    const idle = world();
    idle.call((engine) => engine.allowStarts(idle.now, false));
    expect(statusOf(idle, submitted(idle, "k")).waits).toBe("NO_LEASE");
    const moving = world();
    const record = submitted(moving, "k");
    const behind = submitted(moving, "k");
    moving.call((engine) => engine.hold(moving.now, partitionOf(record.hash)));
    moving.done(newest(moving));
    moving.sync();
    expect(statusOf(moving, behind).waits).toBe("HANDOFF");
    const older = world();
    older.crash("awaited");
    expect(statusOf(older, submitted(older, "k")).waits).toBe("OLDER_TASKS_AWAITED");
    const before = world({ apps: catalogue({ types: [taskType("work"), taskType("gone")] }) });
    before.call((engine) => engine.allowStarts(before.now, false));
    const lost = submitted(before, "k", { type: "gone" });
    const after = new World({ seed: 2 });
    for (const [partition, rows] of before.rows) after.rows.set(partition, rows);
    after.crash("none");
    expect(statusOf(after, lost).waits).toBe("TASK_TYPE_UNKNOWN");
  });
});

describe("a resident", () => {
  test("P4: waits twice as long after each crash, at most as long as it says, and holds up no task", () => {
    const of = world({ apps: catalogue({ names: ["a"], residents: ["rss"] }) });
    const waits: number[] = [];
    for (let crash = 0; crash < 10; crash++) {
      const crashedAt = of.now;
      const count = of.started.length;
      of.fail(newest(of));
      while (of.started.length === count) of.run(1);
      waits.push(of.now - crashedAt);
    }
    of.fail(newest(of));
    expect(statusOf(of, submitted(of, "rss")).state).toBe("running");
    for (const [index, wait] of waits.entries()) {
      const most = Math.min(10_000, 100 * 2 ** index);
      expect(wait).toBeGreaterThanOrEqual(most / 2);
      expect(wait).toBeLessThanOrEqual(most + 1);
    }
  });
});
