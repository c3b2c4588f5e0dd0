/** What other directories and earlier lives leave: results, ids, order, idempotency keys, paused keys, what cannot be read. */

import { describe, expect, test } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import { keyText } from "../../ring/store.ts";
import { unreadKey } from "../../ring/tasks/read-row.ts";
import { KIND } from "../../ring/tasks/rows.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { absorb, owner } from "./task-heirs.ts";
import { A, newest } from "./task-looks.ts";

const one = (n: number) => Uint8Array.of(n);
const marks = () => new Map<string, number>();

const runs = (world: World, id: string) => world.started.filter(({ record }) => record.id === id).length;

describe("the result of a task that was submitted again", () => {
  test.each([false, true])("P1: the result that it ended with is told (idempotency key: %s)", (keyed) => {
    const old = new World({ seed: 1 });
    const record = old.record({ app: "a", type: "work", key: "k", ...(keyed ? { idempotencyKey: "i" } : {}) });
    old.submit(record);
    old.sync();
    old.end(newest(old), { type: "done", result: one(42) });
    old.sync(); // durable; the answer is lost with the process
    const p = partitionOf(record.hash);
    const world = owner({ older: "awaited" });
    world.submit(record); // the client tries again, at the new owner
    world.sync();
    absorb(world, p, old.partitionRows(p), false);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.sync();
    expect(runs(world, record.id)).toBe(0);
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({
      status: { state: "done", result: one(42) },
    });
  });
});

describe("ids that memory forgot before the disk did", () => {
  function again(): { world: World; record: ReturnType<World["record"]>; token: number } {
    const world = new World({ seed: 1, limits: { resultsPerApp: 10 } });
    const record = world.record({ app: "a", type: "work", key: "k" });
    world.submit(record);
    world.sync();
    world.done(newest(world));
    world.sync();
    for (let other = 0; other < 12; other++) {
      world.submit(world.record({ app: "a", type: "work", key: "k" }));
      world.sync();
      world.done(newest(world));
      world.sync();
    }
    const token = world.submit(record);
    world.sync();
    return { world, record, token };
  }

  test("P2: a submit that is repeated is a duplicate while its id is on disk (guarantees.md: the last 4,096)", () => {
    const { world, record, token } = again();
    expect(world.outcomes.get(token)).toMatchObject({ type: "duplicate" });
    expect(runs(world, record.id)).toBe(1);
  });

  test("P1: what was accepted is not dropped at the next start", () => {
    const { world, record, token } = again();
    if (world.outcomes.get(token)?.type !== "accepted") return;
    world.crash();
    world.run(1_000);
    expect(runs(world, record.id)).toBe(3); // done once, cut off by the crash once, and now
  });

  test("P1: a dead letter is not dropped at the next start", () => {
    const { world, record, token } = again();
    if (world.outcomes.get(token)?.type !== "accepted") return;
    world.end(newest(world), { type: "failed", error: { name: "E", message: "" }, permanent: true });
    world.sync();
    expect(world.ask("a", "k", { type: "list-dead", limit: 9 })).toMatchObject({ statuses: [{ id: record.id }] });
    world.crash();
    expect(world.ask("a", "k", { type: "list-dead", limit: 9 })).toMatchObject({ statuses: [{ id: record.id }] });
  });

  test("P2: the id of a task that had a result is as good as others", () => {
    const world = new World({ seed: 1, limits: { resultsPerApp: 10 } });
    const records = Array.from({ length: 12 }, () => {
      const record = world.record({ app: "a", type: "work", key: "k" });
      world.submit(record);
      world.sync();
      world.end(newest(world), { type: "done", result: one(1) });
      world.sync();
      return record;
    });
    const token = world.submit(records[0]!);
    world.sync();
    expect(world.outcomes.get(token)).toMatchObject({ type: "duplicate" });
  });
});

describe("a task that was accepted again once the end of the first was forgotten", () => {
  test("P1: is not dropped at the next start by the row that says that the first one ended", () => {
    const first = new World({ seed: 1 });
    const record = first.record({ app: "a", type: "work", key: "k" });
    first.submit(record);
    first.sync();
    first.done(newest(first));
    first.sync();
    const p = partitionOf(record.hash);
    const ended = first.partitionRows(p).find(({ key }) => key[0] === KIND.ended)!;
    const world = new World({ seed: 2 });
    for (let other = 0; other < 9; other++) world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.submit(record);
    world.sync();
    world.call((engine) => engine.allowStarts(world.now, false));
    world.rows.get(p)!.set(keyText(ended.key), ended);
    world.crash();
    world.sync();
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "queued" } });
  });
});

describe("the same with the limits as they are", () => {
  test("P2, P1: 10,200 ends later, in eight partitions, of which each keeps 4,096 ids on disk", () => {
    const world = new World({ seed: 1 });
    const record = world.record({ app: "a", type: "plain", key: "k" });
    world.submit(record);
    world.sync();
    world.done(newest(world));
    world.sync();
    for (let other = 0; other < 10_200; other += 50) {
      for (let each = 0; each < 50; each++)
        world.submit(world.record({ app: "a", type: "plain", key: `key-${other + each}` }));
      world.sync();
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.sync();
    }
    const token = world.submit(record);
    world.sync();
    const { type } = world.outcomes.get(token)!;
    world.crash();
    world.run(1_000);
    const after = world.submit(record);
    world.sync();
    expect([type, world.outcomes.get(after)?.type]).toEqual(["duplicate", "duplicate"]);
  });
});

describe("order", () => {
  test("P3: a task submitted again at the new owner keeps its place before later ones of the old owner", () => {
    const old = new World({ seed: 1 });
    old.call((engine) => engine.allowStarts(old.now, false));
    const [first, second] = [0, 1].map(() => old.record({ app: "a", type: "work", key: "k" }));
    for (const record of [first!, second!]) {
      const token = old.submit(record);
      old.sync();
      expect(old.outcomes.get(token)).toMatchObject({ type: "accepted" });
    }
    const p = partitionOf(first!.hash);
    const world = owner({ older: "awaited" });
    world.submit(first!); // delivered again
    world.sync();
    absorb(world, p, old.partitionRows(p), false);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.sync();
    world.done(newest(world));
    world.sync();
    expect(world.started.map(({ record }) => record.id)).toEqual([first!.id, second!.id]);
  });
});

describe("idempotency keys", () => {
  test("P2: the end of an older task does not take the record of the task that has the key now", () => {
    const old = new World({ seed: 1 });
    const record = old.record({ app: "a", type: "work", key: "k", idempotencyKey: "i" });
    old.submit(record);
    old.sync();
    old.done(newest(old));
    old.sync();
    const p = partitionOf(record.hash);
    const world = owner({ older: "away" });
    world.now = old.now;
    world.wallMs = old.wallMs + 23 * 3_600_000;
    world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
    const second = world.record({ app: "a", type: "work", key: "k", idempotencyKey: "i", delayMs: 12 * 3_600_000 });
    world.submit(second);
    world.sync();
    absorb(world, p, old.partitionRows(p), true);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.run(2 * 3_600_000);
    const token = world.submit(world.record({ app: "a", type: "work", key: "k", idempotencyKey: "i" }));
    world.sync();
    expect(world.outcomes.get(token)).toMatchObject({ type: "duplicate", id: second.id });
  });

  test("P2: a task that has come counts for its idempotency key before the record's own row comes", () => {
    const old = new World({ seed: 1 });
    old.call((engine) => engine.allowStarts(old.now, false));
    const record = old.record({ app: "a", type: "work", key: "k", idempotencyKey: "i" });
    old.submit(record);
    old.sync();
    const p = partitionOf(record.hash);
    const world = owner({ older: "awaited" });
    const rows = old.partitionRows(p);
    const m = marks();
    absorb(
      world,
      p,
      rows.filter(({ key }) => key[0] === KIND.task),
      false,
      false,
      m,
    );
    world.sync();
    const token = world.submit(world.record({ app: "a", type: "work", key: "k", idempotencyKey: "i" }));
    world.sync();
    expect(world.outcomes.get(token)).toMatchObject({ type: "duplicate", id: record.id });
  });
});

describe("idempotency keys while older tasks are awaited", () => {
  function left() {
    const old = new World({ seed: 1 });
    const record = old.record({ app: "a", type: "work", key: "k", idempotencyKey: "i" });
    old.submit(record);
    old.sync();
    old.done(newest(old));
    old.sync();
    return { old, record, p: partitionOf(record.hash) };
  }

  test("P2: a submit with one waits, and is a duplicate of what comes", () => {
    const { old, record, p } = left();
    const world = owner({ older: "awaited" });
    const token = world.submit(world.record({ app: "a", type: "work", key: "k", idempotencyKey: "i" }));
    world.sync();
    expect(world.outcomes.get(token)).toBeUndefined();
    absorb(world, p, old.partitionRows(p), false);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p, true));
    world.sync();
    expect(world.outcomes.get(token)).toMatchObject({ type: "duplicate", id: record.id, state: "done" });
    expect(world.started).toEqual([]);
  });

  test("P3: those that are submitted behind it stay behind it", () => {
    const world = owner({ older: "awaited" });
    const first = world.record({ app: "a", type: "work", key: "k", idempotencyKey: "other" });
    const second = world.record({ app: "a", type: "work", key: "k" });
    world.submit(first);
    world.submit(second);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, partitionOf(first.hash)));
    world.sync();
    world.done(newest(world));
    world.sync();
    expect(world.started.map(({ record: { id } }) => id)).toEqual([first.id, second.id]);
  });
});

describe("paused keys", () => {
  test("P1: tasks of a key that was paused do not start before the row that says so has come", () => {
    const old = new World({ seed: 1 });
    old.ask("a", "k", { type: "key", app: A, key: "k", action: "pause" });
    const record = old.record({ app: "a", type: "plain", key: "k" });
    old.submit(record);
    old.sync();
    const p = partitionOf(record.hash);
    const world = owner({ older: "away" });
    const rows = old.partitionRows(p);
    const tasks = rows.findLastIndex(({ key }) => key[0] === KIND.task) + 1;
    const m = marks();
    absorb(world, p, rows.slice(0, tasks), true, false, m); // a chunk of 250 rows
    world.sync();
    absorb(world, p, rows.slice(tasks), true, true, m);
    world.sync();
    expect(world.started).toHaveLength(0);
  });
});

describe("state whose cache was void", () => {
  const apps = () => catalogue({ types: [taskType("work"), taskType("fresh", { onAway: "fresh" })] });
  test.each(["accepted before", "delayed"])(
    "P1: the next task of a key sees what the last one wrote, though its lane's cache was void: %s",
    (how) => {
      const old = new World({ seed: 1, apps: apps() });
      old.submit(old.record({ app: "a", type: "work", key: "k" }));
      old.sync();
      old.done(newest(old), { stateChanges: [{ name: "count", value: one(9) }] });
      old.sync();
      const p = partitionOf(hashKey("a", "k"));
      const world = owner({ older: "away", apps: apps() });
      const delayMs = 1_000;
      if (how === "delayed") {
        world.submit(world.record({ app: "a", type: "fresh", key: "k", delayMs }));
        world.sync();
      }
      world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
      world.sync();
      const running = newest(world);
      absorb(world, p, old.partitionRows(p), true);
      world.sync();
      if (how !== "delayed") {
        world.submit(world.record({ app: "a", type: "fresh", key: "k" })); // its commit is under way
      }
      const before = world.group;
      world.done(running, { stateChanges: [{ name: "count", value: one(10) }] }); // in the next commit
      if (how === "delayed") world.advance(delayMs);
      else world.syncUpTo(before);
      world.answerReads(); // the store answers with what is durable
      world.sync();
      expect(world.started).toHaveLength(2);
      expect(newest(world).state.get("count")).toEqual(one(10));
    },
  );
});

describe("cancelling", () => {
  test("a task that was cancelled while it ran without its state does not run again", () => {
    const world = owner({ older: "away" });
    const record = world.record({ app: "a", type: "work", key: "k" });
    const p = partitionOf(record.hash);
    world.submit(record);
    world.sync();
    const running = newest(world);
    expect(world.ask("a", "k", { type: "cancel", id: record.id })).toMatchObject({ status: { waits: "CANCELLING" } });
    expect(world.aborted).toMatchObject([{ reason: "cancelled" }]);
    world.end(running, { type: "state-away" } as never); // its next step asked for state
    world.sync();
    world.call((engine) => engine.olderDone(world.now, p));
    world.run(1_000);
    expect(runs(world, record.id)).toBe(1);
  });
});

describe("what an operator undid while a machine was away", () => {
  const apps = () => catalogue({ types: [taskType("work"), taskType("plain", { state: "none" })] });
  /** Key k paused, a dead letter, and a run-time schedule. */
  function left() {
    const old = new World({ seed: 1, apps: apps() });
    const record = old.record({ app: "a", type: "plain", key: "k" });
    old.submit(record);
    old.sync();
    old.end(newest(old), { type: "failed", error: { name: "E", message: "" }, permanent: true });
    old.sync();
    old.ask("a", "k", { type: "key", app: A, key: "k", action: "pause" });
    const spec = { name: "s", key: "k", taskType: "plain", every: { type: "interval", everyMs: 3_600_000 } };
    old.ask("a", "k", { type: "put-schedule", app: A, spec: { ...spec, payload: one(1), misfire: "once" } } as never);
    return { old, record, p: partitionOf(record.hash) };
  }
  const paused = (world: World) =>
    (
      world.ask("a", "k", { type: "key", app: A, key: "k", action: "describe" }) as unknown as {
        key: { paused: boolean };
      }
    ).key.paused;
  const dead = (world: World) =>
    (world.ask("a", "k", { type: "list-dead", limit: 9 }) as unknown as { statuses: unknown[] }).statuses.length;
  const schedules = (world: World) =>
    (world.ask("a", "k", { type: "list-schedules", limit: 9 }) as unknown as { schedules: unknown[] }).schedules.length;

  test.each([
    ["at once", false],
    ["after a restart", true],
  ])("P1: is not brought back by its rows: %s", (_, restarts) => {
    const { old, record, p } = left();
    const world = owner({ older: "away", apps: apps() });
    absorb(world, p, old.partitionRows(p), true);
    world.sync();
    expect([paused(world), dead(world), schedules(world)]).toEqual([true, 1, 1]);
    world.ask("a", "k", { type: "key", app: A, key: "k", action: "resume" });
    world.ask("a", "k", { type: "drop-dead", ids: [record.id] });
    world.ask("a", "k", { type: "schedule", app: A, key: "k", name: "s", action: "delete" });
    if (restarts) world.crash("away");
    absorb(world, p, old.partitionRows(p), true);
    world.sync();
    expect([paused(world), dead(world), schedules(world)]).toEqual([false, 0, 0]);
    world.call((engine) => engine.olderDone(world.now, p));
    world.sync();
    expect(world.partitionRows(p).map(({ key }) => key[0])).not.toContain(KIND.undone);
  });

  test("P1: a key resumed before its pause has come stays so; what was done again counts", () => {
    const { old, p } = left();
    const world = owner({ older: "away", apps: apps() });
    world.ask("a", "k", { type: "key", app: A, key: "k", action: "resume" });
    absorb(world, p, old.partitionRows(p), true);
    world.sync();
    expect(paused(world)).toBe(false);
    world.ask("a", "k", { type: "key", app: A, key: "k", action: "pause" });
    absorb(world, p, old.partitionRows(p), true);
    world.sync();
    world.crash("away");
    expect(paused(world)).toBe(true);
  });
});

describe("a row that cannot be read", () => {
  test("reliability 3: is set aside loudly when it is absorbed, and neither stops nor silently shortens it", () => {
    const old = new World({ seed: 1 });
    old.call((engine) => engine.allowStarts(old.now, false));
    const record = old.record({ app: "a", type: "work", key: "k" });
    old.submit(record);
    old.sync();
    const p = partitionOf(record.hash);
    // Of a later version, which this one does not know.
    const rows = old.partitionRows(p).map((row) => {
      const value = row.value.slice();
      value[0] = 2;
      return { key: row.key, value };
    });
    const world = owner({ older: "awaited" });
    let unreadable: readonly unknown[] = [];
    world.call((engine) => {
      unreadable = engine.absorb(world.now, p, rows, { behind: false, generation: 1, marks: marks(), isLast: true });
    });
    world.sync();
    expect(unreadable).toHaveLength(rows.length);
    expect(world.partitionRows(p).map(({ value }) => value)).toEqual(rows.map(({ value }) => value));
  });

  test("P1: what could not be read is taken once it can", () => {
    const old = new World({ seed: 1 });
    old.call((engine) => engine.allowStarts(old.now, false));
    const record = old.record({ app: "a", type: "work", key: "k" });
    old.submit(record);
    old.sync();
    const p = partitionOf(record.hash);
    const kept = old.partitionRows(p).map(({ key, value }) => ({ key: unreadKey(1, key), value }));
    const world = owner({ older: "awaited" });
    absorb(world, p, kept, false);
    world.sync();
    world.crash("none");
    world.sync();
    expect(world.started.map(({ record: { id } }) => id)).toEqual([record.id]);
    expect(world.partitionRows(p).map(({ key }) => key[0])).not.toContain(KIND.unread);
  });
});
