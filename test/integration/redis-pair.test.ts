/**
 * Rings of two nodes on two machines that share a Redis: either may die, stand still or be cut off.
 *
 * Seen to fail: every one of them with the seat of the only voter kept on its disk alone (nobody decides any more), the
 * frozen voter also without its giving up the lease of the voters (`sole-seat.ts`, O4).
 */

import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { Gate } from "../../services/lab/gate.ts";
import { waitUntil } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";
import { Cluster, type Sent } from "./cluster.ts";

describe.skipIf(!redisThere())("a ring of two nodes on Redis", () => {
  test.each([
    { dies: "n1", lives: "n2", role: "only voter" },
    { dies: "n2", lives: "n1", role: "other one" },
  ])(
    "P1: goes on within 8 s when its $role is killed on another machine, in order, and takes it back",
    async ({ dies, lives }) => {
      await using redis = await RedisServer.open();
      await using cluster = await openPair(redis);
      expect(await votersOf(cluster)).toEqual(["n1"]);
      const load = cluster.load({ keys: 60, perSecond: 200 });
      await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 200, 20_000);
      const keys = await cluster.keysOf(dies, 4, "chaos");
      const was = cluster.lab.node(dies);
      const sent: Sent[] = [];
      for (const key of keys) for (let count = 0; count < 3; count++) sent.push(await cluster.submit("work", key, 200));
      await cluster.kill(dies);
      const begun = performance.now();
      for (const key of keys) sent.push(await cluster.submit("work", key, 0));
      // Each runs behind what was queued for its key before.
      for (const { id } of sent.slice(-keys.length))
        expect((await cluster.client.wait(id, { timeoutMs: 20_000 })).state).toBe("DONE");
      const pauseMs = Math.round(performance.now() - begun);
      expect(pauseMs).toBeLessThan(8_000);
      await waitUntil("the one that is left votes", async () => (await votersOf(cluster)).join() === lives, 10_000);
      const { epoch } = await cluster.client.cluster.ring();
      await cluster.restart(was);
      await waitUntil("it has a share again", async () => sharesAfter(cluster, epoch, dies), 60_000);
      const { accepted, refused } = await load.stop();
      await cluster.atRest();
      expect(refused).toEqual([]);
      const total = accepted + sent.length;
      expect(await cluster.verdict()).toMatchObject({ accepted: total, done: total, lost: 0, killed: 1 });
    },
  );

  test("P7: an only voter that is frozen past its lease is voted out, and wakes as a member like others", async () => {
    await using redis = await RedisServer.open();
    await using cluster = await openPair(redis);
    const load = cluster.load({ keys: 60, perSecond: 200 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 200, 20_000);
    const thaw = cluster.freeze("n1");
    await waitUntil("the other one has it all", async () => (await cluster.owned()).n2 === 16, 20_000);
    const { voters, epoch } = await cluster.client.cluster.ring();
    expect(voters).toEqual(["n2"]);
    thaw();
    await waitUntil("it has a share again", async () => sharesAfter(cluster, epoch, "n1"), 60_000);
    // And the other way round: its seat is taken back by the one that lost it.
    await cluster.kill("n2");
    await waitUntil("the first has it all", async () => (await cluster.owned()).n1 === 16, 20_000);
    const { accepted, refused } = await load.stop();
    await cluster.atRest({ without: ["n2"] });
    expect(refused).toEqual([]);
    expect(await cluster.verdict()).toMatchObject({ accepted, done: accepted, lost: 0 });
    expect(await readFile(cluster.lab.logFile("n1"), "utf8")).not.toContain('"the node ends"');
  });

  test("P3: an only voter that is cut off from Redis only gives way to the other, and gets its share back", async () => {
    await using redis = await RedisServer.open();
    await using gate = await Gate.open({ host: "127.0.0.1", port: redis.port });
    await using cluster = await openPair(redis, { n1: `redis://127.0.0.1:${gate.port}` });
    const load = cluster.load({ keys: 60, perSecond: 200 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 200, 20_000);
    gate.cut();
    await waitUntil("n2 has it all", async () => (await cluster.owned()).n2 === 16, 30_000);
    const { epoch } = await cluster.client.cluster.ring();
    gate.heal();
    await waitUntil("n1 has a share again", async () => sharesAfter(cluster, epoch, "n1"), 60_000);
    const { accepted } = await load.stop();
    await cluster.atRest();
    expect(await cluster.verdict()).toMatchObject({ accepted, done: accepted, lost: 0 });
  });

  test("P7: a Redis that is killed with appendfsync always remembers whose the seat is", async () => {
    await using redis = await RedisServer.open({ sync: "always" });
    await using cluster = await openPair(redis);
    const load = cluster.load({ keys: 60, perSecond: 200 });
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 200, 20_000);
    await cluster.kill("n1");
    await redis.kill();
    await redis.start();
    await waitUntil("n2 has it all", async () => (await cluster.owned()).n2 === 16, 30_000);
    const { accepted } = await load.stop();
    await cluster.atRest({ without: ["n1"] });
    expect(await cluster.verdict()).toMatchObject({ accepted, done: accepted, lost: 0, killed: 1 });
  });
});

function openPair(redis: RedisServer, urls: Readonly<Record<string, string>> = {}): Promise<Cluster> {
  return Cluster.open({ nodes: ["n1", "n2"], apart: true, flagsOf: (name) => ["--store", urls[name] ?? redis.url] });
}

async function votersOf(cluster: Cluster): Promise<readonly string[]> {
  return (await cluster.client.cluster.ring()).voters;
}

/** By a node that knows more than that epoch. */
async function sharesAfter(cluster: Cluster, epoch: number, name: string): Promise<boolean> {
  const ring = await cluster.client.cluster.ring();
  return ring.epoch > epoch && ring.owners.some((owner) => ring.nodes[owner]?.name === name);
}
