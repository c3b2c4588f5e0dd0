/**
 * The `TaskStore` contract, run on every engine. A new engine adds one line to `ENGINES`.
 *
 * Seen to fail: S2 by resolving `commit` before its sync; S3 by accepting every term and by not storing terms; a drop
 * by letting it share a transaction with what came before, and by not refusing groups while it runs.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { RingError } from "../../ring/errors.ts";
import type { Partition } from "../../ring/ids.ts";
import { openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import { MemoryStore } from "../../ring/io/store/memory.ts";
import { openRedisStore } from "../../ring/io/store/redis/store.ts";
import type { Row, RowChange, TaskStore, Term } from "../../ring/store.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";

interface Engine {
  readonly name: string;
  /** A place that outlives the stores opened on it. */
  readonly place: () => Place;
}

interface Place {
  open(): Promise<TaskStore>;
  remove(): void;
}

const ENGINES: readonly Engine[] = [
  { name: "memory", place: memoryPlace },
  { name: "embedded", place: embeddedPlace },
  ...(redisThere() ? [{ name: "redis", place: redisPlace }] : []),
];

let redis: RedisServer | undefined;
let places = 0;

beforeAll(async () => {
  if (redisThere()) redis = await RedisServer.open();
});

afterAll(() => redis?.[Symbol.asyncDispose]());

describe.each(ENGINES)("$name", ({ place: makePlace }) => {
  let place: Place | undefined;
  const opened: TaskStore[] = [];

  async function open(): Promise<TaskStore> {
    place ??= makePlace();
    const store = await place.open();
    opened.push(store);
    return store;
  }

  afterEach(async () => {
    for (const store of opened.splice(0)) await store[Symbol.asyncDispose]();
    place?.remove();
    place = undefined;
  });

  test("rows come back in byte order, whatever the order they were put in", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const keys = [[2], [1, 255], [1], [1, 0], [255, 255], [1, 128], [1, 127, 255]].map((bytes) =>
      Uint8Array.from(bytes),
    );
    await store.commit([{ partition: P1, term, changes: keys.map((key) => ({ key, value: key })) }]);
    const { rows, next } = await store.page({ partition: P1, rowLimit: 100, byteLimit: 1e6 });
    expect(rows.map(({ key }) => [...key])).toEqual([[1], [1, 0], [1, 127, 255], [1, 128], [1, 255], [2], [255, 255]]);
    expect(rows.every(({ key, value }) => Buffer.compare(key, value) === 0)).toBe(true);
    expect(next).toBeUndefined();
  });

  test("a later change of the same key wins, inside a group and between calls that share a sync", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const [a, b, c] = [text("a"), text("b"), text("c")];
    const calls = [
      [
        { key: a, value: text("1") },
        { key: b, value: text("1") },
        { key: a, value: text("2") },
        { key: c, value: text("1") },
      ],
      [{ key: b }, { key: c, value: text("2") }],
      [{ key: c }, { key: c, value: text("3") }],
    ];
    await Promise.all(calls.map((changes) => store.commit([{ partition: P1, term, changes }])));
    expect(await all(store, P1)).toEqual({ a: "2", c: "3" });
  });

  test("deleting a row that is not there is no error", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    expect(await store.commit([{ partition: P1, term, changes: [{ key: text("none") }] }])).toEqual({ refused: [] });
    expect(await all(store, P1)).toEqual({});
  });

  test("pages with a cursor show each row once, also while rows come and go", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const names = Array.from({ length: 250 }, (_, at) => `row-${String(at).padStart(4, "0")}`);
    await store.commit([
      { partition: P1, term, changes: names.map((name) => ({ key: text(name), value: text(name) })) },
    ]);
    const seen: string[] = [];
    let after: Uint8Array | undefined;
    do {
      const page = await store.page({ partition: P1, rowLimit: 7, byteLimit: 1e6, ...(after && { after }) });
      expect(page.rows.length).toBeLessThanOrEqual(7);
      seen.push(...page.rows.map(({ key }) => textOf(key)));
      after = page.next;
      // Behind the cursor and at the cursor itself: neither may disturb the scan.
      const changes: RowChange[] = [{ key: text("row-0000"), value: text("again") }];
      if (after) changes.push({ key: after });
      await store.commit([{ partition: P1, term, changes }]);
    } while (after);
    expect(seen).toEqual(names);
  });

  test("a page ends at its byte limit but holds at least one row", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const changes = ["a", "b", "c"].map((name) => ({ key: text(name), value: new Uint8Array(1000) }));
    await store.commit([{ partition: P1, term, changes }]);
    const first = await store.page({ partition: P1, rowLimit: 100, byteLimit: 10 });
    expect(first.rows.map(({ key }) => textOf(key))).toEqual(["a"]);
    expect(textOf(first.next!)).toBe("a");
    const rest = await store.page({ partition: P1, rowLimit: 100, byteLimit: 2500, after: first.next! });
    expect(rest.rows.map(({ key }) => textOf(key))).toEqual(["b", "c"]);
    expect(rest.next).toBeUndefined();
  });

  test("a page with a prefix shows only keys that begin with it", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const keys = [[1], [2], [2, 0], [2, 255], [2, 255, 255], [3]].map((bytes) => Uint8Array.from(bytes));
    await store.commit([{ partition: P1, term, changes: keys.map((key) => ({ key, value: key })) }]);
    const of = async (prefix: number[], after?: number[]): Promise<number[][]> => {
      const request = { partition: P1, prefix: Uint8Array.from(prefix), rowLimit: 9, byteLimit: 1e6 };
      const page = await store.page({ ...request, ...(after && { after: Uint8Array.from(after) }) });
      return page.rows.map(({ key }) => [...key]);
    };
    expect(await of([2])).toEqual([[2], [2, 0], [2, 255], [2, 255, 255]]);
    expect(await of([2, 255])).toEqual([
      [2, 255],
      [2, 255, 255],
    ]);
    expect(await of([2], [2, 0])).toEqual([
      [2, 255],
      [2, 255, 255],
    ]);
    expect(await of([2], [1])).toEqual([[2], [2, 0], [2, 255], [2, 255, 255]]);
    expect(await of([2], [3])).toEqual([]);
    expect(await of([9])).toEqual([]);
  });

  test("partitions do not see each other's rows", async () => {
    const store = await open();
    const partitions = [0, 1, 255, 256, 4095].map((at) => at as Partition);
    for (const partition of partitions) {
      const term = await store.open(partition, FIRST);
      const keys = [Uint8Array.of(0), Uint8Array.of(255, 255, 255)];
      await store.commit([{ partition, term, changes: keys.map((key) => ({ key, value: text(String(partition)) })) }]);
    }
    for (const partition of partitions) {
      const { rows } = await store.page({ partition, rowLimit: 10, byteLimit: 1e6 });
      expect(rows.map(({ value }) => textOf(value))).toEqual([String(partition), String(partition)]);
    }
    expect((await store.partitions()).map(({ partition }) => partition)).toEqual(partitions);
    expect(store.stats().rows).toBe(10);
  });

  test("values from empty to 4 MiB and keys up to 1,024 bytes come back as they were", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const sizes = [0, 1, 3, 4, 5, 199, 200, 201, 4095, 4096, 65_536, 4 * 1024 * 1024];
    const changes: Row[] = sizes.map((size) => ({ key: Uint8Array.of(1, sizes.indexOf(size)), value: pattern(size) }));
    changes.push({ key: pattern(1024), value: pattern(10) });
    await store.commit([{ partition: P1, term, changes }]);
    const rows = await rowsOf(store, P1);
    expect(rows).toHaveLength(changes.length);
    for (const { key, value } of changes) {
      const found = rows.find((row) => Buffer.compare(row.key, key) === 0);
      expect(Buffer.compare(found!.value, value)).toBe(0);
    }
  });

  test("rows that were given back can be changed without changing the store", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    await store.commit([{ partition: P1, term, changes: [{ key: text("a"), value: text("a") }] }]);
    const [row] = await rowsOf(store, P1);
    row!.key.fill(0);
    row!.value.fill(0);
    expect(await all(store, P1)).toEqual({ a: "a" });
  });

  test("what lies outside the limits is refused and changes nothing", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const refused = async (change: RowChange, partition: Partition = P1): Promise<string> => {
      const changes = [{ key: text("good"), value: text("good") }, change];
      const error = await store.commit([{ partition, term, changes }]).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      return error instanceof RingError ? error.code : String(error);
    };
    expect(await refused({ key: new Uint8Array() })).toBe("INVALID_ARGUMENT");
    expect(await refused({ key: new Uint8Array(1025) })).toBe("INVALID_ARGUMENT");
    expect(await refused({ key: text("big"), value: new Uint8Array(4 * 1024 * 1024 + 1) })).toBe("PAYLOAD_TOO_LARGE");
    expect(await refused({ key: text("a") }, 4097 as Partition)).toBe("INVALID_ARGUMENT");
    expect(await refused({ key: text("a") }, -1 as Partition)).toBe("INVALID_ARGUMENT");
    await expect(store.page({ partition: P1, rowLimit: 0, byteLimit: 1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(await all(store, P1)).toEqual({});
  });

  test("opening counts up at the same generation and starts again at a newer one", async () => {
    const store = await open();
    expect(await store.open(P1, { history: 1, generation: 4 })).toEqual({ history: 1, generation: 4, opens: 1 });
    expect(await store.open(P1, { history: 1, generation: 4 })).toEqual({ history: 1, generation: 4, opens: 2 });
    expect(await store.open(P1, { history: 1, generation: 5 })).toEqual({ history: 1, generation: 5, opens: 1 });
    expect(await store.open(P1, { history: 2, generation: 1 })).toEqual({ history: 2, generation: 1, opens: 1 });
    // A recovery leaves generations as they are, and positions know no history.
    expect(await store.open(P2, { history: 1, generation: 4 })).toEqual({ history: 1, generation: 4, opens: 1 });
    expect(await store.open(P2, { history: 2, generation: 4 })).toEqual({ history: 2, generation: 4, opens: 2 });
    await expect(store.open(P1, { history: 1, generation: 9 })).rejects.toMatchObject({ code: "NOT_OWNER" });
    await expect(store.open(P1, { history: 2, generation: 0 })).rejects.toMatchObject({ code: "NOT_OWNER" });
  });

  test("P3: a group of an older term is refused and changes nothing, while others of the same call go through (S3)", async () => {
    const store = await open();
    const old = await store.open(P1, FIRST);
    await store.commit([{ partition: P1, term: old, changes: [{ key: text("a"), value: text("old") }] }]);
    const term = await store.open(P1, FIRST);
    const other = await store.open(P2, FIRST);
    const result = await store.commit([
      {
        partition: P1,
        term: old,
        changes: [
          { key: text("a"), value: text("stale") },
          { key: text("b"), value: text("stale") },
        ],
      },
      { partition: P2, term: other, changes: [{ key: text("x"), value: text("x") }] },
      { partition: P1, term, changes: [{ key: text("c"), value: text("new") }] },
    ]);
    expect(result).toEqual({ refused: [0] });
    expect(await all(store, P1)).toEqual({ a: "old", c: "new" });
    expect(await all(store, P2)).toEqual({ x: "x" });
  });

  test("P3: terms compare by history, then generation, then openings, and a newer one that only writes fences too (S3)", async () => {
    const store = await open();
    const ordered = [
      { history: 1, generation: 1, opens: 9 },
      { history: 1, generation: 2, opens: 1 },
      { history: 1, generation: 2, opens: 2 },
      { history: 2, generation: 1, opens: 1 },
    ];
    for (const [at, term] of ordered.entries()) {
      const write = (by: Term): Promise<{ refused: readonly number[] }> =>
        store.commit([{ partition: P1, term: by, changes: [{ key: text("by"), value: text(JSON.stringify(by)) }] }]);
      expect(await write(term)).toEqual({ refused: [] });
      for (const older of ordered.slice(0, at)) expect(await write(older)).toEqual({ refused: [0] });
      expect(await all(store, P1)).toEqual({ by: JSON.stringify(term) });
    }
    expect(await store.partitions()).toEqual([{ partition: P1, term: ordered.at(-1) }]);
  });

  test("P3: an older owner is refused as soon as the newer one has called open, before that is synced (S3)", async () => {
    const store = await open();
    const old = await store.open(P1, FIRST);
    const opening = store.open(P1, { history: 1, generation: 2 });
    expect(await store.commit([{ partition: P1, term: old, changes: [{ key: text("a"), value: text("a") }] }])).toEqual(
      { refused: [0] },
    );
    await opening;
    expect(await all(store, P1)).toEqual({});
  });

  test("P1: what was acknowledged, terms too, is there when the store is opened again", async () => {
    const first = await open();
    const term = await first.open(P1, FIRST);
    await first.open(P2, { history: 3, generation: 7 });
    await first.commit([
      {
        partition: P1,
        term,
        changes: [
          { key: text("a"), value: text("1") },
          { key: text("b"), value: pattern(300_000) },
        ],
      },
    ]);
    await first.commit([
      { partition: P1, term: { ...term, opens: 5 }, changes: [{ key: text("c"), value: text("3") }] },
    ]);
    await first[Symbol.asyncDispose]();
    const second = await open();
    expect((await rowsOf(second, P1)).map(({ key }) => textOf(key))).toEqual(["a", "b", "c"]);
    expect(await second.partitions()).toEqual([
      { partition: P2, term: { history: 3, generation: 7, opens: 1 } },
      { partition: P1, term: { ...term, opens: 5 } },
    ]);
    expect(await second.commit([{ partition: P1, term, changes: [{ key: text("a") }] }])).toEqual({ refused: [0] });
    expect(await second.open(P1, FIRST)).toEqual({ history: 1, generation: 1, opens: 6 });
  });

  test("closing waits for commits under way", async () => {
    const first = await open();
    const term = await first.open(P1, FIRST);
    const commits = Array.from({ length: 50 }, (_, at) =>
      first.commit([{ partition: P1, term, changes: [{ key: Uint8Array.of(1, at), value: pattern(1000) }] }]),
    );
    await first[Symbol.asyncDispose]();
    await Promise.all(commits);
    const second = await open();
    expect(await rowsOf(second, P1)).toHaveLength(50);
    await expect(first.commit([])).rejects.toMatchObject({ code: "STORE_BROKEN" });
  });

  test("calls made at once resolve in order and share syncs", async () => {
    const store = await open();
    const term = await store.open(P1, FIRST);
    const before = store.stats();
    const resolved: number[] = [];
    await Promise.all(
      Array.from({ length: 500 }, async (_, at) => {
        await store.commit([{ partition: P1, term, changes: [{ key: text("counter"), value: text(String(at)) }] }]);
        resolved.push(at);
      }),
    );
    expect(resolved).toEqual(Array.from({ length: 500 }, (_, at) => at));
    expect(await all(store, P1)).toEqual({ counter: "499" });
    const after = store.stats();
    expect(after.commits - before.commits).toBeLessThan(20);
    expect(after.syncs - before.syncs).toBeGreaterThan(0);
  });

  test("dropping removes rows and term, and nothing of the neighbours", async () => {
    const store = await open();
    const [below, above] = [1 as Partition, 3 as Partition];
    const terms = new Map<Partition, Term>();
    for (const partition of [below, P2, above]) {
      const term = await store.open(partition, { history: 1, generation: 3 });
      terms.set(partition, term);
      const changes = Array.from({ length: 5000 }, (_, at) => ({
        key: Uint8Array.of(1, at >> 8, at & 255),
        value: pattern(20),
      }));
      await store.commit([{ partition, term, changes }]);
    }
    // Given before the drop, so it goes with the rest; given while it is under way, so it is refused.
    const before = store.commit([
      { partition: P2, term: terms.get(P2)!, changes: [{ key: text("late"), value: text("late") }] },
    ]);
    const dropped = store.drop(P2);
    const during = store.commit([
      { partition: P2, term: terms.get(P2)!, changes: [{ key: text("zombie"), value: text("zombie") }] },
    ]);
    expect(await Promise.all([before, dropped, during])).toEqual([{ refused: [] }, undefined, { refused: [0] }]);
    expect(await rowsOf(store, P2)).toEqual([]);
    expect(await rowsOf(store, below)).toHaveLength(5000);
    expect(await rowsOf(store, above)).toHaveLength(5000);
    expect((await store.partitions()).map(({ partition }) => partition)).toEqual([below, above]);
    expect(await store.open(P2, FIRST)).toEqual({ history: 1, generation: 1, opens: 1 });
  });

  test("a row committed just before a drop of a small partition goes with it", async () => {
    const store = await open();
    const term = await store.open(P2, FIRST);
    const before = store.commit([{ partition: P2, term, changes: [{ key: text("late"), value: text("late") }] }]);
    await Promise.all([before, store.drop(P2)]);
    expect(await rowsOf(store, P2)).toEqual([]);
    expect(store.stats().rows).toBe(0);
  });

  test("a partition in quarantine is empty, counted, and stays away after opening again", async () => {
    const first = await open();
    const term = await first.open(P1, { history: 1, generation: 3 });
    const changes = Array.from({ length: 4500 }, (_, at) => ({
      key: Uint8Array.of(1, at >> 8, at & 255),
      value: pattern(20),
    }));
    await first.commit([{ partition: P1, term, changes }]);
    await first.quarantine(P1, "its generation is not in the ring");
    expect(await rowsOf(first, P1)).toEqual([]);
    expect(await first.partitions()).toEqual([]);
    expect(first.stats()).toMatchObject({ rows: 0, quarantined: 4500 });
    await first[Symbol.asyncDispose]();
    const second = await open();
    expect(await second.partitions()).toEqual([]);
    expect(second.stats()).toMatchObject({ rows: 0, quarantined: 4500 });
    const fresh = await second.open(P1, FIRST);
    await second.commit([{ partition: P1, term: fresh, changes: [{ key: text("a"), value: text("a") }] }]);
    expect(await all(second, P1)).toEqual({ a: "a" });
  });
});

describe("the memory store's failpoints", () => {
  test("the first failed sync breaks the store for every later call (S4)", async () => {
    let failing = false;
    const store = new MemoryStore({ failSync: () => (failing ? new Error("EIO") : undefined) });
    const term = await store.open(P1, FIRST);
    failing = true;
    const group = { partition: P1, term, changes: [{ key: text("a"), value: text("a") }] };
    const both = await Promise.allSettled([store.commit([group]), store.commit([group])]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    failing = false;
    await expect(store.commit([group])).rejects.toMatchObject({ code: "STORE_BROKEN" });
    await expect(store.page({ partition: P1, rowLimit: 1, byteLimit: 1 })).rejects.toMatchObject({
      code: "STORE_BROKEN",
    });
    await expect(store.open(P1, FIRST)).rejects.toMatchObject({ code: "STORE_BROKEN" });
    expect(store.broken).toBeInstanceOf(RingError);
  });

  test("a crash takes back what was not synced, and no page has shown it", async () => {
    const syncs: (() => void)[] = [];
    const store = new MemoryStore({ schedule: (sync) => syncs.push(sync) });
    const opening = store.open(P1, FIRST);
    syncs.shift()!();
    const term = await opening;
    const kept = store.commit([{ partition: P1, term, changes: [{ key: text("kept"), value: text("1") }] }]);
    syncs.shift()!();
    await kept;
    const lost = store.commit([{ partition: P1, term, changes: [{ key: text("lost"), value: text("1") }] }]);
    expect(await all(store, P1)).toEqual({ kept: "1" });
    const next = store.crash();
    await expect(lost).rejects.toMatchObject({ code: "STORE_BROKEN" });
    expect(await all(next, P1)).toEqual({ kept: "1" });
  });
});

function memoryPlace(): Place {
  let last: MemoryStore | undefined;
  return {
    open: async () => {
      last = last?.crash({}) ?? new MemoryStore();
      return last;
    },
    remove: () => {},
  };
}

function embeddedPlace(): Place {
  const directory = mkdtempSync(join(tmpdir(), "taskring-store-"));
  return {
    open: () => openEmbeddedStore({ directory }),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function redisPlace(): Place {
  const address = `${redis!.url}/?prefix=place-${++places}`;
  return { open: () => openRedisStore({ address }), remove: () => undefined };
}

async function rowsOf(store: TaskStore, partition: Partition): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let after: Uint8Array | undefined;
  do {
    const page = await store.page({ partition, rowLimit: 1000, byteLimit: 1e6, ...(after && { after }) });
    rows.push(...page.rows);
    after = page.next;
  } while (after);
  return rows;
}

async function all(store: TaskStore, partition: Partition): Promise<Record<string, string>> {
  return Object.fromEntries((await rowsOf(store, partition)).map(({ key, value }) => [textOf(key), textOf(value)]));
}

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function pattern(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, at) => (at * 31 + size) & 255);
}

const P1 = 7 as Partition;
const P2 = 2 as Partition;
const FIRST = { history: 1, generation: 1 };
