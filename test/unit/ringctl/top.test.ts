/** `ringctl top`: rates from counters, and what stays open when a node's metrics cannot be read. */

import { expect, test } from "vitest";
import { countersOf, type TopSample, topSheet } from "../../../cli/top.ts";
import type { App, NodeStatus } from "../../../proto/messages.ts";

const plain = (text: string): string => text;

const PAGE = (accepted: number, ended: number): string => `# HELP taskring_tasks_accepted_total accepted
taskring_tasks_accepted_total{app="a"} ${accepted}
taskring_tasks_completed_total{app="a",outcome="done"} ${ended}
taskring_tasks_completed_total{outcome="dead",app="a"} 5
taskring_tasks_completed_total{app="b",outcome="done"} 7
taskring_queue_depth{app="a"} 99
`;

function node(name: string): NodeStatus {
  const partition = { partition: 0, queued: 4, delayed: 0, running: 1, dead: 0, schedules: 0, runnable: true };
  return {
    name,
    version: "1",
    state: "serving",
    epoch: 3,
    history: 1,
    queued: 4,
    running: 1,
    dead: 0,
    children: 0,
    partitions: [{ ...partition, oldestWaitMs: 1_500 }],
    stranded: [],
    apps: [],
    warnings: [],
    store: { rows: 9, bytes: 2_048, commits: 0, syncs: 0, quarantined: 0, broken: "" },
    adopting: [],
  };
}

function app(name: string, queued: number): App {
  const rest = { match: name, version: "1", existence: "implied", paused: false, limits: null };
  return { app: name, ...rest, queued, running: 0, dead: 0, children: 0, oldestWaitMs: 0 };
}

function sample(atMs: number, pages: Readonly<Record<string, string>>): TopSample {
  const counters = new Map(Object.entries(pages).map(([name, page]) => [name, countersOf(page)]));
  return { atMs, nodes: [node("n1"), node("n2")], apps: [app("idle", 0), app("b", 3), app("a", 8)], counters };
}

test("the counters of a metrics page are summed by app", () => {
  const { accepted, ended } = countersOf(PAGE(10, 20));
  expect([...accepted]).toEqual([["a", 10]]);
  expect([...ended]).toEqual([
    ["a", 25],
    ["b", 7],
  ]);
});

test("rates are differences over the time between two looks; idle apps are left out", () => {
  const before = sample(1_000, { n1: PAGE(0, 0), n2: PAGE(100, 50) });
  const now = sample(3_000, { n1: PAGE(400, 100), n2: PAGE(100, 250) });
  const sheet = topSheet(before, now);
  expect(sheet.items).toMatchObject([
    { node: "n1", acceptedPerSecond: 200, endedPerSecond: 50, queued: 4, oldestWaitMs: 1_500 },
    { node: "n2", acceptedPerSecond: 0, endedPerSecond: 100 },
  ]);
  expect(sheet.extra).toMatchObject({
    seconds: 2,
    apps: [
      { app: "a", acceptedPerSecond: 200, endedPerSecond: 150, queued: 8 },
      { app: "b", acceptedPerSecond: 0, queued: 3 },
    ],
  });
  const text = sheet.lines(plain).join("\n");
  expect(text).toMatch(/n1 +serving +1 +200 +50 +4 +1 +0 +1\.5 s +2\.0 KiB/);
  expect(text).not.toContain("idle");
});

test("a node whose metrics cannot be read leaves its rates open, and with them those of the apps", () => {
  const sheet = topSheet(sample(0, { n1: PAGE(0, 0) }), sample(1_000, { n1: PAGE(5, 5) }));
  expect(sheet.items[0]).toMatchObject({ acceptedPerSecond: 5 });
  expect(sheet.items[1]).not.toHaveProperty("acceptedPerSecond");
  const { apps } = sheet.extra as { readonly apps: readonly object[] };
  expect(apps[0]).not.toHaveProperty("endedPerSecond");
  expect(sheet.lines(plain).join("\n")).toMatch(/n2 +serving +1 +- +-/);
});
