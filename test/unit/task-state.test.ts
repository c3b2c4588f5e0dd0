/** The state of a key, and tasks and state that are on another machine. */

import { describe, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { catalogue, partitionOf, RING_SIZE, taskType, World } from "../property/task-world.ts";
import { A, keysOf, newest, outcomeOf } from "./task-looks.ts";

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

  test("P5: a name of it has at most 256 bytes, however few characters that are: its row's key would be too long for a store", () => {
    const world = new World({ seed: 1 });
    world.submit(world.record({ app: "a", type: "work", key: "k", maxAttempts: 1 }));
    world.submit(world.record({ app: "a", type: "work", key: "l", maxAttempts: 1 }));
    world.sync();
    const [first, second] = world.started;
    world.done(first!, { stateChanges: [{ name: "x".repeat(256), value: Uint8Array.of(1) }] });
    world.done(second!, { stateChanges: [{ name: "€".repeat(86), value: Uint8Array.of(1) }] });
    world.sync();
    expect(world.ask("a", "k", { type: "get", id: first!.record.id })).toMatchObject({ status: { state: "done" } });
    expect(world.ask("a", "l", { type: "get", id: second!.record.id })).toMatchObject({
      status: { state: "dead", error: { name: "INVALID_ARGUMENT" } },
    });
  });
});

describe("older tasks elsewhere", () => {
  test.each([
    ["once", 1],
    ["twice", 2],
  ])(
    "P1: an adopting owner starts nothing before the older tasks are there, then those first (rule 15), coming %s",
    (_, times) => {
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
      for (let time = 0; time < times; time++)
        world.call((engine) =>
          engine.absorb(world.now, partition, old.partitionRows(partition), {
            behind: false,
            generation: 1,
            marks: new Map(),
          }),
        );
      world.sync();
      expect(world.started).toHaveLength(0);
      world.call((engine) => engine.olderDone(world.now, partition));
      for (let turn = 0; turn < 3; turn++) world.done(newest(world));
      expect(world.started.map((attempt) => attempt.record.id)).toEqual([older[0]!.id, older[1]!.id, newer.id]);
    },
  );

  test("P2: awaited tasks start once all are here; if they come again, nothing runs again and no state goes back (rule 15)", () => {
    const old = new World({ seed: 1 });
    old.submit(old.record({ app: "a", type: "work", key: "k" }));
    old.sync();
    old.done(newest(old), { stateChanges: [{ name: "count", value: Uint8Array.of(1) }] });
    const record = old.record({ app: "a", type: "work", key: "k" });
    old.submit(record);
    old.sync();
    const partition = partitionOf(record.hash);

    const world = new World({ seed: 2, limits: { endedIdsPerPartition: 1 } });
    world.generation = 2;
    world.crash("awaited");
    const comes = (): void => {
      world.call((engine) =>
        engine.absorb(world.now, partition, old.partitionRows(partition), {
          behind: false,
          generation: 1,
          marks: new Map(),
        }),
      );
      world.sync();
    };
    comes();
    expect(world.started).toHaveLength(0);
    world.call((engine) => engine.olderDone(world.now, partition, true));
    world.run(100);
    expect(newest(world).state.get("count")).toEqual(Uint8Array.of(1));
    world.done(newest(world), { stateChanges: [{ name: "count", value: Uint8Array.of(2) }] });
    world.sync();
    comes();
    for (let other = 0; other < 2; other++) endOne(world);
    world.crash("awaited");
    comes();
    world.call((engine) => engine.olderDone(world.now, partition, true));
    world.call((engine) => engine.olderDone(world.now, partition));
    const next = world.record({ app: "a", type: "work", key: "k" });
    world.submit(next);
    world.sync();
    world.run(1_000);
    expect(world.started.filter((attempt) => attempt.record.id === record.id)).toHaveLength(1);
    expect(newest(world).record.id).toBe(next.id);
    expect(newest(world).state.get("count")).toEqual(Uint8Array.of(2));
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
      world.call((engine) =>
        engine.absorb(world.now, partition, old.partitionRows(partition), {
          behind: false,
          generation: 1,
          marks: new Map(),
        }),
      );
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
    const world = new World({ seed: 2, limits: { endedIdsPerPartition: 1 } });
    world.generation = 2;
    world.crash("away");
    world.call((engine) =>
      engine.absorb(world.now, partition, old.partitionRows(partition), {
        behind: true,
        generation: 1,
        marks: new Map(),
      }),
    );
    world.sync();
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "running" } });
    world.done(newest(world));
    world.sync();
    for (let other = 0; other < 2; other++) endOne(world); // ids that are kept for want of better are long gone
    world.crash("away");
    world.call((engine) =>
      engine.absorb(world.now, partition, old.partitionRows(partition), {
        behind: true,
        generation: 1,
        marks: new Map(),
      }),
    );
    world.run(1_000);
    expect(world.started.filter((attempt) => attempt.record.id === record.id)).toHaveLength(1);
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
        engine.absorb(world.now, partition as Partition, old.partitionRows(partition), {
          behind: true,
          generation: 1,
          marks: new Map(),
        }),
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

/** One more task of key `k`, from submit to end. */
function endOne(world: World): void {
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  world.done(newest(world));
  world.sync();
}
