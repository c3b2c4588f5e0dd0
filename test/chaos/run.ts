/**
 * Chaos: `npm run chaos -- --runs N [--tasks 50000] [--rate 5000] [--keys 1000] [--seed S] [--keep] [--hard | --store redis [--nodes 2]]`. Each run is a fresh ring of three
 * node processes under load, of which one is killed and restarted while a fourth joins and one leaves; then a program that
 * asks no node judges the histories that client and handlers wrote. With `--hard` a run has 40 s of load and a dozen faults
 * (`hard-faults.ts`). With `--store redis` the nodes share a Redis, to which
 * and for which things go wrong (`redis-faults.ts`), a run has 60 s of load, and the server's own log is judged as well.
 *
 * One line per run and a verdict at the end. Exit 1 if a promise was broken, or a run did not come to rest; the folder of
 * such a run (data, logs, histories) is kept.
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { connect } from "../../services/client/ring-client.ts";
import type { Verdict } from "../../services/history/check.ts";
import { HistoryWriter } from "../../services/history/writer.ts";
import { Lab, waitUntil } from "../../services/lab/lab.ts";
import { seededRandom } from "../../services/testing/random.ts";
import { planFaults, type Scene } from "./faults.ts";
import { type FixedAddresses, fixedAddresses, planHardFaults } from "./hard-faults.ts";
import type { LoadOptions, LoadReport } from "./load.ts";
import { openRedisScene } from "./redis-faults.ts";
import type { RedisLog } from "./redis-log.ts";
import { unrestOf, untilAtRest, wrongCounters } from "./rest.ts";

interface RunOptions {
  readonly seed: number;
  readonly tasks: number;
  readonly keys: number;
  readonly perSecond: number;
  /** All nodes share a Redis, to which things happen, too. */
  readonly redis: boolean;
  readonly nodes: number;
  /** Many faults a run. */
  readonly hard: boolean;
}

interface RunResult {
  readonly seed: number;
  readonly folder: string;
  readonly faults: readonly string[];
  /** Empty: every promise held. */
  readonly broken: readonly string[];
  readonly load: LoadReport | undefined;
  readonly verdict: Verdict | undefined;
  /** Of the Redis that the nodes share. */
  readonly log: RedisLog | undefined;
  readonly seconds: number;
}

async function runOnce(options: RunOptions): Promise<RunResult> {
  const began = performance.now();
  const folder = await mkdtemp(join(tmpdir(), `taskring-chaos-${options.seed}-`));
  const historyDirectory = join(folder, "history");
  const diary: string[] = [];
  const broken: string[] = [];
  let faults: readonly string[] = [];
  let loaded: LoadReport | undefined;
  let verdict: Verdict | undefined;
  let log: RedisLog | undefined;
  const say = (line: string): void => void diary.push(`${((performance.now() - began) / 1_000).toFixed(3)} ${line}`);
  try {
    await using redis = options.redis ? await openRedisScene(options.seed, options.nodes) : undefined;
    await using lab = await Lab.open({
      apps: [beside("apps.js")],
      folder,
      env: { TASKRING_HISTORY_DIR: historyDirectory },
    });
    using history = new HistoryWriter({ directory: historyDirectory, role: "harness" });
    const names = ["n1", "n2", "n3"].slice(0, options.nodes);
    const fixed = options.hard ? await fixedAddresses([...names, "n4", "n5"]) : undefined;
    const seedsOf = fixed && startingWith(fixed);
    for (const [index, name] of names.entries())
      await lab.start(
        name,
        redis ? { flags: redis.flagsOf(name) } : seedsOf && { ...seedsOf(name), ...(index === 0 && { seeds: [] }) },
      );
    await using client = connect({ addresses: lab.addresses });
    await waitUntil(
      "all are members at rest",
      async () =>
        (await client.cluster.members()).members.length === names.length && (await unrestOf(client)) === undefined,
      START_MS,
    );
    const spanMs = (options.tasks / options.perSecond) * 1_000;
    const scene: Scene = {
      lab,
      client,
      history,
      random: seededRandom(options.seed),
      spanMs,
      say,
      busy: new Set(),
      ...(seedsOf && { seedsOf }),
    };
    const planned = redis?.plan(scene) ?? (options.hard ? planHardFaults(scene) : planFaults(scene));
    faults = planned.map(({ name, atMs }) => `${name} at ${(atMs / 1_000).toFixed(1)} s`);
    const load = startLoad({ ...options, addresses: lab.addresses, historyDirectory });
    await load.started;
    say("load");
    const results = await Promise.allSettled([
      load.report,
      ...planned.map(async ({ name, atMs, run }) => {
        await new Promise((resolve) => setTimeout(resolve, atMs));
        say(name);
        await run();
        say(`over: ${name}`);
      }),
    ]);
    for (const result of results) if (result.status === "rejected") broken.push(String(result.reason));
    if (results[0]?.status === "fulfilled") loaded = results[0].value;
    say(`load over: ${JSON.stringify(loaded)}`);
    await untilAtRest(client, REST_MS).catch((error: unknown) => broken.push(String(error)));
    say("at rest");
    if (broken.length === 0) broken.push(...(await wrongCounters(client, historyDirectory)).slice(0, EXAMPLES));
    for (const name of lab.names()) {
      if (!lab.names().includes(name)) continue; // it was leaving, and is gone by now
      const code = await lab.stop(name);
      if (code !== 0) broken.push(`${name} ended with exit code ${code}`);
    }
    log = redis?.judge();
    broken.push(...(log?.wrong ?? []).slice(0, EXAMPLES));
  } catch (error) {
    broken.push(String(error));
  }
  try {
    verdict = await judge(historyDirectory);
    for (const { says, promise, violations, examples, counts } of verdict.rules) {
      if (counts && violations > 0) broken.push(`${promise} ${violations} ${says}: ${examples[0]}`);
    }
    if (loaded !== undefined && loaded.accepted !== verdict.accepted)
      broken.push(`the client counted ${loaded.accepted} acknowledgements, the history ${verdict.accepted}`);
  } catch (error) {
    broken.push(`no verdict: ${String(error)}`);
  }
  for (const line of broken) say(`BROKEN ${line}`);
  await writeFile(join(folder, "diary.txt"), `${[...faults, ...diary].join("\n")}\n`);
  return {
    seed: options.seed,
    folder,
    faults,
    broken,
    load: loaded,
    verdict,
    log,
    seconds: (performance.now() - began) / 1_000,
  };
}

interface Load {
  readonly started: Promise<void>;
  readonly report: Promise<LoadReport>;
}

function startLoad(options: LoadOptions): Load {
  const child = spawn(process.execPath, [beside("load.js"), JSON.stringify(options)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let begun: () => void = () => undefined;
  const started = new Promise<void>((resolve) => {
    begun = resolve;
  });
  let report: LoadReport | undefined;
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (line === "started") begun();
    else report = JSON.parse(line) as LoadReport;
  });
  const closed = once(child, "close").then(([code]) => {
    if (report === undefined) throw new Error(`the load ended with exit code ${code} and no report`);
    return report;
  });
  return { started: Promise.race([started, closed.then(() => undefined)]), report: closed };
}

/** Asks the checker, as a separate program. */
function judge(directory: string): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [beside("../../services/history/check.js"), directory, "--json"],
      { maxBuffer: 64 * 1024 * 1024 },
      (error, stdout) => {
        if (stdout.startsWith("{")) resolve(JSON.parse(stdout) as Verdict);
        else reject(error ?? new Error("the checker said nothing"));
      },
    );
  });
}

function lineOf({ seed, load, verdict, log, faults, broken, seconds, folder }: RunResult): string {
  const violations = (rule: string): number | string =>
    verdict?.rules.find((each) => each.rule === rule)?.violations ?? "?";
  const order = verdict?.rules.filter(({ rule }) => rule === "order" || rule === "replay" || rule === "passed");
  const outOfOrder = order?.reduce((sum, rule) => sum + rule.violations, 0) ?? "?";
  const counts = [
    `accepted ${verdict?.accepted ?? "?"}`,
    `done ${verdict?.done ?? "?"}`,
    `lost ${violations("lost")}`,
    `out of order ${outOfOrder}`,
    `overlapping ${violations("overlap")}`,
    `stale writes accepted ${violations("stale-write")} (${verdict?.uncountedWrites ?? "?"} did not count)`,
    ...(log === undefined
      ? []
      : [`Redis accepted ${log.writes} groups of ${log.openings} terms, ${log.wrong.length} of them wrong`]),
    `children lost ${violations("child-lost")} twice ${violations("child-twice")}`,
    `attempts ${verdict?.attempts ?? "?"}`,
    `repeated ${verdict?.duplicates ?? "?"} (${violations("clean-repeat")} without a fault)`,
    `refused ${JSON.stringify(load?.refused ?? {})}`,
    `takeover worst ${verdict?.takeovers.worstMs.toFixed(0) ?? "?"} ms`,
    `moved keys p99 ${verdict?.moves.p99Ms.toFixed(0) ?? "?"} ms`,
    `${seconds.toFixed(1)} s`,
  ];
  const head = `${broken.length === 0 ? "ok    " : "BROKEN"} seed ${seed}: ${counts.join(", ")} [${faults.join("; ")}]`;
  return broken.length === 0
    ? head
    : [head, ...broken.map((what) => `        ${what}`), `        kept: ${folder}`].join("\n");
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runs: { type: "string", default: "20" },
      tasks: { type: "string" },
      keys: { type: "string", default: "1000" },
      rate: { type: "string" },
      seed: { type: "string", default: "1" },
      keep: { type: "boolean", default: false },
      store: { type: "string", default: "embedded" },
      hard: { type: "boolean", default: false },
      nodes: { type: "string", default: "3" },
    },
  });
  const hard = values.hard && values.store !== "redis";
  const usual = values.store === "redis" ? ON_REDIS : hard ? HARD : ON_DISKS;
  const [runs, keys, seed] = [values.runs, values.keys, values.seed].map(Number) as [number, number, number];
  const nodes = values.store === "redis" && values.nodes === "2" ? 2 : 3;
  const [tasks, perSecond] = [Number(values.tasks ?? usual.tasks), Number(values.rate ?? usual.perSecond)];
  let brokenRuns = 0;
  let accepted = 0;
  let attempts = 0;
  for (let run = 0; run < runs; run++) {
    const result = await runOnce({
      seed: seed + run,
      tasks,
      keys,
      perSecond,
      redis: values.store === "redis",
      nodes,
      hard,
    });
    process.stdout.write(`${lineOf(result)}\n`);
    accepted += result.verdict?.accepted ?? 0;
    attempts += result.verdict?.attempts ?? 0;
    if (result.broken.length > 0) brokenRuns += 1;
    else if (!values.keep) await rm(result.folder, { recursive: true, force: true });
  }
  process.stdout.write(
    `${brokenRuns === 0 ? "every promise held" : "BROKEN"}: ${runs - brokenRuns} of ${runs} runs, ${accepted} tasks accepted, ${attempts} attempts\n`,
  );
  return brokenRuns === 0 ? 0 : 1;
}

/** Each node keeps its addresses, and is told those of the others. */
function startingWith(fixed: ReadonlyMap<string, FixedAddresses>): NonNullable<Scene["seedsOf"]> {
  return (name) => ({
    seeds: [...fixed].flatMap(([other, { gossip }]) => (other === name ? [] : [gossip])),
    extra: ["--gossip", fixed.get(name)!.gossip, "--grpc", fixed.get(name)!.grpc],
  });
}

function beside(path: string): string {
  return join(dirname(fileURLToPath(import.meta.url)), path);
}

const ON_DISKS = { tasks: 50_000, perSecond: 5_000 };
/** 40 s of load. */
const HARD = { tasks: 80_000, perSecond: 2_000 };
/** 60 s: the longest fault and its recovery fit several times. */
const ON_REDIS = { tasks: 60_000, perSecond: 1_000 };
const START_MS = 30_000;
const REST_MS = 60_000;
const EXAMPLES = 5;

process.exitCode = await main();
