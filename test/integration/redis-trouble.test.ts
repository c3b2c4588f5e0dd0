/**
 * What the Redis store does when Redis is not what it should be: settings, memory, scripts, lost data, silence; and what
 * it costs at rest.
 *
 * Seen to fail: the flush by not looking at the store's id; the late copy and the lost changes by taking every sequence
 * number; the memory by not looking at its level; the commands at rest by renewing the lease eight times as often.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { scriptOf } from "../../ring/io/store/redis/link.ts";
import { Packer } from "../../ring/io/store/redis/pack.ts";
import { WRITE } from "../../ring/io/store/redis/scripts.ts";
import { openRedisStore } from "../../ring/io/store/redis/store.ts";
import { termBytes } from "../../ring/io/store/redis/survey.ts";
import type { RowChange } from "../../ring/store.ts";
import { KIND, positionKey, readKeyed, stateKey } from "../../ring/tasks/rows.ts";
import { waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";
import { Cluster } from "./cluster.ts";

describe.skipIf(!redisThere())("the store on Redis", () => {
  let redis: RedisServer;
  let places = 0;
  const address = (): string => `${redis.url}/?prefix=trouble-${++places}`;

  beforeAll(async () => {
    redis = await RedisServer.open();
  });

  afterAll(() => redis[Symbol.asyncDispose]());

  test("P1: a Redis that evicts is refused at start, and one without an append-only file is warned of", async () => {
    await using other = await RedisServer.open({ sync: "off" });
    const warnings: string[] = [];
    const log = { warn: (_: object, text: string) => void warnings.push(text), error: () => undefined };
    const store = await openRedisStore({ address: other.url, log });
    await store[Symbol.asyncDispose]();
    expect(warnings).toEqual([expect.stringMatching(/no append-only file/)]);
    await other.ask("config", "set", "maxmemory-policy", "allkeys-lru");
    await expect(openRedisStore({ address: other.url })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("a Redis that wants a password since a moment ago breaks the store with its answer and the setting to give", async () => {
    await using other = await RedisServer.open();
    await using store = await openRedisStore({ address: other.url });
    const term = await store.open(P, FIRST);
    await other.ask("config", "set", "requirepass", "secret");
    await using known = await openRedisStore({ address: other.url.replace("//", "//:secret@") });
    await known.link.call("client", ["kill", "type", "normal", "skipme", "yes"]);
    const write = store.commit([{ partition: P, term, changes: [put("a", 1)] }]);
    const setting = "give its password in --store: redis://USER:PASSWORD@HOST";
    await expect(write).rejects.toMatchObject({ code: "STORE_BROKEN", message: expect.stringContaining(setting) });
    const asked = (address: string) => openRedisStore({ address, connectDeadlineMs: 500 });
    await expect(asked(other.url)).rejects.toThrow(`NOAUTH Authentication required. (${setting})`);
    await expect(asked(other.url.replace("//", "//:wrong@"))).rejects.toThrow(
      /WRONGPASS .* \(give its password in --store/,
    );
  });

  test("scripts that Redis forgot are loaded again within the call", async () => {
    await using store = await openRedisStore({ address: address() });
    const term = await store.open(P, FIRST);
    await redis.ask("script", "flush");
    expect(await store.commit([{ partition: P, term, changes: [put("a", 1)] }])).toEqual({ refused: [] });
    await redis.ask("script", "flush");
    expect((await store.page({ partition: P, rowLimit: 9, byteLimit: 1e6 })).rows).toHaveLength(1);
  });

  test("P5: a full memory refuses what begins, lets what ends through, and is noticed when there is room again", async () => {
    await using small = await RedisServer.open({ settings: ["--maxmemory", "24mb"] });
    await using store = await openRedisStore({ address: small.url });
    const term = await store.open(P, FIRST);
    const names: string[] = [];
    let code = "";
    for (let at = 0; code === "" && at < 2_000; at++) {
      const changes = Array.from({ length: 20 }, (_, row) => put(`row-${at}-${row}`, 2_000));
      await store.commit([{ partition: P, term, changes }]).then(
        () => void names.push(...changes.map(({ key }) => new TextDecoder().decode(key))),
        (error: { readonly code: string }) => {
          code = error.code;
        },
      );
    }
    expect(code).toBe("QUEUE_FULL");
    expect(store.full).toBe(true);
    // Redis itself weighs what it answers, too: with a limit far below what the rows take nothing hangs on that.
    await store.link.call("config", ["set", "maxmemory", "4mb"]);
    const more = [put("from the reserve", 100)];
    expect(await store.commit([{ partition: P, term, changes: more }], { fromReserve: true })).toEqual({ refused: [] });
    const ends: RowChange[] = names.map((name) => ({ key: text(name) }));
    expect(await store.commit([{ partition: P, term, changes: [...ends, put("result", 10)] }])).toEqual({
      refused: [],
    });
    await store.link.call("config", ["set", "maxmemory", "24mb"]);
    await waitUntil("there is room", () => !store.full, 10_000);
    expect(await store.commit([{ partition: P, term, changes: [put("again", 10)] }])).toEqual({ refused: [] });
  });

  test("P1: a copy of a call that comes late, behind newer ones, changes nothing", async () => {
    await using store = await openRedisStore({ address: address() });
    const term = await store.open(P, FIRST);
    const calls = ["1", "2"].map((value) => [{ key: text("n"), value: text(value) }]);
    for (const changes of calls) await store.commit([{ partition: P, term, changes }]);
    const key = store.keyOf(P);
    const blob = new Packer().pack(calls[0]!);
    const copy = ["0", "w", termBytes(term), "1", "0", blob];
    const answer = await store.link.script(scriptOf(WRITE), [key, `${key}:index`], copy);
    expect(answer).toEqual([2, 2]);
    const { rows } = await store.page({ partition: P, rowLimit: 9, byteLimit: 1e6 });
    expect(rows.map(({ value }) => new TextDecoder().decode(value))).toEqual(["2"]);
  });

  test("P1: a call that Redis answers too late is repeated until it is answered, and done once", async () => {
    await using store = await openRedisStore({ address: address() });
    const term = await store.open(P, FIRST);
    const counted = async (): Promise<number> => {
      const { rows } = await store.page({ partition: P, rowLimit: 9, byteLimit: 1e6 });
      return Number(new TextDecoder().decode(rows[0]!.value));
    };
    for (let value = 1; value <= 2; value++) {
      redis.freeze();
      const committed = store.commit([
        { partition: P, term, changes: [{ key: text("n"), value: text(String(value)) }] },
      ]);
      // Longer than two calls take to give up: their copies wait in Redis' sockets.
      await new Promise((resolve) => setTimeout(resolve, 4_500));
      expect(store.full).toBe(true);
      redis.thaw();
      expect(await committed).toEqual({ refused: [] });
      expect(
        await store.commit([{ partition: P, term, changes: [{ key: text("n"), value: text(String(value + 10)) }] }]),
      ).toEqual({ refused: [] });
      expect(await counted()).toBe(value + 10);
    }
    expect(store.full).toBe(false);
  });

  test("P1: a partition that went back to an older copy is refused, one that is gone breaks the store", async () => {
    const place = address();
    await using store = await openRedisStore({ address: place });
    const key = store.keyOf(P);
    const term = await store.open(P, FIRST);
    await store.commit([{ partition: P, term, changes: [put("a", 1)] }]);
    const copy = (await redis.ask("dump", key)) as Buffer;
    await store.commit([{ partition: P, term, changes: [put("b", 1)] }]);
    await redis.ask("restore", key, 0, copy, "replace");
    // And nothing of that opening behind it.
    for (const name of ["c", "c2"])
      expect(await store.commit([{ partition: P, term, changes: [put(name, 1)] }])).toEqual({ refused: [0] });
    const again = await store.open(P, FIRST);
    expect(again.opens).toBe(term.opens + 1);
    expect(await store.commit([{ partition: P, term: again, changes: [put("d", 1)] }])).toEqual({ refused: [] });
    const { rows } = await store.page({ partition: P, rowLimit: 9, byteLimit: 1e6 });
    expect(rows.map((row) => new TextDecoder().decode(row.key))).toEqual(["a", "d"]);
    await redis.ask("del", key);
    await expect(store.commit([{ partition: P, term: again, changes: [put("e", 1)] }])).rejects.toMatchObject({
      code: "STORE_BROKEN",
    });
    expect(store.broken).toBeDefined();
  });

  test("P1: a Redis that begins to evict while it is in use takes no new work until it no longer does", async () => {
    await using other = await RedisServer.open();
    await using store = await openRedisStore({ address: other.url, lookMs: 200 });
    const term = await store.open(P, FIRST);
    const write = (name: string): Promise<unknown> => store.commit([{ partition: P, term, changes: [put(name, 9)] }]);
    await other.ask("config", "set", "maxmemory-policy", "allkeys-lru");
    await waitUntil("it is noticed", () => store.full, 10_000);
    await expect(write("new")).rejects.toMatchObject({ code: "QUEUE_FULL" });
    await other.ask("config", "set", "maxmemory-policy", "noeviction");
    await waitUntil("there is room", () => !store.full, 10_000);
    await write("new");
  });

  test("P1: the index of state follows its rows, also through a put that is taken back, and one behind a delete", async () => {
    await using store = await openRedisStore({ address: address() });
    const term = await store.open(P, FIRST);
    const [a, b, c] = ["a", "b", "c"].map((name) => stateKey("acme", "key", name)) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    const value = text("1");
    const indexed = async (): Promise<readonly string[]> => {
      const page = { partition: P, prefix: stateKey("acme", "key", ""), rowLimit: 9, byteLimit: 1e6 };
      return (await store.page(page)).rows.map(({ key }) => readKeyed(key).name);
    };
    const write = (...changes: RowChange[]): Promise<unknown> => store.commit([{ partition: P, term, changes }]);
    await write({ key: a, value }, { key: b, value }, { key: b }, { key: c }, { key: c, value });
    expect(await indexed()).toEqual(["a", "c"]);
    await write({ key: a }, { key: c, value });
    expect(await indexed()).toEqual(["c"]);
    await write({ key: c }, { key: b, value });
    expect(await indexed()).toEqual(["b"]);
    expect(await redis.ask("zcard", `${store.keyOf(P)}:index`)).toBe(1);
  });

  test("a row whose whole key is asked for is looked up, not searched for", async () => {
    await using store = await openRedisStore({ address: address() });
    const term = await store.open(P, FIRST);
    const keys = [1, 2, 3].map((sequence) => positionKey(KIND.outbox, { generation: 1, opens: 1, sequence }));
    const changes = keys.map((key, at) => ({ key: key.slice(), value: Uint8Array.of(1, at) }));
    await store.commit([{ partition: P, term, changes }]);
    await redis.ask("config", "resetstat");
    const read = (prefix: Uint8Array) => store.page({ partition: P, rowLimit: 9, byteLimit: 1e6, prefix });
    const [row] = (await read(keys[1]!)).rows;
    expect([[...row!.key], [...row!.value]]).toEqual([[...keys[1]!], [1, 1]]);
    expect((await read(positionKey(KIND.outbox, { generation: 1, opens: 1, sequence: 4 }))).rows).toEqual([]);
    expect(await redis.info("commandstats", "cmdstat_hscan")).toBe("");
    expect((await read(keys[0]!.slice(0, 14))).rows).toHaveLength(3);
    expect(await redis.info("commandstats", "cmdstat_hscan")).toContain("calls=");
  });

  test("P1: a scan shows what was committed between its pages", async () => {
    await using store = await openRedisStore({ address: address() });
    const term = await store.open(P, FIRST);
    const names = ["a", "b", "c", "d"];
    await store.commit([{ partition: P, term, changes: names.map((name) => put(name, 1)) }]);
    const first = await store.page({ partition: P, rowLimit: 2, byteLimit: 1e6 });
    await store.commit([{ partition: P, term, changes: [{ key: text("c") }, put("e", 1)] }]);
    const second = await store.page({ partition: P, rowLimit: 9, byteLimit: 1e6, after: first.next! });
    expect(second.rows.map(({ key }) => new TextDecoder().decode(key))).toEqual(["d", "e"]);
  });

  test("P5: what waits for Redis is bounded: more is refused, and what was taken is written", async () => {
    await using store = await openRedisStore({ address: address(), waitingLimitBytes: 10_000 });
    const term = await store.open(P, FIRST);
    redis.freeze();
    const taken: Promise<unknown>[] = [];
    let refused: Promise<unknown> | undefined;
    for (let at = 0; at < 100 && refused === undefined; at++) {
      const commit = store.commit([{ partition: P, term, changes: [put(`row-${at}`, 1_000)] }]);
      const soon = await Promise.race([
        commit.catch((error: unknown) => error),
        new Promise((resolve) => setImmediate(resolve)),
      ]);
      if (soon === undefined) taken.push(commit);
      else refused = Promise.resolve(soon);
    }
    redis.thaw();
    expect(await refused).toMatchObject({ code: "QUEUE_FULL" });
    expect(taken.length).toBeGreaterThan(5);
    expect(taken.length).toBeLessThan(20);
    expect(await Promise.all(taken)).toEqual(taken.map(() => ({ refused: [] })));
  });

  test("P3: an opening of another process that is older writes nothing, whatever number it has come to", async () => {
    const place = address();
    await using stale = await openRedisStore({ address: place });
    await using owner = await openRedisStore({ address: place });
    const old = await stale.open(P, FIRST);
    await stale.commit([{ partition: P, term: old, changes: [put("a", 1)] }]);
    const term = await owner.open(P, FIRST);
    await owner.commit([{ partition: P, term, changes: [put("b", 1)] }]);
    for (const name of ["c", "d"])
      expect(await stale.commit([{ partition: P, term: old, changes: [put(name, 1)] }])).toEqual({ refused: [0] });
    const { rows } = await owner.page({ partition: P, rowLimit: 9, byteLimit: 1e6 });
    expect(rows.map(({ key }) => new TextDecoder().decode(key))).toEqual(["a", "b"]);
  });

  test("P3: who has lost a partition can neither drop it nor set it aside", async () => {
    const place = address();
    await using stale = await openRedisStore({ address: place });
    await using owner = await openRedisStore({ address: place });
    await stale.open(P, FIRST);
    const term = await owner.open(P, { ...FIRST, generation: 2 });
    await owner.commit([{ partition: P, term, changes: [put("a", 1)] }]);
    await expect(stale.quarantine(P, "a test")).rejects.toMatchObject({ code: "NOT_OWNER" });
    await stale.open(P2, FIRST);
    await owner.open(P2, { ...FIRST, generation: 2 });
    await expect(stale.drop(P2)).rejects.toMatchObject({ code: "NOT_OWNER" });
    await expect(stale.drop(P)).rejects.toMatchObject({ code: "NOT_OWNER" });
    expect(await owner.partitions()).toHaveLength(2);
    expect((await owner.page({ partition: P, rowLimit: 9, byteLimit: 1e6 })).rows).toHaveLength(1);
  });

  test("P1: a Redis that was flushed ends every node with STORE_BROKEN, and none starts afresh on it", async () => {
    await using own = await RedisServer.open();
    await using cluster = await Cluster.open({
      nodes: ["n1", "n2", "n3"],
      apart: true,
      flagsOf: () => ["--store", own.url],
    });
    const ends = ["n1", "n2", "n3"].map((name) => cluster.lab.exited(name));
    await own.ask("flushall");
    expect(await Promise.all(ends)).toEqual([74, 74, 74]);
    const again = cluster.lab.start("n1", { autoJoin: false, deadlineMs: 15_000 });
    await expect(again).rejects.toThrow(/exited with \d+ before it was ready/);
    expect(await own.ask("dbsize")).toBe(0);
  });

  test("P7: a ring that is pointed at another ring's Redis ends, and that one notices nothing", async () => {
    await using own = await RedisServer.open();
    const flagsOf = (): readonly string[] => ["--store", own.url];
    await using first = await Cluster.open({ nodes: ["n1"], flagsOf });
    const [key = ""] = await first.keysOf("n1", 1, "chaos");
    await first.submit("work", key, 0);
    await first.atRest();
    const terms = async (): Promise<string> => String(await own.ask("hget", "taskring:{3}", ""));
    const before = await terms();
    const second = Cluster.open({ nodes: ["n1"], flagsOf });
    await expect(second).rejects.toThrow();
    expect((await terms()).slice(0, 12)).toBe(before.slice(0, 12));
    await first.submit("work", key, 0);
    await first.atRest();
    await first.verdict();
  });

  test.each([64, 1_024])(
    "P9: with %i partitions a node has at most three connections, and three nodes at rest send at most 20 commands a second",
    async (ringSize) => {
      await using own = await RedisServer.open();
      await using cluster = await Cluster.open({
        nodes: ["n1", "n2", "n3"],
        ringSize,
        apart: true,
        flagsOf: () => ["--store", own.url],
        withinMs: 150_000, // of 1,024 partitions two thirds move: 25 s on a quiet machine
      });
      await waitUntil("every partition is open", async () => (await openPartitions(cluster)) === ringSize, 30_000);
      const commands = async (): Promise<number> => Number(await own.info("stats", "total_commands_processed"));
      const before = await commands();
      const begun = performance.now();
      await new Promise((resolve) => setTimeout(resolve, REST_MS)); // What is measured is a stretch of rest.
      const perSecond = ((await commands()) - before) / ((performance.now() - begun) / 1_000);
      const clients = String(await own.ask("client", "list")).split("\n");
      const counts = ["n1", "n2", "n3"].map(
        (name) => clients.filter((line) => line.includes(`name=taskring-${name}-`)).length,
      );
      console.info(
        `${ringSize} partitions: ${perSecond.toFixed(1)} commands/s at rest, ${counts.join(", ")} connections`,
      );
      expect(Math.max(...counts)).toBeLessThanOrEqual(3);
      expect(perSecond).toBeLessThanOrEqual(20);
    },
    240_000,
  );
});

async function openPartitions(cluster: Cluster): Promise<number> {
  const { nodes } = await cluster.client.cluster.status({});
  return nodes.reduce((sum, node) => sum + node.partitions.length, 0);
}

function put(name: string, bytes: number): RowChange {
  return { key: text(name), value: new Uint8Array(bytes).fill(65) };
}

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

const P = 7 as Partition;
const P2 = 4 as Partition;
const FIRST = { history: 1, generation: 1 };
const REST_MS = 8_000;
