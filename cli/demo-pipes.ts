/**
 * The two pipelines of `ringctl demo`: a client opens a run, and stops reading in its middle until a node has been killed there.
 *
 * D1  The run stands still meanwhile: nothing is read, so nothing is made (back-pressure), and the node dies in the middle of it.
 * D2  What is judged is what came out, item by item, and not only the run's own report.
 */

import type { Report } from "../pipe/views.ts";
import { RingError } from "../ring/errors.ts";
import type { RingClient } from "../services/client/ring-client.ts";
import { count, plural } from "./table.ts";

export interface PipeFacts {
  readonly pipeline: string;
  readonly killed: string;
  readonly expected: number;
  /** Different outputs that came. */
  readonly came: number;
  /** Outputs that came more than once. */
  readonly twice: number;
  readonly report: Report | undefined;
  /** Why there is none. */
  readonly error: string | undefined;
}

export interface PipeRehearsal {
  readonly pipeline: string;
  /** Resolves with how many outputs have come, once the reader stands still; rejects if the run ends before. */
  readonly middle: Promise<number>;
  /** A node has been killed: read on. */
  goOn(killed: string): void;
  readonly facts: Promise<PipeFacts>;
}

export function rehearsePipe(
  client: RingClient,
  given: {
    readonly pipeline: string;
    readonly input: object;
    readonly expected: number;
    /** The node that opens the run: the one that is not killed. */
    readonly address: string;
    readonly signal: AbortSignal;
  },
): PipeRehearsal {
  const [middle, atMiddle] = deferred<number>();
  const [killed, atKill] = deferred<string>();
  const facts = read(client, given, { atMiddle: atMiddle.resolve, killed });
  facts.then(
    () => atMiddle.reject(new RingError("INTERNAL", `${given.pipeline} was over before its middle`)),
    atMiddle.reject,
  );
  middle.catch(() => undefined);
  facts.catch(() => undefined);
  return { pipeline: given.pipeline, middle, goOn: atKill.resolve, facts };
}

export function pipeSentence({ pipeline, came, expected, twice, report }: PipeFacts): string {
  if (report === undefined) return `${pipeline} did not end well`;
  const { accepted, acknowledged, failed, resent } = report;
  return (
    `${pipeline}: ${count(came)} of ${count(expected)} came out; ${plural(Number(accepted), "input")} accepted, ` +
    `${count(Number(acknowledged))} acknowledged, ${count(Number(failed))} failed, ${count(Number(resent))} sent again, ` +
    `${count(twice)} came twice`
  );
}

async function read(
  client: RingClient,
  given: Parameters<typeof rehearsePipe>[1],
  moments: { readonly atMiddle: (came: number) => void; readonly killed: Promise<string> },
): Promise<PipeFacts> {
  const { pipeline, input, expected, address, signal } = given;
  const seen = new Set<string>();
  let outputs = 0;
  let victim = "";
  let report: Report | undefined;
  let error: string | undefined;
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  await using run = client.run(pipeline, { address, signal: deadline, total: 1 });
  try {
    await run.send(input);
    run.end();
    for await (const batch of run.batches) {
      for (const output of batch) seen.add(String(output));
      outputs += batch.length;
      if (victim !== "" || seen.size < expected * MIDDLE) continue;
      moments.atMiddle(seen.size);
      victim = await moments.killed; // D1
    }
    report = await run.report();
  } catch (problem) {
    if (!(problem instanceof RingError)) throw problem;
    error = `${problem.code}: ${problem.message}`;
  }
  return { pipeline, killed: victim, expected, came: seen.size, twice: outputs - seen.size, report, error };
}

interface Settle<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

function deferred<T>(): [Promise<T>, Settle<T>] {
  let settle: Settle<T> = { resolve: () => {}, reject: () => {} };
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return [promise, settle];
}

const MIDDLE = 0.3;
/** The other acts of the demo before the kill included. */
const DEADLINE_MS = 60_000;
