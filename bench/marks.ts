/**
 * What the `mark` tasks of `bench/load-apps.ts` say: one line for each run, in a file of each process. All times are ns of
 * the machine's monotonic clock, which every process shares.
 */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { waitUntil } from "../services/lab/lab.ts";

export interface Mark {
  /** The marks file: one for each process. */
  readonly process: string;
  readonly phase: string;
  /** `app/key`. */
  readonly key: string;
  readonly submittedAt: number;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** By key, in the order of their starts. */
async function readMarks(directory: string): Promise<ReadonlyMap<string, readonly Mark[]>> {
  const marks = new Map<string, Mark[]>();
  for (const name of await readdir(directory)) {
    if (!name.endsWith(".marks")) continue;
    for (const line of (await readFile(join(directory, name), "latin1")).split("\n")) {
      const [phase, key, submittedAt, startedAt, endedAt] = line.split(" ");
      if (phase === undefined || key === undefined || endedAt === undefined) continue;
      const mark = {
        process: name,
        phase,
        key,
        submittedAt: Number(submittedAt),
        startedAt: Number(startedAt),
        endedAt: Number(endedAt),
      };
      const before = marks.get(key);
      if (before === undefined) marks.set(key, [mark]);
      else before.push(mark);
    }
  }
  for (const list of marks.values()) list.sort((left, right) => left.startedAt - right.startedAt);
  return marks;
}

/**
 * Of each key that went from one process to another: from the moment its next task could have started (it was submitted,
 * and the one before had ended) until it did, in ms, sorted.
 */
export function pausesMs(marks: ReadonlyMap<string, readonly Mark[]>): number[] {
  const pauses: number[] = [];
  for (const list of marks.values()) {
    for (let at = 1; at < list.length; at++) {
      const before = list[at - 1] as Mark;
      const after = list[at] as Mark;
      if (before.process === after.process) continue;
      pauses.push(Math.max(0, after.startedAt - Math.max(before.endedAt, after.submittedAt)) / 1e6);
    }
  }
  return pauses.sort((left, right) => left - right);
}

/** Tasks that have run, once for each run; of one phase if given. */
export function countOf(marks: ReadonlyMap<string, readonly Mark[]>, phase?: string): number {
  let count = 0;
  for (const list of marks.values()) for (const mark of list) if (phase === undefined || mark.phase === phase) count++;
  return count;
}

/** Reads the marks now and then until they show what is waited for. */
export function marksWhen(
  directory: string,
  what: string,
  enough: (marks: ReadonlyMap<string, readonly Mark[]>) => boolean,
): Promise<ReadonlyMap<string, readonly Mark[]>> {
  return waitUntil(
    what,
    async () => {
      // Reading takes time from what is measured.
      await delay(LOOK_EVERY_MS);
      const marks = await readMarks(directory);
      return enough(marks) && marks;
    },
    MARKS_MS,
  );
}

/** Of sorted values; 0 of none. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(Math.ceil(sorted.length * share), sorted.length) - 1] ?? 0;
}

const LOOK_EVERY_MS = 500;
const MARKS_MS = 60_000;
