/**
 * Benchmark `handoff`: partitions that move while tasks run.
 *
 * | case | what is timed |
 * |---|---|
 * | `join-100k` | commit of a third node's join → its last partition has arrived, with 100,000 tasks held in the queues of a paused app and 6,000 submits a second to others |
 * | `leave` | commit of a node's leave → it owns nothing, under the same load |
 * | `restart` | SIGTERM → ready again, of the slowest of three nodes that do so in turn, under the same load; not one partition may move |
 *
 * Pauses are those of keys that went on in another process: from when their next task could have started until it did. After
 * each run every task must have run, the held ones included.
 */

import { setTimeout as delay } from "node:timers/promises";
import { waitUntil } from "../services/lab/lab.ts";
import { type Generator, type Job, type Report, startGenerator } from "./generator.ts";
import { countOf, marksWhen, pausesMs, percentile } from "./marks.ts";
import { countsOf } from "./probe.ts";
import { type BenchOptions, type BenchResult, resultOf } from "./result.ts";
import { type BenchRing, openRing, settled } from "./rings.ts";

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const results: BenchResult[] = [];
  for (const name of ["join-100k", "leave", "restart"] as const) {
    if (options.case !== undefined && options.case !== name) continue;
    const seen: Seen[] = [];
    for (let at = 0; at < options.runs; at++) seen.push(await CASES[name]());
    const pauses = seen.map((each) => each.p99Ms);
    results.push(
      resultOf({
        case: name,
        subject: "taskring",
        unit: "s",
        values: seen.map((each) => each.seconds),
        extra: {
          pause_p99_ms: Number(resultOf({ case: "", subject: "", unit: "", values: pauses }).median.toFixed(1)),
          pause_p99_worst_run_ms: Number(Math.max(...pauses).toFixed(1)),
          pause_worst_ms: Number(Math.max(...seen.map((each) => each.worstMs)).toFixed(1)),
          keys_moved: seen.reduce((sum, each) => sum + each.keys, 0),
          submits_per_second: Math.round(
            resultOf({ case: "", subject: "", unit: "", values: seen.map((each) => each.perSecond) }).median,
          ),
          failed_submits: seen.reduce((sum, each) => sum + each.failed, 0),
          ...(name === "join-100k"
            ? { tasks_held: HELD_TASKS, tasks_moved: Math.round(Math.min(...seen.map((each) => each.moved))) }
            : {}),
        },
      }),
    );
  }
  return results;
}

interface Seen {
  readonly seconds: number;
  readonly p99Ms: number;
  readonly worstMs: number;
  readonly keys: number;
  readonly perSecond: number;
  readonly failed: number;
  /** Held tasks on the newcomer. */
  readonly moved: number;
}

async function join(): Promise<Seen> {
  await using ring = await openRing(2);
  const { lab, client } = ring;
  return await withGenerator(async (generator) => {
    await client.apps.pause(HELD_APP);
    const held = await generator.run({
      addresses: lab.addresses,
      type: "mark",
      app: HELD_APP,
      keys: HELD_KEYS,
      tasks: HELD_TASKS,
      phase: "held",
    });
    if (held.accepted !== HELD_TASKS) throw new Error(`${held.accepted} tasks are held`);
    await lab.start("n3", { autoJoin: false });
    const seen = await underLoad(ring, generator, async () => {
      await client.cluster.stage({ join: { name: "n3" } });
      const { planId } = await client.cluster.plan();
      const begin = performance.now();
      await client.cluster.commit(planId);
      await settled(client, ["n1", "n2", "n3"]);
      return (performance.now() - begin) / 1_000;
    });
    const queued = await queuedOn(ring);
    const all = [...queued.values()].reduce((sum, count) => sum + count, 0);
    if (all !== HELD_TASKS) throw new Error(`${all} of ${HELD_TASKS} held tasks are left`);
    await client.apps.resume(HELD_APP);
    await marksWhen(ring.marks, "the held tasks run", (marks) => countOf(marks, "held") >= HELD_TASKS);
    return { ...seen, moved: queued.get("n3") ?? 0 };
  });
}

async function leave(): Promise<Seen> {
  await using ring = await openRing(3);
  const { client } = ring;
  return await withGenerator((generator) =>
    underLoad(ring, generator, async () => {
      await client.cluster.stage({ leave: "n3" });
      const { planId } = await client.cluster.plan();
      const begin = performance.now();
      await client.cluster.commit(planId);
      await settled(client, ["n1", "n2"]);
      return (performance.now() - begin) / 1_000;
    }),
  );
}

async function restart(): Promise<Seen> {
  await using ring = await openRing(3);
  const { lab, client } = ring;
  return await withGenerator(async (generator) => {
    const before = await settled(client, lab.names());
    const seen = await underLoad(ring, generator, async () => {
      let slowest = 0;
      for (const name of lab.names()) {
        const was = lab.node(name);
        const begin = performance.now();
        const code = await lab.stop(name);
        if (code !== 0) throw new Error(`${name} stopped with ${code}`);
        await lab.start(name, { autoJoin: false, extra: ["--grpc", was.grpc] });
        slowest = Math.max(slowest, performance.now() - begin);
        await waitUntil(`${name} serves`, () => serves(ring, name), READY_MS);
      }
      return slowest / 1_000;
    });
    const after = await settled(client, lab.names());
    const moved = after.generations.filter((generation, at) => generation !== before.generations[at]).length;
    if (moved > 0) throw new Error(`${moved} partitions moved`);
    return seen;
  });
}

async function serves({ client }: BenchRing, name: string): Promise<boolean> {
  const { nodes } = await client.cluster.status({ node: name }, { deadlineMs: ASK_MS });
  return nodes[0]?.state === "serving";
}

/** Loads the ring from before to after the change, and reads what the tasks say of it. */
async function underLoad(ring: BenchRing, generator: Generator, change: () => Promise<number>): Promise<Seen> {
  const job: Job = {
    addresses: ring.lab.addresses,
    type: "mark",
    keys: LOAD_KEYS,
    perSecond: LOAD_PER_SECOND,
    phase: "load",
    seconds: LOAD_MOST_SECONDS,
  };
  const loading = generator.run(job);
  loading.catch(() => undefined); // It is awaited below.
  const http = ring.lab.names().map((name) => ring.lab.node(name).http);
  const { completed } = await countsOf(http);
  await waitUntil(
    "the load runs",
    async () => (await countsOf(http)).completed > completed + 2 * LOAD_PER_SECOND,
    30_000,
  );
  const seconds = await change();
  await delay(AFTER_MS);
  generator.finish();
  const report: Report = await loading;
  const marks = await marksWhen(ring.marks, "every task has run", (read) => countOf(read, "load") >= report.accepted);
  const pauses = pausesMs(marks);
  return {
    seconds,
    p99Ms: percentile(pauses, 0.99),
    worstMs: percentile(pauses, 1),
    keys: pauses.length,
    perSecond: report.pushed / report.seconds,
    failed: report.refused,
    moved: 0,
  };
}

async function queuedOn({ lab, client }: BenchRing): Promise<Map<string, number>> {
  const queued = new Map<string, number>();
  for (const node of lab.names()) {
    const { nodes } = await client.cluster.status({ node });
    for (const each of nodes) if (each.name === node) queued.set(node, each.queued);
  }
  return queued;
}

async function withGenerator<T>(work: (generator: Generator) => Promise<T>): Promise<T> {
  const generator = startGenerator();
  try {
    return await work(generator);
  } finally {
    await generator.stop();
  }
}

const CASES = { "join-100k": join, leave, restart };
const HELD_APP = "bench-held";
const HELD_TASKS = 100_000;
const HELD_KEYS = 10_000;
const LOAD_KEYS = 500;
const LOAD_PER_SECOND = 6_000;
/** Ended by `finish`. */
const LOAD_MOST_SECONDS = 120;
const AFTER_MS = 500;
const READY_MS = 30_000;
const ASK_MS = 5_000;
