/** A ring whose nodes are given a new version of a pipeline one by one. */

import { expect, test } from "vitest";
import { type Fitting, fitting, type Pipeline, pipeline } from "../../../pipe/fitting.ts";
import { PipeEngine } from "../../../pipe/io/engine.ts";
import { byKey, follow } from "../../../pipe/partition.ts";
import type { Report } from "../../../pipe/views.ts";
import type { NodeName } from "../../../ring/ids.ts";

const NAMES = ["a", "b"] as const;
type Name = (typeof NAMES)[number];

const step = (name: string, partition = byKey(String)): Fitting<number, number> =>
  fitting<number, number>({ name, partition, process: (input) => input });
const version = (...fittings: Fitting<number, number>[]): Pipeline =>
  pipeline("line", fittings as [Fitting<number, number>]) as unknown as Pipeline;

async function reportOf(lines: Readonly<Record<Name, Pipeline>>): Promise<Report> {
  const engines = { a: engine("a"), b: engine("b") };
  function engine(self: Name): PipeEngine {
    return new PipeEngine({
      self: self as NodeName,
      ringSize: 8,
      find: () => lines[self],
      send: (to, bytes) => {
        const copy = bytes.slice();
        setImmediate(() => engines[to as Name].receive(self as NodeName, copy));
        return true;
      },
    });
  }
  try {
    for (const { node } of Object.values(engines))
      node.route({
        epoch: 1,
        ringSize: 8,
        owners: Array.from({ length: 8 }, (_, at) => NAMES[at % 2]),
        alive: new Set(NAMES),
      });
    const run = engines.a.run<number, unknown>("line", { sink: "drain" });
    await run.sendMany(Array.from({ length: 100 }, (_, at) => at)).catch(() => undefined);
    run.end();
    return await run.report();
  } finally {
    for (const one of Object.values(engines)) one[Symbol.dispose]();
  }
}

test.each([
  ["a fitting more", version(step("in"), step("out")), version(step("in"), step("new"), step("out"))],
  ["a fitting less", version(step("in"), step("new"), step("out")), version(step("in"), step("out"))],
  ["another order", version(step("in"), step("out")), version(step("out"), step("in"))],
  ["another partitioner", version(step("in"), step("out")), version(step("in"), step("out", follow))],
])(
  "P6: a run over nodes with %s in its pipeline fails, and says where",
  async (_, a, b) => {
    const { state, error } = await reportOf({ a, b });
    expect({ state, error }).toEqual({
      state: "failed",
      error: { code: "APP_NOT_HERE", detail: "b has loaded pipeline line with other fittings than a" },
    });
  },
  5_000,
);

test("P6: other code in the same fittings is taken: nodes are updated one by one", async () => {
  const report = await reportOf({ a: version(step("in"), step("out")), b: version(step("in"), step("out")) });
  expect(report).toMatchObject({ state: "done", acknowledged: 100, failed: 0 });
});
