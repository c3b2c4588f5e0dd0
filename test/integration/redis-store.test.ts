/**
 * Rings that share a real Redis: what a death, a pause or a cut costs, judged by the history.
 *
 * Seen to fail: the move by a newcomer with a store of its own, whose counters began anew; the cut-off node by not giving
 * its partitions up.
 */

import { describe, expect, test } from "vitest";
import { Gate } from "../../services/lab/gate.ts";
import { waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";
import { Cluster } from "./cluster.ts";

describe.skipIf(!redisThere())("a ring on Redis", () => {
  test("P1: the tasks of a killed node run on elsewhere within 8 s, in order, although its machine is gone", async () => {
    await using redis = await RedisServer.open();
    await using cluster = await openOn(redis, ["n1", "n2", "n3"]);
    const load = cluster.load({ keys: 60, perSecond: 300 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 300, 20_000);
    const [key = ""] = await cluster.keysOf("n2", 1, "chaos");
    await cluster.kill("n2");
    const begun = performance.now();
    const { id } = await cluster.submit("work", key, 0);
    expect((await cluster.client.wait(id, { timeoutMs: 20_000 })).state).toBe("DONE");
    expect(performance.now() - begun).toBeLessThan(8_000);
    const { accepted, refused } = await load.stop();
    await cluster.atRest({ without: ["n2"] });
    const verdict = await cluster.verdict();
    expect(refused).toEqual([]);
    expect(verdict).toMatchObject({ accepted: accepted + 1, done: accepted + 1, lost: 0, killed: 1 });
  });

  test("P2: partitions move under load without a row being copied, and nothing runs twice", async () => {
    await using redis = await RedisServer.open();
    await using cluster = await openOn(redis, ["n1"]);
    const load = cluster.load({ keys: 60, perSecond: 300 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 100, 20_000);
    await cluster.lab.start("n2", { flags: ["--machine", "machine-of-n2", "--store", redis.url] });
    await waitUntil("n2 has its share", async () => (await cluster.owned()).n2 === 8, 30_000);
    await cluster.client.cluster.stage({ leave: "n1" });
    const { planId } = await cluster.client.cluster.plan();
    await cluster.client.cluster.commit(planId);
    await waitUntil("n2 has it all", async () => (await cluster.owned()).n2 === 16, 30_000);
    const { accepted, refused } = await load.stop();
    await cluster.atRest();
    const verdict = await cluster.verdict();
    expect(refused).toEqual([]);
    expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0 });
  });

  test("P3: an owner that is frozen past its lease changes nothing when it wakes", async () => {
    await using redis = await RedisServer.open();
    await using cluster = await openOn(redis, ["n1", "n2", "n3"]);
    const load = cluster.load({ keys: 60, perSecond: 300 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 300, 20_000);
    const thaw = cluster.freeze("n2");
    await waitUntil("n2 has no partition", async () => (await cluster.owned()).n2 === undefined, 20_000);
    thaw();
    const { accepted, refused } = await load.stop();
    await cluster.atRest();
    const verdict = await cluster.verdict();
    expect(refused).toEqual([]);
    expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0 });
  });

  test("P1: a Redis that stands still for 10 s, or is killed with appendfsync always, loses nothing and is found again", async () => {
    await using redis = await RedisServer.open({ sync: "always" });
    await using cluster = await openOn(redis, ["n1", "n2"]);
    const load = cluster.load({ keys: 60, perSecond: 200 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 200, 20_000);
    redis.freeze();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS)); // The fault itself.
    redis.thaw();
    await goesOn(cluster);
    await redis.kill();
    await redis.start();
    await goesOn(cluster);
    const { accepted } = await load.stop();
    await cluster.atRest();
    const verdict = await verdictOnceChildrenRan(cluster);
    expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0 });
  });

  test("P3: a node that is cut off from Redis only gives its partitions to the others, and gets its share back", async () => {
    await using redis = await RedisServer.open();
    await using gate = await Gate.open({ host: "127.0.0.1", port: redis.port });
    await using cluster = await openOn(redis, ["n1", "n2", "n3"], {
      flagsOf: (name) => ["--store", name === "n1" ? `redis://127.0.0.1:${gate.port}` : redis.url],
    });
    const load = cluster.load({ keys: 60, perSecond: 300 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 300, 20_000);
    gate.cut();
    await waitUntil("n1 has no partition", async () => (await cluster.owned()).n1 === undefined, 30_000);
    gate.heal();
    await waitUntil("n1 has its share back", async () => ((await cluster.owned()).n1 ?? 0) >= 5, 30_000);
    const { accepted } = await load.stop();
    await cluster.atRest();
    const verdict = await verdictOnceChildrenRan(cluster);
    expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0 });
  });
});

function openOn(
  redis: RedisServer,
  nodes: readonly string[],
  options: { readonly flagsOf?: (name: string) => readonly string[] } = {},
): Promise<Cluster> {
  return Cluster.open({ nodes, apart: true, flagsOf: () => ["--store", redis.url], ...options });
}

/** Children that were refused for want of Redis are sent again within 10 s; a ring at rest may still keep some. */
async function verdictOnceChildrenRan(cluster: Cluster): ReturnType<Cluster["verdict"]> {
  let lastFault = "";
  return waitUntil(
    "no child is missing",
    () =>
      cluster.verdict().catch((error: unknown) => {
        lastFault = String(error);
        return undefined;
      }),
    CHILDREN_MS,
  ).catch(() => Promise.reject(new Error(lastFault)));
}

async function goesOn(cluster: Cluster): Promise<void> {
  const before = await cluster.ended("chaos");
  await waitUntil("work goes on", async () => (await cluster.ended("chaos")) > before + 100, 30_000);
}

const PAUSE_MS = 10_000;
const CHILDREN_MS = 20_000;
