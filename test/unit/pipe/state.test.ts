/** Fittings with state: checkpoints, crashes, workers that cannot start. On one node; over nodes: the simulator. */

import { describe, expect, test } from "vitest";
import { reduceByKey } from "../../../pipe/built-ins.ts";
import { type FittingOptions, fitting, pipeline } from "../../../pipe/fitting.ts";
import { byKey, constant } from "../../../pipe/partition.ts";
import { Marks } from "../../../pipe/stamp.ts";
import { PipeWorld } from "../../property/pipe-world.ts";
import { engine } from "./alone.ts";

type Sum = { total: number };

function sum(options: Partial<FittingOptions<number, Sum>> = {}): ReturnType<typeof fitting<number, number, Sum>> {
  return fitting<number, number, Sum>({
    name: "sum",
    partition: constant(),
    start: () => ({ total: 0 }),
    process: (n, { state }) => {
      if (n < 0) throw new Error("below zero");
      state.total += n;
    },
    done: ({ state }) => state.total,
    archive: (state) => state,
    absorb: (state, archived: Sum) => ({ total: state.total + archived.total }),
    ...options,
  });
}

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}

describe("checkpoints of a state", () => {
  test("after a crash the state is as it was stored last, and what was absorbed since then has failed", async () => {
    const run = engine().run(pipeline("reset", [sum({ checkpointEvery: 2, stateAfterCrash: "reset" })]));
    for (const n of [1, 2, 4]) {
      await run.send(n);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await run.send(-1);
    await run.send(8);
    run.end();
    const [total] = await collect(run.results);
    const report = await run.report();
    expect(report).toMatchObject({ state: "done", accepted: 5, acknowledged: 5, failed: 2 });
    expect(total).toBe(1 + 2 + 8);
    expect(report.failures.map(({ input }) => input)).toContain('"absorbed since the last checkpoint"');
  });

  test("without checkpoints a reset loses all that was absorbed, and says of how many inputs", async () => {
    const run = engine().run(pipeline("reset", [sum({ stateAfterCrash: "reset" })]));
    await run.sendMany([1, 2, 4, -1, 8]);
    run.end();
    expect(await collect(run.results)).toEqual([8]);
    expect(await run.report()).toMatchObject({ state: "done", acknowledged: 5, failed: 4 });
  });

  test("outputs of process are refused, as their loss could not be noticed; so is recursion", async () => {
    const emits = engine().run(pipeline("emits", [sum({ checkpointEvery: 2, process: (n) => n })]));
    await emits.send(1);
    expect(await emits.report()).toMatchObject({
      state: "failed",
      error: { code: "RUN_FAILED", detail: expect.stringContaining("come from done only") },
    });
    const recurs = engine().run(
      pipeline("recurs", [sum({ checkpointEvery: 2, process: (n, { recurse }) => recurse(n - 1) })]),
      { sink: "drain" },
    );
    await recurs.send(1);
    recurs.end();
    expect((await recurs.report()).failures[0]?.error).toContain("no recursion");
  });

  test("a declaration that cannot have checkpoints is refused with the field", () => {
    expect(() => sum({ checkpointEvery: 0 })).toThrow(/"sum".checkpointEvery must be a whole number from 1/);
    expect(() => fitting({ name: "a", process: () => undefined, checkpointEvery: 5 })).toThrow(
      /checkpointEvery is for/,
    );
    expect(() => sum({ checkpointEvery: 5, async *process() {} })).toThrow(/not for generators/);
    const counts = reduceByKey<string, number>({
      key: (word) => word,
      initial: () => 0,
      add: (count) => count + 1,
      merge: (a, b) => a + b,
      checkpointEvery: 100,
    });
    expect(counts.checkpointEvery).toBe(100);
  });

  test("marks know each stamp exactly, in any order", () => {
    const marks = new Marks();
    for (const number of [5, 1, 2, 9, 3, 7, 8, 4]) marks.add(1, number);
    marks.add(2, 6);
    expect(marks.rows()).toEqual([
      [1, 1, 5, 7, 9],
      [2, 6, 6],
    ]);
    const copy = new Marks();
    copy.load(marks.rows());
    expect([0, 1, 5, 6, 7, 9, 10].map((number) => copy.has(1, number))).toEqual([
      false,
      true,
      true,
      false,
      true,
      true,
      false,
    ]);
    expect(copy.has(2, 5)).toBe(false);
  });
});

describe("a worker that cannot start", () => {
  const picky = (bad: readonly number[], nval: number, started: number[] = []) => {
    let at = 0;
    return fitting<number, number>({
      name: "picky",
      nval,
      partition: byKey((n: number) => n),
      start: () => {
        const mine = at++;
        started.push(mine);
        if (bad.includes(mine)) throw new Error(`no licence ${mine}`);
        return mine;
      },
      process: (n) => n,
      done: () => undefined,
    });
  };

  test("P6: its inputs go to the next partition of the preflist when nval allows it", async () => {
    const run = engine().run(pipeline("next", [picky([0, 3], 3)]));
    await run.sendMany(Array.from({ length: 500 }, (_, at) => at));
    run.end();
    expect(await collect(run.results)).toHaveLength(500);
    expect(await run.report()).toMatchObject({ state: "done", accepted: 500, acknowledged: 500, failed: 0 });
  });

  test("P6: when none of the preflist can, the run fails and says why", async () => {
    const run = engine().run(pipeline("none", [picky([0, 1, 2], 3)]));
    await run.send(1).catch(() => undefined);
    expect(await run.report()).toMatchObject({
      state: "failed",
      error: { code: "RUN_FAILED", detail: expect.stringMatching(/no licence.*3 partitions in a row/) },
    });
  });

  test("P6: one that cannot start again after a crash hands on its queue", async () => {
    let starts = 0;
    const once = fitting<number, number, object>({
      name: "once",
      nval: 2,
      partition: constant(3),
      stateAfterCrash: "reset",
      start: () => {
        starts += 1;
        if (starts === 2) throw new Error("only once");
        return {};
      },
      process: async (n, { partition }) => {
        if (n === 0) throw new Error("crash");
        return partition;
      },
      done: () => undefined,
    });
    const run = engine().run(pipeline("once", [once]));
    await run.sendMany([1, 0, 2, 3]);
    run.end();
    expect(await collect(run.results)).toEqual([3, 4, 4]);
    expect(await run.report()).toMatchObject({ state: "done", acknowledged: 4, failed: 2 });
  });
});

test("a send that is given up takes back what was not taken", async () => {
  let letGo: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const stuck = fitting<number, number>({
    name: "stuck",
    partition: constant(),
    queueLimit: 2,
    process: async (n) => {
      await gate;
      return n;
    },
  });
  const run = engine().run(pipeline("stuck", [stuck]));
  await expect(run.sendMany([1, 2, 3, 4, 5, 6], { deadlineMs: 10 })).rejects.toThrow(/3 of 6 inputs were not taken/);
  letGo();
  await run.send(7);
  run.end();
  expect(await collect(run.results)).toEqual([1, 2, 3, 7]);
  expect(await run.report()).toMatchObject({ accepted: 4, acknowledged: 4 });
});

function unstartable(nodes: readonly string[], nval: number): PipeWorld {
  const first = fitting({ name: "first", partition: constant(1), process: (input: unknown) => [input] });
  const start = (): never => {
    throw new Error("no");
  };
  const second = fitting<unknown, unknown>({
    name: "second",
    nval,
    partition: constant(1),
    start,
    process: (input) => [input],
  });
  return new PipeWorld(pipeline("line", [first, second]), { nodes });
}

test("P4: where no worker of a node can start, the run fails, and not the node that has all partitions", () => {
  const world = unstartable(["a", "b"], 3);
  for (const node of world.nodes.values())
    node.route({ epoch: 2, ringSize: 8, owners: Array(8).fill("b"), alive: new Set(["a", "b"]) });
  world.open().send([1], () => undefined);
  world.runFor(1_000);
  expect(world.report).toMatchObject({ state: "failed", error: { code: "RUN_FAILED" } });
  expect(world.report?.error?.detail).toContain("nor can any of 3 partitions in a row");
});

test("P6: when none of a preflist of several nodes can start, the run fails", () => {
  const world = unstartable(["a", "b"], 2);
  world.open().send([1], () => undefined);
  world.runFor(1_000);
  expect(world.report?.error?.detail).toContain("nor can any of 2 partitions in a row");
});
