/**
 * Benchmark `failover`: SIGKILL of an owner, until tasks of its keys run elsewhere.
 *
 * | case | what is timed, from the signal on |
 * |---|---|
 * | `same-machine` | the owner has 100,000 tasks queued; a peer adopts its directory: the last of the keys with queued tasks runs one |
 * | `other-machine` | nodes with `--machine` set apart: the last of the dead owner's partitions runs a new task |
 *
 * Two kills a run, each of another ring. After a kill of the first kind every task must have run.
 */

import { waitUntil } from "../services/lab/lab.ts";
import { startGenerator } from "./generator.ts";
import { countOf, type Mark, marksWhen, percentile } from "./marks.ts";
import { countsOf } from "./probe.ts";
import { type BenchOptions, type BenchResult, resultOf } from "./result.ts";
import { keysOf, openRing, settled } from "./rings.ts";

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const results: BenchResult[] = [];
  for (const [name, kill] of CASES) {
    if (options.case !== undefined && options.case !== name) continue;
    const seen: Seen[] = [];
    for (let at = 0; at < options.runs * KILLS_PER_RUN; at++) seen.push(await kill());
    results.push(
      resultOf({
        case: name,
        subject: "taskring",
        unit: "s",
        values: seen.map((each) => each.worstS),
        extra: {
          median_key_s: Number(
            resultOf({ case: "", subject: "", unit: "", values: seen.map((each) => each.medianS) }).median.toFixed(3),
          ),
          keys: Math.min(...seen.map((each) => each.keys)),
          ...(name === "same-machine" ? { queued_at_kill: Math.min(...seen.map((each) => each.queued)), lost: 0 } : {}),
        },
      }),
    );
  }
  return results;
}

interface Seen {
  /** The last and the middle key. */
  readonly worstS: number;
  readonly medianS: number;
  readonly keys: number;
  readonly queued: number;
}

async function sameMachine(): Promise<Seen> {
  await using ring = await openRing(3);
  const { lab, client } = ring;
  const generator = startGenerator();
  try {
    const document = await settled(client, lab.names());
    const owned = document.owners.filter((owner) => document.nodes[owner]?.name === VICTIM).length;
    const keys = keysOf(document, { app: APP, node: VICTIM, perPartition: Math.ceil(KEYS / owned) });
    const perKey = Math.ceil(QUEUED / keys.length);
    const tasks = perKey * keys.length;
    await client.apps.pause(APP);
    const report = await generator.run({
      addresses: lab.addresses,
      type: "mark",
      app: APP,
      keys,
      tasks,
      phase: "queued",
    });
    if (report.accepted !== tasks)
      throw new Error(`${report.accepted} of ${tasks} tasks were accepted: ${JSON.stringify(report.refusedByCode)}`);
    await client.apps.resume(APP);
    const { http } = lab.node(VICTIM);
    await waitUntil("the owner has begun", async () => (await countsOf([http])).completed > 0, 10_000);
    const killedAt = Number(await lab.kill(VICTIM));
    const marks = await marksWhen(ring.marks, "every task has run", (read) =>
      keys.every((key) => (read.get(`${APP}/${key}`)?.length ?? 0) >= perKey),
    );
    const before = countOf(new Map([...marks].map(([key, list]) => [key, list.filter(isVictims)])));
    return { ...takeover(marks, killedAt), queued: tasks - before };
  } finally {
    await generator.stop();
  }
}

async function otherMachine(): Promise<Seen> {
  await using ring = await openRing(3, { flagsOf: (name) => ["--machine", `machine-${name}`] });
  const { lab, client } = ring;
  const generator = startGenerator();
  try {
    const document = await settled(client, lab.names());
    const keys = keysOf(document, { app: APP, node: VICTIM, perPartition: 1 });
    const killedAt = Number(await lab.kill(VICTIM));
    const running = generator.run({
      addresses: lab.addresses,
      type: "mark",
      app: APP,
      keys,
      perSecond: 500,
      seconds: 60,
      phase: "new",
    });
    running.catch(() => undefined); // It is awaited below.
    const marks = await marksWhen(ring.marks, "a new task of each partition has run", (read) =>
      keys.every((key) => read.has(`${APP}/${key}`)),
    );
    generator.finish();
    await running;
    return { ...takeover(marks, killedAt), queued: 0 };
  } finally {
    await generator.stop();
  }
}

/** From the kill to each key's first start at a survivor. */
function takeover(marks: ReadonlyMap<string, readonly Mark[]>, killedAt: number): Omit<Seen, "queued"> {
  const waits: number[] = [];
  for (const list of marks.values()) {
    const first = list.find((mark) => !isVictims(mark));
    if (first !== undefined) waits.push((first.startedAt - killedAt) / 1e9);
  }
  waits.sort((left, right) => left - right);
  return { worstS: percentile(waits, 1), medianS: percentile(waits, 0.5), keys: waits.length };
}

function isVictims(mark: Mark): boolean {
  return mark.process.startsWith(`${VICTIM}-`);
}

const CASES: readonly (readonly [string, () => Promise<Seen>])[] = [
  ["same-machine", sameMachine],
  ["other-machine", otherMachine],
];
const APP = "bench-held";
const VICTIM = "n2";
const QUEUED = 100_000;
const KEYS = 10_000;
/** The contract asks for ten kills, and for five runs. */
const KILLS_PER_RUN = 2;
