/**
 * Group commit over LMDB: one transaction under way, everything else collects behind it.
 *
 * G1  Jobs are written in the order they were given; what one job writes, one transaction writes.
 * G2  A job resolves after its transaction is synced (V1 of `environment.ts`).
 * G3  The first failure breaks the line for good, one excepted: a transaction that LMDB gave up for want of space. It
 *     changed nothing (only the meta page makes new pages count), so its jobs are refused and the line goes on.
 * G4  No synchronous transaction may run beside this: lmdb would cut the batch under way in two.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import { Batch } from "./batch.ts";
import type { Database } from "./environment.ts";
import { RETRY_MS, type Space } from "./space.ts";

/** What one transaction takes from one caller. */
export interface Job {
  /** Adds more rows than it ends; refused while the disk is full. */
  readonly grows: boolean;
  /** Looks at the database while it writes: has to be the first of its transaction. */
  readonly reads: boolean;
  readonly changes: number;
  readonly bytes: number;
  readonly partitions: readonly Partition[];
  /** Called once, when the transaction begins. */
  readonly write: (batch: Batch) => void;
}

export interface CommitLineOptions {
  readonly database: Database;
  readonly space: Space;
  /** A transaction that takes longer than this breaks the store. */
  readonly deadlineMs: number;
  /** Refuses more when this much waits. */
  readonly waitingLimitBytes: number;
  readonly onBroken: (error: RingError) => void;
}

export class CommitLine {
  readonly #options: CommitLineOptions;
  readonly #batch: Batch;
  #waiting: Entry[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;
  #broken: RingError | undefined;
  #commits = 0;

  constructor(options: CommitLineOptions) {
    this.#options = options;
    this.#batch = new Batch(options.database);
  }

  get broken(): RingError | undefined {
    return this.#broken;
  }

  /** Transactions that ended well. Each is one fdatasync and one synchronous write of the meta page. */
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
    while (this.#waiting.length > 0) {
      await nextTurn();
      const entries = this.#take();
      if (entries.length === 0) continue;
      let failure: { readonly error: unknown } | undefined;
      try {
        const synced = this.#batch.transact(() => {
          for (const { job } of entries) job.write(this.#batch);
        });
        if (await this.#withDeadline(synced)) this.#commits += 1;
      } catch (error) {
        failure = { error: await causeOf(error) };
      }
      if (failure === undefined) {
        for (const entry of entries) entry.resolve();
      } else {
        this.#fail(entries, failure.error);
      }
    }
    this.#running = undefined;
  }

  /** The jobs of the next transaction. */
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
    if (!this.#isWantOfSpace(entries, error)) {
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

  /** G3. A short write, which is what a disk that fills up in the middle of a page gives, LMDB reports as EIO. */
  #isWantOfSpace(entries: readonly Entry[], error: unknown): boolean {
    const code = (error as { code?: unknown } | undefined)?.code;
    if (code === ENOSPC || code === EDQUOT || code === MDB_MAP_FULL) return true;
    if (code !== EIO) return false;
    const bytes = entries.reduce((sum, { job }) => sum + costOf(job), 0);
    const diskBytes = this.#options.space.diskBytes();
    return diskBytes !== undefined && diskBytes < NEARLY_FULL_BYTES + bytes;
  }

  #refuse(entries: readonly Entry[], error: Error): void {
    for (const entry of entries) entry.reject(error);
  }

  /** Rejects when the disk does not answer. A process that was itself stopped or busy does not count as a slow disk. */
  #withDeadline<T>(synced: Promise<T>): Promise<T> {
    const { deadlineMs } = this.#options;
    return new Promise((resolve, reject) => {
      let since = performance.now();
      let timer = setTimeout(expire, deadlineMs);
      function expire(): void {
        if (performance.now() - since > deadlineMs + LATE_MS) {
          since = performance.now();
          timer = setTimeout(expire, deadlineMs);
          return;
        }
        // One whole turn more, in which an answer that is already there gets delivered.
        setImmediate(() => setImmediate(() => reject(new Error(`no answer from the disk for ${deadlineMs} ms`))));
      }
      synced.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }
}

interface Entry {
  readonly job: Job;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** Transactions with this job that found no space. */
  readonly tries: number;
}

/** lmdb rejects with an error that only promises the reason. */
async function causeOf(error: unknown): Promise<unknown> {
  const reason = (error as { commitError?: Promise<unknown> }).commitError;
  if (reason === undefined) return error;
  const inTime = new Promise<unknown>((resolve) => setTimeout(resolve, REASON_MS, error).unref());
  return Promise.race([
    reason.then(
      () => error,
      (cause: unknown) => cause,
    ),
    inTime,
  ]);
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

const BATCH_LIMIT_BYTES = 16 * 1024 * 1024;
const BATCH_LIMIT_CHANGES = 50_000;
/** Below this an EIO is put down to a full disk. */
const NEARLY_FULL_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 4096;
const TRIES = 3;
const LATE_MS = 1000;
const REASON_MS = 1000;
const ENOSPC = 28;
const EIO = 5;
const EDQUOT = 122;
const MDB_MAP_FULL = -30792;
