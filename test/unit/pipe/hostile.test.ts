/** What a run makes of fitting code, readers and senders that do what nobody should. */

import { describe, expect, test } from "vitest";
import { batch, pass } from "../../../pipe/built-ins.ts";
import { type Fitting, fitting, type Pipeline, pipeline } from "../../../pipe/fitting.ts";
import type { PipeRun, RunOptions, SendOptions } from "../../../pipe/io/run.ts";
import { byKey } from "../../../pipe/partition.ts";
import { engine } from "./alone.ts";

function line(process: (input: number) => unknown): Pipeline<number, unknown> {
  return pipeline("line", [fitting<number, unknown>({ name: "only", process })]);
}

function thrower(what: string): never {
  throw new Error(what);
}

/** A thenable is what these tests are about. */
const THEN: string = ["th", "en"].join("");
const trap = new Proxy([1, 2, 3], {
  get: (target, key) => (key === "1" ? thrower("element") : Reflect.get(target, key)),
});
const revoked = Proxy.revocable([], {});
revoked.revoke();

describe("P4: what process returns costs its input at most", () => {
  test.each<[string, () => unknown]>([
    ["a thenable whose then throws", () => Object.defineProperty({}, THEN, { value: () => thrower("then") })],
    ["a then that throws when it is looked at", () => Object.defineProperty({}, THEN, { get: () => thrower("look") })],
    ["an iterable that does not iterate", () => ({ [Symbol.iterator]: () => thrower("iterator") })],
    ["an iterator that is none", () => ({ [Symbol.iterator]: () => 5 })],
    ["an iterator that gives numbers", () => ({ [Symbol.iterator]: () => ({ next: () => 7 }) })],
    ["an async iterator that is none", () => ({ [Symbol.asyncIterator]: () => 5 })],
    [
      "an async iterator that gives nothing",
      () => ({ [Symbol.asyncIterator]: () => ({ next: async () => undefined }) }),
    ],
    ["an async iterator that gives null at once", () => ({ [Symbol.asyncIterator]: () => ({ next: () => null }) })],
    ["an array that cannot be read", () => trap],
    ["an array that is no more", () => revoked.proxy],
    ["a batch of what cannot be read", () => batch(trap)],
    ["a promise of such an array", async () => trap],
  ])("%s", async (_, process) => {
    const run = engine().run(line(process), { sink: "drain" });
    await run.sendMany([1, 2]);
    run.end();
    const report = await run.report();
    expect(report).toMatchObject({ state: "done", accepted: 2, acknowledged: 2 });
    expect(report).toMatchObject({ failed: 2, outputs: 0 });
  });

  test("a thenable that settles twice is heard once", async () => {
    const twice = (): unknown =>
      Object.defineProperty({}, THEN, {
        value: (done: (value: number) => void) => {
          done(1);
          done(2);
        },
      });
    const run = engine().run(line(twice));
    await run.send(0);
    run.end();
    const outputs: unknown[] = [];
    for await (const output of run.results) outputs.push(output);
    expect(outputs).toEqual([1]);
  });

  test("an array that is used again keeps its outputs, also those that wait for room", async () => {
    const kept: number[] = [];
    const again = fitting<number, number>({
      name: "again",
      process: (n) => {
        kept.length = 0;
        kept.push(n, n, n);
        return kept;
      },
    });
    const run = engine().run(pipeline("again", [again, pass<number>({ name: "b", queueLimit: 1 })]));
    const sending = run.sendMany(Array.from({ length: 2_000 }, (_, at) => at)).then(() => run.end());
    const counts = new Map<number, number>();
    for await (const output of run.results) {
      counts.set(output, (counts.get(output) ?? 0) + 1);
      if (counts.size % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await sending;
    expect(counts.size).toBe(2_000);
    expect(new Set(counts.values())).toEqual(new Set([3]));
  });
});

describe("a source that never ends", () => {
  test.each([
    [
      "async",
      async function* () {
        for (let at = 0; ; at++) yield at;
      },
    ],
    [
      "sync",
      function* () {
        for (let at = 0; ; at++) yield at;
      },
    ],
  ])("P4: the event loop has its turns beside an %s one whose outputs nobody reads", async (_, process) => {
    const run = engine().run(pipeline("endless", [fitting<number, number>({ name: "source", process })]), {
      sink: "drain",
    });
    await run.send(0);
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(run.progress().emitted).toBeGreaterThan(0);
    run.cancel();
    expect((await run.report()).state).toBe("cancelled");
  });
});

describe("readers", () => {
  const many: Fitting<number, number> = fitting<number, number>({
    name: "many",
    process: function* (count) {
      for (let at = 0; at < count; at++) yield at;
    },
  });

  async function opened(count: number): Promise<PipeRun<number, number>> {
    const run = engine().run(pipeline("many", [many, pass<number>({ name: "b", partition: byKey((n: number) => n) })]));
    await run.send(count);
    run.end();
    return run;
  }

  test("P6: a reader that asks for many at once gets each output once, in order of asking", async () => {
    const run = await opened(3_000);
    const outputs = run.results[Symbol.asyncIterator]();
    const results = await Promise.all(Array.from({ length: 3_100 }, () => outputs.next()));
    expect(new Set(results.slice(0, 3_000).map(({ value }) => value)).size).toBe(3_000);
    expect(results.slice(3_000).every(({ done }) => done === true)).toBe(true);
    expect(await run.report()).toMatchObject({ state: "done", outputs: 3_000 });
  });

  test("P6: two readers share the outputs, and both see the end", async () => {
    const run = await opened(5_000);
    const seen: number[] = [];
    const read = async (): Promise<void> => {
      for await (const output of run.results) seen.push(output);
    };
    await Promise.all([read(), read()]);
    expect(new Set(seen).size).toBe(5_000);
    expect(seen).toHaveLength(5_000);
  });
});

describe("what is refused", () => {
  const only = pipeline("only", [pass<number>("a")]);

  test("options that make no sense, with the field named", () => {
    for (const [field, options] of Object.entries({
      sink: { sink: "bogus" },
      signal: { signal: {} },
      total: { total: -1 },
      id: { id: "" },
      attempt: { attempt: 1.5 },
      onCheckpoint: { onCheckpoint: 5 },
    }))
      expect(() => engine().run(only, options as unknown as RunOptions<number>)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining(field) }),
      );
    expect(() => engine().run(only, { signal: AbortSignal.abort() })).toThrow(
      expect.objectContaining({ code: "CANCELLED" }),
    );
  });

  test("what is no pipeline", () => {
    for (const given of [undefined, null, 5, {}, { kind: "pipeline" }, { kind: "pipeline", fittings: [{}] }])
      expect(() => engine().run(given as unknown as string)).toThrow(
        expect.objectContaining({ code: "PIPELINE_UNKNOWN" }),
      );
  });

  test("an id that was used, while the run lasts and after it", async () => {
    const pipe = engine();
    const run = pipe.run(only, { id: "one" });
    const refusal = expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("one") });
    expect(() => pipe.run(only, { id: "one" })).toThrow(refusal);
    run.cancel();
    await run.report();
    expect(() => pipe.run(only, { id: "one" })).toThrow(refusal);
  });

  test("sends that make no sense, or are given up before they begin: nothing of them is taken", async () => {
    const run = engine().run(only, { sink: "drain" });
    for (const inputs of [5, undefined, new Set([1])])
      await expect(run.sendMany(inputs as unknown as number[])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    for (const [options, code] of [
      [{ deadlineMs: -1 }, "INVALID_ARGUMENT"],
      [{ deadlineMs: Number.NaN }, "INVALID_ARGUMENT"],
      [{ signal: 5 }, "INVALID_ARGUMENT"],
      [{ signal: AbortSignal.abort() }, "CANCELLED"],
    ] as const)
      await expect(run.send(1, options as unknown as SendOptions)).rejects.toMatchObject({ code });
    run.end();
    expect(await run.report()).toMatchObject({ state: "done", accepted: 0 });
  });
});
