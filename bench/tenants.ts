/**
 * `npm run bench -- tenants`: 10,000 apps from templates on three nodes, a resident in every tenth, and what one app that
 * floods the ring does to the others' waiting time.
 */

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect, type RingClient } from "../services/client/index.ts";
import { Lab, waitUntil } from "../services/lab/lab.ts";
import { type BenchOptions, type BenchResult, resultOf } from "./result.ts";

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  if (options.case !== undefined && options.case !== "apps-10k") return [];
  const quiet: number[] = [];
  const flooded: number[] = [];
  const ratios: number[] = [];
  const memory: number[] = [];
  const created: number[] = [];
  for (let count = 0; count < options.runs; count++) {
    const one = await once();
    quiet.push(one.quietMs);
    flooded.push(one.floodedMs);
    ratios.push(one.floodedMs / Math.max(1, one.quietMs));
    memory.push(one.rssAnonMb);
    created.push(one.allRanS);
  }
  return [
    resultOf({
      case: "apps-10k",
      subject: "taskring",
      unit: "s",
      values: created,
      extra: { what: "200,000 tasks of 10,000 apps run, 1,000 residents up" },
    }),
    resultOf({ case: "apps-10k-p99-quiet", subject: "taskring", unit: "ms", values: quiet }),
    resultOf({ case: "apps-10k-p99-flooded", subject: "taskring", unit: "ms", values: flooded }),
    resultOf({ case: "apps-10k-flood-ratio", subject: "taskring", unit: "x", values: ratios }),
    resultOf({
      case: "apps-10k-rss-anon",
      subject: "taskring",
      unit: "MB",
      values: memory,
      extra: { what: "largest node" },
    }),
  ];
}

interface Outcome {
  readonly allRanS: number;
  readonly quietMs: number;
  readonly floodedMs: number;
  readonly rssAnonMb: number;
}

async function once(): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "taskring-tenants-"));
  await using lab = await Lab.open({
    apps: [join(dirname(fileURLToPath(import.meta.url)), "tenants-apps.js")],
    env: { TASKRING_APP_TENANTS_DIR: folder },
  });
  try {
    for (const name of ["a", "b", "c"]) await lab.start(name);
    const client = connect({ addresses: lab.addresses });
    await using closing = { [Symbol.asyncDispose]: async () => void (await client.close()) };
    void closing;
    const names = Array.from({ length: APPS }, (_, index) => (index % 10 === 0 ? `live-${index}` : `event-${index}`));
    const startedAt = performance.now();
    const live = names.filter((name) => name.startsWith("live-"));
    for (let index = 0; index < live.length; index += 50)
      await Promise.all(live.slice(index, index + 50).map((name) => client.apps.create(name)));
    await submit(
      client,
      names.flatMap((app) =>
        Array.from({ length: TASKS_EACH }, (_, key) => ({ app, key: `k${key % 4}`, phase: "load" })),
      ),
    );
    await waitUntil(
      "all tasks and residents run",
      async () => {
        const seen = await read(folder);
        return (
          (seen.get("load")?.length ?? 0) >= APPS * TASKS_EACH && (seen.get("resident")?.length ?? 0) >= live.length
        );
      },
      120_000,
    );
    const allRanS = (performance.now() - startedAt) / 1_000;
    await trickle(client, names, "quiet");
    const flood = Array.from({ length: FLOOD_TASKS }, (_, index) => ({
      app: "flood",
      type: "ping",
      key: `f${index % 5_000}`,
      payload: { workMs: 5 },
    }));
    await client.submitMany(flood);
    await trickle(client, names, "flooded");
    const seen = await read(folder);
    return {
      allRanS,
      quietMs: p99(seen.get("quiet") ?? []),
      floodedMs: p99(seen.get("flooded") ?? []),
      rssAnonMb: Math.max(...(await Promise.all(lab.names().map((name) => rssAnonMb(lab.node(name).pid))))),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function submit(
  client: RingClient,
  tasks: readonly { app: string; key: string; phase: string }[],
): Promise<void> {
  const outcomes = await client.submitMany(
    tasks.map(({ app, key, phase }) => ({ app, type: "ping", key, payload: { phase, at: Date.now() } })),
    { deadlineMs: 120_000 },
  );
  const refused = outcomes.find((outcome) => outcome.type === "refused");
  if (refused !== undefined) throw new Error(`a submit was refused: ${JSON.stringify(refused)}`);
}

/** 500 tasks a second over all apps for a few seconds, and until they have run. */
async function trickle(client: RingClient, names: readonly string[], phase: string): Promise<void> {
  const end = performance.now() + TRICKLE_MS;
  for (let index = 0; performance.now() < end; index += 25) {
    const batch = Array.from({ length: 25 }, (_, at) => ({
      app: names[((index + at) * 7_919) % names.length]!,
      key: "t",
      phase,
    }));
    await submit(client, batch);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function read(folder: string): Promise<Map<string, number[]>> {
  const seen = new Map<string, number[]>();
  for (const name of await readdir(folder)) {
    for (const line of (await readFile(join(folder, name), "utf8")).split("\n")) {
      const space = line.indexOf(" ");
      if (space < 0) continue;
      const phase = line.slice(0, space);
      const values = seen.get(phase);
      if (values === undefined) seen.set(phase, [Number(line.slice(space + 1))]);
      else values.push(Number(line.slice(space + 1)));
    }
  }
  return seen;
}

async function rssAnonMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024;
}

function p99(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0;
}

const APPS = 10_000;
const TASKS_EACH = 20;
const FLOOD_TASKS = 50_000;
const TRICKLE_MS = 6_000;
