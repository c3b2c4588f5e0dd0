/** What comes of other directories while tasks run, late, in part or in any order: what is cached, what runs again, whose state wins. */

import { describe, expect, test } from "vitest";
import { KIND, keyedRow, stateKey } from "../../ring/tasks/rows.ts";
import { stateMarkValue } from "../../ring/tasks/state-rows.ts";
import { catalogue, partitionOf, taskType, World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";

const types = [taskType("work"), taskType("plain", { state: "none" }), taskType("fresh", { onAway: "fresh" })];
const apps = () => catalogue({ types });
const one = (n: number) => Uint8Array.of(n);

/** An old owner that left state of key k, names `count`=9 and `old`=1. */
function left(): World {
  const old = new World({ seed: 1, apps: apps() });
  old.submit(old.record({ app: "a", type: "work", key: "k" }));
  old.sync();
  old.done(newest(old), {
    stateChanges: [
      { name: "count", value: one(9) },
      { name: "old", value: one(1) },
    ],
  });
  old.sync();
  return old;
}
const P = partitionOf(new World({ seed: 1 }).record({ app: "a", type: "work", key: "k" }).hash);
const marks = () => new Map<string, number>();
function state(world: World) {
  return Object.fromEntries(
    [
      ...(
        world.ask("a", "k", { type: "read-state", app: A, key: "k" }) as unknown as { values: Map<string, Uint8Array> }
      ).values,
    ].map(([n, v]) => [n, v[0]]),
  );
}
function onDisk(world: World) {
  const prefix = stateKey("a", "k", "");
  return Object.fromEntries(
    world
      .partitionRows(P)
      .filter(({ key }) => prefix.every((b, i) => key[i] === b))
      .map(({ key, value }) => [new TextDecoder().decode(key.subarray(prefix.length)), value[0]]),
  );
}
function away(generation = 2): World {
  const world = new World({ seed: 2, apps: apps() });
  world.generation = generation;
  world.crash("away");
  return world;
}
function absorb(world: World, rows: ReturnType<World["partitionRows"]>, m = marks(), behind = true, isLast = true) {
  const from = { behind, generation: 1, marks: m, isLast };
  world.call((engine) => engine.absorb(world.now, P, rows, from));
}

/** The next owner, which absorbed all of that and ran a task while the ring still listed it: count is 10, and marked. */
function wentOn(from: World): World {
  const a = new World({ seed: 2, apps: apps() });
  a.generation = 2;
  a.crash("awaited");
  absorb(a, from.partitionRows(P), marks(), false);
  a.sync();
  a.call((engine) => engine.olderDone(a.now, P, true));
  a.submit(a.record({ app: "a", type: "work", key: "k" }));
  a.sync();
  expect(newest(a).state.get("count")).toEqual(one(9));
  a.done(newest(a), { stateChanges: [{ name: "count", value: one(10) }] });
  a.sync();
  return a;
}

describe("what is cached of a key", () => {
  test("P1: state that comes while a fresh handler runs that writes none is not ignored by the next", () => {
    const old = left();
    const world = away();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.sync();
    const running = newest(world);
    absorb(world, old.partitionRows(P));
    world.sync();
    world.done(running); // no state written
    world.sync();
    world.call((engine) => engine.olderDone(world.now, P));
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    expect(onDisk(world)).toEqual({ count: 9, old: 1 });
    expect(newest(world).state.get("count")).toEqual(one(9));
  });

  test("P1: the same with a handler that never touches state, on a lane that knows it has none", () => {
    const old = left();
    const world = away();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.sync();
    world.done(newest(world));
    world.submit(world.record({ app: "a", type: "plain", key: "k" }));
    world.sync();
    const running = newest(world);
    absorb(world, old.partitionRows(P));
    world.sync();
    world.done(running);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, P));
    world.submit(world.record({ app: "a", type: "work", key: "k" }));
    world.sync();
    expect(newest(world).state.get("count")).toEqual(one(9));
  });

  test("what is cached is what is on the disk after a fresh handler has written", () => {
    const old = left();
    const world = away();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.sync();
    const running = newest(world);
    absorb(world, old.partitionRows(P));
    world.sync();
    world.done(running, { stateChanges: [{ name: "count", value: one(1) }] });
    world.sync();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.sync();
    expect(Object.fromEntries([...newest(world).state].map(([n, v]) => [n, v[0]]))).toEqual(onDisk(world));
  });

  test("P1: a read under way does not bring back what was there before rows came", () => {
    const world = away(3);
    const c = stateKey("a", "k", "count");
    absorb(world, [{ key: c, value: one(1) }]); // of the oldest directory
    world.sync();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.closeGroup();
    world.onSync = () => {};
    world.syncUpTo(world.group); // durable: the lane asks for its state
    expect(world.reads).toHaveLength(1);
    // It is read now, and heard of after the next rows have come.
    const read = world.reads.shift()!;
    const m = marks();
    absorb(
      world,
      [
        { key: keyedRow(KIND.stateHere, "a", "k", ""), value: stateMarkValue({ generation: 2, fresh: true }) },
        { key: c, value: one(2) },
      ],
      m,
    );
    world.call((engine) => engine.stateLoaded(world.now, read.readId, [{ key: c, value: one(1) }]));
    world.sync();
    expect(onDisk(world)).toEqual({ count: 2 });
    expect(newest(world).state.get("count")).toEqual(one(2));
  });
});

describe("state that was written without the older one, which was away", () => {
  /** Wrote count=1 without what `left` has. */
  function fresh(): World {
    const world = away();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.sync();
    expect(newest(world).state.size).toBe(0);
    world.done(newest(world), { stateChanges: [{ name: "count", value: one(1) }] });
    world.sync();
    return world;
  }
  function aside(world: World, drop = false) {
    const answer = world.ask("a", "k", { type: "read-aside", app: A, key: "k", drop });
    const { values } = answer as unknown as { values: { name: string; origin: string; value: Uint8Array }[] };
    return values.map(({ name, origin, value }) => `${origin} ${name}=${value[0]}`);
  }

  test.each([
    ["older first", false],
    ["newer first", true],
  ])("wins as a whole, and the older one is kept aside: %s", (_, newerFirst) => {
    const [old, since] = [left(), fresh()];
    const world = away(3);
    for (const each of newerFirst ? [since, old] : [old, since]) {
      absorb(world, each.partitionRows(P));
      world.sync();
    }
    world.call((engine) => engine.olderDone(world.now, P));
    world.sync();
    expect(state(world)).toEqual({ count: 1 });
    const origin = newerFirst ? "1" : "3.2";
    expect(aside(world)).toEqual([`${origin} count=9`, `${origin} old=1`]);
    expect(world.toldAside).toEqual(["k"]);
    world.crash("none");
    expect(world.engine.asideKeys()).toEqual({ count: 1, first: { app: "a", key: "k" } });
    expect(aside(world, true)).toHaveLength(2);
    expect(aside(world)).toEqual([]);
    expect(world.engine.asideKeys()).toEqual({ count: 0 });
    expect(state(world)).toEqual({ count: 1 });
  });

  test("wins here as well, and what is kept aside goes where the partition goes", () => {
    const world = fresh();
    absorb(world, left().partitionRows(P));
    world.sync();
    expect(aside(world)).toEqual(["1 count=9", "1 old=1"]);
    const next = away(3);
    absorb(next, world.partitionRows(P));
    next.sync();
    expect(aside(next)).toEqual(["1 count=9", "1 old=1"]);
    expect(next.engine.asideKeys().count).toBe(1);
  });

  test("what the operator has dropped of it does not come again with the directory", () => {
    const world = fresh();
    const old = left();
    absorb(world, old.partitionRows(P));
    world.sync();
    expect(aside(world, true)).toHaveLength(2);
    absorb(world, old.partitionRows(P));
    world.sync();
    expect(aside(world)).toEqual([]);
  });

  test("a key written here while the older state is looked up wins over both", () => {
    const world = away(3);
    absorb(world, left().partitionRows(P));
    world.sync();
    world.submit(world.record({ app: "a", type: "fresh", key: "k" }));
    world.sync();
    const running = newest(world);
    absorb(world, fresh().partitionRows(P));
    expect(world.engine.replacing(P)).toBe(1);
    world.done(running, { stateChanges: [{ name: "count", value: one(2) }] });
    world.sync();
    expect(world.engine.replacing(P)).toBe(0);
    expect(state(world)).toEqual({ count: 2, old: 1 });
    expect(aside(world)).toEqual(["1 count=1"]);
  });

  test("what the older state alone had went into the newer one is not kept aside", () => {
    const c = left();
    const a = wentOn(c);
    const world = away(3);
    absorb(world, c.partitionRows(P));
    world.sync();
    absorb(world, a.partitionRows(P));
    world.sync();
    expect(state(world)).toEqual({ count: 10, old: 1 });
    expect(aside(world)).toEqual([]);
  });

  test("P1: values that come in two attempts of a transfer are all there", () => {
    const since = wentOn(left());
    const rows = since.partitionRows(P);
    const world = away(3);
    absorb(world, left().partitionRows(P));
    world.sync();
    const cut = rows.findIndex(({ key }) => key[0] === KIND.state);
    absorb(world, rows.slice(0, cut), marks(), true, false); // marks alone, then the link breaks
    absorb(world, rows);
    world.sync();
    expect(state(world)).toEqual({ count: 10, old: 1 });
  });
});

describe("a task that ended elsewhere, as is heard while it runs, does not run again", () => {
  function ended(keyed: boolean, result?: Uint8Array) {
    const old = new World({ seed: 1, apps: apps() });
    const record = old.record({ app: "a", type: "work", key: "k", ...(keyed ? { idempotencyKey: "i" } : {}) });
    old.submit(record);
    old.sync();
    old.end(newest(old), { type: "done", result }, { stateChanges: [{ name: "count", value: one(1) }] });
    old.sync();
    return { old, record };
  }
  function runs(world: World, id: string) {
    return world.started.filter((each) => each.record.id === id).length;
  }

  test.each([false, true])("P2: after a timeout (keyed %s)", (keyed) => {
    const { old, record } = ended(keyed);
    const world = away();
    world.submit(record);
    world.sync();
    const running = newest(world);
    absorb(world, old.partitionRows(P));
    world.sync();
    world.advance(30_001);
    expect(world.aborted).toHaveLength(1);
    world.done(running);
    world.sync();
    world.call((engine) => engine.olderDone(world.now, P));
    world.run(5_000);
    expect(runs(world, record.id)).toBe(1);
  });

  test("past its deadline", () => {
    const old = new World({ seed: 1, apps: apps() });
    const record = old.record({ app: "a", type: "work", key: "k", deadlineMs: 5_000 });
    old.submit(record);
    old.sync();
    old.done(newest(old));
    old.sync();
    const world = away();
    world.submit(record);
    world.sync();
    const running = newest(world);
    absorb(world, old.partitionRows(P));
    world.sync();
    world.advance(5_001);
    world.done(running);
    world.sync();
    expect(world.ask("a", "k", { type: "get", id: record.id })).toMatchObject({ status: { state: "done" } });
  });

  test("P2: with a result that is too long", () => {
    const { old, record } = ended(true);
    const world = away();
    world.submit(record);
    world.sync();
    const running = newest(world);
    absorb(world, old.partitionRows(P));
    world.sync();
    world.end(running, { type: "done", result: new Uint8Array(5_000_000) });
    world.sync();
    world.call((engine) => engine.olderDone(world.now, P));
    world.run(5_000);
    expect(runs(world, record.id)).toBe(1);
  });

  test.each([false, true])("P2: after a restart while it runs (keyed %s)", (keyed) => {
    const { old, record } = ended(keyed);
    const world = away();
    world.submit(record);
    world.sync();
    absorb(world, old.partitionRows(P));
    world.sync(); // all is durable: the entry goes, and the old directory with it
    world.call((engine) => engine.olderDone(world.now, P));
    world.sync();
    world.crash("none");
    world.run(1_000);
    expect(runs(world, record.id)).toBe(1);
  });
});

describe("of several directories", () => {
  test.each([true, false])("a dead letter of a task that was submitted again and done here: while away %s", (waits) => {
    const c = new World({ seed: 1, apps: apps() });
    const record = c.record({ app: "a", type: "work", key: "k" });
    c.submit(record);
    c.sync();
    c.end(newest(c), { type: "failed", error: { name: "E", message: "" }, permanent: true });
    c.sync();
    const d = away(2);
    d.submit(record); // whose acceptance the client has not heard of
    d.sync();
    d.done(newest(d));
    d.sync();
    if (waits) d.run(2 * 3_600_000); // its result is forgotten, its id is not
    absorb(d, c.partitionRows(P));
    d.sync();
    expect(d.ask("a", "k", { type: "list-dead", limit: 9 })).toMatchObject({ statuses: [] });
  });

  /** c has T dead; a absorbed that, retried it, and it was done. */
  test.each([
    ["older first", false],
    ["newer first", true],
  ])("a dead letter that was retried and done: %s", (_, newerFirst) => {
    for (const keyed of [false, true]) {
      const c = new World({ seed: 1, apps: apps() });
      const record = c.record({ app: "a", type: "work", key: "k", ...(keyed ? { idempotencyKey: "i" } : {}) });
      c.submit(record);
      c.sync();
      c.end(newest(c), { type: "failed", error: { name: "E", message: "" }, permanent: true });
      c.sync();
      const a = new World({ seed: 2, apps: apps() });
      a.generation = 2;
      a.crash("awaited");
      absorb(a, c.partitionRows(P), marks(), false);
      a.sync();
      a.call((engine) => engine.olderDone(a.now, P, true));
      a.request("a", "k", { type: "retry-dead", ids: [record.id] });
      a.sync();
      a.done(newest(a), { stateChanges: [{ name: "count", value: one(1) }] });
      a.sync();
      const d = away(3);
      for (const each of newerFirst ? [a, c] : [c, a]) {
        absorb(d, each.partitionRows(P));
        d.sync();
      }
      d.call((engine) => engine.olderDone(d.now, P));
      d.sync();
      expect(d.ask("a", "k", { type: "list-dead", limit: 9 })).toMatchObject({ statuses: [] });
    }
  });

  test.each([
    ["older first", false],
    ["newer first", true],
  ])("a dead letter that was retried and is queued again: %s", (_, newerFirst) => {
    const c = new World({ seed: 1, apps: apps() });
    const record = c.record({ app: "a", type: "work", key: "k" });
    c.submit(record);
    c.sync();
    c.end(newest(c), { type: "failed", error: { name: "E", message: "" }, permanent: true });
    c.sync();
    const a = new World({ seed: 2, apps: apps() });
    a.generation = 2;
    a.crash("awaited");
    absorb(a, c.partitionRows(P), marks(), false);
    a.sync();
    a.request("a", "k", { type: "retry-dead", ids: [record.id] });
    a.sync();
    const d = away(3);
    for (const each of newerFirst ? [a, c] : [c, a]) {
      absorb(d, each.partitionRows(P));
      d.sync();
    }
    d.call((engine) => engine.olderDone(d.now, P));
    d.sync();
    expect(d.ask("a", "k", { type: "list-dead", limit: 9 })).toMatchObject({ statuses: [] });
  });

  test.each([
    ["a first", true],
    ["b first", false],
  ])("P1: an owner that died between mark and state of a directory: %s", (_, aFirst) => {
    const c = left();
    const a = wentOn(c);
    // b absorbs c whole, then of a only the first chunk, which ends between marks and state; it dies.
    const b = away(3);
    absorb(b, c.partitionRows(P));
    b.sync();
    const rows = a.partitionRows(P);
    absorb(
      b,
      rows.filter(({ key }) => key[0]! < KIND.state),
      marks(),
      true,
      false,
    );
    b.sync();
    const d = away(4);
    for (const each of aFirst ? [a, b] : [b, a]) {
      absorb(d, each.partitionRows(P));
      d.sync();
    }
    absorb(d, c.partitionRows(P));
    d.sync();
    expect(state(d)).toEqual({ count: 10, old: 1 });
  });

  test("P1: nor one that died before the older state gave way to what that brought", () => {
    const c = left();
    const a = wentOn(c);
    a.submit(a.record({ app: "a", type: "work", key: "k" }));
    a.sync();
    a.done(newest(a), { stateChanges: [{ name: "old", value: undefined }] });
    a.sync();
    const b = away(3);
    absorb(b, c.partitionRows(P));
    b.sync();
    absorb(b, a.partitionRows(P), marks(), true, false);
    b.closeGroup();
    b.onSync = () => {};
    b.syncUpTo(b.group);
    expect(b.reads).toHaveLength(1); // it dies before that is answered
    const d = away(4);
    for (const each of [b, a]) {
      absorb(d, each.partitionRows(P));
      d.sync();
    }
    expect(state(d)).toEqual({ count: 10 });
  });

  test("P1: what a directory said of its state is known after a restart of who absorbed it", () => {
    const c = left();
    const a = wentOn(c);
    const d = away(3);
    absorb(d, a.partitionRows(P));
    d.sync();
    d.crash("away");
    absorb(d, c.partitionRows(P));
    d.sync();
    expect(state(d)).toEqual({ count: 10, old: 1 });
  });
});

test("a child that comes twice is counted once", () => {
  const old = new World({ seed: 1, apps: apps() });
  old.submit(old.record({ app: "a", type: "work", key: "k" }));
  old.sync();
  const child = old.record({ app: "a", type: "work", key: "z" });
  old.done(newest(old), { children: [{ id: child.id, wire: child.bytes.slice(child.start, child.end) }] as never });
  old.sync();
  expect(old.engine.stats().outbox).toBe(1);
  const world = away();
  absorb(world, old.partitionRows(P));
  absorb(world, old.partitionRows(P)); // the link broke: all of them again
  world.sync();
  expect(world.engine.stats().outbox).toBe(1);
});
