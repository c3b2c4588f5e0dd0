/**
 * Whole clusters in virtual time: 40 seeds of 10 minutes, each with its own faults, on every core.
 *
 * The seeds run in worker threads of the built `test/simulation/run.ts`; a failing one is repeated, with its trace, by
 * `npm run sim -- --from SEED --trace FILE`. The checkers stand in `checkers.ts`, the faults that each of them has been
 * seen to catch in `test/mutants/cluster.json`.
 */

import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { beforeAll, describe, expect, test } from "vitest";
import type { SimulationOptions, SimulationResult } from "./world.ts";

const MINUTES = 10;
const SEEDS = Array.from({ length: 40 }, (_, index) => index + 1);
/** One attempt of an app at a time and few partitions: nodes with two of them fall behind, and handoffs carry pages of rows. */
const BUSY = [101, 102, 103, 104].map((seed) => ({ seed, minutes: 3, tasksPerSecond: 550, running: 1, ringSize: 8 }));
const RUN = fileURLToPath(new URL("../../dist/test/simulation/run.js", import.meta.url));
/** Set by the mutants runner: one violation is enough. */
const FAIL_FAST = process.env.TASKRING_SIM_FAIL_FAST === "1";
const KNOWN = /: V[1-5]: |: not at rest /;

let results: readonly SimulationResult[] = [];
let busy: readonly SimulationResult[] = [];

beforeAll(async () => {
  if (!existsSync(RUN)) throw new Error(`${RUN} is missing: run npm run build`);
  results = await runAll(SEEDS.map((seed) => ({ seed, minutes: MINUTES })));
  if (!(FAIL_FAST && hasFailed(results))) busy = await runAll(BUSY);
}, 330_000);

describe(`${SEEDS.length} clusters of 5 nodes, ${MINUTES} simulated minutes each, and ${BUSY.length} with deep queues`, () => {
  const violations = (pattern: RegExp): string[] =>
    [...results, ...busy].flatMap(({ seed, violations }) =>
      violations.filter((text) => pattern.test(text)).map((text) => `seed ${seed}: ${text}`),
    );

  test("P1: no acknowledged task is lost", () => {
    expect(violations(/: V5: /)).toEqual([]);
  });

  test("P2: a task runs again only with a higher fence", () => {
    expect(violations(/: V4: /)).toEqual([]);
  });

  test("P3: tasks of a key start in the order of acceptance and one at a time, and a partition has one active owner", () => {
    expect(violations(/: V[23]: /)).toEqual([]);
  });

  test("P7: the ring has one document per epoch, and each follows from the one before", () => {
    expect(violations(/: V1: /)).toEqual([]);
  });

  test("P8: once the faults have ended, every committed change completes and every submit has its answer", () => {
    expect(violations(/: not at rest /)).toEqual([]);
  });

  test("nothing happens that only a fault in the code explains", () => {
    const others = [...results, ...busy].flatMap(({ seed, violations }) =>
      violations.filter((text) => !KNOWN.test(text)).map((text) => `seed ${seed}: ${text}`),
    );
    expect(others).toEqual([]);
  });

  test("the runs were worth it: every kind of fault, tasks all the time, and ring changes", () => {
    const kinds = new Map<string, number>();
    for (const { faults } of results)
      for (const [kind, count] of Object.entries(faults)) kinds.set(kind, (kinds.get(kind) ?? 0) + count);
    for (const kind of ["crash", "pause", "stop", "cut", "one-way", "loss", "reorder", "fsync", "weight"])
      expect(kinds.get(kind) ?? 0, kind).toBeGreaterThan(0);
    for (const { seed, accepted, epochs, faults } of results) {
      const count = Object.values(faults).reduce((sum, of) => sum + of, 0);
      expect(count, `faults of seed ${seed}`).toBeGreaterThanOrEqual(MINUTES * 2 - 2);
      expect(accepted, `tasks of seed ${seed}`).toBeGreaterThan(MINUTES * 60 * 10);
      expect(epochs, `epochs of seed ${seed}`).toBeGreaterThan(10);
    }
    expect(sum(results, ({ replays }) => replays)).toBeGreaterThan(0);
    for (const { seed, accepted } of busy) expect(accepted, `tasks of seed ${seed}`).toBeGreaterThan(30_000);
  });
});

test("the same seed gives the same trace hash, and another seed another", async () => {
  const jobs = [7, 7, 8].map((seed) => ({ seed, minutes: 2 }));
  const [first, second, other] = (await runAll(jobs)).map(({ traceHash }) => traceHash);
  expect(second).toBe(first);
  expect(other).not.toBe(first);
}, 120_000);

type Job = SimulationOptions & { readonly seed: number };

/** In the order of the jobs. */
async function runAll(jobs: readonly Job[]): Promise<readonly SimulationResult[]> {
  const results: SimulationResult[] = [];
  let next = 0;
  let failed = false;
  const run = async (): Promise<void> => {
    const worker = new Worker(RUN);
    try {
      while (next < jobs.length && !(failed && FAIL_FAST)) {
        const index = next++;
        const result = await ask(worker, jobs[index]!);
        results[index] = result;
        failed ||= result.violations.length > 0;
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), jobs.length) }, run));
  return results.filter((result) => result !== undefined);
}

function ask(worker: Worker, job: Job): Promise<SimulationResult> {
  return new Promise((resolve, reject) => {
    worker.once("message", (result: SimulationResult) => {
      worker.off("error", reject);
      resolve(result);
    });
    worker.once("error", reject);
    worker.postMessage(job);
  });
}

function hasFailed(list: readonly SimulationResult[]): boolean {
  return list.some(({ violations }) => violations.length > 0);
}

function sum(results: readonly SimulationResult[], of: (result: SimulationResult) => number): number {
  return results.reduce((total, result) => total + of(result), 0);
}
