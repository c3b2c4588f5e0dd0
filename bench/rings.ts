/** Rings of real node processes for the benchmarks, and what is asked of them again and again. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RingReply } from "../proto/messages.ts";
import { partitionOf } from "../ring/hash.ts";
import type { RingClient } from "../services/client/index.ts";
import { connect } from "../services/client/index.ts";
import { Lab, waitUntil } from "../services/lab/lab.ts";

export interface BenchRing extends AsyncDisposable {
  readonly lab: Lab;
  readonly client: RingClient;
  /** Where the `mark` tasks write. */
  readonly marks: string;
}

/** Nodes `n1`, `n2`, … with the app of `load-apps.ts`, every partition where it belongs. */
export async function openRing(
  nodes: number,
  options: { readonly flagsOf?: (name: string) => readonly string[] } = {},
): Promise<BenchRing> {
  const marks = await mkdtemp(join(tmpdir(), "taskring-marks-"));
  const lab = await Lab.open({
    apps: [LOAD_APPS],
    flags: ["--log-level", "warn"],
    env: { TASKRING_APP_BENCH_DIR: marks },
  });
  const close = async (): Promise<void> => {
    await lab[Symbol.asyncDispose]();
    await rm(marks, { recursive: true, force: true });
  };
  try {
    for (let at = 1; at <= nodes; at++) await lab.start(`n${at}`, { flags: options.flagsOf?.(`n${at}`) ?? [] });
    const client = connect({ addresses: lab.addresses });
    await settled(client, lab.names());
    return {
      lab,
      client,
      marks,
      async [Symbol.asyncDispose]() {
        client.close();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Resolves once exactly these nodes own partitions and none is on its way. */
export function settled(client: RingClient, names: readonly string[], deadlineMs = 60_000): Promise<RingReply> {
  const wanted = [...names].sort().join();
  return waitUntil(
    `the ring is shared out over ${wanted}`,
    async () => {
      const ring = await client.cluster.ring().catch(() => undefined);
      if (ring === undefined || ring.next.some((next) => next >= 0)) return false;
      const owners = new Set(ring.owners.map((owner) => ring.nodes[owner]?.name ?? ""));
      return [...owners].sort().join() === wanted && ring;
    },
    deadlineMs,
  );
}

/** Keys of an app that a node owns, `perPartition` in each of its partitions. */
export function keysOf(
  ring: RingReply,
  at: { readonly app: string; readonly node: string; readonly perPartition: number },
): string[] {
  const wanted = new Map<number, number>();
  ring.owners.forEach((owner, partition) => {
    if (ring.nodes[owner]?.name === at.node) wanted.set(partition, at.perPartition);
  });
  const keys: string[] = [];
  for (let number = 0; wanted.size > 0; number++) {
    const key = `key-${number}`;
    const partition = partitionOf({ app: at.app, key }, ring.ringSize);
    const missing = wanted.get(partition);
    if (missing === undefined) continue;
    keys.push(key);
    if (missing === 1) wanted.delete(partition);
    else wanted.set(partition, missing - 1);
  }
  return keys;
}

const LOAD_APPS = join(dirname(fileURLToPath(import.meta.url)), "load-apps.js");
