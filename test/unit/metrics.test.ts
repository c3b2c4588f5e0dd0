import { describe, expect, test } from "vitest";
import { BusyApps } from "../../services/metrics/busy-apps.ts";
import { Histogram } from "../../services/metrics/histogram.ts";
import { createNodeMetrics } from "../../services/metrics/node-metrics.ts";
import { Registry } from "../../services/metrics/registry.ts";
import { fc } from "../arbitrary.ts";

describe("Histogram", () => {
  test("a quantile is within 6.3 % above the exact one", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-5, max: 1e5, noNaN: true }), { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, quantile) => {
          const histogram = new Histogram();
          for (const value of values) histogram.record(value);
          const sorted = values.toSorted((a, b) => a - b);
          const exact = sorted[Math.max(1, Math.ceil(quantile * values.length)) - 1] as number;
          const told = histogram.quantile(quantile) as number;
          expect(told).toBeGreaterThanOrEqual(exact);
          expect(told).toBeLessThanOrEqual(exact * 1.0626);
        },
      ),
    );
  });

  test("merging is the same as recording everything in one, and survives a snapshot", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e7, noNaN: true })),
        fc.array(fc.double({ min: 0, max: 10, noNaN: true })),
        (left, right) => {
          const [a, b, both] = [new Histogram(), new Histogram(), new Histogram()];
          for (const value of left) for (const one of [a, both]) one.record(value);
          for (const value of right) for (const one of [b, both]) one.record(value);
          a.merge(JSON.parse(JSON.stringify(b.snapshot())));
          expect(a.snapshot().buckets).toEqual(both.snapshot().buckets);
          expect(a.count).toBe(both.count);
          expect(a.sum).toBeCloseTo(both.sum, 3);
        },
      ),
    );
  });

  test("powers of two lie in the bucket that ends there, and odd values count as 0", () => {
    const histogram = new Histogram();
    for (const value of [0.5, 1, 2, -1, Number.NaN, Number.POSITIVE_INFINITY]) histogram.record(value);
    const rows = new Map(histogram.cumulative().map(({ bound, count }) => [bound, count]));
    expect([rows.get(0.25), rows.get(0.5), rows.get(1), rows.get(2), rows.get(1024)]).toEqual([2, 3, 4, 5, 5]);
    expect(histogram.count).toBe(6);
    expect(new Histogram().quantile(0.5)).toBeUndefined();
  });
});

describe("BusyApps", () => {
  test("P5: any number of apps gives a bounded number of names", () => {
    const busy = new BusyApps({ named: 3, candidates: 5 });
    const labels = new Set(Array.from({ length: 1_000 }, (_, at) => busy.touch(`app-${at}`)));
    expect(labels).toEqual(new Set(["app-0", "app-1", "app-2", "other"]));
  });

  test("an app that becomes at least twice as busy takes the name of the idlest", () => {
    const busy = new BusyApps({ named: 2 });
    const lost: string[] = [];
    busy.onDropped((app) => lost.push(app));
    busy.touch("a", 10);
    busy.touch("b", 100);
    busy.touch("c", 15);
    busy.rerank();
    expect(lost).toEqual([]);
    busy.touch("c", 15);
    busy.rerank();
    expect(lost).toEqual(["a"]);
    expect([busy.labelOf("a"), busy.labelOf("b"), busy.labelOf("c")]).toEqual(["other", "b", "c"]);
  });

  test("a newcomer is counted even when the list of candidates was full", () => {
    const busy = new BusyApps({ named: 1, candidates: 4 });
    busy.touch("first", 1_000);
    for (let at = 0; at < 10; at++) busy.touch(`small-${at}`, 10);
    busy.rerank();
    for (let round = 0; round < 20; round++) {
      busy.touch("giant", 5_000);
      busy.rerank();
    }
    expect(busy.labelOf("giant")).toBe("giant");
  });
});

describe("Registry", () => {
  test("counters, gauges and histograms are rendered as Prometheus text", () => {
    const registry = new Registry();
    const tasks = registry.counter({ name: "tasks_total", help: "Tasks.", labels: ["app", "outcome"] });
    const epoch = registry.gauge({ name: "ring_epoch", help: "A \\ and\na line." });
    const run = registry.histogram({ name: "task_run_seconds", help: "Time." });
    tasks.add(2, "acme", "done");
    tasks.add(1, "acme", 'we"ird\\\n');
    tasks.add(-5, "acme", "done");
    epoch.set(7);
    run.record(0.3);
    const lines = registry.render().split("\n");
    expect(lines.slice(0, 6)).toEqual([
      "# HELP taskring_tasks_total Tasks.",
      "# TYPE taskring_tasks_total counter",
      'taskring_tasks_total{app="acme",outcome="done"} 2',
      'taskring_tasks_total{app="acme",outcome="we\\"ird\\\\\\n"} 1',
      "# HELP taskring_ring_epoch A \\\\ and\\na line.",
      "# TYPE taskring_ring_epoch gauge",
    ]);
    expect(lines).toContain("taskring_ring_epoch 7");
    expect(lines).toContain('taskring_task_run_seconds_bucket{le="0.25"} 0');
    expect(lines).toContain('taskring_task_run_seconds_bucket{le="0.5"} 1');
    expect(lines).toContain('taskring_task_run_seconds_bucket{le="+Inf"} 1');
    expect(lines).toContain("taskring_task_run_seconds_count 1");
    expect(lines.at(-1)).toBe("");
  });

  test("P5: ten thousand apps give at most 201 series, and counters never fall", () => {
    const registry = new Registry();
    const tasks = registry.counter({ name: "tasks_total", help: "Tasks.", labels: ["app"] });
    const depth = registry.gauge({ name: "queue_depth", help: "Depth.", labels: ["app"] });
    for (let at = 0; at < 10_000; at++) {
      tasks.add(1, `app-${at}`);
      depth.add(1, `app-${at}`);
    }
    const series = (name: string) =>
      registry
        .render()
        .split("\n")
        .filter((line) => line.startsWith(`taskring_${name}{`));
    expect(series("tasks_total")).toHaveLength(201);
    expect(series("queue_depth")).toHaveLength(201);
    expect(tasks.valueOf("other")).toBe(9_800);
    expect(depth.valueOf("other")).toBe(9_800);
    tasks.add(1_000, "app-9999");
    registry.render();
    expect(tasks.valueOf("other")).toBe(10_800);
    tasks.add(5, "app-9999");
    expect(tasks.valueOf("app-9999")).toBe(5);
    expect(series("tasks_total")).toHaveLength(201);
  });

  test("P5: a label with endless values is cut off and the loss is counted", () => {
    const registry = new Registry();
    const odd = registry.counter({ name: "odd_total", help: "Odd.", labels: ["reason"] });
    for (let at = 0; at < 5_000; at++) odd.add(1, `reason-${at}`);
    const text = registry.render();
    expect(text.split("\n").filter((line) => line.startsWith("taskring_odd_total{"))).toHaveLength(4_096);
    expect(text).toContain("taskring_metrics_dropped_total 904");
  });

  test("a gauge is cleared and raised, and a collector that throws costs only itself", () => {
    const registry = new Registry();
    const age = registry.gauge({ name: "age_seconds", help: "Age.", labels: ["state"] });
    registry.onCollect(() => {
      throw new Error("no");
    });
    registry.onCollect(() => {
      age.clear();
      age.raise(3, "old");
      age.raise(2, "old");
    });
    age.set(1, "gone");
    const text = registry.render();
    expect(text).toContain('taskring_age_seconds{state="old"} 3');
    expect(text).not.toContain("gone");
  });

  test("a name that is taken or malformed is a mistake of the programmer", () => {
    const registry = new Registry();
    registry.gauge({ name: "one", help: "" });
    expect(() => registry.gauge({ name: "one", help: "" })).toThrow();
    expect(() => registry.gauge({ name: "Not-Good", help: "" })).toThrow();
  });

  test("the metrics of a node have their public names", () => {
    const metrics = createNodeMetrics();
    const text = metrics.registry.render();
    for (const name of [
      "ring_epoch",
      "members",
      "tasks_accepted_total",
      "tasks_completed_total",
      "queue_depth",
      "queue_oldest_age_seconds",
      "task_wait_seconds",
      "task_run_seconds",
      "dead_letters",
      "children_waiting",
      "handoff_active",
      "handoff_pause_seconds",
      "store_commit_seconds",
      "eventloop_lag_seconds",
    ])
      expect(text).toContain(`# TYPE taskring_${name} `);
    expect(text).toMatch(/taskring_resident_memory_bytes \d+/);
  });
});
