/**
 * `EmbeddedStore`: the `TaskStore` of a node's own disk, over LMDB. One environment, one database, one writer.
 *
 * Reads come from the memory map in the caller's turn; writes go through `CommitLine`.
 *
 * E1  A row whose checksum does not fit is never served: it is set aside, logged and counted, and its page goes on.
 * E2  What drop and quarantine leave undone at a crash is finished when the store is opened again.
 * E3  While rows of a partition are being dropped or set aside, its groups are refused and opening it waits.
 * E4  While the disk is full, calls that begin work are refused; those that end some may use the reserve. A call ends
 *     work when it puts no more than a result's worth of bytes for each row it deletes.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { CommitResult, PageRequest, Row, RowGroup, RowPage, StoreStats, TaskStore, Term } from "../../store.ts";
import { Aside } from "./aside.ts";
import type { Batch } from "./batch.ts";
import { CommitLine, type Job } from "./commit.ts";
import { type Environment, openEnvironment } from "./environment.ts";
import { checkPageRequest, type GroupSize, measureGroups, PAGE_ROW_LIMIT, PARTITION_LIMIT } from "./limits.ts";
import {
  decodeTerm,
  encodeTerm,
  FORMAT,
  keyOf,
  openValue,
  SPACE_BYTES,
  spaceOf,
  TERMS,
  termKey,
  upperBound,
} from "./rows.ts";
import { RETRY_MS, Space } from "./space.ts";
import { TermTable } from "./terms.ts";

/** As pino's. */
export interface StoreLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface EmbeddedStoreOptions {
  /** Absolute path; made when missing. Inside a locked data directory (`directory.ts`). */
  readonly directory: string;
  readonly log?: StoreLog;
  /** Refuse to begin with nothing: for a member that has stored rows before (reliability rule 9). */
  readonly mustExist?: boolean;
  /** Disk space kept for commits that end work. Default 64 MiB. */
  readonly reserveBytes?: number;
  /** A commit that takes longer breaks the store. Default 10,000. */
  readonly commitDeadlineMs?: number;
  /** What may wait for the disk. Default 256 MiB. */
  readonly waitingLimitBytes?: number;
}

/** Rejects with `STORE_BROKEN` when the environment cannot be read or was written by a newer version. */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const store = new EmbeddedStore(await openEnvironment(options.directory), options);
  try {
    await store.start(options.mustExist ?? false);
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
  return store;
}

export class EmbeddedStore implements TaskStore {
  readonly shared: boolean = false;
  readonly #environment: Environment;
  readonly #directory: string;
  readonly #log: StoreLog | undefined;
  readonly #space: Space;
  readonly #line: CommitLine;
  readonly #terms = new TermTable();
  readonly #aside = new Aside();
  /** E3: partitions being dropped or set aside. */
  readonly #busy = new Map<Partition, Promise<void>>();
  /** Keys of rows found damaged and on their way to quarantine, as hex. */
  readonly #leaving = new Set<string>();
  #closed: Promise<void> | undefined;

  constructor(environment: Environment, options: EmbeddedStoreOptions) {
    const { directory, log } = options;
    this.#environment = environment;
    this.#directory = directory;
    this.#log = log;
    this.#space = new Space({
      directory,
      reserveBytes: options.reserveBytes ?? RESERVE_BYTES,
      freeInside: () => environment.size().freeBytes,
      onChange: (full, freeBytes) => {
        if (full) log?.error({ directory, freeBytes }, "disk full: no new work until there is space again");
        else log?.warn({ directory, freeBytes }, "the disk has space again");
      },
    });
    this.#line = new CommitLine({
      database: environment.database,
      space: this.#space,
      deadlineMs: options.commitDeadlineMs ?? COMMIT_DEADLINE_MS,
      waitingLimitBytes: options.waitingLimitBytes ?? WAITING_LIMIT_BYTES,
      onBroken: (err) => log?.error({ directory, err }, "the store is broken: nothing is accepted any more"),
    });
  }

  get broken(): Error | undefined {
    return this.#line.broken;
  }

  /** E4. New work gets `QUEUE_FULL` with a delay; the store finds out by itself when there is space again. */
  get full(): boolean {
    return this.#space.full;
  }

  async open(partition: Partition, at: { readonly history: number; readonly generation: number }): Promise<Term> {
    for (let busy = this.#busy.get(partition); busy; busy = this.#busy.get(partition)) await busy.catch(() => {});
    this.#check();
    const term = this.#terms.raise(partition, at);
    await this.#line.submit({
      ...SMALL_JOB,
      partitions: [partition],
      write: (batch) => batch.put(TERMS, termKey(partition), encodeTerm(term, "live")),
    });
    this.#terms.saved(partition, term);
    return term;
  }

  /**
   * The bytes of the changes are read until the promise settles; do not reuse them before. `fromReserve`: also while the
   * disk is full, for what was let in before that was known and holds up what ends work.
   */
  async commit(groups: readonly RowGroup[], options: { readonly fromReserve?: boolean } = {}): Promise<CommitResult> {
    this.#check();
    const size = measureGroups(groups);
    const grows = options.fromReserve !== true && beginsWork(size);
    if (grows && this.#space.full) throw new RingError("QUEUE_FULL", "the disk is full", { retryAfterMs: RETRY_MS });
    const refused: number[] = [];
    const accepted: RowGroup[] = [];
    for (const [index, group] of groups.entries()) {
      if (this.#busy.has(group.partition) || !this.#terms.accept(group.partition, group.term)) refused.push(index);
      else accepted.push(group);
    }
    if (accepted.length === 0) return { refused };
    const job: Job = {
      grows,
      reads: false,
      changes: size.changes,
      bytes: size.putBytes,
      partitions: accepted.map((group) => group.partition),
      write: (batch) => {
        for (const group of accepted) this.#write(batch, group);
      },
    };
    await this.#line.submit(job);
    for (const group of accepted) this.#terms.saved(group.partition, group.term);
    return { refused };
  }

  async page(request: PageRequest): Promise<RowPage> {
    this.#check();
    checkPageRequest(request);
    const prefix = keyOf(request.partition, request.prefix);
    const after = request.after && keyOf(request.partition, request.after);
    const exclusive = after !== undefined && Buffer.compare(after, prefix) >= 0;
    const rowLimit = Math.min(request.rowLimit, PAGE_ROW_LIMIT);
    const range = { start: exclusive ? after : prefix, end: upperBound(prefix), exclusive, limit: rowLimit + 1 };
    const rows: Row[] = [];
    let bytes = 0;
    let last: Uint8Array | undefined;
    for (const { key, value } of this.#environment.range(range)) {
      bytes += key.length + value.length;
      if (last !== undefined && (rows.length >= rowLimit || bytes > request.byteLimit)) {
        return { rows, next: last.slice(SPACE_BYTES) };
      }
      last = key;
      const content = openValue(key, value);
      // E1: a page may so hold fewer rows than it could; `next` still leads on.
      if (content === undefined) this.#damaged(key);
      else rows.push({ key: key.subarray(SPACE_BYTES), value: content });
    }
    // The scan ends at its limit as well as at the last row: behind damaged rows there may be more.
    if (last === undefined || !this.#environment.hasAfter(last, prefix)) return { rows };
    return { rows, next: last.slice(SPACE_BYTES) };
  }

  drop(partition: Partition): Promise<void> {
    return this.#exclusive(partition, () => this.#clear(partition, undefined));
  }

  quarantine(partition: Partition, why: string): Promise<void> {
    this.#log?.error({ partition, why }, "partition set aside: its rows are kept but not opened");
    return this.#exclusive(partition, () => this.#clear(partition, why));
  }

  async partitions(): Promise<readonly { readonly partition: Partition; readonly term: Term }[]> {
    this.#check();
    return this.#terms.entries();
  }

  /** `syncs` counts fdatasync calls, one per commit; each commit also writes LMDB's meta page synchronously. */
  stats(): StoreStats {
    const { rows, usedBytes } = this.#environment.size();
    const own = 1 + this.#terms.size + this.#aside.entries;
    const commits = this.#line.commits;
    return { rows: Math.max(0, rows - own), bytes: usedBytes, commits, syncs: commits, quarantined: this.#aside.rows };
  }

  /** Waits for what was accepted. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Reads format and terms and finishes what a crash cut short. Called once, by `openEmbeddedStore`. */
  async start(mustExist: boolean): Promise<void> {
    await this.#checkFormat(mustExist);
    this.#aside.load(this.#environment);
    const unfinished: { readonly partition: Partition; readonly drop: boolean }[] = [];
    for (const { key, value } of this.#environment.range({ start: keyOf(TERMS), end: upperBound(keyOf(TERMS)) })) {
      const partition = spaceOf(key.subarray(SPACE_BYTES)) as Partition;
      const content = openValue(key, value);
      const row = content && decodeTerm(content);
      if (row === undefined) {
        this.#damaged(key);
      } else {
        this.#terms.load(partition, row.term);
        if (row.state !== "live") unfinished.push({ partition, drop: row.state === "dropping" });
      }
    }
    // E2
    for (const { partition, drop } of unfinished) {
      await (drop ? this.drop(partition) : this.quarantine(partition, "a quarantine that a crash had cut short"));
    }
    for (const partition of this.#withRows()) {
      // Without its term nobody can tell who may write here, so nobody may.
      if (this.#terms.get(partition) === undefined) {
        await this.quarantine(partition, "its term row is missing or damaged");
      }
    }
  }

  async #checkFormat(mustExist: boolean): Promise<void> {
    const key = keyOf(FORMAT, FORMAT_KEY);
    const stored = this.#environment.get(key);
    if (stored === undefined) {
      if (mustExist) throw this.#unusable("is empty, although this member has stored rows before");
      if (this.#environment.size().rows > 0)
        throw this.#unusable("holds rows but no format row: not a store, or damaged");
      await this.#line.submit({
        ...SMALL_JOB,
        write: (batch) => batch.put(FORMAT, FORMAT_KEY, Uint8Array.of(FORMAT_VERSION)),
      });
      return;
    }
    const version = openValue(key, stored)?.[0];
    if (version === undefined) throw this.#unusable("has a damaged format row");
    if (version > FORMAT_VERSION) {
      throw this.#unusable(
        `has format ${version}, newer than this program's ${FORMAT_VERSION}: use the version that wrote it`,
      );
    }
  }

  #unusable(why: string): RingError {
    return new RingError("STORE_BROKEN", `${this.#directory} ${why}`);
  }

  /** Partitions with rows, found by one seek each. */
  #withRows(): Partition[] {
    const found: Partition[] = [];
    for (let next = 0; next < PARTITION_LIMIT; ) {
      const [row] = this.#environment.range({ start: keyOf(next), end: keyOf(PARTITION_LIMIT), limit: 1 });
      if (row === undefined) break;
      next = spaceOf(row.key);
      found.push(next as Partition);
      next += 1;
    }
    return found;
  }

  #write(batch: Batch, group: RowGroup): void {
    const { partition } = group;
    const unsaved = this.#terms.unsaved(partition);
    if (unsaved !== undefined) batch.put(TERMS, termKey(partition), encodeTerm(unsaved, "live"));
    for (const { key, value } of group.changes) {
      if (value === undefined) batch.remove(partition, key);
      else batch.put(partition, key, value);
    }
  }

  /** Removes a partition's rows in bounded steps; with `why` they go to quarantine. E2: the term row remembers until the last. */
  async #clear(partition: Partition, why: string | undefined): Promise<void> {
    const term = this.#terms.get(partition) ?? NO_TERM;
    this.#terms.delete(partition);
    let aside: number | undefined;
    for (let first = true, more = true; more; first = false) {
      await this.#line.submit({
        ...LOOKING_JOB,
        partitions: [partition],
        write: (batch) => {
          if (first && why !== undefined) aside = this.#aside.begin(batch, { partition, term, why });
          more = this.#clearSome(batch, partition, aside);
          if (!more) batch.remove(TERMS, termKey(partition));
          else if (first)
            batch.put(TERMS, termKey(partition), encodeTerm(term, why === undefined ? "dropping" : "moving-aside"));
        },
      });
    }
  }

  /** True when there are more rows. */
  #clearSome(batch: Batch, partition: Partition, aside: number | undefined): boolean {
    let rows = 0;
    let bytes = 0;
    for (const { key, value } of this.#environment.range({ start: keyOf(partition), end: keyOf(partition + 1) })) {
      if (rows === CLEAR_ROWS || bytes > CLEAR_BYTES) return true;
      rows += 1;
      bytes += value.length;
      if (aside === undefined) batch.remove(partition, key.subarray(SPACE_BYTES));
      else this.#aside.move(batch, aside, { key, stored: value });
    }
    return false;
  }

  /** E3. Runs `work` after whatever else is being done to the partition as a whole. */
  #exclusive(partition: Partition, work: () => Promise<void>): Promise<void> {
    const before = this.#busy.get(partition) ?? Promise.resolve();
    const run = before
      .catch(() => {})
      .then(() => {
        this.#check();
        return work();
      });
    this.#busy.set(partition, run);
    return run.finally(() => {
      if (this.#busy.get(partition) === run) this.#busy.delete(partition);
    });
  }

  /** E1 */
  #damaged(key: Uint8Array): void {
    const name = Buffer.from(key).toString("hex");
    if (this.#leaving.has(name) || this.#leaving.size >= LEAVING_LIMIT) return;
    this.#leaving.add(name);
    const space = spaceOf(key);
    this.#log?.error(
      { directory: this.#directory, partition: space, key: name },
      "a row failed its checksum and is set aside",
    );
    const moved = this.#line.submit({
      ...LOOKING_JOB,
      write: (batch) => {
        const stored = this.#environment.get(key);
        // Meanwhile its owner may have written it again.
        if (stored === undefined || openValue(key, stored) !== undefined) return;
        const aside = this.#aside.begin(batch, { partition: space, why: "its checksum failed" });
        this.#aside.move(batch, aside, { key, stored });
      },
    });
    moved
      .catch((err: unknown) => this.#log?.error({ err, key: name }, "a damaged row could not be set aside"))
      .finally(() => this.#leaving.delete(name));
  }

  #check(): void {
    if (this.#line.broken) throw this.#line.broken;
    if (this.#closed) throw new RingError("STORE_BROKEN", "the store is closed");
  }

  async #close(): Promise<void> {
    await this.#line.idle();
    this.#space.close();
    // A broken environment stays until the process ends: lmdb's thread may hold its lock for good.
    if (!this.#line.broken) await this.#environment.close();
  }
}

/** E4. An ack puts a result, a state and a dedupe record for the task row it deletes. */
function beginsWork(size: GroupSize): boolean {
  return size.putBytes > size.deletes * RESULT_ALLOWANCE_BYTES;
}

const NO_TERM: Term = { history: 0, generation: 0, opens: 0 };
/** A few bytes of the store's own. */
const SMALL_JOB = { grows: false, reads: false, changes: 1, bytes: 32, partitions: [] } as const;
/** Depends on what the database holds when it is written. */
const LOOKING_JOB = { grows: false, reads: true, changes: 1, bytes: 0, partitions: [] } as const;
const FORMAT_VERSION = 1;
const FORMAT_KEY: Uint8Array = Uint8Array.of(0);
const RESERVE_BYTES: number = 64 * 1024 * 1024;
const COMMIT_DEADLINE_MS = 10_000;
const WAITING_LIMIT_BYTES: number = 256 * 1024 * 1024;
/** Rows and bytes per transaction of a drop or quarantine. */
const CLEAR_ROWS = 2000;
const CLEAR_BYTES: number = 8 * 1024 * 1024;
/** Damaged rows under way to quarantine; more wait for the next page. */
const LEAVING_LIMIT = 1000;
/** Results are at most 64 KiB. */
const RESULT_ALLOWANCE_BYTES: number = 80 * 1024;
