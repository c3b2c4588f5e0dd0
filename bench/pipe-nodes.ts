/** Case `three-nodes` of the benchmark `pipe`: three processes on this machine, every fitting re-hashed, a client that counts. */

import { fileURLToPath } from "node:url";
import { connect } from "../services/client/index.ts";
import { Lab, waitUntil } from "../services/lab/lab.ts";
import { type BenchResult, resultOf } from "./result.ts";

export async function threeNodesCase(runs: number): Promise<readonly BenchResult[]> {
  await using lab = await Lab.open({ apps: [APP] });
  for (const name of ["n1", "n2", "n3"]) await lab.start(name);
  const ring = connect({ addresses: lab.addresses });
  await waitUntil(
    "three owners",
    async () => new Set((await ring.cluster.ring()).owners.map((owner) => JSON.stringify(owner))).size === 3,
    60_000,
  );
  const values: number[] = [];
  await once(ring, 50_000);
  for (let at = 0; at < runs; at++) values.push(await once(ring, INPUTS));
  ring.close();
  return [
    resultOf({
      case: "three-nodes",
      subject: "taskring",
      unit: "1/s",
      values,
      extra: { inputs: INPUTS, "riak_pipe (measured before)": 12_000 },
    }),
  ];
}

async function once(ring: ReturnType<typeof connect>, inputs: number): Promise<number> {
  const start = performance.now();
  const run = ring.run("pass-three", { sink: "drain" });
  for (let at = 0; at < inputs; at += 4_096)
    await run.sendMany(Array.from({ length: Math.min(4_096, inputs - at) }, (_, index) => at + index));
  run.end();
  const report = await run.report();
  if (report.state !== "done" || Number(report.outputs) !== inputs)
    throw new Error(`the run: ${JSON.stringify(report)}`);
  return inputs / ((performance.now() - start) / 1_000);
}

const APP = fileURLToPath(new URL("../examples/pipelines.js", import.meta.url));
const INPUTS = 400_000;
