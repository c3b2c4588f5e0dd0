/**
 * `ringctl top`: what the nodes and the busiest apps do right now, in tasks a second.
 *
 * Queues come from the ring; rates are differences of the counters in each node's `/metrics`, and stay open for a node whose
 * HTTP address cannot be reached from here. Off a terminal it shows one interval and ends.
 */

import type { App, NodeStatus } from "../proto/messages.ts";
import { type AskedNode, askNode, type CommandRun, watching } from "./ask-node.ts";
import { parseDuration, showDuration } from "./duration.ts";
import { EXIT } from "./exit-codes.ts";
import type { Sheet } from "./output.ts";
import { bytes, type Column, count, tableLines } from "./table.ts";
import { tintOfState } from "./tint.ts";

export function top({ settings, output, flags }: CommandRun): Promise<number> {
  const everyMs = parseDuration(String(flags.every ?? "1s"), "--every");
  return askNode(settings, async (node) => {
    let before = await sampleOf(node);
    const look = async (): Promise<Sheet> => {
      await new Promise((resolve) => setTimeout(resolve, everyMs));
      const now = await sampleOf(node);
      const sheet = topSheet(before, now);
      before = now;
      return sheet;
    };
    if (output.interactive && flags.once !== true) return watching(async () => output.repaint(await look()), 0);
    output.show(await look());
    return EXIT.ok;
  });
}

export interface TopSample {
  readonly atMs: number;
  readonly nodes: readonly NodeStatus[];
  readonly apps: readonly App[];
  /** By node; missing for one whose metrics cannot be read. */
  readonly counters: ReadonlyMap<string, Counters>;
}

/** By app. */
export interface Counters {
  readonly accepted: ReadonlyMap<string, number>;
  readonly ended: ReadonlyMap<string, number>;
}

export function topSheet(before: TopSample, now: TopSample): Sheet {
  const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1_000);
  const rate = (of: keyof Counters, node: string | undefined, app: string | undefined): number | undefined => {
    const [was, is] = [total(before, of, { node, app }), total(now, of, { node, app })];
    return was === undefined || is === undefined ? undefined : Math.round(Math.max(0, is - was) / seconds);
  };
  const nodes: readonly NodeRow[] = now.nodes.map((status) => {
    const { name, state, queued, running, dead, partitions, store } = status;
    const [accepted, ended] = [rate("accepted", name, undefined), rate("ended", name, undefined)];
    return {
      node: name,
      state,
      partitions: partitions.length,
      ...(accepted === undefined ? {} : { acceptedPerSecond: accepted }),
      ...(ended === undefined ? {} : { endedPerSecond: ended }),
      queued,
      running,
      dead,
      oldestWaitMs: Math.max(0, ...partitions.map((view) => view.oldestWaitMs)),
      storeBytes: store?.bytes ?? 0,
    };
  });
  const apps: readonly AppRow[] = now.apps
    .map(({ app, queued, running, dead, oldestWaitMs }) => {
      const [accepted, ended] = [rate("accepted", undefined, app), rate("ended", undefined, app)];
      return {
        app,
        ...(accepted === undefined ? {} : { acceptedPerSecond: accepted }),
        ...(ended === undefined ? {} : { endedPerSecond: ended }),
        queued,
        running,
        dead,
        oldestWaitMs,
      };
    })
    .filter((row) => row.queued + row.running + (row.acceptedPerSecond ?? 0) + (row.endedPerSecond ?? 0) > 0)
    .sort((left, right) => busyness(right) - busyness(left) || (left.app < right.app ? -1 : 1))
    .slice(0, APPS_SHOWN);
  return {
    kind: "TopNode",
    items: nodes,
    extra: { apps, seconds: Math.round(seconds * 10) / 10 },
    lines: (paint) => [
      ...tableLines(NODE_COLUMNS, nodes, paint),
      "",
      ...(apps.length === 0 ? [paint("no app has anything to do", "dim")] : tableLines(APP_COLUMNS, apps, paint)),
    ],
  };
}

/** The two counters of a `/metrics` page. */
export function countersOf(page: string): Counters {
  const accepted = new Map<string, number>();
  const ended = new Map<string, number>();
  for (const [, name, labels = "", value] of page.matchAll(COUNTER)) {
    const app = /(?:^|,)app="([^"]*)"/.exec(labels)?.[1] ?? "";
    const of = name === "accepted" ? accepted : ended;
    of.set(app, (of.get(app) ?? 0) + Number(value));
  }
  return { accepted, ended };
}

interface Work {
  readonly acceptedPerSecond?: number;
  readonly endedPerSecond?: number;
  readonly queued: number;
  readonly running: number;
  readonly dead: number;
  readonly oldestWaitMs: number;
}

interface NodeRow extends Work {
  readonly node: string;
  readonly state: string;
  readonly partitions: number;
  readonly storeBytes: number;
}

interface AppRow extends Work {
  readonly app: string;
}

async function sampleOf({ client, call }: AskedNode): Promise<TopSample> {
  const [status, members, apps] = await Promise.all([
    client.cluster.status({}, call),
    client.cluster.members(call),
    client.apps.list({ limit: APPS_ASKED }, call),
  ]);
  const counters = new Map<string, Counters>();
  await Promise.all(
    members.members.map(async ({ name, httpAddress }) => {
      const page = httpAddress === "" ? undefined : await metricsOf(httpAddress);
      if (page !== undefined) counters.set(name, countersOf(page));
    }),
  );
  return { atMs: performance.now(), nodes: status.nodes, apps: apps.apps, counters };
}

async function metricsOf(address: string): Promise<string | undefined> {
  try {
    const answer = await fetch(`http://${address}/metrics`, { signal: AbortSignal.timeout(METRICS_MS) });
    return answer.ok ? await answer.text() : undefined;
  } catch {
    return undefined;
  }
}

/** Of one node or all, of one app or all; undefined when not everything that it would take is known. */
function total(
  { counters, nodes }: TopSample,
  of: keyof Counters,
  { node, app }: { readonly node: string | undefined; readonly app: string | undefined },
): number | undefined {
  let sum = 0;
  for (const name of node === undefined ? nodes.map((each) => each.name) : [node]) {
    const known = counters.get(name)?.[of];
    if (known === undefined) return undefined;
    for (const [each, value] of known) if (app === undefined || each === app) sum += value;
  }
  return sum;
}

function busyness({ acceptedPerSecond = 0, endedPerSecond = 0, queued, running }: Work): number {
  return acceptedPerSecond + endedPerSecond + queued + running;
}

function rateText(value: number | undefined): string {
  return value === undefined ? "-" : count(value);
}

function workColumns<Row extends Work>(): readonly Column<Row>[] {
  return [
    { title: "IN/S", text: (row) => rateText(row.acceptedPerSecond), right: true },
    { title: "ENDED/S", text: (row) => rateText(row.endedPerSecond), right: true },
    { title: "QUEUED", text: (row) => count(row.queued), right: true },
    { title: "RUNNING", text: (row) => count(row.running), right: true },
    { title: "DEAD", text: (row) => count(row.dead), right: true, tint: (row) => (row.dead > 0 ? "warn" : "plain") },
    {
      title: "OLDEST",
      text: (row) => (row.oldestWaitMs === 0 ? "-" : showDuration(row.oldestWaitMs)),
      right: true,
    },
  ];
}

const NODE_COLUMNS: readonly Column<NodeRow>[] = [
  { title: "NODE", text: ({ node }) => node },
  { title: "STATE", text: ({ state }) => state, tint: ({ state }) => tintOfState(state) },
  { title: "PARTITIONS", text: ({ partitions }) => count(partitions), right: true },
  ...workColumns<NodeRow>(),
  { title: "STORE", text: ({ storeBytes }) => bytes(storeBytes), right: true },
];
const APP_COLUMNS: readonly Column<AppRow>[] = [{ title: "APP", text: ({ app }) => app }, ...workColumns<AppRow>()];
const COUNTER = /^taskring_tasks_(accepted|completed)_total\{([^}]*)\} (\d+)/gm;
const APPS_ASKED = 1_000;
const APPS_SHOWN = 20;
const METRICS_MS = 1_000;
