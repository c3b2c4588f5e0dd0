/**
 * Cases `slow-sink` and `stopped-sink` of the benchmark `pipe`: one input that makes a million outputs through a second fitting, for
 * a reader that takes 100 µs an item, or that stops for 10 s. Measured is how much memory grows, after a warm-up; a run in
 * which the source goes on while nobody reads fails the benchmark.
 */

import { setTimeout as delay } from "node:timers/promises";
import { batch, pass } from "../pipe/built-ins.ts";
import { fitting, pipeline } from "../pipe/fitting.ts";
import { PipeEngine } from "../pipe/io/engine.ts";
import type { PipeRun } from "../pipe/io/run.ts";
import { byKey } from "../pipe/partition.ts";
import type { NodeName } from "../ring/ids.ts";
import { MemoryWatch } from "./memory.ts";
import { type BenchResult, resultOf } from "./result.ts";

export async function slowSinkCase(name: "slow-sink" | "stopped-sink", runs: number): Promise<readonly BenchResult[]> {
  await fanOut(async (run) => readAll(run), { outputs: 100_000 });
  const grown: number[] = [];
  let ahead = 0;
  for (let at = 0; at < runs; at++) {
    const memory = new MemoryWatch();
    const most = await fanOut(name === "slow-sink" ? readSlowly : readWithStop, { outputs: OUTPUTS });
    grown.push(memory.stop());
    ahead = Math.max(ahead, most);
  }
  const most = Math.max(...grown);
  if (most > GROWTH_MOST_MIB) throw new Error(`memory grew by ${most} MiB, more than ${GROWTH_MOST_MIB}`);
  return [
    resultOf({
      case: name,
      subject: "taskring",
      unit: "MiB",
      values: grown,
      extra: { outputs: OUTPUTS, "made and not read, at most": ahead, limit: GROWTH_MOST_MIB },
    }),
  ];
}

type Reader = (run: PipeRun<number, number>, made: () => number) => Promise<number>;

/** How far the source was ahead of the reader, at most. */
async function fanOut(read: Reader, { outputs }: { readonly outputs: number }): Promise<number> {
  let made = 0;
  const source = fitting<number, number>({
    name: "source",
    async *process(count) {
      for (let at = 0; at < count; at += PAGE) {
        made = at + PAGE;
        yield batch(Array.from({ length: Math.min(PAGE, count - at) }, (_, index) => at + index));
      }
    },
  });
  const engine = new PipeEngine({ self: "bench" as NodeName, ringSize: 64, find: () => undefined, send: () => false });
  const second = pass<number>({ name: "second", partition: byKey((n: number) => n) });
  await using run = engine.run(pipeline("fan-out", [source, second]));
  await run.send(outputs);
  run.end();
  return await read(run, () => made);
}

async function readAll(run: PipeRun<number, number>): Promise<number> {
  for await (const _ of run.batches);
  return 0;
}

/** For ten seconds; a whole run would take a hundred. */
async function readSlowly(run: PipeRun<number, number>, made: () => number): Promise<number> {
  const end = performance.now() + TEN_SECONDS_MS;
  let [read, ahead] = [0, 0];
  for await (const _ of run.results) {
    read += 1;
    ahead = Math.max(ahead, made() - read);
    const until = performance.now() + ITEM_MS;
    while (performance.now() < until);
    if (read % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (performance.now() > end) break;
  }
  return expectBounded(ahead);
}

async function readWithStop(run: PipeRun<number, number>, made: () => number): Promise<number> {
  let [read, ahead] = [0, 0];
  for await (const outputs of run.batches) {
    const before = read;
    read += outputs.length;
    if (before >= STOP_AT || read < STOP_AT) continue;
    await delay(1_000);
    const then = made();
    await delay(TEN_SECONDS_MS - 1_000);
    if (made() !== then) throw new Error(`the source went on, from ${then} to ${made()}, while nobody read`);
    ahead = then - read;
  }
  if (read !== OUTPUTS) throw new Error(`${read} came out, not ${OUTPUTS}`);
  return expectBounded(ahead);
}

function expectBounded(ahead: number): number {
  if (ahead > AHEAD_MOST) throw new Error(`the source was ${ahead} outputs ahead, more than ${AHEAD_MOST}`);
  return ahead;
}

const OUTPUTS = 1_000_000;
const PAGE = 1_024;
const STOP_AT = 300_000;
const ITEM_MS = 0.1;
const TEN_SECONDS_MS = 10_000;
/** 64 queues of 64, two sink buffers of 1,024 (one waits, one is read), and two pages of the source. */
const AHEAD_MOST = 64 * 64 + 2 * 1_024 + 2 * PAGE + 64;
const GROWTH_MOST_MIB = 32;
