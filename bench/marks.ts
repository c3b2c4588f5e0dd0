/**
 * What the `mark` tasks of `bench/load-apps.ts` say: one line for each run, in a file of each process. All times are ns of
 * the machine's monotonic clock, which every process shares.
 */

import { open, readdir } from "node:fs/promises";
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

/** Reads what has been written since it last looked: reading takes time from what is measured. */
class MarksReader {
  readonly #directory: string;
  readonly #read = new Map<string, number>();
  readonly #marks = new Map<string, Mark[]>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** By key, in the order of their starts. */
  async read(): Promise<ReadonlyMap<string, readonly Mark[]>> {
    const touched = new Set<Mark[]>();
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith(".marks")) continue;
      for (const line of await this.#newLines(name)) {
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
        const list = this.#marks.get(key) ?? [];
        if (list.length === 0) this.#marks.set(key, list);
        list.push(mark);
        touched.add(list);
      }
    }
    for (const list of touched) list.sort((left, right) => left.startedAt - right.startedAt);
    return this.#marks;
  }

  /** Whole lines only. */
  async #newLines(name: string): Promise<readonly string[]> {
    const from = this.#read.get(name) ?? 0;
    await using file = await open(join(this.#directory, name), "r");
    const bytes = Buffer.alloc(Math.max(0, (await file.stat()).size - from));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
    const end = bytes.subarray(0, bytesRead).lastIndexOf("\n") + 1;
    this.#read.set(name, from + end);
    return bytes.toString("latin1", 0, end).split("\n");
  }
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
  const reader = new MarksReader(directory);
  return waitUntil(
    what,
    async () => {
      await delay(LOOK_EVERY_MS);
      const marks = await reader.read();
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
