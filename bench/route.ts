/**
 * Benchmark `route`: from (app, key) to the owner's name, per second, beside `hashring.get`.
 *
 * Every key is new to both, so nobody's cache helps. Keys are made before the clock starts. The two take turns within a
 * run, so that a noisy machine disturbs both: `ratio` is the median of the runs' ratios.
 */

import type { Member, RingDocument } from "../ring/document.ts";
import { foundRing } from "../ring/founding.ts";
import { partitionOf } from "../ring/hash.ts";
import type { MemberId, NodeName, RingId } from "../ring/ids.ts";
import { commitPlan, planOf } from "../ring/plan.ts";
import { hashRingOf } from "../ring/preference.ts";
import { stageChange } from "../ring/staging.ts";
import { moveDone, plannedMoves } from "../ring/transition.ts";
import { type BenchOptions, type BenchResult, resultOf } from "./result.ts";

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  return options.case === undefined || options.case === "lookup" ? route(options.runs) : [];
}

/** Case `lookup`. */
export async function route(runs: number): Promise<BenchResult[]> {
  const document = ringOf(MEMBERS);
  const peer = hashRingOf(document.members.map((member) => member.name));
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let batch = 0; batch < 10; batch++) lookUp(document, freshKeys(KEYS_PER_BATCH)); // compiled before the first run
  for (const key of freshKeys(KEYS_PER_PEER_RUN / 10)) peer.get(key);
  for (let at = 0; at < runs; at++) {
    let seconds = 0;
    for (let batch = 0; batch < BATCHES_PER_RUN; batch++) {
      const keys = freshKeys(KEYS_PER_BATCH);
      seconds += secondsOf(() => lookUp(document, keys));
    }
    ours.push((BATCHES_PER_RUN * KEYS_PER_BATCH) / seconds);
    const keys = freshKeys(KEYS_PER_PEER_RUN);
    const peerSeconds = secondsOf(() => {
      for (const key of keys) peer.get(key);
    });
    theirs.push(KEYS_PER_PEER_RUN / peerSeconds);
  }
  const ratios = ours.map((rate, at) => rate / (theirs[at] as number));
  const ratio = resultOf({ case: "", subject: "", unit: "", values: ratios }).median;
  return [
    resultOf({
      case: "lookup",
      subject: "taskring",
      unit: "1/s",
      values: ours,
      extra: { ratio: Number(ratio.toFixed(1)) },
    }),
    resultOf({ case: "lookup", subject: "hashring", unit: "1/s", values: theirs }),
  ];
}

/** Counts the lookups by owner, so that no compiler can leave them out. */
function lookUp(document: RingDocument, keys: readonly string[]): ReadonlyMap<NodeName, number> {
  const { owners, ringSize } = document;
  const first = owners[0];
  let found = 0;
  for (const key of keys) if (owners[partitionOf({ app: "acme", key }, ringSize)] === first) found++;
  if (found === 0 || found === keys.length) throw new Error("every key went to one owner");
  return new Map(first === undefined ? [] : [[first, found]]);
}

let made = 0;

/** Shorter than 13 characters: V8 keeps longer joined strings in parts, which a key read from a message never is. */
function freshKeys(count: number): readonly string[] {
  const keys = new Array<string>(count);
  for (let at = 0; at < count; at++) keys[at] = `user-${(made++).toString(36)}`;
  return keys;
}

function secondsOf(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function ringOf(count: number): RingDocument {
  const members = Array.from({ length: count }, (_, at) => memberOf(`node-${at + 1}`));
  let document = foundRing({ ringId: "bench" as RingId, ringSize: RING_SIZE, member: members[0] as Member });
  for (const member of members.slice(1)) document = stageChange(document, { type: "join", member });
  document = commitPlan(document, planOf(document).id);
  return moveDone(document, plannedMoves(document));
}

function memberOf(name: string): Omit<Member, "status"> {
  return { name: name as NodeName, id: name as MemberId, weight: 100, machine: "bench", directory: `/${name}` };
}

const RING_SIZE = 64;
const MEMBERS = 5;
/** Few enough to lie in the processor's cache, as a key that was just read from a message does. */
const KEYS_PER_BATCH = 50_000;
const BATCHES_PER_RUN = 60;
const KEYS_PER_PEER_RUN = 200_000;
