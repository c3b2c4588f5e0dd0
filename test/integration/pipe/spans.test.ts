/** The trace context of clients and of tasks, as far as the spans of the runs that they start. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connect } from "../../../services/client/index.ts";
import {
  byKey,
  defineApp,
  type PipeSpan,
  pass,
  pipeline,
  type RunningNode,
  startNode,
  task,
} from "../../../services/index.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const ABOVE = "00f067aa0ba902b7";
const SAMPLED = `00-${TRACE}-${ABOVE}-01`;
const line = pipeline("line", [pass<number>({ name: "only", partition: byKey((n: number) => n) })]);
const spans: PipeSpan[] = [];
let data: string;
let node: RunningNode;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "taskring-spans-"));
  const free = "127.0.0.1:0";
  node = await startNode({
    apps: [
      defineApp("acme", {
        pipelines: [line],
        tasks: { fan: task(async (_, context) => void (await context.run(line, { input: 1 }))) },
      }),
    ],
    name: "a",
    data,
    grpc: free,
    http: free,
    gossip: free,
    logLevel: "silent",
    onSpan: (span) => spans.push(span),
  });
  await node.whenServing();
});

afterAll(async () => {
  await node?.stop();
  await rm(data, { recursive: true, force: true });
});

function taken(): readonly PipeSpan[] {
  const all = spans.splice(0);
  for (const { traceId } of all) expect(traceId).toBe(TRACE);
  return all;
}

test("a client's context is the parent of a part of its inputs", async () => {
  const ring = connect({ addresses: [node.grpc] });
  try {
    for (const [spanRatio, count] of [
      [0, 1],
      [0.5, 5],
      [1, 10],
    ] as const) {
      const run = ring.run("line", { sink: "drain", traceparent: SAMPLED, spanRatio });
      await run.sendMany(Array.from({ length: 10 }, (_, at) => at));
      run.end();
      await run.report();
      const all = taken();
      expect(all.filter(({ parentSpanId }) => parentSpanId === ABOVE)).toHaveLength(count);
      expect(all).toHaveLength(count * 2);
    }
    const none = ring.run("line", { sink: "drain", traceparent: `00-${TRACE}-${ABOVE}-00` });
    await none.send(1);
    none.end();
    await none.report();
    expect(taken()).toEqual([]);
  } finally {
    ring.close();
  }
});

test("the run of a task is below what its headers name", async () => {
  const ring = connect({ addresses: [node.grpc] });
  try {
    const task = { app: "acme", type: "fan", payload: 1 };
    const ids = [await ring.submit({ ...task, headers: { traceparent: SAMPLED } }), await ring.submit(task)];
    for (const { taskId } of ids) expect(await ring.wait(taskId)).toMatchObject({ state: "DONE" });
    expect(taken().map(({ name }) => name)).toEqual(["line only", "line input"]);
  } finally {
    ring.close();
  }
});
