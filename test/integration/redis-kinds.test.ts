/** The store on a Redis Cluster, on a master that sentinels replace, and over TLS. */

import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { parseRedisAddress } from "../../ring/io/store/redis/address.ts";
import { RedisLink } from "../../ring/io/store/redis/link.ts";
import { openRedisStore } from "../../ring/io/store/redis/store.ts";
import type { RowChange } from "../../ring/store.ts";
import { builtFile, waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";

describe.skipIf(!redisThere())("kinds of Redis", () => {
  test("P3: on a cluster each partition keeps to its slot, and the fence holds there as well", async () => {
    const servers: RedisServer[] = [];
    try {
      for (let at = 0; at < 3; at++)
        servers.push(
          await RedisServer.open({ settings: ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"] }),
        );
      const hosts = servers.map(({ port }) => `127.0.0.1:${port}`);
      execFileSync("redis-cli", ["--cluster", "create", ...hosts, "--cluster-yes"], { stdio: "ignore" });
      await waitUntil(
        "the cluster is whole",
        async () => String(await servers[0]!.ask("cluster", "info")).includes("cluster_state:ok"),
        20_000,
      );
      await using store = await openRedisStore({ address: `redis+cluster://${hosts.join(",")}` });
      const partitions = Array.from({ length: 64 }, (_, at) => at as Partition);
      const terms = await Promise.all(partitions.map((partition) => store.open(partition, FIRST)));
      const groups = partitions.map((partition, at) => ({ partition, term: terms[at]!, changes: [put(`row-${at}`)] }));
      expect(await store.commit(groups)).toEqual({ refused: [] });
      await store.open(partitions[5]!, { history: 1, generation: 2 });
      expect(await store.commit(groups)).toEqual({ refused: [5] });
      expect((await store.page({ partition: partitions[9]!, rowLimit: 9, byteLimit: 1e6 })).rows).toHaveLength(1);
      expect(await store.partitions()).toHaveLength(64);
      const sizes = await Promise.all(servers.map(async (server) => Number(await server.ask("dbsize"))));
      expect(Math.min(...sizes)).toBeGreaterThan(5);
    } finally {
      for (const server of servers) await server[Symbol.asyncDispose]();
    }
  });

  test("P1: nothing is ever written to another database than the one that was named", async () => {
    await using redis = await RedisServer.open({ settings: ["--databases", "4", "--lua-time-limit", "2500"] });
    await using store = await openRedisStore({ address: `${redis.url}/3` });
    const term = await store.open(0 as Partition, { history: 1, generation: 1 });
    // While a long script runs new connections are let in, and cannot choose their database.
    const busy = new RedisLink(parseRedisAddress(redis.url), "busy");
    const script = busy.call("eval", ["while true do end", 0], 60_000).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const committed = store.commit([{ partition: 0 as Partition, term, changes: [put("a")] }]);
    const opened = store.open(1 as Partition, { history: 1, generation: 1 });
    await new Promise((resolve) => setTimeout(resolve, 4_000)); // a call has given its connection up meanwhile
    await redis.ask("script", "kill");
    await script;
    busy.close();
    expect(await committed).toEqual({ refused: [] });
    await opened;
    expect(String(await redis.ask("info", "keyspace"))).toMatch(/^# Keyspace\r\ndb3:keys=2,[^\n]*\n$/);
    const beyond = openRedisStore({ address: `${redis.url}/4`, connectDeadlineMs: 10_000 });
    await expect(beyond).rejects.toThrow(/DB index is out of range/);
  });

  test("a Redis that does not give the database is connected to seldom, as one that is away", async () => {
    await using redis = await RedisServer.open({ settings: ["--databases", "4"] });
    const link = new RedisLink(parseRedisAddress(`${redis.url}/9`), "beyond");
    await expect(link.call("ping", [], 3_000)).rejects.toThrow(/DB index is out of range/);
    link.close();
    const [, connections] = /total_connections_received:(\d+)/.exec(String(await redis.ask("info", "stats")))!;
    expect(Number(connections)).toBeLessThan(15);
  });

  test("P1: sentinels replace a master that was killed, and the store goes on with the new one", async () => {
    await using master = await RedisServer.open();
    await using replica = await RedisServer.open({ settings: ["--replicaof", "127.0.0.1", String(master.port)] });
    await using sentinel = await openSentinel(master.port);
    await waitUntil(
      "the replica is known",
      async () => String(await master.ask("info", "replication")).includes("state=online"),
      20_000,
    );
    await using store = await openRedisStore({ address: `redis+sentinel://127.0.0.1:${sentinel.port}/main` });
    const term = await store.open(P, FIRST);
    expect(await store.commit([{ partition: P, term, changes: [put("before")] }])).toEqual({ refused: [] });
    expect(await master.ask("wait", 1, 5_000)).toBeGreaterThanOrEqual(0);
    await waitUntil("it is copied", async () => Number(await replica.ask("exists", store.keyOf(P))) === 1, 5_000);
    await new Promise((resolve) => setTimeout(resolve, COPY_MS)); // The sentinel asks each server every second.
    await master.kill();
    const { refused } = await store.commit([{ partition: P, term, changes: [put("after")] }]);
    if (refused.length > 0) throw new Error("the replica lacked what was written a second before");
    expect((await store.page({ partition: P, rowLimit: 9, byteLimit: 1e6 })).rows).toHaveLength(2);
    expect(String(await replica.ask("info", "replication"))).toMatch(/role:master/);
  });
});

test.skipIf(!redisThere() || !hasOpenssl())(
  "over TLS a server is talked to only when its certificate is trusted",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "taskring-tls-"));
    try {
      const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
      const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
      const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate];
      execFileSync("openssl", [...made, ...subject], { stdio: "ignore" });
      const port = await freePort();
      const files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate];
      await using redis = await RedisServer.open({
        settings: ["--tls-port", String(port), "--tls-auth-clients", "no", ...files],
      });
      expect(redis.pid).toBeGreaterThan(0);
      const stats = (env: Readonly<Record<string, string>>): Promise<number> =>
        new Promise((resolve) => {
          const args = [builtFile("cli/ringctl.ts"), "store", "stats", "--store", `rediss://127.0.0.1:${port}`];
          execFile(process.execPath, args, { env: { ...process.env, ...env } }, (error) =>
            resolve(typeof error?.code === "number" ? error.code : 0),
          );
        });
      expect(await stats({ NODE_EXTRA_CA_CERTS: certificate })).toBe(0);
      expect(await stats({})).not.toBe(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);

function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function openSentinel(masterPort: number): Promise<{ readonly port: number } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), "taskring-sentinel-"));
  const port = await freePort();
  const settings = [
    `port ${port}`,
    "bind 127.0.0.1",
    `dir ${folder}`,
    `sentinel monitor main 127.0.0.1 ${masterPort} 1`,
    "sentinel down-after-milliseconds main 1000",
    "sentinel failover-timeout main 5000",
  ];
  await writeFile(join(folder, "sentinel.conf"), `${settings.join("\n")}\n`);
  const child = spawn("redis-server", [join(folder, "sentinel.conf"), "--sentinel"], { stdio: "ignore" });
  return {
    port,
    async [Symbol.asyncDispose]() {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

function put(name: string): RowChange {
  return { key: new TextEncoder().encode(name), value: new Uint8Array(20) };
}

const P = 7 as Partition;
const FIRST = { history: 1, generation: 1 };
const COPY_MS = 2_000;
