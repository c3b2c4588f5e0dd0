/** A ring of real processes in two zones, and a member that another takes the place of, under load. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { builtFile, waitUntil } from "../../services/lab/lab.ts";
import { Cluster } from "./cluster.ts";

test("P2, P8: zones spread every key's first two nodes, and a replacement gets exactly what the replaced one had", async () => {
  await using cluster = await Cluster.open({
    nodes: ["n1", "n2", "n3"],
    zones: { n1: "north", n2: "north", n3: "south" },
  });
  const { cluster: calls } = cluster.client;
  expect(await zonesShown(cluster)).toEqual({ n1: "north", n2: "north", n3: "south" });
  expect(await oneZoneKeys(cluster, { n1: "north", n2: "north", n3: "south" })).toEqual([]);

  const before = await calls.ring(CALL);
  const had = partitionsOf(before, "n3");
  expect(had.length).toBeGreaterThan(3);
  const load = cluster.load({ keys: 100, perSecond: 300 });
  await waitUntil("tasks end", async () => (await cluster.ended("chaos")) > 100, 20_000);
  await cluster.lab.start("n4", { autoJoin: false, flags: ["--zone", "south"] });
  await waitUntil(
    "n4 can be staged",
    async () =>
      calls.stage({ join: { name: "n4" } }, CALL).then(
        () => true,
        () => false,
      ),
    20_000,
  );
  await calls.stage({ replace: { name: "n3", by: "n4" } }, CALL);
  const plan = await calls.plan(CALL);
  expect(plan.moves.map(({ partition }) => partition)).toEqual(had);
  expect(new Set(plan.moves.map(({ from, to }) => `${from} to ${to}`))).toEqual(new Set(["n3 to n4"]));
  expect(plan.moves.every(({ tasks }) => tasks !== undefined)).toBe(true);
  expect(plan.bytesToMove).toBeGreaterThan(0);
  await calls.commit(plan.planId, CALL);
  expect(await cluster.lab.exited("n3")).toBe(0);

  const { accepted, refused } = await load.stop();
  await cluster.atRest();
  expect(refused).toEqual([]);
  expect(partitionsOf(await calls.ring(CALL), "n4")).toEqual(had);
  expect(await zonesShown(cluster)).toEqual({ n1: "north", n2: "north", n4: "south" });
  expect(await oneZoneKeys(cluster, { n1: "north", n2: "north", n4: "south" })).toEqual([]);
  const verdict = await cluster.verdict();
  expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0, duplicates: 0 });
});

function partitionsOf(ring: Awaited<ReturnType<Cluster["client"]["cluster"]["ring"]>>, name: string): number[] {
  return ring.owners.flatMap((owner, partition) => (ring.nodes[owner]?.name === name ? [partition] : []));
}

/** By member, as `ringctl members` says. */
async function zonesShown(cluster: Cluster): Promise<Record<string, string>> {
  const ringctl = [builtFile("cli/ringctl.ts"), "--address", cluster.lab.addresses[0]!, "members", "-o", "json"];
  const { stdout } = await promisify(execFile)(process.execPath, ringctl);
  const { items } = JSON.parse(stdout) as { items: { name: string; zone: string; status: string }[] };
  return Object.fromEntries(items.filter(({ status }) => status === "valid").map(({ name, zone }) => [name, zone]));
}

/** Keys whose owner and the next node to try are in one zone. */
async function oneZoneKeys(cluster: Cluster, zones: Readonly<Record<string, string>>): Promise<string[]> {
  const wrong: string[] = [];
  for (let index = 0; index < 60; index++) {
    const { preflist } = await cluster.client.cluster.locate({ app: "chaos", key: `k${index}` }, CALL);
    if (zones[preflist[0]!] === zones[preflist[1]!]) wrong.push(`k${index}: ${preflist.join(" ")}`);
  }
  return wrong;
}

const CALL = { deadlineMs: 5_000 };
