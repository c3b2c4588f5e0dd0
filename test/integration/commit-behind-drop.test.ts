/**
 * P2, P3: a commit that a full disk put off is done after the drop of its partition that the machine asked for later: rows of
 * a copy that is gone come back, under the term of the next attempt of the same transfer.
 */

import { rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, type TestContext, test, vi } from "vitest";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { NodeDriver, type NodeWorld } from "../../ring/io/node.ts";
import { openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import type { RowChange } from "../../ring/store.ts";
import { PLANNED } from "../unit/node-handed.ts";
import { documentOf, keyIn, P0, Parts, talk } from "../unit/node-parts.ts";
import { mountSmallDisk } from "./small-disk.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test("the machine drops a copy while a commit with rows of it is under way (as it may)", () => {
  const a = new Parts("a");
  a.follow(documentOf({ epoch: 4 }));
  a.submit(P0);
  a.submit(P0, keyIn(0, 1));
  const b = new Parts("b");
  b.follow(documentOf({ epoch: 4 }));
  b.follow(PLANNED);
  b.delayed.add("sync"); // the commit that holds the chunk has no answer yet
  a.follow(PLANNED);
  talk(a, b);
  expect(b.commits.idle).toBe(false);
  expect(b.dropped).toEqual([]);
  // The sender gives up (its link broke, a new attempt, the plan changed).
  b.follow(documentOf({ epoch: 6, owner: "a" }));
  expect(b.commits.idle).toBe(false);
  expect(b.dropped).toEqual([P0]);
});

test("P2: what was dropped stays dropped, also when a full disk had put off a commit before", async (context: TestContext) => {
  const disk = mountSmallDisk(24);
  if (typeof disk === "string") return context.skip(disk);
  cleanups.push(disk.remove);
  const store = await openEmbeddedStore({ directory: join(disk.path, "store"), reserveBytes: 1024 * 1024 });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const partition = P0 as Partition;
  const term = { history: 1, generation: 3, opens: 0 }; // of a handoff that arrives (incoming.ts, #offered)
  const rows = (name: number, bytes: number): RowChange[] => [
    { key: Uint8Array.of(0x10, name), value: new Uint8Array(bytes).fill(name) },
  ];
  const commit = (group: number, changes: RowChange[]): NodeEffect => ({
    type: "commit",
    group,
    groups: [{ partition, term, changes }],
  });
  const drop: NodeEffect = { type: "drop", directory: { type: "own" }, partition };

  const events: NodeEvent[] = [];
  let wanted: NodeEffect[] = [];
  const machine = {
    document: documentOf({ epoch: 5 }),
    nextDeadline: () => undefined,
    step: (_now: number, event: NodeEvent): NodeEffect[] => {
      events.push(event);
      return wanted.splice(0);
    },
  };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const driver = new NodeDriver({ name: "b" as NodeName, machine, store, log } as unknown as NodeWorld);
  cleanups.push(() => driver.close());
  const perform = (...effects: NodeEffect[]): void => {
    wanted = effects;
    driver.step({ type: "tick" });
  };
  const until = (type: NodeEvent["type"], count = 1): Promise<void> =>
    vi.waitFor(() => expect(events.filter((event) => event.type === type).length).toBe(count), {
      timeout: 5_000,
      interval: 5,
    });

  perform(commit(1, rows(1, 1_000))); // the first chunk
  await until("committed");
  // Somebody fills the disk.
  const { bavail, bsize } = statfsSync(disk.path);
  const filler = join(disk.path, "filler");
  writeFileSync(filler, new Uint8Array(bavail * bsize - 512 * 1024));

  perform(commit(2, rows(2, 2 * 1024 * 1024))); // a chunk with a large task
  await new Promise((resolve) => setTimeout(resolve, 100)); // refused, and refused from the reserve: it waits for room
  perform(drop); // the transfer breaks off meanwhile
  await until("dropped");
  expect(events.filter(({ type }) => type === "committed")).toHaveLength(1);
  expect((await store.page({ partition, rowLimit: 10, byteLimit: 1 << 24 })).rows).toEqual([]);

  rmSync(filler); // room again
  await until("committed", 2);
  const found = (await store.page({ partition, rowLimit: 10, byteLimit: 1 << 24 })).rows.map(({ key }) => key[1]);
  expect({ found, copies: await store.partitions() }).toEqual({ found: [], copies: [] });
}, 30_000);
