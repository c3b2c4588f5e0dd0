/** Pipelines over three real processes: a node is killed or joins in the middle of a run, a client goes. */

import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Report } from "../../../pipe/views.ts";
import { connect, type RingClient } from "../../../services/client/index.ts";

// The lab runs what is built.
const { Lab, waitUntil } = (await import(
  new URL("../../../dist/services/lab/lab.js", import.meta.url).href
)) as typeof import("../../../services/lab/lab.ts");
const APP = fileURLToPath(new URL("../../../dist/examples/pipelines.js", import.meta.url));

type OpenLab = Awaited<ReturnType<typeof Lab.open>>;
let lab: OpenLab;
let ring: RingClient;

beforeAll(async () => {
  lab = await Lab.open({ apps: [APP], flags: ["--profile", "fast"] });
  for (const name of ["n1", "n2", "n3"]) await lab.start(name);
  ring = connect({ addresses: [lab.node("n1").grpc] });
  await owners(3);
}, 90_000);

afterAll(async () => {
  ring?.close();
  await lab?.[Symbol.asyncDispose]();
});

async function owners(count: number): Promise<void> {
  await waitUntil(
    `${count} owners`,
    async () => new Set((await ring.cluster.ring()).owners.map((owner) => JSON.stringify(owner))).size === count,
    60_000,
  );
}

async function runsOf(name: string): Promise<number> {
  const client = connect({ addresses: [lab.node(name).grpc] });
  try {
    return (await client.pipes.list()).runs.length;
  } finally {
    client.close();
  }
}

/** Sends until `midway` is over, and `inputs` at least. */
async function passing(inputs: number, midway: () => Promise<unknown>): Promise<Passed> {
  const run = ring.run("pass-three");
  const seen = new Map<number, number>();
  let sent = 0;
  let over = false;
  let disturbed: Promise<unknown> | undefined;
  const sending = (async () => {
    while (!over || sent < inputs) {
      await run.sendMany(Array.from({ length: 500 }, (_, index) => sent + index));
      sent += 500;
      if (sent >= inputs / 3)
        disturbed ??= midway().finally(() => {
          over = true;
        });
    }
    run.end();
  })();
  for await (const outputs of run.batches)
    for (const output of outputs as number[]) seen.set(output, (seen.get(output) ?? 0) + 1);
  await sending;
  await disturbed;
  return { sent, seen, report: await run.report() };
}

interface Passed {
  readonly sent: number;
  readonly seen: ReadonlyMap<number, number>;
  readonly report: Report;
}

describe("three processes", () => {
  test("P6: a node that joins mid-run changes nothing: nothing lost, nothing twice, no sender sees an error", async () => {
    const { sent, seen, report } = await passing(60_000, async () => {
      await lab.start("n4");
      await owners(4);
    });
    expect(report).toMatchObject({ state: "done", failed: 0, resent: 0 });
    expect(seen.size).toBe(sent);
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
  }, 90_000);

  test("P6: a node killed mid-run loses nothing; what may be there twice is counted", async () => {
    const { sent, seen, report } = await passing(60_000, () => lab.kill("n3"));
    expect(report).toMatchObject({ state: "done", failed: 0 });
    expect(Number(report.acknowledged)).toBe(sent);
    expect(seen.size).toBe(sent);
    const twice = [...seen.values()].reduce((sum, times) => sum + times - 1, 0);
    expect(twice).toBeLessThanOrEqual(Number(report.resent));
  }, 90_000);

  test("a client that goes takes its run with it, on every node, within two seconds", async () => {
    const client = connect({ addresses: [lab.node("n1").grpc] });
    const run = client.run("pass-three");
    await run.sendMany(Array.from({ length: 2_000 }, (_, at) => at));
    await run.opened;
    expect(await runsOf("n1")).toBe(1);
    client.close();
    await waitUntil("no run anywhere", async () => (await runsOf("n1")) + (await runsOf("n2")) === 0, 2_000);
  }, 30_000);
});
