import { describe, expect, test } from "vitest";
import { batch, countdown, crash, filter, flatMap, map, pass, reduceByKey, tee } from "../../../pipe/built-ins.ts";
import { fitting, pipeline } from "../../../pipe/fitting.ts";
import { CALL_OUTPUTS } from "../../../pipe/limits.ts";
import { broadcast, byKey, constant, follow, spread } from "../../../pipe/partition.ts";
import { engine } from "./alone.ts";

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}

async function standsStill(count: () => number): Promise<void> {
  let before = -1;
  while (count() !== before) {
    before = count();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("a run on one node", () => {
  test("P6: every input comes out and is accounted for", async () => {
    const line = pipeline("three", [
      pass<number>("a"),
      pass<number>({ name: "b", partition: byKey((n: number) => n) }),
      pass<number>("c"),
    ]);
    const run = engine().run(line);
    const inputs = Array.from({ length: 20_000 }, (_, at) => at);
    const sent = run.sendMany(inputs).then(() => run.end());
    const outputs = await collect(run.results);
    await sent;
    expect(outputs.sort((a, b) => Number(a) - Number(b))).toEqual(inputs);
    expect(await run.report()).toMatchObject({
      state: "done",
      accepted: 20_000,
      acknowledged: 20_000,
      failed: 0,
      outputs: 20_000,
      resent: 0,
    });
  });

  test("process may return nothing, a value, an array, an iterable, a promise or an async iterable", async () => {
    const kinds = fitting<string, unknown>({
      name: "kinds",
      process: (kind) => {
        if (kind === "nothing") return undefined;
        if (kind === "value") return "v";
        if (kind === "array") return ["a1", "a2"];
        if (kind === "batch") return batch(["b1", "b2"]);
        if (kind === "iterable") return new Set(["s1", "s2"]);
        if (kind === "promise") return Promise.resolve(["p1", "p2"]);
        return (async function* () {
          yield "g1";
          yield batch(["g2", "g3"]);
        })();
      },
    });
    const run = engine().run(pipeline("kinds", [kinds]));
    await run.sendMany(["nothing", "value", "array", "batch", "iterable", "promise", "generator"]);
    run.end();
    expect((await collect(run.results)).sort()).toEqual([
      "a1",
      "a2",
      "b1",
      "b2",
      "g1",
      "g2",
      "g3",
      "p1",
      "p2",
      "s1",
      "s2",
      "v",
    ]);
    expect((await run.report()).state).toBe("done");
  });

  test("built-ins: map, filter, flatMap, tee, batch, reduceByKey", async () => {
    const seen: number[] = [];
    const line = pipeline("built-ins", [
      map<number, number>("double", (n) => n * 2),
      filter<number>("threes", (n) => n % 3 === 0),
      flatMap<number, number>("twice", (n) => [n, n]),
      tee<number>("look", (n) => seen.push(n)),
      reduceByKey<number, number>({
        key: (n) => n % 4,
        initial: () => 0,
        add: (sum, n) => sum + n,
        merge: (a, b) => a + b,
      }),
    ]);
    const run = engine().run(line);
    await run.sendMany(Array.from({ length: 100 }, (_, at) => at));
    run.end();
    const sums = new Map((await collect(run.results)) as [number, number][]);
    const expected = new Map<number, number>();
    for (let n = 0; n < 100; n++)
      if ((n * 2) % 3 === 0) expected.set((n * 2) % 4, (expected.get((n * 2) % 4) ?? 0) + n * 4);
    expect(sums).toEqual(expected);
    expect(seen).toHaveLength(68);
    const batches = engine().run(pipeline("batches", [batch<number>("tens", 10)]));
    await batches.sendMany(Array.from({ length: 25 }, (_, at) => at));
    batches.end();
    expect((await collect(batches.results)).map((one) => one.length).sort()).toEqual([10, 10, 5]);
  });

  test("broadcast gives a copy to every partition, constant one worker all, follow keeps the partition", async () => {
    const at = (name: string, partition: Parameters<typeof fitting>[0]["partition"]) =>
      fitting<unknown, number>({
        name,
        ...(partition === undefined ? {} : { partition }),
        process: (_, { partition: here }) => here,
      });
    const run = engine().run(pipeline("all", [at("copies", broadcast), at("same", follow)]));
    await run.send(1);
    await run.send(2);
    run.end();
    const all = await collect(run.results);
    expect(all.sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 32 }, (_, index) => index >> 1));
    const one = engine().run(pipeline("one", [at("one", constant(5)), at("any", spread)]));
    await one.sendMany([1, 2, 3, 4]);
    one.end();
    expect(await collect(one.results)).toHaveLength(4);
  });

  test("inputs of one key stay in order", async () => {
    const line = pipeline("order", [
      pass<readonly [number, number]>({ name: "a", partition: byKey(([key]: readonly [number, number]) => key) }),
      fitting<readonly [number, number]>({
        name: "b",
        partition: byKey(([key]: readonly [number, number]) => key),
        process: async (pair) => [[...pair]],
      }),
    ]);
    const run = engine().run(line);
    const inputs = Array.from({ length: 5_000 }, (_, at) => [at % 7, at] as const);
    const sent = run.sendMany(inputs).then(() => run.end());
    const last = new Map<number, number>();
    for await (const [key, at] of run.results as AsyncIterable<[number, number]>) {
      expect(at).toBeGreaterThan(last.get(key) ?? -1);
      last.set(key, at);
    }
    await sent;
  });

  test("P5: a reader that stops reading stops the source, and queues stay below their limits", async () => {
    let made = 0;
    const source = fitting<number, number>({
      name: "source",
      async *process() {
        for (; made < 1_000_000; made++) yield made;
      },
    });
    const pipe = engine();
    const run = pipe.run(pipeline("still", [source, pass<number>({ name: "b", partition: byKey((n: number) => n) })]));
    await run.send(0);
    await standsStill(() => made);
    expect(made).toBeLessThanOrEqual(CALL_OUTPUTS);
    await run.sendMany(Array.from({ length: 63 }, () => 0));
    await standsStill(() => made);
    expect(made).toBeLessThan(64 * 16 + 1_024 + 64 + 1_100);
    const { workers } = await pipe.status(run.id, { deadlineMs: 100 });
    for (const worker of workers) expect(worker.queue).toBeLessThanOrEqual(worker.queueLimit);
    expect(workers.some((worker) => worker.blocked > 0)).toBe(true);
    expect(workers.every((worker) => worker.workMs + worker.idleMs > 0)).toBe(true);
    expect(pipe.bottleneck(run.id, workers)).toBe("sink");
    run.cancel();
    expect((await run.report()).state).toBe("cancelled");
    expect(pipe.summaries()).toEqual([]);
  });

  test("a source that has made too much goes on when half of it has an end, with checkpoints that it does not wait for as well", async () => {
    const source = fitting<number, number>({
      name: "source",
      async *process(count, { checkpoint }) {
        for (let at = 0; at < count; at++) {
          yield at;
          if (at % 100 === 0) void checkpoint(at);
        }
      },
    });
    const pipe = engine();
    const run = pipe.run(pipeline("still", [source, pass<number>({ name: "b", partition: byKey((n: number) => n) })]));
    await run.send(10_000);
    run.end();
    let count = 0;
    for await (const _ of run.results) {
      count += 1;
      if (count % 300 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(count).toBe(10_000);
  });

  test("a slow fitting is the bottleneck although its only source is parked nowhere", async () => {
    const source = fitting<number, number>({
      name: "source",
      process: function* () {
        for (let at = 0; at < 2_000; at++) yield at;
      },
    });
    const slow = fitting<number, number>({
      name: "slow",
      partition: byKey((n: number) => n),
      queueLimit: 1_024,
      process: (_, { signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(undefined))),
    });
    const pipe = engine();
    const run = pipe.run(pipeline("slow", [source, slow]));
    await run.send(0);
    await new Promise((resolve) => setImmediate(resolve));
    const { workers } = await pipe.status(run.id, { deadlineMs: 100 });
    expect(workers.every(({ blocked }) => blocked === 0)).toBe(true);
    expect(pipe.bottleneck(run.id, workers)).toBe("slow");
    run.cancel();
    await run.report();
  });

  test("the bottleneck is the last fitting that others wait for, or was waited for longest", async () => {
    let letGo: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const slow = fitting<number, number>({
      name: "slow",
      partition: constant(),
      process: async (n) => {
        await gate;
        return n;
      },
    });
    const pipe = engine();
    const run = pipe.run(pipeline("slow", [pass<number>("a"), slow, pass<number>("c")]), { sink: "drain" });
    const sent = run.sendMany(Array.from({ length: 5_000 }, (_, at) => at));
    await new Promise((resolve) => setImmediate(resolve));
    const ask = async (): Promise<string> =>
      pipe.bottleneck(run.id, (await pipe.status(run.id, { deadlineMs: 100 })).workers);
    expect(await ask()).toBe("slow");
    letGo();
    await sent;
    expect(await ask()).toBe("slow");
    run.end();
    expect(await run.report()).toMatchObject({ state: "done", outputs: 5_000 });
    expect(pipe.usage().find(({ fitting: name }) => name === "slow")).toMatchObject({ pipe: "slow", queued: 0 });
  });

  test("recursion goes to the worker itself and never waits; the end comes after it", async () => {
    const run = engine().run(pipeline("down", [countdown({ name: "down", queueLimit: 1 })]));
    await run.sendMany([100, 50]);
    run.end();
    expect(await collect(run.results)).toHaveLength(152);
    expect(await run.report()).toMatchObject({ state: "done", acknowledged: 2 });
  });

  test("too deep a recursion is a failure of its input that says so", async () => {
    const wide = fitting<number>({
      name: "wide",
      process: (n, { recurse }) => {
        if (n === 1) for (let at = 0; at < 20_000; at++) recurse(0);
      },
    });
    const run = engine().run(pipeline("wide", [wide]), { sink: "drain" });
    await run.send(1);
    run.end();
    const report = await run.report();
    expect(report).toMatchObject({ state: "done", failed: 1, acknowledged: 1 });
    expect(report.failures[0]?.error).toContain("sent itself");
  });

  test("P6: a crash skips with a record, retries with its attempts, or fails the run, as the fitting says", async () => {
    const skip = engine().run(pipeline("skip", [crash<number>("boom", (n) => n % 10 === 0)]));
    await skip.sendMany(Array.from({ length: 100 }, (_, at) => at));
    skip.end();
    expect(await collect(skip.results)).toHaveLength(90);
    const report = await skip.report();
    expect(report).toMatchObject({ state: "done", acknowledged: 100, failed: 10 });
    expect(report.failures[0]).toMatchObject({
      fitting: "boom",
      input: expect.stringMatching(/0$/),
      error: "Error: crashed on purpose",
    });
    const retry = engine().run(
      pipeline("retry", [crash<number>({ name: "boom", onCrash: { retry: 2 } }, (_, { attempt }) => attempt < 3)]),
    );
    await retry.send(7);
    retry.end();
    expect(await collect(retry.results)).toEqual([7]);
    const fail = engine().run(pipeline("fail", [crash<number>({ name: "boom", onCrash: "fail" }, (n) => n === 3)]));
    await fail.sendMany([1, 2, 3, 4]);
    await expect(collect(fail.results)).rejects.toMatchObject({ code: "RUN_FAILED" });
    expect((await fail.report()).state).toBe("failed");
  });

  test("a worker that cannot start fails the run and says why", async () => {
    const broken = fitting<number>({
      name: "broken",
      start: () => {
        throw new Error("no licence");
      },
      process: () => undefined,
    });
    const run = engine().run(pipeline("broken", [broken]));
    await run.send(1).catch(() => undefined);
    expect(await run.report()).toMatchObject({
      state: "failed",
      error: { code: "RUN_FAILED", detail: expect.stringContaining("no licence") },
    });
  });

  test("a checkpoint is kept once everything before it is acknowledged, and a retry starts there", async () => {
    const cursors: unknown[] = [];
    const starts: unknown[] = [];
    const source = fitting<number, number>({
      name: "pages",
      onCrash: { retry: 3 },
      async *process(pages, context) {
        starts.push(context.cursor);
        for (let page = (context.cursor as number | undefined) ?? 0; page < pages; page++) {
          if (page === 5 && context.attempt === 1) throw new Error("the database is away");
          yield batch([page * 2, page * 2 + 1]);
          await context.checkpoint(page + 1);
        }
      },
    });
    const run = engine().run(pipeline("source", [source, pass<number>("b")]), {
      onCheckpoint: (cursor) => cursors.push(cursor),
    });
    await run.send(8);
    run.end();
    const all = (await collect(run.results)) as number[];
    expect([...new Set(all)].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, at) => at));
    expect(starts[0]).toBeUndefined();
    expect(cursors.at(-1)).toBe(8);
    expect(cursors).toEqual([...cursors].sort((a, b) => Number(a) - Number(b)));
    expect((await run.report()).state).toBe("done");
  });

  test("a sink that is a function acknowledges by returning, and its error fails the run", async () => {
    const got: number[] = [];
    const run = engine().run(pipeline("to", [pass<number>("a")]), {
      sink: async (outputs) => {
        await Promise.resolve();
        got.push(...(outputs as number[]));
      },
    });
    await run.sendMany([1, 2, 3]);
    run.end();
    expect(await run.report()).toMatchObject({ state: "done", outputs: 3 });
    expect(got).toHaveLength(3);
    const bad = engine().run(pipeline("bad", [pass<number>("a")]), {
      sink: () => {
        throw new Error("full");
      },
    });
    await bad.send(1);
    expect(await bad.report()).toMatchObject({ state: "failed", error: { code: "RUN_FAILED" } });
  });

  test("a send whose deadline is longer than a timer can be waits for room", async () => {
    const never = fitting<number, number>({
      name: "never",
      queueLimit: 1,
      partition: constant(),
      process: () => new Promise<number>(() => undefined),
    });
    for (const deadlineMs of [3_000_000_000, Number.POSITIVE_INFINITY]) {
      const run = engine().run(pipeline("line", [never]));
      await run.sendMany([1, 2]);
      let given: unknown;
      run.send(3, { deadlineMs }).catch((error: unknown) => {
        given = error;
      });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(given).toBeUndefined();
      run.cancel();
      await expect.poll(() => given).toMatchObject({ code: "CANCELLED" });
    }
  });

  test("a send that waits for room has a deadline and a signal, and is released when the run ends", async () => {
    const stuck = fitting<number>({
      name: "stuck",
      partition: constant(),
      queueLimit: 1,
      process: () => new Promise<void>(() => {}),
    });
    const run = engine().run(pipeline("stuck", [stuck]));
    await run.send(1);
    await run.send(2);
    await expect(run.send(3, { deadlineMs: 10 })).rejects.toMatchObject({ code: "DEADLINE" });
    const abort = new AbortController();
    const given = run.send(4, { signal: abort.signal });
    abort.abort();
    await expect(given).rejects.toMatchObject({ code: "CANCELLED" });
    const waits = run.send(5);
    run.cancel();
    await expect(waits).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(run.send(6)).rejects.toMatchObject({ code: "CANCELLED" });
  });
});

describe("declarations", () => {
  test("a refusal names the failing field", () => {
    const process = (): undefined => undefined;
    const refused = (options: object): string => {
      try {
        fitting(options as never);
      } catch (error) {
        return (error as Error).message;
      }
      return "accepted";
    };
    expect(refused({ name: "x y", process })).toContain("name must be");
    expect(refused({ name: "a", process, queueLimit: 0 })).toContain(
      'fitting "a".queueLimit must be a whole number from 1',
    );
    expect(refused({ name: "a", process, onCrash: "explode" })).toContain(".onCrash must be");
    expect(refused({ name: "a", process, partition: { type: "moon" } })).toContain(".partition must be");
    expect(refused({ name: "a", process, archive: () => 1 })).toContain(".absorb");
    expect(refused({ name: "a", process, qlimit: 1 })).toContain(".qlimit is unknown");
    expect(refused({ name: "a" })).toContain(".process must be a function");
    expect(() => pipeline("p", [pass("a"), pass("a")])).toThrow(/is there twice/);
    expect(() => pipeline("p", [] as never)).toThrow(/1 to 64 fittings/);
  });
});
