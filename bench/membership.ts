/**
 * `npm run bench -- membership [--case crash-5]`: how fast a ring of N nodes learns of a crash, a join and a leave, and what
 * it sends when nothing happens, beside as many stock `serf` agents in the same run.
 *
 * Our side is whole nodes (`ringctl start`) with the `lan` profile, each its own process; serf's is `serf agent -profile
 * lan`. Every node is asked for what it knows: ours by its stream of events, serf's by its log.
 */

import { MembershipRing } from "./membership-ring.ts";
import { serfIsThere } from "./membership-serf.ts";
import { SerfRing } from "./membership-serf-ring.ts";
import { type BenchOptions, type BenchResult, PeerMissing, resultOf } from "./result.ts";

/** A ring under measurement; times in seconds. */
export interface MeasuredRing extends AsyncDisposable {
  readonly subject: string;
  /** Adds a node; from the call of its join, or the start of its gossip, until every member knows it. */
  join(): Promise<number>;
  /** Kills one; until every other holds it dead. */
  crash(): Promise<number>;
  /** One leaves in order; until every other knows that it left. */
  leave(): Promise<number>;
  /** Gossip bytes sent by all over so many ms, with IP and UDP headers, without push/pull; and those of push/pull alone. */
  idle(ms: number): Promise<{ readonly packetBytes: number; readonly streamBytes: number }>;
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const wanted = CASES.filter((name) => options.case === undefined || options.case === name);
  if (wanted.length === 0) return [];
  if (!(await serfIsThere())) throw new PeerMissing("serf", "as root on Debian: apt-get install serf");
  const results: BenchResult[] = [];
  for (const name of wanted) {
    const [kind, count] = name.split(/-(?=\d)/) as [string, string];
    results.push(...(await measure(kind, Number(count), options.runs)));
  }
  return results;
}

async function measure(kind: string, nodes: number, runs: number): Promise<readonly BenchResult[]> {
  const name = `${kind}-${nodes}`;
  // One after the other: two rings at once would slow each other down.
  const results: BenchResult[] = [];
  for (const open of [MembershipRing.open, SerfRing.open]) {
    // A join or a leave has N nodes with the one that comes or goes.
    await using ring = await open(kind === "join" ? nodes - 1 : nodes);
    if (kind === "idle-bytes") {
      results.push(await idle(ring, name, nodes, runs));
      continue;
    }
    const values: number[] = [];
    for (let run = 0; run < runs; run++) {
      if (kind === "join") {
        values.push(await ring.join());
        await ring.leave();
      } else {
        values.push(kind === "crash" ? await ring.crash() : await ring.leave());
        await ring.join();
      }
    }
    results.push(resultOf({ case: name, subject: ring.subject, unit: "s", values, extra: { p90: rank(values, 0.9) } }));
  }
  return results;
}

async function idle(ring: MeasuredRing, name: string, nodes: number, runs: number): Promise<BenchResult> {
  const packets: number[] = [];
  const streams: number[] = [];
  await ring.idle(SETTLE_MS);
  for (let run = 0; run < runs; run++) {
    const { packetBytes, streamBytes } = await ring.idle(IDLE_MS);
    packets.push((packetBytes / nodes / IDLE_MS) * 1_000);
    streams.push((streamBytes / nodes / IDLE_MS) * 1_000);
  }
  const pushPull = streams.reduce((sum, value) => sum + value, 0) / runs;
  const note = "UDP with 28 bytes of headers each, per node";
  return resultOf({ case: name, subject: ring.subject, unit: "B/s", values: packets, extra: { pushPull, note } });
}

function rank(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

const CASES = [
  ...[3, 5, 10].map((nodes) => `crash-${nodes}`),
  ...[3, 5, 10].map((nodes) => `join-${nodes}`),
  ...[3, 5, 10].map((nodes) => `leave-${nodes}`),
  ...[3, 5, 10, 20].map((nodes) => `idle-bytes-${nodes}`),
];
const SETTLE_MS = 5_000;
const IDLE_MS = 10_000;
