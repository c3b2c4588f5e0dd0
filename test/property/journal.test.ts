/** The journal under the embedded store: its rows against a plain map, its files cut and damaged at every place. */

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { Batch } from "../../ring/io/store/batch.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import { BATCH_HEAD_BYTES } from "../../ring/io/store/journal-file.ts";
import { contentOf, mergedRows } from "../../ring/io/store/merged.ts";
import { type NetChange, Overlay } from "../../ring/io/store/overlay.ts";
import { closeValue, keyOf } from "../../ring/io/store/rows.ts";
import { Untold } from "../../ring/io/store/untold.ts";
import type { RowChange, Term } from "../../ring/store.ts";
import { fc } from "../arbitrary.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const change = fc.record({
  partition: fc.integer({ min: 1, max: 3 }),
  key: fc.uint8Array({ minLength: 1, maxLength: 2 }),
  value: fc.option(fc.uint8Array({ maxLength: 300 }), { nil: undefined }),
});
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ type: fc.constant("commit" as const), changes: fc.array(change, { maxLength: 30 }) }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("settle" as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("reopen" as const), clean: fc.boolean() }) },
);

test("P1: whatever is committed, settled, closed or cut short is read back as a map would have it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const path = temporaryDirectory();
      let store = await openEmbeddedStore({ directory: path });
      let terms = await openAll(store);
      const expected = new Map<string, string>();
      const used = new Set<string>();
      let copies = 0;
      for (const each of steps) {
        if (each.type === "settle") await store.settle();
        else if (each.type === "reopen") {
          let from = path;
          // A copy of the files of an open store is what a SIGKILL leaves.
          if (!each.clean) from = copyOf(path, copies++);
          await store[Symbol.asyncDispose]();
          if (!each.clean) restore(from, path);
          store = await openEmbeddedStore({ directory: path, mustExist: true });
          terms = await openAll(store);
        } else await commit(store, { terms, changes: each.changes, expected, used });
        await expectRows(store, expected);
      }
      await store[Symbol.asyncDispose]();
      rmSync(path, { recursive: true });
    }),
    { numRuns: 60 },
  );
}, 120_000);

test("P1: of a file cut anywhere exactly the whole batches survive", async () => {
  const { path, ends } = await filled();
  for (let batches = 0; batches < ends.length; batches++) {
    const start = batches === 0 ? 0 : ends[batches - 1]!;
    const end = ends[batches]!;
    for (const cut of [start, start + 1, start + 21, start + 22, Math.floor((start + end) / 2), end - 9]) {
      if (cut >= end - 8 || cut < start) continue;
      const bytes = readFileSync(join(path, "journal-1")).subarray(0, Math.max(cut, 32));
      expect(await numbersAfter(path, bytes), `cut at ${cut}`).toBe(batches);
    }
  }
});

test("P1: a flipped bit in front of what was synced later is refused, in the last batch it is a torn tail", async () => {
  const { path, ends } = await filled();
  const whole = readFileSync(join(path, "journal-1")).subarray(0, ends.at(-1));
  for (const at of [0, 5, 9, 33, 40, 60, ends[0]! + 1, ends[1]! + 30, ends[2]! - 20]) {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= 4;
    await expect(numbersAfter(path, bytes), `bit of byte ${at}`).rejects.toMatchObject({ code: "STORE_BROKEN" });
  }
  const last = Buffer.from(whole);
  last[ends.at(-2)! + 30]! ^= 4;
  expect(await numbersAfter(path, last)).toBe(ends.length - 1);
});

test("P5: a payload that looks like a batch cannot make a torn tail look like damage", async () => {
  const { path, ends } = await filled();
  const { writeBatchHead } = await import("../../ring/io/store/journal-file.ts");
  const whole = readFileSync(join(path, "journal-1")).subarray(0, ends.at(-1));
  const segment = whole.readUIntLE(8, 6);
  const forged = new Uint8Array(64);
  writeBatchHead(forged, { start: 0, end: BATCH_HEAD_BYTES + 20, segment, number: 99, secret: 0 });
  expect(await numbersAfter(path, Buffer.concat([whole, Buffer.alloc(8), forged]))).toBe(ends.length);
});

test("P4: payloads full of heads of batches make no start long, and hide no damage", { timeout: 20_000 }, async () => {
  const heads = (segment: number): Uint8Array => {
    const bytes = Buffer.alloc(6 * 1024 * 1024);
    for (let at = 0; at + 24 <= bytes.length; at += 24) {
      bytes.writeUInt32LE(0x42524b54, at);
      bytes.writeUIntLE(segment, at + 8, 6);
      bytes.writeUInt32LE(99, at + 14);
      bytes.writeUInt32LE(bytes.length / 2, at + 18);
    }
    return bytes;
  };
  const { path, ends } = await filled();
  const whole = readFileSync(join(path, "journal-1")).subarray(0, ends.at(-1));
  const segment = whole.readUIntLE(8, 6);
  expect(await numbersAfter(path, Buffer.concat([whole, heads(segment)]))).toBe(ends.length);
  const nothing = Buffer.alloc(64); // of an old segment, as far as can be told
  const behind = whole.subarray(ends[0]);
  const large = Buffer.from(whole);
  large.writeUInt32LE(0xffffffff, ends[0]! + 18); // what the second one says that it has
  await expect(numbersAfter(path, large)).rejects.toThrow(/is damaged/);
  for (const of of [segment + 2, 2 ** 48 - 1])
    await expect(numbersAfter(path, Buffer.concat([nothing, heads(of), behind]))).rejects.toThrow(/is damaged/);
});

test("a journal that is missing its database, or a segment, is a fault", async () => {
  const { path } = await filled();
  const copy = copyOf(path, 1);
  rmSync(join(copy, "data.mdb"));
  await expect(openEmbeddedStore({ directory: copy })).rejects.toMatchObject({
    code: "STORE_BROKEN",
    message: /empty/,
  });
  for (const [number, name] of [
    [3, "journal-0"],
    [4, "journal-1"],
  ] as const) {
    const without = copyOf(path, number);
    rmSync(join(without, name));
    await expect(openEmbeddedStore({ directory: without })).rejects.toMatchObject({
      code: "STORE_BROKEN",
      message: /lost/,
    });
  }
  const other = copyOf(path, 2);
  const bytes = readFileSync(join(other, "journal-1"));
  // Segment 3 in the place of segment 1.
  const overlay = new Uint8Array(bytes);
  const { writeSegmentHead } = await import("../../ring/io/store/journal-file.ts");
  writeSegmentHead(overlay, 9, 0);
  writeFileSync(join(other, "journal-1"), overlay);
  await expect(openEmbeddedStore({ directory: other })).rejects.toMatchObject({ code: "STORE_BROKEN" });
});

test("P1: rows stay visible while their segment goes into the database", async () => {
  const store = await openEmbeddedStore({ directory: temporaryDirectory() });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const term = await store.open(1 as Partition, { history: 1, generation: 1 });
  const changes = Array.from({ length: 5_000 }, (_, at) => ({
    key: Uint8Array.of(20, at >> 8, at & 255),
    value: new Uint8Array(100),
  }));
  await store.commit([{ partition: 1 as Partition, term, changes }]);
  let isSettled = false;
  const settled = store.settle().then(() => {
    isSettled = true;
  });
  let looks = 0;
  for (; !isSettled; looks++) {
    expect(await count(store, 1 as Partition)).toBe(changes.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await settled;
  expect(looks).toBeGreaterThan(1);
});

test("P1: batches of an older segment that lie behind the newest are not replayed", async () => {
  const path = temporaryDirectory();
  const store = await openEmbeddedStore({ directory: path });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const term = await store.open(1 as Partition, { history: 1, generation: 1 });
  const commit = (changes: readonly RowChange[]) => store.commit([{ partition: 1 as Partition, term, changes }]);
  const put = (number: number) => commit([{ key: Uint8Array.of(20, number), value: new Uint8Array(50) }]);
  await store.settle();
  const turns = [5, 1, 2];
  for (const [turn, batches] of turns.entries()) {
    for (let number = 0; number < batches; number++) await put(10 * turn + number);
    // What the first segment put goes with the second.
    if (turn === 1) await commit([0, 1, 2, 3, 4].map((number) => ({ key: Uint8Array.of(20, number) })));
    if (turn < 2) await store.settle();
  }
  const copy = copyOf(path, 0);
  const again = await openEmbeddedStore({ directory: copy });
  cleanups.push(() => again[Symbol.asyncDispose]());
  expect(await count(again, 1 as Partition)).toBe(3);
});

test("a commit larger than a segment, and many segments in a row, keep every row", { timeout: 60_000 }, async () => {
  const path = temporaryDirectory();
  const store = await openEmbeddedStore({ directory: path });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const term = await store.open(1 as Partition, { history: 1, generation: 1 });
  const value = new Uint8Array(3_000_000).fill(7);
  const commits: Promise<unknown>[] = [];
  for (let number = 0; number < 20; number++)
    commits.push(
      store.commit([{ partition: 1 as Partition, term, changes: [{ key: Uint8Array.of(20, number), value }] }]),
    );
  commits.push(
    store.commit([
      {
        partition: 1 as Partition,
        term,
        changes: Array.from({ length: 8 }, (_, at) => ({ key: Uint8Array.of(30, at), value })),
      },
    ]),
  );
  await Promise.all(commits);
  expect(await count(store, 1 as Partition)).toBe(28);
  await store.settle();
  expect(await count(store, 1 as Partition)).toBe(28);
  expect(store.stats().rows).toBe(28);
});

test("what began and ended in one segment is not told to the database", () => {
  const overlay = new Overlay(new Uint8Array(10_000), 32);
  overlay.put(1, Uint8Array.of(1), Uint8Array.of(1), true);
  overlay.put(1, Uint8Array.of(2), Uint8Array.of(1));
  overlay.put(2, Uint8Array.of(3), Uint8Array.of(1), true);
  overlay.keep(overlay.at);
  overlay.remove(1, Uint8Array.of(1));
  overlay.remove(1, Uint8Array.of(2));
  overlay.keep(overlay.at);
  const told = [...overlay.net().at].map((at) => overlay.changeAt(at));
  expect(told.map(({ key, value }) => [[...key], value?.[0]])).toEqual([
    [[...keyOf(1, Uint8Array.of(2))], undefined],
    [[...keyOf(2, Uint8Array.of(3))], 1],
  ]);
  expect(overlay.find(keyOf(1, Uint8Array.of(1)))).toMatchObject({ value: undefined });
});

test("rows of the database and of two segments over it are read as one, from any place on", () => {
  fc.assert(
    fc.property(fc.tuple(layer, layer, layer), smallKey, smallKey, fc.boolean(), (layers, from, to, exclusive) => {
      const [lowest, ...upper] = layers;
      const told = (changes: typeof lowest, rows: Map<string, number>): Map<string, number> => {
        for (const { space, key, value } of changes) {
          const name = Buffer.from(keyOf(space, key)).toString("hex");
          if (value === undefined) rows.delete(name);
          else rows.set(name, value);
        }
        return rows;
      };
      const below = told(lowest, new Map());
      const expected = upper.reduce((rows, changes) => told(changes, rows), new Map(below));
      const [start, end] = [keyOf(1, from), keyOf(2, to)].map((key) => Buffer.from(key)) as [Buffer, Buffer];
      const isIn = (name: string): boolean => {
        const order = Buffer.compare(Buffer.from(name, "hex"), start);
        return (exclusive ? order > 0 : order >= 0) && Buffer.compare(Buffer.from(name, "hex"), end) < 0;
      };
      const inOrder = (rows: ReadonlyMap<string, number>): [string, number][] =>
        [...rows].filter(([name]) => isIn(name)).sort(([left], [right]) => (left < right ? -1 : 1));
      const database = inOrder(below).map(([name, value]) => {
        const key = Buffer.from(name, "hex");
        return { key, value: closeValue(key, Uint8Array.of(value)) };
      });
      const overlays = upper.map((changes) => {
        const overlay = new Overlay(new Uint8Array(10_000), 32);
        for (const { space, key, value } of changes) {
          if (value === undefined) overlay.remove(space, key);
          else overlay.put(space, key, Uint8Array.of(value));
          overlay.keep(overlay.at);
        }
        return overlay;
      });
      const found = [...mergedRows({ start, end, exclusive }, database, overlays.reverse())];
      expect(found.map((row) => [Buffer.from(row.key).toString("hex"), contentOf(row)?.[0]])).toEqual(
        inOrder(expected),
      );
    }),
    { numRuns: 300 },
  );
});

test("P1: what the segment after says newer of a row is told once, and after a crash too every row is what it was", () => {
  fc.assert(
    fc.property(layer, fc.array(batch, { maxLength: 4 }), fc.array(turn, { maxLength: 30 }), (below, before, turns) => {
      const used = new Set<string>();
      const database = new Map<string, number>();
      for (const change of below) tell(database, used, change);
      let model = new Map(database);
      const older = new Overlay(new Uint8Array(20_000), 32);
      for (const changes of before) put(older, changes, model, used);
      const untold = new Untold(older);
      const newer = new Overlay(new Uint8Array(60_000), 32);
      const ends: number[] = [32];
      let beforeLast = model;
      let isLooked = false;
      for (const each of [...turns, ...Array.from({ length: before.flat().length + 2 }, () => 50)]) {
        if (typeof each !== "number") {
          beforeLast = model;
          model = new Map(model);
          put(newer, each, model, used);
          ends.push(newer.end);
        } else if (!isLooked) isLooked = !untold.leaveOut(newer, each);
        else write(database, untold.take({ rows: each, bytes: 1_000 }));
        if (!isLooked || !untold.isOver) continue;
        expect(replayed(database, newer, ends)).toEqual(sorted(model));
        if (ends.length > 1) expect(replayed(database, newer, ends.slice(0, -1))).toEqual(sorted(beforeLast));
      }
      const rest = new Untold(newer);
      rest.leaveOut(new Overlay(new Uint8Array(100), 32), 10_000);
      write(database, rest.take({ rows: 10_000, bytes: 1_000_000 }));
      expect(sorted(database)).toEqual(sorted(model));
    }),
    { numRuns: 500 },
  );
});

test("a row that began in one segment and ended in the next is not told to the database at all", () => {
  const older = new Overlay(new Uint8Array(1_000), 32);
  const [gone, kept, last] = [1, 2, 3].map((number) => Uint8Array.of(number)) as [Uint8Array, Uint8Array, Uint8Array];
  for (const key of [gone, kept, last]) older.put(1, key, key, true);
  older.keep(older.at);
  const newer = new Overlay(new Uint8Array(1_000), 32);
  newer.remove(1, gone);
  newer.put(1, kept, Uint8Array.of(7));
  newer.keep(newer.at);
  newer.remove(1, last);
  newer.keep(newer.at);
  const most = { rows: 9, bytes: 99 };
  const told = (segment: Overlay, after: Overlay) => {
    const untold = new Untold(segment);
    expect(untold.leaveOut(after, 2)).toBe(true);
    expect(untold.leaveOut(after, 2)).toBe(false);
    return new Map(untold.take(most).map(({ key, value }) => [key[2], value?.[0]]));
  };
  expect(new Untold(older).shareIn(newer)).toBeCloseTo(2 / 3, 1);
  expect(told(older, newer)).toEqual(new Map([[3, 3]]));
  newer.put(1, Uint8Array.of(4), gone);
  newer.keep(newer.at);
  expect(told(newer, new Overlay(new Uint8Array(100), 32))).toEqual(
    new Map<number | undefined, number | undefined>([
      [2, 7],
      [3, undefined],
      [4, 1],
    ]),
  );
});

test("a row that is said to have begun in the segment after is deleted in the database all the same", () => {
  const key = Uint8Array.of(1);
  const older = new Overlay(new Uint8Array(1_000), 32);
  older.remove(1, key);
  older.keep(older.at);
  const newer = new Overlay(new Uint8Array(1_000), 32);
  newer.put(1, key, key, true);
  newer.remove(1, key);
  newer.keep(newer.at);
  newer.put(1, Uint8Array.of(2), key);
  newer.keep(newer.at);
  const untold = new Untold(older);
  untold.leaveOut(newer, 9);
  expect(untold.take({ rows: 9, bytes: 99 }).map(({ value }) => value)).toEqual([undefined]);
});

test("P1: a batch of which the database has been told a part is missed when it is lost: no commit is there by half", async () => {
  const path = temporaryDirectory();
  const store = await openEmbeddedStore({ directory: path });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const partition = 1 as Partition;
  const term = await store.open(partition, { history: 1, generation: 1 });
  await store.settle();
  const value = new Uint8Array(9);
  const changes = Array.from({ length: 10_000 }, (_, at) => ({ key: Uint8Array.of(20, at >> 8, at & 255), value }));
  await store.commit([{ partition, term, changes }]);
  const transact = Batch.prototype.transact;
  let copy: string | undefined;
  vi.spyOn(Batch.prototype, "transact").mockImplementation(async function (this: Batch, write: () => void) {
    const wrote = await transact.call(this, write);
    copy ??= copyOf(path, 0); // what a SIGKILL between two transactions leaves
    return wrote;
  });
  await store.settle();
  const file = newestOf(copy!);
  const bytes = readFileSync(file);
  bytes[1_000]! ^= 4;
  const whole = copyOf(copy!, 1);
  writeFileSync(file, bytes);
  await expect(openEmbeddedStore({ directory: copy! })).rejects.toMatchObject({
    code: "STORE_BROKEN",
    message: /has 0 of 1 batches/,
  });
  await using again = await openEmbeddedStore({ directory: whole });
  expect(await count(again, partition)).toBe(changes.length);
});

test("P1: the newest batches are missed where rows of a segment that was told have counted on them", async () => {
  const path = temporaryDirectory();
  const store = await openEmbeddedStore({ directory: path });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const partition = 1 as Partition;
  const term = await store.open(partition, { history: 1, generation: 1 });
  const put = (number: number, value: Uint8Array) =>
    store.commit([{ partition, term, changes: [{ key: Uint8Array.of(20, number), value }] }]);
  await put(0, Uint8Array.of(1));
  await store.settle();
  await put(0, Uint8Array.of(2));
  for (const number of [1, 2, 3]) await put(number, new Uint8Array(3.9 * 1024 * 1024));
  await put(4, new Uint8Array(1024 * 1024)); // the first of the next segment
  await put(0, Uint8Array.of(3));
  await put(5, Uint8Array.of(1));
  await vi.waitFor(() => expect(store.owedBytes).toBeLessThan(2 * 1024 * 1024), { timeout: 10_000 });
  const [whole, cut] = [copyOf(path, 0), copyOf(path, 1)];
  const file = newestOf(cut);
  const bytes = readFileSync(file);
  bytes.fill(0, Math.floor((store.owedBytes - 100) / 4_096) * 4_096, store.owedBytes); // a page that the disk has lost
  writeFileSync(file, bytes);
  await expect(openEmbeddedStore({ directory: cut })).rejects.toMatchObject({
    code: "STORE_BROKEN",
    message: /has 0 of 3 batches/,
  });
  await using again = await openEmbeddedStore({ directory: whole });
  const { rows } = await again.page({ partition, rowLimit: 1, byteLimit: 1 });
  expect(rows.map(({ key, value }) => [key[1], value[0]])).toEqual([[0, 3]]);
});

interface SmallChange {
  readonly space: number;
  readonly key: Uint8Array;
  readonly value: number | undefined;
}

function nameOf({ space, key }: SmallChange): string {
  return Buffer.from(keyOf(space, key)).toString("hex");
}

function tell(rows: Map<string, number>, used: Set<string>, change: SmallChange): void {
  used.add(nameOf(change));
  if (change.value === undefined) rows.delete(nameOf(change));
  else rows.set(nameOf(change), change.value);
}

/** One batch. */
function put(overlay: Overlay, changes: readonly SmallChange[], model: Map<string, number>, used: Set<string>): void {
  overlay.skip(BATCH_HEAD_BYTES);
  for (const change of changes) {
    const { space, key, value } = change;
    if (value === undefined) overlay.remove(space, key);
    else overlay.put(space, key, Uint8Array.of(value), !used.has(nameOf(change)));
    tell(model, used, change);
  }
  overlay.keep(overlay.at);
}

function write(database: Map<string, number>, changes: readonly NetChange[]): void {
  for (const { key, value } of changes) {
    const name = Buffer.from(key).toString("hex");
    if (value === undefined) database.delete(name);
    else database.set(name, value[0]!);
  }
}

/** What a start finds: the database, and over it the batches of the segment after, up to the last of `ends`. */
function replayed(
  database: ReadonlyMap<string, number>,
  segment: Overlay,
  ends: readonly number[],
): [string, number][] {
  const overlay = new Overlay(segment.bytes.slice(), 32);
  for (const [index, end] of ends.entries())
    if (index > 0) overlay.replay(ends[index - 1]! + BATCH_HEAD_BYTES, end, end);
  const rows = new Map(database);
  write(
    rows,
    [...overlay.net().at].map((at) => overlay.changeAt(at)),
  );
  return sorted(rows);
}

function sorted(rows: ReadonlyMap<string, number>): [string, number][] {
  return [...rows].sort(([left], [right]) => (left < right ? -1 : 1));
}

const smallKey = fc.uint8Array({ minLength: 1, maxLength: 2, max: 7 });
const layer = fc.array(
  fc.record({
    space: fc.integer({ min: 1, max: 2 }),
    key: smallKey,
    value: fc.option(fc.integer({ min: 0, max: 255 }), { nil: undefined }),
  }),
  { maxLength: 90 },
);

const batch = fc.array(
  fc.record({
    space: fc.integer({ min: 1, max: 2 }),
    key: fc.uint8Array({ minLength: 1, maxLength: 1, max: 9 }),
    value: fc.option(fc.integer({ min: 0, max: 255 }), { nil: undefined }),
  }),
  { maxLength: 8 },
);
/** A batch of the segment after, or so many rows told of the one before. */
const turn = fc.oneof({ weight: 2, arbitrary: batch }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 6 }) });

const PARTITIONS = [1, 2, 3] as Partition[];

async function openAll(store: EmbeddedStore): Promise<Map<number, Term>> {
  const terms = new Map<number, Term>();
  for (const partition of PARTITIONS) terms.set(partition, await store.open(partition, { history: 1, generation: 1 }));
  return terms;
}

async function commit(
  store: EmbeddedStore,
  what: {
    readonly terms: Map<number, Term>;
    readonly changes: readonly { partition: number; key: Uint8Array; value?: Uint8Array | undefined }[];
    readonly expected: Map<string, string>;
    /** Keys that have had a row. */
    readonly used: Set<string>;
  },
): Promise<void> {
  const groups = new Map<number, RowChange[]>();
  for (const { partition, key, value } of what.changes) {
    const name = `${partition} ${Buffer.from(key).toString("hex")}`;
    const changes = groups.get(partition) ?? [];
    groups.set(partition, changes);
    changes.push(value === undefined ? { key } : { key, value, isNew: !what.used.has(name) });
    if (value === undefined) what.expected.delete(name);
    else what.expected.set(name, Buffer.from(value).toString("hex"));
    what.used.add(name);
  }
  await store.commit(
    [...groups].map(([partition, changes]) => ({
      partition: partition as Partition,
      term: what.terms.get(partition)!,
      changes,
    })),
  );
}

async function expectRows(store: EmbeddedStore, expected: Map<string, string>): Promise<void> {
  const found = new Map<string, string>();
  for (const partition of PARTITIONS) {
    let after: Uint8Array | undefined;
    do {
      const page = await store.page({ partition, rowLimit: 7, byteLimit: 1_000, ...(after && { after }) });
      for (const { key, value } of page.rows)
        found.set(`${partition} ${Buffer.from(key).toString("hex")}`, Buffer.from(value).toString("hex"));
      after = page.next;
    } while (after);
  }
  expect(new Map([...found].sort())).toEqual(new Map([...expected].sort()));
  expect(store.stats().rows).toBe(expected.size);
}

/** Five commits of one row each; where each batch ends in the file. */
async function filled(): Promise<{ path: string; ends: number[] }> {
  const path = temporaryDirectory();
  const store = await openEmbeddedStore({ directory: path });
  await store.settle();
  const term = await store.open(1 as Partition, { history: 1, generation: 1 });
  await store.settle();
  const ends: number[] = [];
  for (let number = 0; number < 5; number++) {
    await store.commit([
      { partition: 1 as Partition, term, changes: [{ key: Uint8Array.of(20, number), value: new Uint8Array(50) }] },
    ]);
    ends.push(store.owedBytes);
  }
  const copy = copyOf(path, 0);
  await store[Symbol.asyncDispose]();
  return { path: copy, ends };
}

/** Opens a copy with this as its newest journal file; how many rows it has. */
async function numbersAfter(path: string, journal: Uint8Array): Promise<number> {
  const copy = copyOf(path, Math.random());
  writeFileSync(join(copy, "journal-1"), journal);
  const store = await openEmbeddedStore({ directory: copy });
  const rows = await count(store, 1 as Partition);
  await store[Symbol.asyncDispose]();
  rmSync(copy, { recursive: true });
  return rows;
}

async function count(store: EmbeddedStore, partition: Partition): Promise<number> {
  let rows = 0;
  let after: Uint8Array | undefined;
  do {
    const page = await store.page({ partition, rowLimit: 100, byteLimit: 1e9, ...(after && { after }) });
    rows += page.rows.length;
    after = page.next;
  } while (after);
  return rows;
}

/** The journal's file with the newer segment. */
function newestOf(path: string): string {
  const [first, second] = ["journal-0", "journal-1"].map((name) => join(path, name)) as [string, string];
  return readFileSync(first).readUIntLE(8, 6) > readFileSync(second).readUIntLE(8, 6) ? first : second;
}

function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "taskring-journal-"));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function copyOf(path: string, number: number): string {
  const copy = `${path}-copy-${number}`;
  mkdirSync(copy);
  cleanups.push(() => rmSync(copy, { recursive: true, force: true }));
  restore(path, copy);
  return copy;
}

function restore(from: string, to: string): void {
  for (const name of ["data.mdb", "journal-0", "journal-1"]) copyFileSync(join(from, name), join(to, name));
}
