/**
 * What used to stop a node: inputs, cursors and fitting code that go wrong where no call is under way. Two engines, of which one
 * owns all partitions; whatever comes out of them as an exception fails the test.
 */

import { afterEach, describe, expect, test } from "vitest";
import { type FittingOptions, fitting, type Pipeline, pipeline } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import { constant } from "../../../pipe/partition.ts";
import type { Report } from "../../../pipe/views.ts";
import { encodeMessage as encoded } from "../../../pipe/wire.ts";
import type { NodeName } from "../../../ring/ids.ts";

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
    say(node.peerOf("b"), encoded(["open", "run", "line", "a", 1]));
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

/** As a link between nodes has it. */
const LINK_BYTES = 4 * 1024 * 1024 + 128 * 1024;
