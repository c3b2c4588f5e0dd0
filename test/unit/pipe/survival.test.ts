/**
 * What used to stop a node: inputs, cursors and fitting code that go wrong where no call is under way. Two engines, of which one
 * owns all partitions; whatever comes out of them as an exception fails the test.
 */

import { afterEach, describe, expect, test } from "vitest";
import { pass } from "../../../pipe/built-ins.ts";
import { type FittingOptions, fitting, type Pipeline, pipeline, shapeOf } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import { constant } from "../../../pipe/partition.ts";
import type { Report } from "../../../pipe/views.ts";
import { encodeMessage as encoded } from "../../../pipe/wire.ts";
import type { NodeName } from "../../../ring/ids.ts";
import { openSpans } from "../../../services/host/span-export.ts";
import { engine } from "./alone.ts";

type Name = "a" | "b";

class Pair {
  readonly engines: Readonly<Record<Name, PipeEngine>>;
  readonly thrown: unknown[] = [];
  #epoch = 0;

  constructor(line: Pipeline<unknown, unknown>) {
    this.engines = { a: this.#engine("a", line), b: this.#engine("b", line) };
    this.route("b");
  }

  /** All partitions are this node's from now on. */
  route(owner: Name): void {
    this.#epoch += 1;
    for (const { node } of Object.values(this.engines))
      this.#guarded(() =>
        node.route({ epoch: this.#epoch, ringSize: 8, owners: Array(8).fill(owner), alive: new Set(["a", "b"]) }),
      );
  }

  /** A run of these inputs, opened on `a`; `between` comes before their end. */
  async run(inputs: readonly unknown[], options: { readonly between?: () => Promise<void> } = {}): Promise<Report> {
    const run = this.engines.a.run<unknown, unknown>("line", { sink: "drain" });
    await run.sendMany(inputs).catch(() => undefined);
    await options.between?.();
    run.end();
    const report = await run.report();
    expect(this.thrown).toEqual([]);
    return report;
  }

  #engine(self: Name, line: Pipeline<unknown, unknown>): PipeEngine {
    return new PipeEngine({
      self: self as NodeName,
      ringSize: 8,
      graceMs: 500,
      find: () => line,
      send: (to, bytes) => {
        if (bytes.length > LINK_BYTES) return false;
        const copy = bytes.slice();
        setImmediate(() => this.#guarded(() => this.engines[to as Name].receive(self as NodeName, copy)));
        return true;
      },
    });
  }

  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.thrown.push(error);
    }
  }
}

const pairs: Pair[] = [];

function pair<State = undefined>(options: Partial<FittingOptions<unknown, State>> = {}): Pair {
  const one = { name: "one", partition: constant(), process: (input: unknown) => [input], ...options };
  const made = new Pair(pipeline("line", [fitting<unknown, unknown, State>(one)]));
  pairs.push(made);
  return made;
}

afterEach(() => {
  for (const { engines } of pairs.splice(0)) for (const engine of Object.values(engines)) engine[Symbol.dispose]();
});

describe("P6: inputs that look like what only nodes say", () => {
  test.each([
    ["that is no base64", "%%%"],
    ["that is base64", "AAAA"],
    ["of another type", 5],
  ])("an object with the key of bytes %s arrives as it is", async (_, said) => {
    const seen: unknown[] = [];
    const input = { "$taskring.bytes": said, n: 1 };
    const two = pair({ process: (given) => void seen.push(given) });
    expect(await two.run([1, input, 3])).toMatchObject({ state: "done", acknowledged: 3, failed: 0, resent: 0 });
    expect(seen).toEqual([1, input, 3]);
  });

  test("a value that cannot be read fails its input only", async () => {
    const seen: unknown[] = [];
    const two = pair({ process: (given) => void seen.push(given) });
    const { node } = two.engines.a;
    const said = encoded(["in", "run", 1, 0, 1, [0, 0, 0], [1, { "$taskring.bytes": "%%%" }, 3], null, [], []]);
    const answers: string[] = [];
    const say = node.say.bind(node);
    const { b } = two.engines;
    b.node.say = (peer, message) => answers.push(`${peer}: ${message}`) > 0;
    say(node.peerOf("b"), encoded(["open", "run", "line", "a", 1, shapeOf(node.host.find("line")!)]));
    say(node.peerOf("b"), said);
    await expect.poll(() => answers.length).toBeGreaterThan(0);
    expect(seen).toEqual([1, 3]);
    expect(answers).toContainEqual(expect.stringMatching(/"nack","run",1,1,\[\["one",0,"",.*cannot be read/));
    expect(two.thrown).toEqual([]);
  });

  test("many bytes are one input", async () => {
    const seen: unknown[] = [];
    const two = pair({ process: (given) => void seen.push((given as Uint8Array).length) });
    expect(await two.run([new Uint8Array(1_000_000)])).toMatchObject({ state: "done", failed: 0 });
    expect(seen).toEqual([1_000_000]);
  });

  test("W1: a message that cannot be obeyed fails its run and no other", async () => {
    const two = pair();
    const { a, b } = two.engines;
    const run = a.run<unknown, unknown>("line", { sink: "drain" });
    const other = a.run<unknown, unknown>("line", { sink: "drain" });
    await Promise.all([run.send(1), other.send(1)]);
    await expect.poll(() => b.node.runs.get(run.id)).toBeDefined();
    const taken = b.node.runs.get(run.id);
    if (taken !== undefined)
      taken.take = () => {
        throw new Error("a fault");
      };
    await run.send(2);
    expect((await run.report()).error).toMatchObject({
      code: "RUN_FAILED",
      detail: expect.stringContaining("a fault"),
    });
    expect(b.node.garbage).toBeGreaterThan(0);
    await other.send(2);
    other.end();
    expect(await other.report()).toMatchObject({ state: "done", acknowledged: 2 });
    expect(two.thrown).toEqual([]);
  });
});

describe("P5: inputs that are too large for a message between nodes", () => {
  test("fail by themselves, and hold up nothing that comes after them", async () => {
    const two = pair();
    const large = { text: "\u6f22".repeat(1_460_000) }; // 4.4 MB, of 1.5 million characters.
    const report = await two.run(["first", large, large, "last"]);
    expect(report).toMatchObject({ state: "done", accepted: 4, acknowledged: 4, failed: 2, outputs: 2 });
    expect(report.failures[0]?.error).toContain("4380");
    expect(await two.run(["again"])).toMatchObject({ state: "done", acknowledged: 1, failed: 0 });
    await expect.poll(() => two.engines.a.node.channel(1).waits).toBe(false);
  });

  test("and those just below it arrive, many of them as well", async () => {
    const two = pair();
    const inputs = Array.from({ length: 2 }, (_, at) => `${at}${"\u6f22".repeat(1_000_000)}`);
    expect(await two.run(inputs)).toMatchObject({ state: "done", acknowledged: 2, failed: 0, outputs: 2 });
    const small = Array.from({ length: 100 }, (_, at) => `${at}${"\u6f22".repeat(16_000)}`);
    expect(await two.run(small)).toMatchObject({ state: "done", acknowledged: 100, failed: 0, outputs: 100 });
  });
});

describe("P4: what a fitting's own code does where no call is under way fails its run", () => {
  const promise = async (): Promise<never> => Promise.reject(new Error("late"));
  const ten = (): unknown => 10n;
  const refuse = (): never => {
    throw Object.create(null);
  };

  test.each<[string, Partial<FittingOptions<unknown, unknown>>, RegExp]>([
    ["archive throws", { archive: refuse }, /one.archive: something that has no text form/],
    ["archive gives a promise", { archive: promise }, /one.archive: .*promise/],
    ["a state has no JSON form", { archive: ten }, /one: its state cannot be moved: .*BigInt/],
    ["a state is too large", { archive: () => "\u6f22".repeat(1_460_000) }, /one: its state cannot be moved: .*4380/],
    ["absorb throws", { absorb: refuse }, /one.absorb: something/],
    ["absorb gives a promise", { absorb: promise }, /one.absorb: .*promise/],
  ])("%s when its partition moves", async (_, code, detail) => {
    let absorbed = 0;
    const two = pair<unknown>({
      start: () => 1,
      process: () => {
        absorbed += 1;
      },
      archive: (state) => state,
      absorb: (state) => state,
      done: () => 1,
      ...code,
    });
    const between = async (): Promise<void> => {
      await expect.poll(() => absorbed).toBe(2);
      two.route("a");
    };
    const report = await two.run([1, 2], { between });
    expect(report).toMatchObject({ state: "failed", error: { code: "RUN_FAILED" } });
    expect(report.error?.detail).toMatch(detail);
    for (const { node } of Object.values(two.engines)) await expect.poll(() => node.runs.size).toBe(0);
  });

  test("start gives a promise that rejects, and only who waits for it hears of it", async () => {
    const two = pair<Promise<number>>({ start: promise, process: async (_, { state }) => await state });
    expect(await two.run([1, 2])).toMatchObject({ state: "done", acknowledged: 2, failed: 2 });
  });

  test("what is told the cursors throws, or rejects", async () => {
    for (const onCheckpoint of [refuse, promise]) {
      const two = pair({
        process: async function* (input, context) {
          yield input;
          await context.checkpoint(1);
          yield input;
        },
      });
      const run = two.engines.a.run<unknown, unknown>("line", { sink: "drain", onCheckpoint });
      await run.send(1);
      const detail = expect.stringMatching(/^onCheckpoint: /);
      expect((await run.report()).error).toMatchObject({ code: "RUN_FAILED", detail });
      expect(two.thrown).toEqual([]);
    }
  });

  test("the sink throws what has no text form", async () => {
    const two = pair();
    const run = two.engines.a.run<unknown, unknown>("line", { sink: refuse });
    await run.send(1);
    expect((await run.report()).error).toMatchObject({ detail: "the sink: something that has no text form" });
  });
});

describe("whoever only looks at a run and throws", () => {
  test("hears no more of its trace, and the run goes on", async () => {
    const two = pair({ process: (_, context) => context.trace("here") });
    const run = two.engines.a.run<unknown, unknown>("line", { sink: "drain" });
    const heard: string[] = [];
    two.engines.a.trace(run.id, ({ text }) => {
      heard.push(text);
      throw new Error("deaf");
    });
    for (const input of [1, 2, 3]) {
      await run.send(input);
      await expect.poll(() => run.progress().inFlight).toBe(0);
    }
    run.end();
    expect(await run.report()).toMatchObject({ state: "done", acknowledged: 3, failed: 0 });
    expect(heard).toHaveLength(1);
    expect(two.thrown).toEqual([]);
  });

  test("does not stop the node with its spans", async () => {
    const warnings: string[] = [];
    const log = { warn: (_: object, text: string) => void warnings.push(text) };
    const refusals: ((...given: unknown[]) => void)[] = [
      () => {
        throw Object.create(null);
      },
      async () => {
        throw new Error("late");
      },
    ];
    for (const onSpan of refusals) {
      await using spans = openSpans({ name: "a", onSpan }, log);
      using pipe = engine(spans.take);
      const run = pipe.run(pipeline("line", [pass<number>("one")]), { sink: "drain", spanRatio: 1 });
      await run.sendMany([1, 2, 3]);
      run.end();
      expect(await run.report()).toMatchObject({ state: "done", acknowledged: 3 });
    }
    expect(warnings).toEqual(Array(2).fill("onSpan fails; this is said once"));
  });
});

describe("a cursor", () => {
  test.each<[string, unknown]>([
    ["has no JSON form", 10n],
    ["is none", () => 5],
    ["is too large", "x".repeat(70_000)],
  ])("that %s is refused where it is given", async (_, cursor) => {
    const refusals: unknown[] = [];
    const two = pair({
      process: async function* (input, context) {
        yield input;
        await context.checkpoint(cursor).catch((error: unknown) => refusals.push(error));
        void context.checkpoint(cursor);
        yield input;
      },
    });
    expect(await two.run([1])).toMatchObject({ state: "done", failed: 0, outputs: 2 });
    expect(refusals).toEqual([expect.objectContaining({ code: "INVALID_ARGUMENT" })]);
  });

  test("is kept as it was when it was given", async () => {
    const kept: unknown[] = [];
    const two = pair({
      process: async function* (input, context) {
        const place = { page: 1 };
        for (; place.page < 4; place.page++) {
          yield input;
          await context.checkpoint(place);
        }
      },
    });
    two.route("a");
    const onCheckpoint = (cursor: unknown): void => void kept.push(cursor);
    const run = two.engines.a.run<unknown, unknown>("line", { onCheckpoint });
    await run.send(1);
    run.end();
    const outputs = run.batches[Symbol.asyncIterator]();
    await expect.poll(() => run.progress().emitted).toBe(3);
    while ((await outputs.next()).done !== true);
    expect(kept).toEqual([{ page: 1 }, { page: 2 }, { page: 3 }]);
  });
});

/** As a link between nodes has it. */
const LINK_BYTES = 4 * 1024 * 1024 + 128 * 1024;
