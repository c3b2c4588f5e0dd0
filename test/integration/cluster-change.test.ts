/** Planned changes of a ring of real processes under load: join, leave, restart. */

import { expect, test } from "vitest";
import type { RingReply } from "../../proto/messages.ts";
import { waitUntil } from "../../services/lab/lab.ts";
import { Cluster } from "./cluster.ts";

test("P2: a join and a leave under load move partitions as planned, and every task runs once", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2"] });
  const { cluster: calls } = cluster.client;
  const load = cluster.load({ keys: 100, perSecond: 400 });
  await waitUntil("tasks end", async () => (await cluster.ended("chaos")) > 200, 20_000);

  await cluster.lab.start("n3", { autoJoin: false });
  await waitUntil(
    "n3 can be staged",
    async () =>
      calls.stage({ join: { name: "n3" } }, CALL).then(
        () => true,
        () => false,
      ),
    20_000,
  );
  const joining = await calls.plan(CALL);
  const measured = await pausesMeasured(cluster);
  expect(joining.staged).toHaveLength(1);
  expect(joining.members.find(({ name }) => name === "n3")).toMatchObject({ partitionsBefore: 0, partitionsAfter: 5 });
  expect(joining.moves).toHaveLength(5);
  await calls.commit(joining.planId, CALL);
  await settled(cluster, "n3", 5);
  expect(await pausesMeasured(cluster)).toBe(measured + 5);

  await calls.stage({ leave: "n1" }, CALL);
  const leaving = await calls.plan(CALL);
  expect(leaving.members.find(({ name }) => name === "n1")).toMatchObject({ partitionsAfter: 0 });
  await calls.commit(leaving.planId, CALL);
  expect(await cluster.lab.exited("n1")).toBe(0);

  const { accepted, refused } = await load.stop();
  await cluster.atRest();
  const verdict = await cluster.verdict();
  expect(refused).toEqual([]);
  expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0, duplicates: 0, excusedOverlaps: 0 });
  expect(verdict.rules.find(({ rule }) => rule === "clean-repeat")?.violations).toBe(0);
  expect(verdict.moves.keys).toBeGreaterThan(0);
});

/** Handoffs of which the nodes' metrics know how long keys waited. */
async function pausesMeasured({ lab }: Cluster): Promise<number> {
  let count = 0;
  for (const name of lab.names()) {
    const page = await (await fetch(`http://${lab.node(name).http}/metrics`)).text();
    count += Number(/^taskring_handoff_pause_seconds_count (\d+)/m.exec(page)?.[1] ?? 0);
  }
  return count;
}

test("P8: a plan that is not the one that was shown is refused, and what is staged can be dropped", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2"] });
  const { cluster: calls } = cluster.client;
  await calls.stage({ setWeight: { name: "n2", weight: 50 } }, CALL);
  const shown = await calls.plan(CALL);
  expect(shown.moves.length).toBeGreaterThan(0);
  await calls.stage({ setWeight: { name: "n2", weight: 10 } }, CALL);
  await expect(calls.commit(shown.planId, CALL)).rejects.toMatchObject({ code: "PLAN_CHANGED" });
  await calls.clear(CALL);
  expect((await calls.plan(CALL)).staged).toEqual([]);
  expect((await calls.transfers(CALL)).transfers).toEqual([]);
});

test("P2: each node in turn stopped and started again under load: no partition moves, no submit fails, no task runs twice", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"] });
  const before = await ownersOf(cluster);
  const load = cluster.load({ keys: 100, perSecond: 300 });
  for (const name of ["n1", "n2", "n3"]) {
    const was = cluster.lab.node(name);
    await waitUntil("tasks end there", async () => (await cluster.ended("chaos", [name])) > 50, 20_000);
    expect(await cluster.lab.stop(name)).toBe(0);
    await cluster.restart(was);
    await waitUntil(
      `${name} serves again`,
      async () => (await cluster.client.cluster.status({ node: name }, CALL)).nodes[0]?.state === "serving",
      20_000,
    );
  }
  const { accepted, refused } = await load.stop();
  await cluster.atRest();
  const after = await ownersOf(cluster);
  const verdict = await cluster.verdict();
  expect(refused).toEqual([]);
  expect(after.owners).toEqual(before.owners);
  expect(after.ring.generations).toEqual(before.ring.generations);
  expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0, duplicates: 0, killed: 0 });
});

async function settled(cluster: Cluster, name: string, partitions: number): Promise<void> {
  await waitUntil(
    `${name} has ${partitions} partitions`,
    async () => {
      const { members } = await cluster.client.cluster.members(CALL);
      const { transfers } = await cluster.client.cluster.transfers(CALL);
      return transfers.length === 0 && members.find((member) => member.name === name)?.partitions === partitions;
    },
    30_000,
  );
}

/** Owner's name by partition. */
async function ownersOf(
  cluster: Cluster,
): Promise<{ readonly ring: RingReply; readonly owners: readonly (string | undefined)[] }> {
  const ring = await cluster.client.cluster.ring(CALL);
  return { ring, owners: ring.owners.map((owner) => ring.nodes[owner]?.name) };
}

const CALL = { deadlineMs: 5_000 };
