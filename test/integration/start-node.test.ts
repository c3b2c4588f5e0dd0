/** `startNode` as a user of the package calls it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { connect, decodeResult } from "../../services/client/index.ts";
import { defineApp, RingError, startNode, task } from "../../services/index.ts";

const folder = mkdtempSync(join(tmpdir(), "taskring-start-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const apps = [
  defineApp("shop", {
    tasks: {
      count: task((_task, context) => {
        const count = (context.state.get<number>("count") ?? 0) + 1;
        context.state.put("count", count);
        return { count };
      }),
    },
  }),
];
const options = {
  apps,
  name: "a1",
  data: join(folder, "a1"),
  grpc: "127.0.0.1:0",
  http: "127.0.0.1:0",
  gossip: "127.0.0.1:0",
  logLevel: "silent",
} as const;

async function countOnce(address: string): Promise<unknown> {
  await using ring = connect({ addresses: [address] });
  const { taskId } = await ring.submit({ app: "shop", type: "count", key: "alice" });
  const ended = await ring.wait(taskId);
  expect(ended.state).toBe("DONE");
  return decodeResult(ended.result);
}

test("P9: one call starts a node that serves, and state outlives it", async () => {
  {
    await using node = await startNode(options);
    await node.whenServing();
    expect(node.serving).toBe(true);
    expect(await countOnce(node.grpc)).toEqual({ count: 1 });
    expect(await node.stop()).toBe(0);
    expect(node.serving).toBe(false);
    await expect(node.whenServing()).rejects.toMatchObject({ code: "CANCELLED" });
  }
  await using again = await startNode(options);
  await again.whenServing();
  expect(await countOnce(again.grpc)).toEqual({ count: 2 });
}, 60_000);

test("what cannot work is refused before anything is opened", async () => {
  for (const wrong of [
    { grpc: "0.0.0.0:0" },
    { http: "nonsense" },
    { gossip: "127.0.0.1:70000" },
    { ringSize: 100 },
    { weight: -1 },
    { zone: "a b" },
  ]) {
    const data = join(folder, "never");
    const error = await startNode({ ...options, data, ...wrong }).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(RingError);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
  }
});
