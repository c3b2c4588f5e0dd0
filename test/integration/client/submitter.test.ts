/**
 * The submitter and its links against nodes that do not answer: nothing is lost, nobody waits longer than was asked.
 *
 * Each was seen to fail: with `prune` judging by what was sent, with deadlines looked at in order of submit, and with a search
 * of all that stay for each that goes.
 */

import { credentials, Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { Links } from "../../../services/client/links.ts";
import { Submitter } from "../../../services/client/submitter.ts";
import { until } from "../api/fake-node.ts";
import { blackHole } from "./black-hole.ts";

interface Silent extends AsyncDisposable {
  readonly links: Links;
  readonly submitter: Submitter;
  /** Later streams are refused, as by a ring that has nobody else. */
  leave(): void;
}

async function silent({ tasksMost = 1_000 }: { readonly tasksMost?: number } = {}): Promise<Silent> {
  const hole = await blackHole();
  let here = true;
  const links: Links = new Links({
    credentials: credentials.createInsecure(),
    metadata: () => new Metadata(),
    clientId: "test",
    callbacks: () => ({ ...submitter.streamCallbacks(), onRing: () => undefined }),
    onStreamDown: (entries, fatal) => submitter.streamDown(entries, fatal),
  });
  const submitter: Submitter = new Submitter({
    streamFor: () => (here ? links.stream(hole.address) : undefined),
    refresh: async () => undefined,
    tasksMost,
    bytesMost: 1 << 24,
  });
  return {
    links,
    submitter,
    leave: () => {
      here = false;
    },
    [Symbol.asyncDispose]: async () => {
      submitter.close();
      links.close();
      await hole[Symbol.asyncDispose]();
    },
  };
}

/** A target, and how many tasks were settled with it. */
function counted(): { readonly target: { settled(): void }; settled(): number } {
  let count = 0;
  return {
    target: {
      settled: () => {
        count += 1;
      },
    },
    settled: () => count,
  };
}

test("P5: full frames that wait for a node's first word outlive a refresh that no longer lists the node", async () => {
  await using ring = await silent();
  const { target, settled } = counted();
  // 64 tasks: exactly one frame, so none is open and none is sent.
  for (let index = 0; index < 64; index++)
    ring.submitter.push({ app: "a", type: "t", key: "k" }, target, { index, deadline: performance.now() + 500 });
  ring.leave();
  ring.links.prune(new Set());
  await until(() => ring.submitter.pending === 0, 10_000);
  expect(settled()).toBe(64);
});

test("a live link that is closed gives its tasks back", async () => {
  await using ring = await silent();
  const { target, settled } = counted();
  for (let index = 0; index < 65; index++)
    ring.submitter.push({ app: "a", type: "t", key: "k" }, target, { index, deadline: performance.now() + 300 });
  ring.leave();
  ring.links.close();
  await until(() => ring.submitter.pending === 0, 2_500);
  expect(settled()).toBe(65);
});

test("a task is told of its own deadline, whoever was submitted before it", async () => {
  await using ring = await silent();
  const ended: number[] = [];
  const target = { settled: (entry: { readonly index: number }) => void ended.push(entry.index) };
  const began = performance.now();
  for (const [index, deadlineMs] of [60_000, 400, 60_000, 200].entries())
    ring.submitter.push({ app: "a", type: "t", key: String(index) }, target, { index, deadline: began + deadlineMs });
  await until(() => ended.length === 2);
  expect(performance.now() - began).toBeLessThan(2_000);
  expect([...ended].sort()).toEqual([1, 3]);
});

test("looking at deadlines stays cheap with 100,000 tasks of one key that wait", async () => {
  await using ring = await silent();
  ring.leave();
  let ended = 0;
  const target = {
    settled: () => {
      ended += 1;
    },
  };
  const began = performance.now();
  for (let index = 0; index < 100_000; index++)
    ring.submitter.push({ app: "a", type: "t", key: "k" }, target, {
      index,
      deadline: began + (index % 2 === 0 ? 1_500 : 600_000),
    });
  let last = performance.now();
  let longestMs = 0;
  await until(() => {
    longestMs = Math.max(longestMs, performance.now() - last);
    last = performance.now();
    return ended === 50_000;
  }, 30_000);
  expect(longestMs).toBeLessThan(1_000);
  expect(ring.submitter.pending).toBe(50_000);
});
