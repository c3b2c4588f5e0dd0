/** A run that belongs to a task: its node is killed in the middle, and the task is done all the same. */

import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { connect, decodeResult } from "../../../services/client/index.ts";

// The lab runs what is built.
const { Lab, waitUntil } = (await import(
  new URL("../../../dist/services/lab/lab.js", import.meta.url).href
)) as typeof import("../../../services/lab/lab.ts");
const APP = fileURLToPath(new URL("../../../dist/examples/pipelines.js", import.meta.url));

test("P6: a task's run survives the loss of its coordinator: it goes on at the last checkpoint", async () => {
  await using lab = await Lab.open({ apps: [APP], flags: ["--profile", "fast"] });
  for (const name of ["n1", "n2", "n3"]) await lab.start(name);
  const ring = connect({ addresses: lab.addresses });
  try {
    const { owners } = await waitUntil(
      "three owners",
      async () => {
        const seen = await ring.cluster.ring();
        return new Set(seen.owners.map((owner) => JSON.stringify(owner))).size === 3 && seen;
      },
      60_000,
    );
    expect(owners.length).toBeGreaterThan(0);
    const items = 300_000;
    const { taskId } = await ring.submit({
      app: "pipelines",
      type: "ban",
      key: "p1",
      payload: JSON.stringify({ profileId: "p1", items }),
    });
    const coordinator = await waitUntil(
      "a coordinator that has made progress",
      async () => {
        for (const name of lab.names()) {
          const { runs } = await ring.pipes.list({ address: lab.node(name).grpc });
          const mine = runs.find((run) => run.coordinator === name);
          if (mine !== undefined && Number(mine.progress?.emitted ?? 0) > 30_000) return name;
        }
        return undefined;
      },
      30_000,
    );
    await lab.kill(coordinator);
    const task = await waitUntil(
      "the task is done",
      async () => {
        const seen = await ring.get(taskId).catch(() => undefined); // Its owner is being replaced.
        return seen !== undefined && ["done", "dead"].includes(String(seen.state).toLowerCase()) && seen;
      },
      80_000,
    );
    expect(String(task.state).toLowerCase()).toBe("done");
    const result = decodeResult(task.result) as { readonly outputs: number; readonly failed: number };
    expect(result.failed).toBe(0);
    // Not from the start: what was acknowledged before the checkpoint is not done again.
    expect(result.outputs).toBeLessThan(items);
    expect(result.outputs).toBeGreaterThan(0);
  } finally {
    ring.close();
  }
}, 180_000);
