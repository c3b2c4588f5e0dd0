/** Readiness of a node: what it says now, not what it said a while ago. */

import { expect, test } from "vitest";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeStore } from "../../ring/io/store/node-store.ts";
import { health } from "../../services/host/health.ts";

test("a probe asks the node each time, and what gossip tells is what was last known", async () => {
  let open = 0;
  const node = {
    name: "a",
    document: () => ({ epoch: 3, owners: ["a", "a", "b"] }),
    holdsLease: () => true,
    ask: async () => ({
      type: "node-status",
      status: { state: "serving", partitions: Array.from({ length: open }, (_, partition) => ({ partition })) },
    }),
  } as unknown as NodeDriver;
  const { readiness, known, startup, stop } = health(node, { full: false } as unknown as NodeStore);
  try {
    expect((await readiness()).ready).toBe(false);
    expect((await startup()).ready).toBe(false);
    open = 2;
    expect(known().checks.find(({ name }) => name === "partitions")).toMatchObject({
      ok: false,
      detail: "0 of 2 open",
    });
    expect((await readiness()).ready).toBe(true);
    expect(known().ready).toBe(true);
    open = 1;
    expect((await readiness()).ready).toBe(false);
    expect((await startup()).ready).toBe(true);
  } finally {
    stop();
  }
});

test("P8: a store whose disk cannot keep up says how long commits have waited for it", async () => {
  const node = {
    name: "a",
    document: () => ({ epoch: 3, owners: [] }),
    holdsLease: () => true,
    ask: async () => ({ type: "node-status", status: { state: "serving", partitions: [] } }),
  } as unknown as NodeDriver;
  const store = { full: false, behindMs: 2_000 };
  const { readiness, stop } = health(node, store as unknown as NodeStore);
  try {
    expect((await readiness()).ready).toBe(true);
    store.behindMs = 12_000;
    expect((await readiness()).checks.find(({ name }) => name === "store")).toEqual({
      name: "store",
      ok: false,
      detail: "STORE_SLOW: commits have waited 12 s for the disk",
    });
  } finally {
    stop();
  }
});

test("P8: a node that stops says so where it says that it is not ready", async () => {
  const node = {
    name: "a",
    document: () => ({ epoch: 3, owners: [] }),
    holdsLease: () => true,
    ask: async () => ({ type: "node-status", status: { state: "stopping", partitions: [] } }),
  } as unknown as NodeDriver;
  const { readiness, stop } = health(node, { full: false } as unknown as NodeStore);
  stop();
  const { ready, checks } = await readiness();
  expect(ready).toBe(false);
  expect(checks.filter(({ ok }) => !ok)).toEqual([
    { name: "stopping", ok: false, detail: "DRAINING: attempts under way may end, none starts" },
  ]);
});

test("P8: a node without a lease says who has not given it", async () => {
  const node = {
    name: "a",
    document: () => ({ epoch: 3, owners: [] }),
    holdsLease: () => false,
    ask: async () => ({ type: "node-status", status: { state: "serving", partitions: [] } }),
  } as unknown as NodeDriver;
  const told = async (store: { readonly full: boolean; readonly shared?: boolean }): Promise<string | undefined> => {
    const { readiness, stop } = health(node, store as unknown as NodeStore);
    stop();
    return (await readiness()).checks.find(({ name }) => name === "lease")?.detail;
  };
  expect(await told({ full: false })).toBe("NO_LEASE: a majority of voters cannot be reached");
  expect(await told({ full: false, shared: true })).toBe(
    "NO_LEASE: Redis does not answer, or does not give it; the log says why",
  );
});
