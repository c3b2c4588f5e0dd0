/**
 * Benchmark `submit`: durable submit → executed → acknowledged, over gRPC, each node and the client in a process of its own.
 *
 * 200-byte payloads, 10,002 keys of three apps, a handler that bumps a counter in `ctx.state`. A run ends when the last
 * task's end is synced. After the last run all counters are read back: they must add up to the submits. Beside case
 * `one-node`, run by run, BullMQ on a local Redis does the same with a handler that counts in memory.
 */

import { connect, decodeResult } from "../services/client/index.ts";
import { type Lab, waitUntil } from "../services/lab/lab.ts";
import { RedisServer } from "../services/lab/redis.ts";
import { openBullmq } from "./bullmq.ts";
import { APPS, type Generator, type Job, startGenerator } from "./generator.ts";
import { percentile } from "./marks.ts";
import { countsOf, cpuMsOf, Probe } from "./probe.ts";
import { type BenchOptions, type BenchResult, resultOf } from "./result.ts";
import { openRing } from "./rings.ts";

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const results: BenchResult[] = [];
  const wanted = (name: string): boolean => options.case === undefined || options.case === name;
  if (wanted("one-node")) results.push(...(await oneNode(options.runs)));
  if (wanted("three-nodes")) {
    results.push(await throughput({ case: "three-nodes", nodes: 3, runs: options.runs, variant: "to owners" }));
    results.push(await throughput({ case: "three-nodes", nodes: 3, runs: options.runs, variant: "through one node" }));
  }
  if (wanted("redis")) results.push(...(await onRedis(options.runs)));
  if (wanted("latency-500")) results.push(...(await latency("latency-500", 500, options.runs)));
  if (wanted("latency-100000")) results.push(...(await latency("latency-100000", 100_000, options.runs)));
  return results;
}

async function oneNode(runs: number): Promise<BenchResult[]> {
  return besideBullmq("one-node", { runs });
}

/** The node stores in a Redis that is set as BullMQ's own one beside it: an append-only file, synced once a second. */
async function onRedis(runs: number): Promise<BenchResult[]> {
  await using redis = await RedisServer.open({ settings: REDIS_SETTINGS });
  return await besideBullmq("redis", { runs, redis });
}

async function besideBullmq(
  name: string,
  { runs, redis }: { readonly runs: number; readonly redis?: RedisServer },
): Promise<BenchResult[]> {
  await using peer = await openBullmq();
  const peerRates: number[] = [];
  let peerCpu = 0;
  const own = await throughput({
    case: name,
    nodes: 1,
    runs,
    variant: "to owners",
    ...(redis === undefined ? {} : { redis }),
    beside: async () => {
      const { seconds, cpuMs } = await peer.run(PEER_TASKS);
      peerRates.push(PEER_TASKS / seconds);
      peerCpu += cpuMs;
    },
  });
  const bullmq = resultOf({
    case: name,
    subject: "bullmq",
    unit: "1/s",
    values: peerRates,
    extra: {
      settings: peer.settings,
      worker_and_redis_cpu_us_per_task: round((peerCpu * 1_000) / (PEER_TASKS * runs)),
    },
  });
  return [{ ...own, ratio: round(own.median / bullmq.median) }, bullmq];
}

interface Throughput {
  readonly case: string;
  readonly nodes: number;
  readonly runs: number;
  readonly variant: "to owners" | "through one node";
  /** Where the nodes store; absent: each on its own disk. */
  readonly redis?: RedisServer;
  /** Between two runs. */
  readonly beside?: () => Promise<void>;
}

async function throughput(what: Throughput): Promise<BenchResult> {
  const { redis } = what;
  await using ring = await openRing(what.nodes, redis === undefined ? {} : { flagsOf: () => ["--store", redis.url] });
  const { lab } = ring;
  const generator = startGenerator();
  try {
    const rates: number[] = [];
    const serverCpu: number[] = [];
    const clientCpu: number[] = [];
    const redisCpu: number[] = [];
    let submitted = 0;
    let peakRssMb = 0;
    let peakAnonymousMb = 0;
    let syncs = 0;
    const job: Job = {
      addresses: what.variant === "to owners" ? lab.addresses : lab.addresses.slice(0, 1),
      onlyAddresses: what.variant === "through one node",
      type: "bump",
      keys: KEYS_PER_APP,
    };
    submitted += await measure(lab, generator, { ...job, tasks: WARM_TASKS }).then((warm) => warm.tasks);
    for (let at = 0; at < what.runs; at++) {
      const redisBefore = cpuMsOf(redis?.pid ?? 0);
      const seen = await measure(lab, generator, { ...job, seconds: RUN_SECONDS });
      redisCpu.push(((cpuMsOf(redis?.pid ?? 0) - redisBefore) * 1_000) / seen.tasks);
      submitted += seen.tasks;
      rates.push(seen.tasks / seen.seconds);
      serverCpu.push((seen.serverCpuMs * 1_000) / seen.tasks);
      clientCpu.push((seen.clientCpuMs * 1_000) / seen.tasks);
      peakRssMb = Math.max(peakRssMb, seen.peakRssMb);
      peakAnonymousMb = Math.max(peakAnonymousMb, seen.peakAnonymousMb);
      syncs += seen.syncs;
      await what.beside?.();
    }
    const counted = await countersOf(lab.addresses);
    if (counted !== submitted)
      throw new Error(`the counters add up to ${counted}, not to the ${submitted} tasks submitted`);
    return resultOf({
      case: what.case,
      subject: "taskring",
      unit: "1/s",
      values: rates,
      extra: {
        ...(what.nodes === 1 ? {} : { sent: what.variant }),
        server_cpu_us_per_task: middle(serverCpu),
        client_cpu_us_per_task: middle(clientCpu),
        rss_mb: Math.round(peakRssMb),
        rss_anonymous_mb: Math.round(peakAnonymousMb),
        fsyncs: syncs,
        counters_read_back: counted,
        ...(redis === undefined
          ? { store: "LMDB, every acknowledgement synced" }
          : { redis_cpu_us_per_task: middle(redisCpu), store: "Redis, AOF everysec, no snapshots" }),
      },
    });
  } finally {
    await generator.stop();
  }
}

/** Submit → done as the caller sees it: acknowledged, and its end waited for with `Wait`. */
async function latency(name: string, perSecond: number, runs: number): Promise<BenchResult[]> {
  await using ring = await openRing(1);
  const { lab } = ring;
  const generator = startGenerator();
  try {
    const job: Job = {
      addresses: lab.addresses,
      type: "bump",
      keys: KEYS_PER_APP,
      perSecond,
      waitForOneIn: Math.max(1, Math.round(perSecond / 500)),
    };
    await measure(lab, generator, { ...job, seconds: 3 });
    const medians: number[] = [];
    const p99s: number[] = [];
    const sent: number[] = [];
    for (let at = 0; at < runs; at++) {
      const seen = await measure(lab, generator, { ...job, seconds: LATENCY_SECONDS });
      medians.push(percentile(seen.doneMs, 0.5));
      p99s.push(percentile(seen.doneMs, 0.99));
      sent.push(seen.tasks / LATENCY_SECONDS);
    }
    const rest = { subject: "taskring", unit: "ms", extra: { sent_per_second: middle(sent) } };
    return [
      resultOf({
        case: name,
        ...rest,
        values: medians,
        extra: { ...rest.extra, percentile: "p50", p99_ms: middle(p99s) },
      }),
      resultOf({ case: name, ...rest, values: p99s, extra: { ...rest.extra, percentile: "p99" } }),
    ];
  } finally {
    await generator.stop();
  }
}

interface Seen {
  readonly tasks: number;
  /** First push to the last synced end. */
  readonly seconds: number;
  readonly serverCpuMs: number;
  readonly clientCpuMs: number;
  readonly peakRssMb: number;
  readonly peakAnonymousMb: number;
  readonly syncs: number;
  readonly doneMs: readonly number[];
}

async function measure(lab: Lab, generator: Generator, job: Job): Promise<Seen> {
  const nodes = lab.names().map((name) => lab.node(name));
  const http = nodes.map((node) => node.http);
  const before = await countsOf(http);
  const probe = new Probe(nodes.map((node) => node.pid));
  const report = await generator.run(job);
  if (report.accepted !== report.pushed)
    throw new Error(
      `${report.accepted} of ${report.pushed} tasks were accepted: ${JSON.stringify(report.refusedByCode)}`,
    );
  const after = await waitUntil(
    "every task is done",
    async () => {
      const counts = await countsOf(http);
      return counts.completed - before.completed >= report.pushed && counts;
    },
    60_000,
  );
  const seconds = (Number(process.hrtime.bigint()) - report.startedAt) / 1e9;
  const { cpuMs, ...peaks } = probe.stop();
  return {
    tasks: report.pushed,
    seconds,
    serverCpuMs: cpuMs,
    clientCpuMs: report.cpuMs,
    ...peaks,
    syncs: after.syncs - before.syncs,
    doneMs: report.doneMs,
  };
}

/** The sum of all counters, read back through the API. */
async function countersOf(addresses: readonly string[]): Promise<number> {
  await using client = connect({ addresses });
  let sum = 0;
  for (const app of APPS) {
    for (let from = 0; from < KEYS_PER_APP; from += READS_AT_ONCE) {
      const keys = Array.from({ length: Math.min(READS_AT_ONCE, KEYS_PER_APP - from) }, (_, at) => `user-${from + at}`);
      const states = await Promise.all(keys.map((key) => client.tasks.readState({ app, key }, { deadlineMs: 30_000 })));
      for (const state of states) {
        const bytes = state.get("n");
        if (bytes !== undefined) sum += Number(decodeResult(bytes));
      }
    }
  }
  return sum;
}

function middle(values: readonly number[]): number {
  return round(resultOf({ case: "", subject: "", unit: "", values }).median);
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

/** Three apps: 10,002 keys, and a number that 3 does not divide, so that each app meets each key. */
const KEYS_PER_APP = 3_334;
const WARM_TASKS = 200_000;
const RUN_SECONDS = 6;
const LATENCY_SECONDS = 10;
const PEER_TASKS = 40_000;
/** The file is not rewritten within a run, which would measure that. */
const REDIS_SETTINGS = ["--auto-aof-rewrite-percentage", "0"];
const READS_AT_ONCE = 64;
