/**
 * The load of one chaos run, in a process of its own: numbered tasks at a steady rate, each acknowledgement written to the
 * client's own history file. `node load.js '{"addresses":[…],"tasks":…,"keys":…,"perSecond":…,"seed":…}'` says
 * `started` once the ring answers and `{ "accepted": …, "refused": {…} }` at the end.
 *
 * A task without an outcome within its deadline is counted as refused: whether it runs is open, and nothing is claimed.
 */

import { mintId } from "../../ring/tasks/task-id.ts";
import { connect } from "../../services/client/ring-client.ts";
import { monotonicNow } from "../../services/history/line.ts";
import { HistoryWriter } from "../../services/history/writer.ts";
import { seededRandom } from "../../services/testing/random.ts";
import type { Work } from "./apps.ts";

export interface LoadOptions {
  readonly addresses: readonly string[];
  readonly tasks: number;
  readonly keys: number;
  readonly perSecond: number;
  readonly seed: number;
  readonly historyDirectory: string;
}

export interface LoadReport {
  readonly accepted: number;
  readonly duplicates: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly seconds: number;
  /** Of one task, from push to outcome. */
  readonly slowestMs: number;
}

async function load(options: LoadOptions): Promise<LoadReport> {
  const random = seededRandom(options.seed);
  using history = new HistoryWriter({ directory: options.historyDirectory, role: "client" });
  await using client = connect({ addresses: options.addresses, clientId: "chaos" });
  await client.ready({ deadlineMs: 10_000 });
  process.stdout.write("started\n");
  const began = performance.now();
  const sent: {
    readonly id: string;
    readonly key: string;
    readonly seq: number;
    readonly at: number;
    readonly submitted: number;
  }[] = [];
  const nextSeq = new Map<string, number>();
  let slowestMs = 0;
  const sink = client.openSink({
    deadlineMs: DEADLINE_MS,
    onOutcome: (index, outcome) => {
      const { id, key, seq, at, submitted } = sent[index]!;
      slowestMs = Math.max(slowestMs, performance.now() - at);
      if (outcome?.type !== "refused") history.accepted({ id, app: APP, key, submitted, seq });
    },
  });
  for (let pushed = 0; pushed < options.tasks; pushed++) {
    const due = began + (pushed * 1_000) / options.perSecond;
    while (performance.now() < due) await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    const key = `key-${random.below(options.keys)}`;
    const seq = nextSeq.get(key) ?? 0;
    nextSeq.set(key, seq + 1);
    const id = mintId({ wallMs: Date.now(), random: Math.random, app: APP, key });
    const payload: Work = {
      seq,
      ms: random.below(21),
      children: random.chance(0.05) ? 1 + random.below(3) : 0,
      fails: random.chance(0.01),
    };
    sent.push({ id, key, seq, at: performance.now(), submitted: monotonicNow() });
    if (!sink.push({ app: APP, type: "work", key, payload, taskId: id })) await sink.ready();
  }
  await sink.drained();
  const { accepted, duplicates, refusedByCode } = sink.counts;
  return {
    accepted: accepted + duplicates,
    duplicates,
    refused: Object.fromEntries(refusedByCode),
    seconds: (performance.now() - began) / 1_000,
    slowestMs,
  };
}

const APP = "chaos";
const DEADLINE_MS = 60_000;

process.stdout.write(`${JSON.stringify(await load(JSON.parse(process.argv[2] ?? "{}") as LoadOptions))}\n`);
