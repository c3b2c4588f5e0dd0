/** What a node keeps for a peer that cannot be reached: bounded in bytes, and all of it arrives when the peer is back. */

import { afterEach, describe, expect, test } from "vitest";
import { fitting, pipeline } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import { byKey } from "../../../pipe/partition.ts";
import type { NodeName } from "../../../ring/ids.ts";

const MIB = 1024 * 1024;
const NAMES = ["a", "b"] as const;
type Name = (typeof NAMES)[number];

/** Node `b` owns all partitions, and its link is down until `heal`. */
class Cut {
  readonly engines: Readonly<Record<Name, PipeEngine>>;
  #isUp = false;

  constructor() {
    this.engines = { a: this.#engine("a"), b: this.#engine("b") };
    for (const { node } of Object.values(this.engines))
      node.route({ epoch: 1, ringSize: 8, owners: Array(8).fill("b"), alive: new Set(NAMES) });
  }

  get keptBytes(): number {
    const { node } = this.engines.a;
    return node.channel(node.peerOf("b")).keptBytes;
  }

  heal(): void {
    this.#isUp = true;
    this.engines.a.linkUp("b" as NodeName);
  }

  #engine(self: Name): PipeEngine {
    return new PipeEngine({
      self: self as NodeName,
      ringSize: 8,
      find: () => line,
      send: (to, bytes) => {
        if (!this.#isUp) return false;
        const copy = bytes.slice();
        setImmediate(() => this.engines[to as Name].receive(self as NodeName, copy));
        return true;
      },
    });
  }
}

interface Input {
  readonly at: number;
  readonly bulk: unknown;
}

const line = pipeline("line", [
  fitting<Input, number>({
    name: "one",
    partition: byKey(({ at }: Input) => at),
    process: ({ at }) => {
      seen.push(at);
    },
  }),
]);
const seen: number[] = [];
const cuts: Cut[] = [];

function cut(): Cut {
  const made = new Cut();
  cuts.push(made);
  return made;
}

afterEach(() => {
  seen.length = 0;
  for (const { engines } of cuts.splice(0)) for (const engine of Object.values(engines)) engine[Symbol.dispose]();
});

/** What is kept when nothing more is. */
async function settled(of: Cut): Promise<number> {
  for (let before = -1; before !== of.keptBytes; ) {
    before = of.keptBytes;
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  return of.keptBytes;
}

describe("inputs for a peer that cannot be reached", () => {
  test("P5: are kept up to a number of bytes, and P6: all arrive once when it can be", async () => {
    const of = cut();
    const run = of.engines.a.run<Input, number>("line", { sink: "drain" });
    const bulk = "x".repeat(100_000);
    const inputs = Array.from({ length: 600 }, (_, at) => ({ at, bulk }));
    const sending = run.sendMany(inputs).then(() => run.end());
    const kept = await settled(of);
    expect(kept).toBeGreaterThan(15 * MIB);
    expect(kept).toBeLessThan(18 * MIB);
    of.heal();
    await sending;
    expect(await run.report()).toMatchObject({ state: "done", accepted: 600, acknowledged: 600, failed: 0 });
    expect(seen.toSorted((a, b) => a - b)).toEqual(inputs.map(({ at }) => at));
    expect(await settled(of)).toBe(0);
  });

  test("P5: of many runs are kept up to a number of bytes together, and one message of each fitting", async () => {
    const of = cut();
    const bulk = "x".repeat(1_000_000);
    const runs = Array.from({ length: 12 }, () => of.engines.a.run<Input, number>("line", { sink: "drain" }));
    const sending = runs.map((run) =>
      run.sendMany(Array.from({ length: 20 }, (_, at) => ({ at, bulk }))).then(() => run.end()),
    );
    const kept = await settled(of);
    expect(kept).toBeGreaterThan(64 * MIB);
    expect(kept).toBeLessThan((64 + runs.length * 4) * MIB);
    of.heal();
    await Promise.all(sending);
    for (const run of runs) expect(await run.report()).toMatchObject({ state: "done", acknowledged: 20, failed: 0 });
    expect(seen).toHaveLength(240);
  });
});
