/** What clients see of runs over three real processes, and what is left of a client that is no more. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect, type RingClient, taskSink } from "../../../services/client/index.ts";

// The lab runs what is built.
const { Lab, waitUntil } = (await import(
  new URL("../../../dist/services/lab/lab.js", import.meta.url).href
)) as typeof import("../../../services/lab/lab.ts");
const APP = fileURLToPath(new URL("../../../dist/examples/pipelines.js", import.meta.url));
const RINGCTL = fileURLToPath(new URL("../../../dist/cli/ringctl.js", import.meta.url));

type OpenLab = Awaited<ReturnType<typeof Lab.open>>;
let lab: OpenLab;
let ring: RingClient;

beforeAll(async () => {
  lab = await Lab.open({ apps: [APP], flags: ["--profile", "fast"] });
  for (const name of ["n1", "n2", "n3"]) await lab.start(name);
  ring = connect({ addresses: [lab.node("n1").grpc] });
  await waitUntil("three owners", async () => (await ring.coverage()).length === 3, 60_000);
}, 90_000);

afterAll(async () => {
  ring?.close();
  await lab?.[Symbol.asyncDispose]();
});

/** Runs that any node knows. */
async function runs(): Promise<number> {
  const lists = await Promise.all(lab.names().map((name) => ring.pipes.list({ address: lab.node(name).grpc })));
  return lists.reduce((sum, list) => sum + list.runs.length, 0);
}

async function runningClient(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [RINGCTL, "pipe", "run", "pass-three", "--address", lab.node("n2").grpc], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  child.stdin?.write(`${Array.from({ length: 2_000 }, (_, at) => at).join("\n")}\n`);
  await once(child.stdout as NodeJS.ReadableStream, "data");
  await waitUntil("the run is on every node", async () => (await runs()) === 3, 10_000);
  return child;
}

describe("a client that disappears", () => {
  test("P6: a client that is killed takes its run with it, everywhere, within two seconds", async () => {
    const child = await runningClient();
    child.kill("SIGKILL");
    await waitUntil("no run anywhere", async () => (await runs()) === 0, 2_000);
  }, 30_000);

  test("P6: a client that goes silent without a word loses its run, everywhere, within five seconds", async () => {
    const child = await runningClient();
    child.kill("SIGSTOP");
    try {
      await waitUntil("no run anywhere", async () => (await runs()) === 0, 5_000);
    } finally {
      child.kill("SIGKILL");
    }
  }, 30_000);
});

describe("looking at a run", () => {
  test("P5: a reader that stops stops its sender; status and metrics show every node", async () => {
    const run = ring.run("pass-three", { address: lab.node("n1").grpc });
    const id = await run.opened;
    let sent = 0;
    let over = false;
    const sending = (async () => {
      for (; !over && sent < 1_000_000; sent += 500)
        await run.sendMany(Array.from({ length: 500 }, (_, at) => sent + at));
    })().catch(() => undefined);
    let since = { sent: -1, at: 0 };
    await waitUntil(
      "the source stands still for a second",
      () => {
        if (since.sent !== sent) since = { sent, at: performance.now() };
        return performance.now() - since.at > 1_000;
      },
      20_000,
    );
    const status = await ring.pipes.status(id, { address: lab.node("n1").grpc });
    expect(sent).toBeLessThan(1_000_000);
    expect(status.unreachable).toEqual([]);
    expect(new Set(status.workers.map(({ node }) => node)).size).toBe(3);
    for (const worker of status.workers) {
      expect(worker.queue).toBeLessThanOrEqual(worker.queueLimit);
      expect(Number(worker.workMs) + Number(worker.idleMs)).toBeGreaterThan(0);
    }
    const metrics = await (await fetch(`http://${lab.node("n1").http}/metrics`)).text();
    expect(metrics).toMatch(/taskring_pipe_queue_depth\{pipe="pass-three",fitting="three"\} \d/);
    expect(metrics).toMatch(/taskring_pipe_blocked_seconds_total\{pipe="pass-three",fitting="one"\} \d/);
    expect(metrics).toMatch(/taskring_pipe_runs_active [1-9]/);
    over = true;
    run.cancel();
    await sending;
    await waitUntil("no run anywhere", async () => (await runs()) === 0, 5_000);
    const after = await (await fetch(`http://${lab.node("n1").http}/metrics`)).text();
    const outcomes = after.split("\n").filter((line) => line.startsWith("taskring_pipe_runs_total"));
    expect(outcomes.join("\n")).toContain('taskring_pipe_runs_total{pipe="pass-three",outcome="cancelled"}');
  }, 60_000);

  test("a trace shows events of all nodes while it lasts, and stops by itself", async () => {
    const run = ring.run("count-words", { address: lab.node("n1").grpc });
    const id = await run.opened;
    const nodes = new Set<string>();
    const traced = (async () => {
      for await (const event of ring.pipes.trace(id, { types: ["done"], forMs: 1_500, address: lab.node("n1").grpc }))
        nodes.add(event.node);
    })();
    await run.sendMany(Array.from({ length: 300 }, (_, at) => `word ${at}`));
    run.end();
    for await (const _ of run.results);
    await traced;
    expect([...nodes].sort()).toEqual(["n1", "n2", "n3"]);
    const quiet = ring.run("count-words", { address: lab.node("n1").grpc });
    const startedAt = performance.now();
    for await (const _ of ring.pipes.trace(await quiet.opened, { forMs: 300, address: lab.node("n1").grpc }));
    expect(performance.now() - startedAt).toBeGreaterThan(250);
    quiet.cancel();
  }, 30_000);
});

test("P6: a sink makes each output a durable task, once however often the output comes", async () => {
  const sink = taskSink(ring, (output: number) => ({
    app: "pipelines",
    type: "push",
    idempotencyKey: `push-${output % 500}`,
    payload: JSON.stringify(output),
  }));
  const run = ring.run("pass-three", { sink });
  await run.sendMany(Array.from({ length: 1_000 }, (_, at) => at));
  run.end();
  expect(await run.report()).toMatchObject({ state: "done", failed: 0 });
  const metrics = async (): Promise<number> => {
    const texts = await Promise.all(
      lab.names().map(async (name) => (await fetch(`http://${lab.node(name).http}/metrics`)).text()),
    );
    return texts.reduce((sum, text) => {
      const done = /taskring_tasks_completed_total\{app="pipelines",outcome="done"\} (\d+)/.exec(text)?.[1];
      return sum + Number(done ?? 0);
    }, 0);
  };
  await waitUntil("500 tasks are done", async () => (await metrics()) === 500, 10_000);
}, 30_000);

test("P6: counts that are stored survive the kill of a node, and are exact", async () => {
  const [words, distinct] = [120_000, 999];
  const run = ring.run("count-words", { address: lab.node("n1").grpc });
  const sending = (async () => {
    let killed: Promise<unknown> | undefined;
    for (let at = 0; at < words; at += 500) {
      await run.sendMany(Array.from({ length: 500 }, (_, index) => `word-${(at + index) % distinct}`));
      if (at >= words / 3) killed ??= lab.kill("n3");
    }
    await killed;
    run.end();
  })();
  const counts = new Map<string, number>();
  for await (const [word, count] of run.results as AsyncIterable<[string, number]>) {
    expect(counts.get(word) ?? count).toBe(count);
    counts.set(word, count);
  }
  await sending;
  expect(await run.report()).toMatchObject({ state: "done", failed: 0 });
  expect(counts.size).toBe(distinct);
  for (let word = 0; word < distinct; word++)
    expect(counts.get(`word-${word}`)).toBe(Math.floor(words / distinct) + (word < words % distinct ? 1 : 0));
}, 60_000);
