/**
 * Readiness by progress, not by presence: a node is ready when it serves its partitions under a lease and the ones with
 * runnable tasks complete some.
 */

import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeStore } from "../../ring/io/store/node-store.ts";
import type { NodeStatus } from "../../ring/node/requests.ts";
import type { Health } from "../http/server.ts";

export function health(node: NodeDriver, store: NodeStore): NodeHealth {
  let last: NodeStatus | undefined;
  let startedOnce = false;
  const ask = async (): Promise<NodeStatus | undefined> => {
    const answer = await node.ask({ type: "node-status" }, { deadlineMs: ASK_MS, to: node.name });
    if (answer.type !== "node-status") return undefined;
    last = answer.status;
    return last;
  };
  const timer = setInterval(() => void ask(), REFRESH_MS);
  timer.unref();
  const judge = (status: NodeStatus | undefined): Health => {
    const now = performance.now();
    const stalled = (status?.partitions ?? []).filter(
      (view) =>
        view.runnable && view.running === 0 && view.oldestWaitMs > STALL_MS && now - view.lastCompletion > STALL_MS,
    );
    const owned = node.document()?.owners.filter((owner) => owner === node.name).length ?? 0;
    const served = status?.partitions.length ?? 0;
    const checks = [
      {
        name: "ring",
        ok: node.document() !== undefined,
        detail: node.document() === undefined ? "not part of a ring yet" : `epoch ${node.document()!.epoch}`,
      },
      {
        name: "lease",
        ok: node.holdsLease(),
        detail: node.holdsLease()
          ? "held"
          : `NO_LEASE: ${store.shared ? REDIS_SILENT : "a majority of voters cannot be reached"}`,
      },
      { name: "store", ...storeHealth(store) },
      { name: "partitions", ok: served >= owned, detail: `${served} of ${owned} open` },
      {
        name: "progress",
        ok: stalled.length === 0,
        detail: stalled.length === 0 ? "ok" : `STALLED: ${stalled.map((view) => view.partition).join(", ")}`,
      },
      ...(status?.state === "stopping" ? [STOPPING] : []),
    ];
    const ready = checks.every((check) => check.ok);
    if (ready) startedOnce = true;
    return { ready, checks };
  };
  const readiness = async (): Promise<Health> => judge(await ask());
  return {
    known: () => judge(last),
    readiness,
    liveness: () => ALIVE,
    startup: async () => (startedOnce ? ALIVE : readiness()),
    stop: () => clearInterval(timer),
  };
}

function storeHealth(store: NodeStore): { readonly ok: boolean; readonly detail: string } {
  const behindMs = store.behindMs ?? 0;
  if (store.broken !== undefined) return { ok: false, detail: `STORE_BROKEN: ${store.broken.message}` };
  if (store.full)
    return { ok: false, detail: store.shared ? "STORE_SLOW: Redis is full or does not answer" : "disk full" };
  if (behindMs > BEHIND_MS)
    return { ok: false, detail: `STORE_SLOW: commits have waited ${Math.round(behindMs / 1_000)} s for the disk` };
  return { ok: true, detail: "ok" };
}

export interface NodeHealth {
  /** As it was when it was last asked, each `REFRESH_MS`. */
  readonly known: () => Health;
  /** As it is now. */
  readonly readiness: () => Promise<Health>;
  readonly liveness: () => Health;
  readonly startup: () => Promise<Health>;
  stop(): void;
}

const STOPPING = { name: "stopping", ok: false, detail: "DRAINING: attempts under way may end, none starts" };
const ALIVE: Health = { ready: true, checks: [] };
const ASK_MS = 1_000;
const REFRESH_MS = 2_000;
const STALL_MS = 30_000;
/** A disk that cannot keep up makes commits wait for some seconds now and then. */
const BEHIND_MS = 10_000;
const REDIS_SILENT = "Redis does not answer, or does not give it; the log says why";
