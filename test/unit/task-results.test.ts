/** What is kept of ended tasks when all of it is more than fits: whose it is that goes, and what of it. */

import { describe, expect, test } from "vitest";
import type { EngineLimits } from "../../ring/tasks/limits.ts";
import type { Attempt, TaskRecord, TaskStatus } from "../../ring/tasks/task.ts";
import { catalogue, partitionOf, RING_SIZE, World } from "../property/task-world.ts";

const KIB = 1024;

interface Ends {
  readonly app: string;
  readonly count: number;
  readonly resultBytes: number;
  readonly idempotent?: boolean;
}

/** Submits and ends tasks one after another; their keys start with the app's name. */
function run(world: World, { app, count, resultBytes, idempotent = false }: Ends): TaskRecord[] {
  const records: TaskRecord[] = [];
  for (let index = 0; index < count; index++) {
    const idempotencyKey = idempotent ? { idempotencyKey: `order-${index}` } : {};
    const record = world.record({ app, type: "work", key: `${app}-${index}-${resultBytes}`, ...idempotencyKey });
    world.submit(record);
    world.sync();
    for (const attempt of [...world.running.values()]) end(world, attempt, resultBytes);
    world.advance(1);
    world.sync();
    records.push(record);
  }
  return records;
}

function end(world: World, attempt: Attempt, resultBytes: number): void {
  world.end(attempt, { type: "done", result: resultBytes === 0 ? undefined : new Uint8Array(resultBytes) });
}

function statusOf(world: World, record: TaskRecord): TaskStatus | undefined {
  const answer = world.request(record.app, record.key, { type: "get", id: record.id });
  return answer?.type === "task" ? answer.status : undefined;
}

function keptBytes(world: World, records: readonly TaskRecord[]): number {
  return records.reduce((sum, record) => sum + (statusOf(world, record)?.result?.length ?? 0), 0);
}

/** Submits them all again; how many ran a second time. */
function repeated(world: World, records: readonly TaskRecord[]): number {
  const before = world.started.length;
  for (const { app, key, idempotencyKey } of records) {
    world.submit(world.record({ app, type: "work", key, idempotencyKey: idempotencyKey ?? "" }));
    world.sync();
  }
  return world.started.length - before;
}

function worldOf(limits: Partial<EngineLimits>, names?: readonly string[]): World {
  return new World({ seed: 1, limits, ...(names === undefined ? {} : { apps: catalogue({ names }) }) });
}

describe("results of all apps that are more than fit", () => {
  test("P4: cost the app that holds most, not the one that adds", () => {
    const world = worldOf({ resultsBytes: 64 * KIB });
    const large = run(world, { app: "b", count: 70, resultBytes: KIB });
    const small = run(world, { app: "a", count: 60, resultBytes: 100, idempotent: true });
    expect(keptBytes(world, small)).toBe(6_000);
    expect(keptBytes(world, large)).toBeGreaterThan(56 * KIB);
    expect(keptBytes(world, large) + 6_000).toBeLessThanOrEqual(64 * KIB);
    expect(statusOf(world, large.at(-1)!)?.result).toHaveLength(KIB);
    expect(repeated(world, small)).toBe(0);
  });

  test("P4: cost the app that holds most among many", () => {
    const names = Array.from({ length: 100 }, (_, index) => `app-${index}`);
    const world = worldOf({ resultsBytes: 64 * KIB }, names);
    const small = names.slice(1).flatMap((app) => run(world, { app, count: 1, resultBytes: 100 }));
    const large = run(world, { app: "app-0", count: 80, resultBytes: KIB });
    expect(keptBytes(world, small)).toBe(9_900);
    expect(keptBytes(world, large)).toBeGreaterThan(52 * KIB);
  });

  test("P5: leave no more than the bound, also when entries without bytes are older", () => {
    const world = worldOf({ resultsBytes: 16 * KIB });
    run(world, { app: "a", count: 50, resultBytes: 0, idempotent: true });
    const large = run(world, { app: "a", count: 40, resultBytes: KIB, idempotent: true });
    expect(keptBytes(world, large)).toBe(16 * KIB);
    expect(large.slice(-16).every((record) => statusOf(world, record)?.result?.length === KIB)).toBe(true);
  });

  test("lose their bytes only: the id and the idempotency key stay, also after a restart, and it is said", () => {
    const world = worldOf({ resultsBytes: 8 * KIB });
    const orders = run(world, { app: "a", count: 20, resultBytes: KIB, idempotent: true });
    const plain = run(world, { app: "a", count: 20, resultBytes: KIB });
    for (const record of orders)
      expect(statusOf(world, record)).toMatchObject({ state: "done", error: { name: "RESULT_DROPPED" } });
    expect(statusOf(world, orders[0]!)).not.toHaveProperty("result");
    expect(keptBytes(world, plain)).toBe(8 * KIB);
    world.crash();
    expect(keptBytes(world, [...orders, ...plain])).toBe(8 * KIB);
    expect(statusOf(world, orders[0]!)).toMatchObject({ state: "done", error: { name: "RESULT_DROPPED" } });
    expect(repeated(world, orders)).toBe(0);
    const bytes = [...world.rows.values()]
      .flatMap((rows) => [...rows.values()])
      .reduce((sum, row) => sum + row.value.length, 0);
    expect(bytes).toBeLessThan(20 * KIB); // K1: the bytes have left the store as well
  });

  test("P4: ids beyond the node's bound cost the app that holds most", () => {
    const names = Array.from({ length: 40 }, (_, index) => `app-${index}`);
    const world = worldOf({ dedupePerNode: 100 }, names);
    const few = names.slice(1).flatMap((app) => run(world, { app, count: 1, resultBytes: 0, idempotent: true }));
    const many = run(world, { app: "app-0", count: 120, resultBytes: 0, idempotent: true });
    expect(repeated(world, few)).toBe(0);
    expect(repeated(world, many.slice(-61))).toBe(0);
  });
});

test("P1: what a partition remembers goes with it, however small the share of the ring is that its owner is left with", () => {
  const world = worldOf({ resultsPerApp: 10 });
  const before = run(world, { app: "a", count: 9, resultBytes: KIB });
  world.call((engine) => engine.setShare(1, RING_SIZE));
  const after = run(world, { app: "a", count: 1, resultBytes: 1 });
  for (const record of [...before, ...after]) expect(statusOf(world, record)).toMatchObject({ state: "done" });
});

test("a list of an app or a key finds its ended tasks behind any number of those of others", () => {
  const world = worldOf({});
  const others = run(world, { app: "a", count: 1_001 * RING_SIZE, resultBytes: 0 });
  const [mine] = run(world, { app: "b", count: 1, resultBytes: 0 });
  const last = others.at(-1) as TaskRecord;
  for (const { app, key, id } of [mine as TaskRecord, last]) {
    const found = world.request(app, key, { type: "list", app, key, state: "done", limit: 10 });
    expect(found).toMatchObject({ statuses: [{ id }] });
  }
});

describe("a partition that has gone", () => {
  const BOUND = 10;

  /** The node had as many ends as it may keep, half of them in partitions that have moved on; then as many come as have gone. */
  function afterMove(idempotent: boolean): { world: World; left: readonly TaskRecord[] } {
    const world = worldOf(idempotent ? { dedupePerApp: BOUND } : { resultsPerApp: BOUND });
    const records = run(world, { app: "a", count: BOUND, resultBytes: KIB, idempotent });
    const isGone = ({ hash }: TaskRecord): boolean => partitionOf(hash) % 2 === 0;
    for (const record of records.filter(isGone))
      world.call((engine) => engine.close(world.now, partitionOf(record.hash)));
    const left = records.filter((record) => !isGone(record));
    expect(left.length).toBeGreaterThan(0);
    expect(left.length).toBeLessThan(BOUND);
    let more = BOUND - left.length;
    for (let index = 0; more > 0; index++) {
      const key = `later-${index}`;
      const record = world.record({ app: "a", type: "work", key, ...(idempotent ? { idempotencyKey: key } : {}) });
      if (isGone(record)) continue;
      world.submit(record);
      world.sync();
      for (const attempt of [...world.running.values()]) end(world, attempt, KIB);
      world.advance(1);
      world.sync();
      more--;
    }
    return { world, left };
  }

  test("takes none of the room of the results of others", () => {
    const { world, left } = afterMove(false);
    for (const record of left) expect(statusOf(world, record)).toMatchObject({ state: "done" });
  });

  test("P2: takes none of the room of the idempotency keys of others", () => {
    const { world, left } = afterMove(true);
    expect(repeated(world, left)).toBe(0);
  });
});
