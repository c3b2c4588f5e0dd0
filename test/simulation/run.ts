/**
 * `npm run sim -- --seeds N [--from S] [--minutes M] [--nodes N] [--storms | --storm KIND] [--shared] [--operators] [--disks] [--links] [--trace FILE]`: seeds on all cores,
 * violations and counts printed; with `--shared` all nodes keep their rows in one store, with `--operators` tasks are cancelled, retried, paused and scheduled too,
 * with `--disks` and `--links` the faults are those of `disks.ts` and `links.ts`. With `--membership [--nodes 3,10,100,1000] [--profile lan]`: what membership does at each size.
 */

import { createWriteStream } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { membershipRun } from "./membership-run.ts";
import { STORMS, type StormKind } from "./storms.ts";
import { type SimulationResult, simulate } from "./world.ts";

interface Job {
  readonly seed: number;
  readonly minutes: number;
  readonly nodes: number;
  readonly storms: boolean | StormKind;
  readonly shared: boolean;
  readonly operators: boolean;
  readonly disks: boolean;
  readonly links: boolean;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      membership: { type: "boolean" },
      profile: { type: "string", default: "lan" },
      seeds: { type: "string", default: "40" },
      from: { type: "string", default: "1" },
      minutes: { type: "string", default: "10" },
      nodes: { type: "string" },
      storms: { type: "boolean", default: false },
      storm: { type: "string" },
      shared: { type: "boolean", default: false },
      operators: { type: "boolean", default: false },
      disks: { type: "boolean", default: false },
      links: { type: "boolean", default: false },
      trace: { type: "string" },
    },
  });
  if (values.membership === true) {
    const profile = values.profile === "wan" || values.profile === "fast" ? values.profile : "lan";
    membershipRun({
      nodes: (values.nodes ?? "3,10,100,1000").split(",").map(Number),
      seeds: Number(values.seeds),
      profile,
    });
    return 0;
  }
  const from = Number(values.from);
  const minutes = Number(values.minutes);
  const nodes = Number(values.nodes ?? "5");
  const { shared, operators, disks, links } = values;
  const kind = STORMS.find((each) => each === values.storm);
  if (values.storm !== undefined && kind === undefined)
    throw new Error(`no storm is called ${values.storm}: one of ${[...new Set(STORMS)].join(", ")}`);
  const storms = kind ?? values.storms;
  if (values.trace !== undefined) {
    const file = createWriteStream(values.trace);
    const result = simulate({
      seed: from,
      minutes,
      nodes,
      storms,
      shared,
      operators,
      disks,
      links,
      onTrace: (line) => void file.write(`${line}\n`),
    });
    file.end();
    report([result], 0, minutes);
    return result.violations.length === 0 ? 0 : 1;
  }
  const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => from + index);
  const cpu = process.cpuUsage();
  const results = await runAll(
    seeds.map((seed) => ({ seed, minutes, nodes, storms, shared, operators, disks, links })),
  );
  const used = process.cpuUsage(cpu);
  report(results, (used.user + used.system) / 60_000_000, minutes);
  return results.every((result) => result.violations.length === 0) ? 0 : 1;
}

async function runAll(jobs: Job[]): Promise<SimulationResult[]> {
  const results: SimulationResult[] = [];
  const waiting = [...jobs];
  const workers = Array.from({ length: Math.min(availableParallelism(), jobs.length) }, async () => {
    const worker = new Worker(fileURLToPath(import.meta.url));
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      const result = await new Promise<SimulationResult>((resolve, reject) => {
        worker.removeAllListeners();
        worker.once("message", resolve);
        worker.once("error", reject);
        worker.postMessage(job);
      });
      results.push(result);
      if (result.violations.length > 0) console.log(`seed ${result.seed}: ${result.violations.join("\n  ")}`);
    }
    await worker.terminate();
  });
  await Promise.all(workers);
  return results.sort((a, b) => a.seed - b.seed);
}

function report(results: readonly SimulationResult[], cpuMinutes: number, minutes: number): void {
  const faults: Record<string, number> = {};
  for (const result of results)
    for (const [kind, count] of Object.entries(result.faults)) faults[kind] = (faults[kind] ?? 0) + count;
  const sum = (of: (result: SimulationResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  const failed = results.filter((result) => result.violations.length > 0);
  console.log(
    `seeds ${results.length}, failed ${failed.length}${failed.length > 0 ? ` (${failed.map((result) => result.seed).join(", ")})` : ""}`,
  );
  console.log(
    `faults ${Object.entries(faults)
      .map(([kind, count]) => `${kind} ${count}`)
      .join(", ")}`,
  );
  console.log(
    `tasks accepted ${sum((result) => result.accepted)}, attempts ${sum((result) => result.attempts)}, replays ${sum((result) => result.replays)}, ring epochs ${sum((result) => result.epochs)}`,
  );
  console.log(`at rest after the faults: worst ${Math.max(...results.map((result) => result.convergedMs)) / 1_000} s`);
  const hours = (results.length * minutes) / 60;
  if (cpuMinutes > 0)
    console.log(
      `simulated ${hours.toFixed(1)} cluster-hours in ${cpuMinutes.toFixed(2)} CPU-minutes: ${(hours / cpuMinutes).toFixed(1)} cluster-hours a CPU-minute`,
    );
  if (results.length === 1) console.log(`trace hash ${results[0]!.traceHash}`);
  for (const result of failed)
    for (const violation of result.violations) console.log(`seed ${result.seed}: ${violation}`);
}

if (isMainThread) process.exitCode = await main();
else parentPort!.on("message", (job: Job) => parentPort!.postMessage(simulate(job)));
