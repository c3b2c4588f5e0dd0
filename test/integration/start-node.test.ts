/** `startNode` as a user of the package calls it. */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { connect, decodeResult } from "../../services/client/index.ts";
import { defineApp, RingError, resident, startNode, task } from "../../services/index.ts";

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

test("P1: a node that founded its ring and is started again at another address finds it, though nobody tells it where", async () => {
  const at = (name: string) => ({ ...options, name, data: join(folder, name), profile: "fast" as const });
  const first = await startNode(at("f1"));
  await using second = await startNode({ ...at("f2"), join: [first.gossip], autoJoin: true });
  await second.whenServing();
  const statesSeenBy = async ({ grpc }: { readonly grpc: string }): Promise<unknown> => {
    await using ring = connect({ addresses: [grpc] });
    const { members } = await ring.cluster.members({ address: grpc });
    return members.map(({ name, alive }) => [name, alive]).toSorted();
  };
  const both = [
    ["f1", "alive"],
    ["f2", "alive"],
  ];
  await vi.waitFor(async () => expect(await statesSeenBy(first)).toEqual(both), 10_000);
  await vi.waitFor(() => expect(existsSync(join(folder, "f1", "marker-peers.json"))).toBe(true), 10_000);
  await first.stop();
  await using again = await startNode(at("f1"));
  expect(again.gossip).not.toBe(first.gossip);
  for (const node of [again, second])
    await vi.waitFor(async () => expect(await statesSeenBy(node)).toEqual(both), 20_000);
}, 90_000);

test("what cannot work is refused before anything is opened", async () => {
  for (const wrong of [
    { grpc: "0.0.0.0:0" },
    { http: "nonsense" },
    { gossip: "127.0.0.1:70000" },
    { ringSize: 100 },
    { weight: -1 },
    { zone: "a b" },
    { join: ["nobody.invalid:7946"] },
  ]) {
    const data = join(folder, "never");
    const error = await startNode({ ...options, data, ...wrong }).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(RingError);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(existsSync(data)).toBe(false);
  }
});

test("what a resident submits is stored by its owner, once for one idempotency key, and runs", async () => {
  const ids: string[] = [];
  const failures: unknown[] = [];
  const runs: unknown[] = [];
  const watched = defineApp("watched", {
    tasks: { seen: task((seen) => void runs.push(seen.json())) },
    residents: {
      watcher: resident(async (context) => {
        const options = { key: "alice", payload: { at: 1 }, idempotencyKey: "one" };
        try {
          for (const _ of [1, 2]) ids.push(await context.submit("seen", options));
          await context.submit("seen", { app: "nobody", key: "k" });
        } catch (error) {
          failures.push(error);
        }
        await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      }),
    },
  });
  await using node = await startNode({ ...options, apps: [watched], name: "w1", data: join(folder, "w1") });
  await node.whenServing();
  await vi.waitFor(() => expect(failures).toMatchObject([{ code: "APP_UNKNOWN" }]), 10_000);
  expect(ids).toEqual([ids[0], ids[0]]);
  await using ring = connect({ addresses: [node.grpc] });
  expect(await ring.wait(ids[0] ?? "")).toMatchObject({ state: "DONE", key: "alice" });
  expect(runs).toEqual([{ at: 1 }]);
}, 60_000);
