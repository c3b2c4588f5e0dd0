/**
 * Benchmark `pipe`: riak_pipe's cases, through the public API, with a sink that counts. `pass-1`, `pass-3` and `pass-5` send
 * small integers through fittings that all re-hash, in batches and one at a time; `words` counts words by a keyed reduce;
 * `fanout-1m` makes a million outputs of one input, in batches and by single yields, and watches memory; `latency-3` is one
 * input through three fittings.
 *
 * The figures of riak_pipe beside them were measured on the same machine (two cores, OTP 25, ring 64, q_limit 64).
 */

import { batch, pass, reduceByKey } from "../pipe/built-ins.ts";
import { type Fitting, fitting, type Pipeline, pipeline } from "../pipe/fitting.ts";
import { PipeEngine } from "../pipe/io/engine.ts";
import { byKey } from "../pipe/partition.ts";
import type { NodeName } from "../ring/ids.ts";
import { MemoryWatch } from "./memory.ts";
import { type BenchOptions, type BenchResult, resultOf } from "./result.ts";

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const results: BenchResult[] = [];
  for (const [name, body] of Object.entries(CASES)) {
    if (options.case !== undefined && options.case !== name) continue;
    results.push(...(await body(options.runs)));
  }
  return results;
}

const CASES: Readonly<Record<string, (runs: number) => Promise<readonly BenchResult[]>>> = {
  "pass-1": (runs) => passes(1, runs),
  "pass-3": (runs) => passes(3, runs),
  "pass-5": (runs) => passes(5, runs),
  words,
  "fanout-1m": fanOut,
  "latency-3": latency,
  "three-nodes": threeNodes,
  "slow-sink": (runs) => slow("slow-sink", runs),
  "stopped-sink": (runs) => slow("stopped-sink", runs),
  killed: (runs) => trouble("killed", runs),
  joined: (runs) => trouble("joined", runs),
};

async function trouble(name: "killed" | "joined", runs: number): Promise<readonly BenchResult[]> {
  const { troubleCase } = await import("./pipe-trouble.ts");
  return troubleCase(name, runs);
}

async function threeNodes(runs: number): Promise<readonly BenchResult[]> {
  const { threeNodesCase } = await import("./pipe-nodes.ts");
  return threeNodesCase(runs);
}

async function slow(name: "slow-sink" | "stopped-sink", runs: number): Promise<readonly BenchResult[]> {
  const { slowSinkCase } = await import("./pipe-slow.ts");
  return slowSinkCase(name, runs);
}

async function passes(count: number, runs: number): Promise<readonly BenchResult[]> {
  const line = passLine(count);
  const inputs = Array.from({ length: PASS_INPUTS }, (_, at) => at);
  await sendInBatches(line, inputs);
  await sendSingly(line, inputs.slice(0, PASS_INPUTS / 4));
  const batched: number[] = [];
  const single: number[] = [];
  for (let at = 0; at < runs; at++) {
    batched.push(PASS_INPUTS / (await secondsOf(() => sendInBatches(line, inputs))));
    const some = inputs.slice(0, PASS_INPUTS / 4);
    single.push(some.length / (await secondsOf(() => sendSingly(line, some))));
  }
  const name = `pass-${count}`;
  return [
    resultOf({
      case: name,
      subject: "taskring",
      unit: "1/s",
      values: batched,
      extra: { form: "sendMany and batches", ...riak(count === 3 ? 39_900 : undefined) },
    }),
    resultOf({
      case: name,
      subject: "taskring",
      unit: "1/s",
      values: single,
      extra: { form: "send and results, one at a time" },
    }),
  ];
}

function passLine(count: number): Pipeline<number, number> {
  const stages = Array.from({ length: count }, (_, at) =>
    pass<number>({ name: `pass-${at}`, partition: byKey((n: number) => n + at) }),
  );
  return pipeline("pass", stages as [Fitting<number, number>]);
}

async function sendInBatches(line: Pipeline<number, number>, inputs: readonly number[]): Promise<void> {
  const one = engine().run(line);
  const sending = (async () => {
    for (let at = 0; at < inputs.length; at += BATCH) await one.sendMany(inputs.slice(at, at + BATCH));
    one.end();
  })();
  let count = 0;
  for await (const outputs of one.batches) count += outputs.length;
  await sending;
  expectCount(count, inputs.length);
}

async function sendSingly(line: Pipeline<number, number>, inputs: readonly number[]): Promise<void> {
  const one = engine().run(line);
  const sending = (async () => {
    for (const input of inputs) await one.send(input);
    one.end();
  })();
  let count = 0;
  for await (const _ of one.results) count += 1;
  await sending;
  expectCount(count, inputs.length);
}

async function words(runs: number): Promise<readonly BenchResult[]> {
  const text = Array.from({ length: WORDS }, (_, at) => `word-${((at * 7_919) % DISTINCT).toString(36)}`);
  const line = pipeline("words", [
    reduceByKey<string, number>({
      name: "count",
      key: (word) => word,
      initial: () => 0,
      add: (count) => count + 1,
      merge: (a, b) => a + b,
    }),
  ]);
  const count = async (): Promise<void> => {
    const one = engine().run(line);
    const sending = (async () => {
      for (let at = 0; at < text.length; at += BATCH) await one.sendMany(text.slice(at, at + BATCH));
      one.end();
    })();
    let total = 0;
    let distinct = 0;
    for await (const outputs of one.batches)
      for (const [, times] of outputs) {
        total += times;
        distinct += 1;
      }
    await sending;
    expectCount(total, WORDS);
    expectCount(distinct, DISTINCT);
  };
  for (let at = 0; at < 3; at++) await count();
  const values: number[] = [];
  for (let at = 0; at < runs; at++) values.push(WORDS / (await secondsOf(count)));
  return [
    resultOf({
      case: "words",
      subject: "taskring",
      unit: "1/s",
      values,
      extra: { words: WORDS, distinct: DISTINCT, ...riak(97_900) },
    }),
  ];
}

async function fanOut(runs: number): Promise<readonly BenchResult[]> {
  const results: BenchResult[] = [];
  for (const form of ["batches", "single yields"] as const) {
    const source =
      form === "batches"
        ? fitting<number, number>({
            name: "source",
            async *process(count) {
              for (let at = 0; at < count; at += BATCH)
                yield batch(Array.from({ length: Math.min(BATCH, count - at) }, (_, index) => at + index));
            },
          })
        : fitting<number, number>({
            name: "source",
            async *process(count) {
              for (let at = 0; at < count; at++) yield at;
            },
          });
    const line = pipeline("fan-out", [source, pass<number>({ name: "second", partition: byKey((n: number) => n) })]);
    const once = async (count: number): Promise<void> => {
      const one = engine().run(line);
      await one.send(count);
      one.end();
      let got = 0;
      for await (const outputs of one.batches) got += outputs.length;
      expectCount(got, count);
    };
    await once(100_000);
    const values: number[] = [];
    const memory = new MemoryWatch();
    for (let at = 0; at < runs; at++) values.push(FAN_OUT / (await secondsOf(() => once(FAN_OUT))));
    const grownMiB = memory.stop();
    results.push(
      resultOf({
        case: "fanout-1m",
        subject: "taskring",
        unit: "1/s",
        values,
        extra: { form, "RssAnon growth MiB": grownMiB, ...riak(form === "batches" ? 57_000 : undefined) },
      }),
    );
  }
  return results;
}

async function latency(runs: number): Promise<readonly BenchResult[]> {
  const line = passLine(3);
  const medians: number[] = [];
  let p99 = 0;
  for (let at = 0; at <= runs; at++) {
    const one = engine().run(line);
    const outputs = one.results[Symbol.asyncIterator]();
    const micros: number[] = [];
    for (let input = 0; input < LATENCY_INPUTS; input++) {
      const start = process.hrtime.bigint();
      void one.send(input);
      await outputs.next();
      micros.push(Number(process.hrtime.bigint() - start) / 1_000);
      if (input % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    one.cancel();
    micros.sort((left, right) => left - right);
    if (at === 0) continue; // compiled
    medians.push(micros[micros.length >> 1] as number);
    p99 = micros[Math.floor(micros.length * 0.99)] as number;
  }
  return [
    resultOf({
      case: "latency-3",
      subject: "taskring",
      unit: "µs",
      values: medians,
      extra: { "p99 of the last run": Number(p99.toFixed(1)), "riak_pipe (measured before)": 37 },
    }),
  ];
}

function engine(): PipeEngine {
  return new PipeEngine({ self: "bench" as NodeName, ringSize: 64, find: () => undefined, send: () => false });
}

async function secondsOf(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1_000;
}

function expectCount(got: number, wanted: number): void {
  if (got !== wanted) throw new Error(`${got} came out, not ${wanted}`);
}

function riak(rate: number | undefined): Readonly<Record<string, number>> {
  return rate === undefined ? {} : { "riak_pipe (measured before)": rate };
}

const PASS_INPUTS = 1_000_000;
const BATCH = 1_024;
const WORDS = 200_000;
const DISTINCT = 9_699;
const FAN_OUT = 1_000_000;
const LATENCY_INPUTS = 20_000;
