/**
 * Cases `killed` and `joined` of the benchmark `pipe`: 100,000 inputs or more over three fresh processes; at a random moment one of
 * them that did not open the run gets SIGKILL, or a fourth one joins. Each run is judged by what came out, not by its report:
 *
 * T1  every input came out, and the report says so: nothing lost, nothing failed;
 * T2  what came out twice is counted by the report, and is no more than what was in flight; without a death there is nothing twice;
 * T3  no sender saw an error, and afterwards no node knows the run.
 * A run that breaks one of them, or does not end in time, fails the benchmark with what its workers were waiting for.
 */

import { fileURLToPath } from "node:url";
import type { Report } from "../pipe/views.ts";
import { connect, type RingClient } from "../services/client/index.ts";
import type { RemoteRun } from "../services/client/pipe-run.ts";
import { Lab, waitUntil } from "../services/lab/lab.ts";
import { type BenchResult, resultOf } from "./result.ts";

type Trouble = "killed" | "joined";

interface Outcome {
  readonly seconds: number;
  readonly sent: number;
  readonly twice: number;
  readonly resent: number;
}

export async function troubleCase(trouble: Trouble, runs: number): Promise<readonly BenchResult[]> {
  const outcomes: Outcome[] = [];
  for (let at = 0; at < runs; at++) {
    const outcome = await once(trouble);
    process.stderr.write(
      `${trouble} ${at + 1}/${runs}: ${outcome.sent} inputs, ${outcome.seconds.toFixed(2)} s, ${outcome.resent} sent again, ${outcome.twice} came twice\n`,
    );
    outcomes.push(outcome);
  }
  return [
    resultOf({
      case: trouble,
      subject: "taskring",
      unit: "s",
      values: outcomes.map(({ seconds }) => seconds),
      extra: {
        "least inputs": Math.min(...outcomes.map(({ sent }) => sent)),
        lost: 0,
        "most sent again": Math.max(...outcomes.map(({ resent }) => resent)),
        "most twice": Math.max(...outcomes.map(({ twice }) => twice)),
      },
    }),
  ];
}

async function once(trouble: Trouble): Promise<Outcome> {
  await using lab = await Lab.open({ apps: [APP], flags: ["--profile", "fast"] });
  for (const name of ["n1", "n2", "n3"]) await lab.start(name);
  const ring = connect({ addresses: [lab.node("n1").grpc] });
  try {
    await owners(ring, 3);
    const run = ring.run("pass-three");
    const id = await run.opened;
    const moment = Math.floor(Math.random() * INPUTS);
    const start = performance.now();
    const passed = await within(
      passing(run, moment, () => disturb(lab, ring, trouble)),
      async () => waits(ring, id),
    );
    const outcome = judged(trouble, passed, (performance.now() - start) / 1_000);
    await nothingLeft(lab);
    return outcome;
  } finally {
    ring.close();
  }
}

async function disturb(lab: Lab, ring: RingClient, trouble: Trouble): Promise<void> {
  if (trouble === "killed") return void (await lab.kill(Math.random() < 0.5 ? "n2" : "n3"));
  await lab.start("n4");
  await owners(ring, 4);
}

interface Passed {
  readonly report: Report;
  readonly sent: number;
  readonly seen: ReadonlyMap<number, number>;
}

/** Four senders at once, so that some of them wait for room when the moment comes; they go on until it is over. */
async function passing(run: RemoteRun, moment: number, midway: () => Promise<void>): Promise<Passed> {
  const seen = new Map<number, number>();
  let sent = 0;
  let over = false;
  let disturbed: Promise<void> | undefined;
  const send = async (): Promise<void> => {
    while (!over || sent < INPUTS) {
      const first = sent;
      sent += 500;
      await run.sendMany(Array.from({ length: sent - first }, (_, index) => first + index));
      if (sent > moment)
        disturbed ??= midway().finally(() => {
          over = true;
        });
    }
  };
  const reading = (async () => {
    for await (const outputs of run.batches)
      for (const output of outputs as number[]) seen.set(output, (seen.get(output) ?? 0) + 1);
  })();
  await Promise.all([send(), send(), send(), send()]);
  run.end();
  await reading;
  await disturbed;
  return { report: await run.report(), sent, seen };
}

function judged(trouble: Trouble, { report, sent, seen }: Passed, seconds: number): Outcome {
  const twice = [...seen.values()].reduce((sum, times) => sum + times - 1, 0);
  const resent = Number(report.resent);
  const wrong = [
    ...(report.state === "done" ? [] : [`the run is ${report.state}: ${report.error?.detail}`]),
    ...(seen.size === sent ? [] : [`${sent - seen.size} inputs are lost`]),
    ...(Number(report.acknowledged) === sent ? [] : [`${report.acknowledged} of ${sent} are acknowledged`]),
    ...(Number(report.failed) === 0 ? [] : [`${report.failed} have failed`]),
    ...(twice <= resent ? [] : [`${twice} came twice, and the report counts ${resent}`]),
    ...(resent <= (trouble === "killed" ? IN_FLIGHT : 0) ? [] : [`${resent} were sent again`]),
  ];
  if (wrong.length > 0) throw new Error(`${trouble}: ${wrong.join("; ")}`);
  return { seconds, sent, twice, resent };
}

async function nothingLeft(lab: Lab): Promise<void> {
  for (const name of lab.names()) {
    const client = connect({ addresses: [lab.node(name).grpc] });
    try {
      await waitUntil(`no run on ${name}`, async () => (await client.pipes.list()).runs.length === 0, 2_000);
    } finally {
      client.close();
    }
  }
}

async function waits(ring: RingClient, id: string): Promise<string> {
  const { progress, workers, unreachable } = await ring.pipes.status(id);
  const stuck = workers.filter((worker) => worker.queue + worker.blocked > 0 || worker.state !== "waiting");
  return JSON.stringify({ progress, unreachable, stuck: stuck.slice(0, 20) });
}

/** What is being waited for, when it takes too long. */
async function within<T>(work: Promise<T>, why: () => Promise<string>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      why()
        .catch((error: unknown) => String(error))
        .then((text) => reject(new Error(`not over after ${DEADLINE_MS} ms: ${text}`)));
    }, DEADLINE_MS);
  });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function owners(ring: RingClient, count: number): Promise<void> {
  await waitUntil(
    `${count} owners`,
    async () => new Set((await ring.cluster.ring()).owners.map((owner) => JSON.stringify(owner))).size === count,
    60_000,
  );
}

const APP = fileURLToPath(new URL("../examples/pipelines.js", import.meta.url));
const INPUTS = 100_000;
/** Three fittings, three nodes: each fitting of each node may have a window (4,096) with each of two peers. */
const IN_FLIGHT = 3 * 3 * 2 * 4_096;
const DEADLINE_MS = 40_000;
