/** The gauges that mirror the apps' queues say what is there now, and sums for those who share a label. */

import { expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import type { Gossip } from "../../ring/io/gossip.ts";
import type { NodeDriver } from "../../ring/io/node.ts";
import type { NodeStore } from "../../ring/io/store/node-store.ts";
import type { Swim } from "../../ring/membership/swim.ts";
import type { TaskEvent } from "../../ring/tasks/engine-contract.ts";
import type { AppView } from "../../ring/tasks/views.ts";
import { feedMetrics } from "../../services/host/metrics-feed.ts";
import { BusyApps } from "../../services/metrics/busy-apps.ts";
import { createNodeMetrics, type NodeMetrics } from "../../services/metrics/node-metrics.ts";
import { Registry } from "../../services/metrics/registry.ts";
import type { Runner } from "../../services/runner/runner.ts";

test("an app that has nothing left is not shown with what it had, and those without a name are summed", () => {
  let views: readonly AppView[] = [];
  const metrics = createNodeMetrics(new Registry(new BusyApps({ named: 1 })));
  metrics.tasksAccepted.add(1, "a");
  const feed = feedOf(metrics, () => views);
  const shown = (name: string): string[] => shownOf(metrics, name);
  try {
    views = [view("a", 7), view("b", 5), view("c", 3)];
    for (const name of ["queue_depth", "dead_letters", "children_waiting"])
      expect(shown(name)).toEqual([`taskring_${name}{app="a"} 7`, `taskring_${name}{app="other"} 8`]);
    expect(shown("queue_oldest_age_seconds")).toEqual([
      'taskring_queue_oldest_age_seconds{app="a"} 7',
      'taskring_queue_oldest_age_seconds{app="other"} 5',
    ]);
    views = [];
    for (const name of ["queue_depth", "dead_letters", "children_waiting", "queue_oldest_age_seconds"])
      expect(shown(name).filter((line) => !line.endsWith(" 0"))).toEqual([]);
  } finally {
    feed.stop();
  }
});

test("apps of which nothing was counted since the start are shown by name as long as names are left", () => {
  const metrics = createNodeMetrics(new Registry(new BusyApps({ named: 2 })));
  const feed = feedOf(metrics, () => [view("a", 7), view("b", 5), view("c", 3)]);
  try {
    expect(shownOf(metrics, "dead_letters")).toEqual([
      'taskring_dead_letters{app="a"} 7',
      'taskring_dead_letters{app="b"} 5',
      'taskring_dead_letters{app="other"} 3',
    ]);
  } finally {
    feed.stop();
  }
});

test("every app is counted in other, however many there are", () => {
  const metrics = createNodeMetrics();
  const views = Array.from({ length: 300 }, (_, at) => view(`app-${at}`, 2));
  const feed = feedOf(metrics, (limit) => views.slice(0, limit));
  try {
    const shown = shownOf(metrics, "dead_letters");
    expect(shown).toHaveLength(201);
    expect(shown.at(-1)).toBe('taskring_dead_letters{app="other"} 200');
  } finally {
    feed.stop();
  }
});

test("transfers under way are counted in both directions", () => {
  const metrics = createNodeMetrics();
  const feed = feedOf(metrics, () => []);
  try {
    expect(shownOf(metrics, "handoff_active")).toEqual([
      'taskring_handoff_active{direction="in"} 2',
      'taskring_handoff_active{direction="out"} 1',
    ]);
  } finally {
    feed.stop();
  }
});

test("a task that ended without a start is in no time of attempts", () => {
  const metrics = createNodeMetrics();
  const told: ((events: readonly TaskEvent[]) => void)[] = [];
  const feed = feedOf(metrics, () => [], { onTaskEvents: (listener) => void told.push(listener) });
  try {
    const end = { type: "ended", app: "a" as AppName, taskType: "t", key: "k", id: "i", waitMs: 0, runMs: 0 } as const;
    told[0]?.([
      { ...end, outcome: "retry", started: true, waitMs: 2_000, runMs: 3_000 },
      { ...end, outcome: "dead", started: false },
      { ...end, outcome: "cancelled", started: false, waitMs: 9_000 },
    ]);
    const lines = metrics.registry.render().split("\n");
    for (const [name, seconds] of [
      ["wait", 2],
      ["run", 3],
    ]) {
      expect(lines).toContain(`taskring_task_${name}_seconds_count 1`);
      expect(lines).toContain(`taskring_task_${name}_seconds_sum ${seconds}`);
    }
    expect(shownOf(metrics, "tasks_completed_total")).toHaveLength(3);
  } finally {
    feed.stop();
  }
});

function view(app: string, count: number): AppView {
  return { app, queued: count, running: 0, dead: count, children: count, oldestWaitMs: count * 1_000 };
}

function shownOf(metrics: NodeMetrics, name: string): string[] {
  const lines = metrics.registry.render().split("\n");
  return lines.filter((line) => line.startsWith(`taskring_${name}{`));
}

function feedOf(
  metrics: NodeMetrics,
  appViews: (limit: number) => readonly AppView[],
  { onTaskEvents }: { onTaskEvents?(listener: (events: readonly TaskEvent[]) => void): void } = {},
): ReturnType<typeof feedMetrics> {
  const stop = (): void => undefined;
  const counters = new Proxy({}, { get: () => 0 });
  return feedMetrics({
    node: {
      onTaskEvents: (listener: (events: readonly TaskEvent[]) => void) => {
        onTaskEvents?.(listener);
        return stop;
      },
      onRingEvent: () => stop,
      document: () => undefined,
      members: () => [],
      holdsLease: () => true,
      activeTransfers: () => ({ in: 2, out: 1 }),
    } as unknown as NodeDriver,
    store: { stats: () => counters } as unknown as NodeStore,
    runner: { runningCount: 0 } as Runner,
    swim: { counters, takeRoundTrips: () => [] } as unknown as Swim,
    gossip: { counters: { ...counters, drops: {} } } as unknown as Gossip,
    appViews,
    metrics,
  });
}
