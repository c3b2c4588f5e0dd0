/**
 * Group commit over the journal: one batch under way, everything else collects behind it.
 *
 * G1  Jobs are written in the order they were given; what one job writes, one batch holds.
 * G2  A job resolves after its batch is synced.
 * G3  The first failure breaks the line for good, one excepted: a batch that found no space. Nothing of it counts, so
 *     its jobs are refused and the line goes on.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import { isWantOfSpace } from "./failure.ts";
import type { Journal } from "./journal.ts";
import type { RowSink } from "./row-sink.ts";
import { RETRY_MS, type Space } from "./space.ts";

/** What one batch takes from one caller. */
export interface Job {
  /** Adds more rows than it ends; refused while the disk is full. */
  readonly grows: boolean;
  /** Looks at rows while it writes: has to be the first of its batch. */
  readonly reads: boolean;
  readonly changes: number;
  readonly bytes: number;
  readonly partitions: readonly Partition[];
  /** Puts the job's rows; called again when they have to go into another segment. */
  readonly write: (rows: RowSink) => void;
}

export interface CommitLineOptions {
  readonly journal: Journal;
  readonly space: Space;
  /** Refuses more when this much waits. */
  readonly waitingLimitBytes: number;
  readonly onBroken: (error: RingError) => void;
}

export class CommitLine {
  readonly #options: CommitLineOptions;
  #waiting: Entry[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;
  #broken: RingError | undefined;
  #commits = 0;

  constructor(options: CommitLineOptions) {
    this.#options = options;
  }

  get broken(): RingError | undefined {
    return this.#broken;
  }

  /** Batches that ended well, each with one sync. */
  get commits(): number {
    return this.#commits;
  }

  /** Resolves when the job is synced. Rejects with `STORE_BROKEN`, or `QUEUE_FULL` when disk or line are full. */
  submit(job: Job): Promise<void> {
    if (this.#broken) return Promise.reject(this.#broken);
    if (job.grows && this.#options.space.full) return Promise.reject(diskFull());
    if (this.#waitingBytes > this.#options.waitingLimitBytes) {
      return Promise.reject(new RingError("QUEUE_FULL", "too much waits for the disk", { retryAfterMs: 100 }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject, tries: 0 });
      this.#waitingBytes += job.bytes;
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /** S4: everything that waits and all that comes is rejected. */
  break(cause: unknown): void {
    if (this.#broken) return;
    this.#broken = new RingError(
      "STORE_BROKEN",
      `the store failed: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
    this.#options.onBroken(this.#broken);
    this.#refuse(this.#waiting.splice(0), this.#broken);
    this.#waitingBytes = 0;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // it must not be over before `submit` knows that it runs
    while (this.#waiting.length > 0) {
      const entries = this.#take();
      if (entries.length === 0) continue;
      let failure: { readonly error: unknown } | undefined;
      try {
        const synced = this.#options.journal.append((rows) => {
          for (const { job } of entries) job.write(rows);
        });
        // No deadline: the journal has one for each answer of the disk, and may wait for many (W5).
        if (await synced) this.#commits += 1;
      } catch (error) {
        failure = { error };
      }
      if (failure === undefined) {
        for (const entry of entries) entry.resolve();
      } else {
        this.#fail(entries, failure.error);
        await nextTurn(); // whoever makes room must come to it
      }
    }
    this.#running = undefined;
  }

  /** The jobs of the next batch. */
  #take(): Entry[] {
    const { space } = this.#options;
    const taken: Entry[] = [];
    const refused = new Set<Partition>();
    let bytes = 0;
    let changes = 0;
    let count = 0;
    for (const entry of this.#waiting) {
      const { job } = entry;
      if (
        taken.length > 0 &&
        (job.reads || bytes + job.bytes > BATCH_LIMIT_BYTES || changes + job.changes > BATCH_LIMIT_CHANGES)
      )
        break;
      count += 1;
      this.#waitingBytes -= job.bytes;
      const fits = space.charge(costOf(job));
      // S1: a group must not outlive one of its partition that came before it and was refused.
      if ((job.grows && !fits) || (refused.size > 0 && job.partitions.some((partition) => refused.has(partition)))) {
        for (const partition of job.partitions) refused.add(partition);
        entry.reject(diskFull());
        continue;
      }
      bytes += job.bytes;
      changes += job.changes;
      taken.push(entry);
    }
    this.#waiting.splice(0, count);
    return taken;
  }

  #fail(entries: readonly Entry[], error: unknown): void {
    const bytes = entries.reduce((sum, { job }) => sum + costOf(job), 0);
    if (!isWantOfSpace(error, this.#options.space, bytes)) {
      this.break(error);
      this.#refuse(entries, this.#broken!);
      return;
    }
    this.#options.space.ranOut();
    // What ends work gets another try without what begins some.
    const refused = new Set<Partition>();
    const again: Entry[] = [];
    for (const entry of entries) {
      const { job } = entry;
      if (job.grows || entry.tries >= TRIES || job.partitions.some((partition) => refused.has(partition))) {
        for (const partition of job.partitions) refused.add(partition);
        entry.reject(diskFull());
      } else {
        again.push({ ...entry, tries: entry.tries + 1 });
        this.#waitingBytes += job.bytes;
      }
    }
    this.#waiting.unshift(...again);
  }

  #refuse(entries: readonly Entry[], error: Error): void {
    for (const entry of entries) entry.reject(error);
  }
}

interface Entry {
  readonly job: Job;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** Batches with this job that found no space. */
  readonly tries: number;
}

/** What a job may take of the disk at most: each change may copy a page, and a large value is rounded up to whole ones. */
function costOf(job: Job): number {
  return 2 * job.bytes + PAGE_BYTES * job.changes;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function diskFull(): RingError {
  return new RingError("QUEUE_FULL", "the disk is full; only work that is already here goes on", {
    retryAfterMs: RETRY_MS,
  });
}

/** Far less than a segment: what is left unused at its end. */
const BATCH_LIMIT_BYTES = 4 * 1024 * 1024;
const BATCH_LIMIT_CHANGES = 50_000;
const PAGE_BYTES = 4096;
const TRIES = 3;
