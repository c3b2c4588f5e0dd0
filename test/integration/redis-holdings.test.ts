/**
 * `ringctl doctor` on a ring that shares a real Redis: what grows there is named, with its bound.
 *
 * Seen to fail: by counting every row to the kind of tasks, and by not comparing with the look before.
 */

import { execFile } from "node:child_process";
import { describe, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { openRedisStore } from "../../ring/io/store/redis/store.ts";
import type { RowChange, StoreHoldings } from "../../ring/store.ts";
import { resultKey, resultValue, stateKey } from "../../ring/tasks/rows.ts";
import { builtFile } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";
import { Cluster } from "./cluster.ts";

describe.skipIf(!redisThere())("what a shared Redis holds", () => {
  test("P5: is told by kind and app with its bound, and what of it has grown since the last look", async () => {
    await using redis = await RedisServer.open();
    await using store = await openRedisStore({ address: redis.url });
    const terms = await Promise.all(PARTITIONS.map((partition) => store.open(partition, FIRST)));
    const write = async (changesOf: (partition: number) => RowChange[]): Promise<void> => {
      const groups = PARTITIONS.map((partition, at) => ({
        partition,
        term: terms[at]!,
        changes: changesOf(partition),
      }));
      expect(await store.commit(groups)).toEqual({ refused: [] });
    };
    await write((partition) => [...states("acme", 400, partition), ...results("globex", 100, partition)]);
    const first = await store.holdings();
    expect(first).toMatchObject({ limitBytes: 0, logShortened: true, sinceMs: 0 });
    // From samples of 64 rows of each partition.
    near(first, { family: "state", app: "acme" }, { rows: 1_600, grownRows: 0 });
    near(first, { family: "results", app: "globex" }, { rows: 400, grownRows: 0 });
    expect(first.holdings).toContainEqual(expect.objectContaining({ family: "index of state", app: "", rows: 1_600 }));
    expect(first.holdings.find(({ family }) => family === "results")?.bound).toBe("10000 an app, for 1 h");

    await write((partition) => states("globex", 1_000, partition));
    const second = await store.holdings();
    expect(second.sinceMs).toBeGreaterThan(0);
    near(second, { family: "state", app: "globex" }, { rows: 4_000, grownRows: 4_000 });
    expect(second.holdings.find(({ family }) => family === "state")).toMatchObject({ app: "globex", partitions: 4 });

    await store.quarantine(PARTITIONS[0]!, "a test");
    const third = await store.holdings();
    expect(third.holdings).toContainEqual(
      expect.objectContaining({ family: "set aside", rows: 1_500, partitions: 1, bytes: expect.any(Number) }),
    );
  });

  test("P8: doctor names it, and warns of a Redis without a limit and of a log that nothing shortens", async () => {
    await using redis = await RedisServer.open({ settings: ["--auto-aof-rewrite-percentage", "0"] });
    await using cluster = await Cluster.open({ nodes: ["n1"], flagsOf: () => ["--store", redis.url] });
    for (let at = 0; at < 20; at++) await cluster.submit("work", `key-${at}`, 0);
    await cluster.atRest();
    const found = await doctor(cluster);
    expect(found).toContainEqual(expect.objectContaining({ severity: "warning", code: "STORE_UNLIMITED" }));
    expect(found).toContainEqual(expect.objectContaining({ severity: "warning", code: "STORE_LOG_GROWS" }));
    expect(found).toContainEqual(
      expect.objectContaining({
        severity: "note",
        code: "STORE_HOLDS",
        subject: "state of chaos",
        detail: expect.stringMatching(/^about 4\d rows, /),
        advice: expect.stringMatching(/^bound: 1 MiB a key/),
      }),
    );
    await redis.ask("config", "set", "maxmemory", "1gb", "auto-aof-rewrite-percentage", "100");
    expect((await doctor(cluster)).filter(({ severity }) => severity === "warning")).toEqual([]);
    await redis.ask(
      "config",
      "set",
      "maxmemory",
      String(Math.round(Number(await redis.info("memory", "used_memory")) * 1.2)),
    );
    expect(await doctor(cluster)).toContainEqual(expect.objectContaining({ code: "STORE_NEARLY_FULL" }));
  });
});

interface Found {
  readonly severity: string;
  readonly code: string;
  readonly subject: string;
  readonly detail: string;
  readonly advice: string;
}

async function doctor(cluster: Cluster): Promise<readonly Found[]> {
  const args = [builtFile("cli/ringctl.ts"), "doctor", "-o", "json", "--address", cluster.lab.node("n1").grpc];
  const text = await new Promise<string>((resolve, reject) => {
    execFile(process.execPath, args, (error, stdout) => (stdout === "" ? reject(error) : resolve(stdout)));
  });
  const { items } = JSON.parse(text) as { readonly items: readonly Found[] };
  return items.filter(({ code }) => code.startsWith("STORE_"));
}

/** Within what a sample may be off by. */
function near(
  { holdings }: StoreHoldings,
  { family, app }: { readonly family: string; readonly app: string },
  wanted: { readonly rows: number; readonly grownRows: number },
): void {
  const found = holdings.find((holding) => holding.family === family && holding.app === app);
  const off = wanted.rows * 0.3;
  expect(Math.abs((found?.rows ?? 0) - wanted.rows)).toBeLessThan(off);
  expect(Math.abs((found?.grownRows ?? Number.NaN) - wanted.grownRows)).toBeLessThanOrEqual(off);
}

function states(app: string, count: number, partition: number): RowChange[] {
  return Array.from({ length: count }, (_, at) => ({
    key: stateKey(app, `key-${partition}-${at}`, "n"),
    value: new Uint8Array(40),
  }));
}

function results(app: string, count: number, partition: number): RowChange[] {
  return Array.from({ length: count }, (_, at) => ({ key: resultKey(`${partition}-${at}`), value: resultOf(app) }));
}

function resultOf(app: string): Uint8Array {
  const at = { acceptedAtMs: 1, endedAtMs: 2, attempts: 1, deduped: false, dropped: false };
  return resultValue({
    ...at,
    app,
    type: "t",
    key: "k",
    state: "done",
    idempotencyKey: undefined,
    failure: undefined,
    result: undefined,
  });
}

const PARTITIONS = [0, 1, 2, 3] as Partition[];
const FIRST = { history: 1, generation: 1 };
