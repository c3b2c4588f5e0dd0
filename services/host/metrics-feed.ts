/** Feeds the node's metrics from its events and views. */

import type { Gossip } from "../../ring/io/gossip.ts";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeStore } from "../../ring/io/store/node-store.ts";
import type { Swim } from "../../ring/membership/swim.ts";
import type { TaskEngineContract } from "../../ring/tasks/engine-contract.ts";
import { type NodeMetrics, watchEventLoopLag } from "../metrics/node-metrics.ts";
import type { Runner } from "../runner/runner.ts";
import { feedGossipMetrics } from "./gossip-feed.ts";

export function feedMetrics(parts: {
  readonly node: NodeDriver;
  readonly store: NodeStore;
  readonly runner: Runner;
  readonly swim: Swim;
  readonly gossip: Gossip;
  readonly appViews: TaskEngineContract["appViews"];
  readonly metrics: NodeMetrics;
}): { stop(): void } {
  const { node, store, runner, swim, gossip, appViews, metrics } = parts;
  const waits = metrics.taskWaitSeconds.of();
  const runs = metrics.taskRunSeconds.of();
  // Nearly all tasks are done: counted by app first, as one batch of events holds hundreds of them.
  const done = new Map<string, number>();
  const stopTasks = node.onTaskEvents((events) => {
    for (const event of events) {
      if (event.type === "accepted") metrics.tasksAccepted.add(event.count, event.app);
      else if (event.type === "ended") {
        if (event.outcome === "done") done.set(event.app, (done.get(event.app) ?? 0) + 1);
        else metrics.tasksCompleted.add(1, event.app, event.outcome);
        if (!event.started) continue;
        waits?.record(event.waitMs / 1_000);
        runs?.record(event.runMs / 1_000);
      }
    }
    for (const [app, count] of done) metrics.tasksCompleted.add(count, app, "done");
    done.clear();
  });
  const lag = watchEventLoopLag(metrics.eventloopLagSeconds);
  feedGossipMetrics(metrics, { swim, gossip });
  const stopRing = node.onRingEvent(({ type, detail }) => {
    const paused = type === "handoff-done" ? /submits waited (\d+) ms/.exec(detail)?.[1] : undefined;
    if (paused !== undefined) metrics.handoffPauseSeconds.record(Number(paused) / 1_000);
  });
  let syncs = 0;
  metrics.registry.onCollect(() => {
    const document = node.document();
    metrics.ringEpoch.set(document?.epoch ?? 0);
    const members = { alive: 0, suspect: 0, dead: 0, left: 0 };
    for (const { state } of node.members()) members[state]++;
    for (const [state, count] of Object.entries(members)) metrics.members.set(count, state);
    metrics.attemptsRunning.set(runner.runningCount);
    metrics.leaseHeld.set(node.holdsLease() ? 1 : 0);
    const stats = store.stats();
    metrics.storeSyncs.add(stats.syncs - syncs);
    syncs = stats.syncs;
    metrics.storeRows.set(stats.rows);
    metrics.storeBytes.set(stats.bytes);
    metrics.storeQuarantined.set(stats.quarantined);
    const { queueDepth, deadLetters, childrenWaiting, queueOldestAgeSeconds } = metrics;
    for (const gauge of [queueDepth, deadLetters, childrenWaiting, queueOldestAgeSeconds]) gauge.clear();
    for (const { app, queued, dead, children, oldestWaitMs } of appViews(Number.POSITIVE_INFINITY)) {
      queueDepth.add(queued, app);
      deadLetters.add(dead, app);
      childrenWaiting.add(children, app);
      queueOldestAgeSeconds.raise(oldestWaitMs / 1_000, app);
    }
    const active = node.activeTransfers();
    metrics.handoffActive.set(active.in, "in");
    metrics.handoffActive.set(active.out, "out");
  });
  return {
    stop: () => {
      stopTasks();
      stopRing();
      lag[Symbol.dispose]();
    },
  };
}
