/** SIGKILL and SIGSTOP of real processes under load, judged by the history. */

import { expect, test } from "vitest";
import { loadHistory } from "../../services/history/history.ts";
import { waitUntil } from "../../services/lab/lab.ts";
import { Cluster } from "./cluster.ts";

test("P1: a single node that is killed and started again, twice, loses nothing that it acknowledged", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1"] });
  const load = cluster.load({ keys: 50, perSecond: 500 });
  const node = cluster.lab.node("n1");
  for (let kill = 0; kill < 2; kill++) {
    await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 300, 20_000);
    await cluster.kill("n1");
    await cluster.restart(node);
  }
  const { accepted, refused } = await load.stop();
  await cluster.atRest();
  const verdict = await cluster.verdict();
  expect(refused).toEqual([]);
  expect(accepted).toBeGreaterThan(600);
  expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0, killed: 2 });
});

test("P1: the tasks of a killed node run on, in order, on the others of its machine", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"] });
  const load = cluster.load({ keys: 100, perSecond: 500 });
  await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 500, 20_000);
  await cluster.kill("n2");
  await waitUntil("n2 has no partition", async () => (await partitionsOf(cluster, "n2")) === 0, 20_000);
  const { accepted, refused } = await load.stop();
  await waitUntil(
    "nothing is left of n2",
    async () => strandedRows(cluster, "n2").then((rows) => rows === undefined),
    20_000,
  );
  await cluster.atRest({ without: ["n2"] });
  const verdict = await cluster.verdict();
  expect(refused).toEqual([]);
  expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0, killed: 1 });
});

test("P1: two of three killed at once both come back, although the third one holds their votes meanwhile", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"] });
  const load = cluster.load({ keys: 60, perSecond: 200 });
  await waitUntil("some tasks ended", async () => (await cluster.ended("chaos")) > 100, 20_000);
  const nodes = ["n2", "n3"].map((name) => cluster.lab.node(name));
  await Promise.all(nodes.map(({ name }) => cluster.kill(name)));
  await waitUntil("n1 has it all", async () => (await partitionsOf(cluster, "n1")) === 16, 30_000);
  await Promise.all(nodes.map((node) => cluster.restart(node)));
  const { accepted, refused } = await load.stop();
  await cluster.atRest();
  const verdict = await cluster.verdict();
  expect(refused).toEqual([]);
  expect(verdict).toMatchObject({ accepted, done: accepted, lost: 0, killed: 2 });
});

test("P3: a node that is frozen past its lease starts nothing when it wakes, and its open attempt is refused", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"], apart: true });
  const [key = ""] = await cluster.keysOf("n3", 1);
  const held = await cluster.submit("hold", key, 1_500);
  await waitUntil("the handler runs", () => attemptsOf(cluster, held.id).length === 1, 10_000);
  const thaw = cluster.freeze("n3");
  await waitUntil(
    "another owns the key",
    async () => (await cluster.client.cluster.locate({ app: "slow", key }, CALL)).owner !== "n3",
    20_000,
  );
  const newer = await cluster.submit("hold", key, 0);
  await waitUntil(
    "the newer task ran",
    () => attemptsOf(cluster, newer.id).some(({ outcome }) => outcome === "ok"),
    20_000,
  );
  thaw();
  await waitUntil(
    "the held task ran again",
    () => attemptsOf(cluster, held.id).some(({ outcome }) => outcome === "ok"),
    30_000,
  );
  await cluster.atRest();
  const [first, ...later] = attemptsOf(cluster, held.id);
  expect(first).toMatchObject({ outcome: "aborted", process: { node: "n3" } });
  expect(later.map(({ outcome }) => outcome)).toEqual(["ok"]);
  expect(later[0]?.fence).toBeGreaterThan(attemptsOf(cluster, newer.id)[0]?.fence ?? 0n);
  const verdict = await cluster.verdict();
  expect(verdict).toMatchObject({ accepted: 2, done: 2, lost: 0, excusedOverlaps: 1 });
});

test("P9: with a machine gone new tasks run within 10 s, and its own are counted", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"], apart: true });
  const keys = await cluster.keysOf("n3", 3);
  for (const key of keys) await cluster.submit("hold", key, 60_000);
  const queued = [];
  for (const key of keys) for (let count = 0; count < 4; count++) queued.push(await cluster.submit("hold", key, 0));
  // Nodes tell each other every 2 s how much they have.
  await waitUntil("the others were told", async () => (await oldestWaitMs(cluster)) > 3_000, 20_000);
  const killed = performance.now();
  await cluster.kill("n3");
  const fresh = await Promise.all(
    keys.map((key) => cluster.client.submit({ app: "slow", type: "note", key }, { deadlineMs: 15_000 })),
  );
  for (const { taskId } of fresh)
    expect(await cluster.client.wait(taskId, { timeoutMs: 10_000 })).toMatchObject({ state: "DONE" });
  const tookMs = performance.now() - killed;
  expect(tookMs).toBeLessThan(10_000);
  const { nodes } = await cluster.client.cluster.status({}, CALL);
  const told = nodes[0]?.stranded.filter(({ member }) => member === "n3") ?? [];
  expect(told.every(({ where }) => where === "away")).toBe(true);
  expect(told.reduce((sum, { rows }) => sum + rows, 0)).toBeGreaterThanOrEqual(queued.length);
  expect(nodes[0]?.warnings.map(({ code }) => code)).toContain("STATE_AWAY");
  expect(queued.some(({ id }) => attemptsOf(cluster, id).length > 0)).toBe(false);
});

test("P1: what a machine that was away had queued runs when it returns", async () => {
  await using cluster = await Cluster.open({ nodes: ["n1", "n2", "n3"], apart: true });
  const keys = await cluster.keysOf("n3", 3);
  for (const key of keys) await cluster.submit("hold", key, 2_000);
  for (const key of keys) for (let count = 0; count < 4; count++) await cluster.submit("hold", key, 0);
  const node = cluster.lab.node("n3");
  await cluster.kill("n3");
  await waitUntil("n3 is down", async () => (await partitionsOf(cluster, "n3")) === 0, 20_000);
  await cluster.restart(node);
  await cluster.atRest();
  const verdict = await cluster.verdict();
  expect(verdict).toMatchObject({ accepted: 15, done: 15, lost: 0 });
});

async function partitionsOf(cluster: Cluster, name: string): Promise<number> {
  const { members } = await cluster.client.cluster.members(CALL);
  return members.find((member) => member.name === name)?.partitions ?? 0;
}

/** Undefined: nothing of the member is stranded. */
async function strandedRows(cluster: Cluster, name: string): Promise<number | undefined> {
  const { nodes } = await cluster.client.cluster.status({}, CALL);
  const stranded = nodes.flatMap((node) => node.stranded.filter(({ member }) => member === name));
  return stranded.length === 0 ? undefined : stranded.reduce((sum, { rows }) => sum + rows, 0);
}

async function oldestWaitMs(cluster: Cluster): Promise<number> {
  const { nodes } = await cluster.client.cluster.status({}, CALL);
  return Math.max(...nodes.flatMap((node) => node.partitions.map((partition) => partition.oldestWaitMs)));
}

function attemptsOf(cluster: Cluster, id: string) {
  return (
    loadHistory(cluster.historyDirectory)
      .tasks.get(id)
      ?.attempts.toSorted((a, b) => a.start - b.start) ?? []
  );
}

const CALL = { deadlineMs: 5_000 };
