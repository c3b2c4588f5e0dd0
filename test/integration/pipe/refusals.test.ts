/** What a client and a shell are told when an input or an output cannot be said in JSON. */

import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connect } from "../../../services/client/index.ts";
import { defineApp, map, pipeline, type RunningNode, startNode } from "../../../services/index.ts";

const RINGCTL = fileURLToPath(new URL("../../../dist/cli/ringctl.js", import.meta.url));
const line = pipeline("line", [map<number, unknown>("only", (n) => (n === 3 ? 3n : n))]);
let data: string;
let node: RunningNode;

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "taskring-refusals-"));
  const free = "127.0.0.1:0";
  const apps = [defineApp("acme", { pipelines: [line] })];
  node = await startNode({ apps, name: "a", data, grpc: free, http: free, gossip: free, logLevel: "silent" });
  await node.whenServing();
});

afterAll(async () => {
  await node?.stop();
  await rm(data, { recursive: true, force: true });
});

test("P6: an output that JSON cannot say fails the run, which says so", async () => {
  const ring = connect({ addresses: [node.grpc] });
  try {
    const run = ring.run("line");
    await run.sendMany([1, 2, 3, 4]);
    run.end();
    const read = (async () => {
      for await (const _ of run.results);
    })();
    await expect(read).rejects.toMatchObject({ code: "RUN_FAILED" });
    const report = await run.report();
    expect(report.state).toBe("failed");
    expect(report.error?.detail).toContain("an output has no JSON form");
  } finally {
    ring.close();
  }
});

test("ringctl pipe run says what was wrong with its input, not that the run was cancelled", async () => {
  const bad = join(data, "bad.jsonl");
  await writeFile(bad, "1\nnot json\n2\n");
  for (const [input, wanted] of [
    [bad, /input line 2 is not JSON/],
    [join(data, "none.jsonl"), /none\.jsonl cannot be read: ENOENT.*\n$/],
    [data, /cannot be read: EISDIR.*\n$/],
  ] as const) {
    const { code, stderr } = await new Promise<{ code: unknown; stderr: string }>((resolve) =>
      execFile(
        process.execPath,
        [RINGCTL, "pipe", "run", "line", "--input", `@${input}`, "--address", node.grpc],
        (error, _, text) => resolve({ code: error?.code, stderr: text }),
      ),
    );
    expect(stderr).toMatch(wanted);
    expect(stderr).not.toContain("cancelled by the caller");
    expect(code).not.toBe(0);
  }
});
