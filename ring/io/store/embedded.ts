/**
 * `EmbeddedStore`: the `TaskStore` of a node's own disk: a journal, and LMDB behind it (`journal.ts`). One writer.
 *
 * Reads come from memory and memory map in the caller's turn; writes go through `CommitLine`.
 *
 * E1 to E3 stand in `clearing.ts`.
 * E4  While the disk is full, calls that begin work are refused; those that end some may use the reserve. A call ends
 *     work when it puts no more than a result's worth of bytes for each row it deletes.
 */

import { Changes } from "../../changes.ts";
import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { CommitResult, PageRequest, RowGroup, RowPage, StoreStats, TaskStore, Term } from "../../store.ts";
import { Aside } from "./aside.ts";
import { Clearing } from "./clearing.ts";
import { CommitLine, type Job } from "./commit.ts";
import { type Environment, openEnvironment } from "./environment.ts";
import { isForWantOfSpace } from "./failure.ts";
import { Journal } from "./journal.ts";
import { type GroupSize, measureGroups, PARTITION_LIMIT } from "./limits.ts";
import type { StoreLog } from "./log.ts";
import { contentOf, pageOf } from "./merged.ts";
import { NoRoom, openWhenThereIsRoom } from "./patience.ts";
import type { RowSink } from "./row-sink.ts";
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
import { RETRY_MS, Space, type SpaceOptions } from "./space.ts";
import { TermTable } from "./terms.ts";

export interface EmbeddedStoreOptions {
  /** Absolute path; made when missing. Inside a locked data directory (`directory.ts`). */
  readonly directory: string;
  readonly log?: StoreLog;
  /** Refuse to begin with nothing: for a member that has stored rows before (reliability rule 9). */
  readonly mustExist?: boolean;
  /** Disk space kept for commits that end work. Default 64 MiB. */
  readonly reserveBytes?: number;
  /** A write or transaction that the disk does not answer for longer breaks the store. Default 10,000. */
  readonly commitDeadlineMs?: number;
  /** How long opening waits for room on a full disk. Default 30,000. */
  readonly roomDeadlineMs?: number;
  /** What may wait for the disk. Default 256 MiB. */
  readonly waitingLimitBytes?: number;
}

/**
 * Rejects with `STORE_BROKEN` when the environment cannot be read or was written by a newer version; with `QUEUE_FULL` when
 * the disk had no room for `roomDeadlineMs` for what the last process left to be done: then the lock is better given back
 * than held in silence.
 */
export function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const { directory, log, roomDeadlineMs = ROOM_DEADLINE_MS } = options;
  return openWhenThereIsRoom(() => openOnce(options), { directory, deadlineMs: roomDeadlineMs, ...(log && { log }) });
}

/** Rejects with `NoRoom` when it might do later. */
async function openOnce(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  const environment = await openEnvironment(options.directory);
  let store: EmbeddedStore | undefined;
  const space = spaceOfStore(options, {
    // A row takes up to twice its bytes in pages.
    freeInside: () => environment.size().freeBytes - 2 * (store?.owedBytes ?? 0),
    // What was deleted frees pages only once the database knows of it.
    whileFull: () => void store?.settle().catch(() => {}),
  });
  try {
    const journal = await Journal.open({
      directory: options.directory,
      environment,
      space,
      deadlineMs: options.commitDeadlineMs ?? COMMIT_DEADLINE_MS,
      onBroken: (error) => store?.break(error),
    });
    store = new EmbeddedStore({ environment, space, journal }, options);
    await store.start(options.mustExist ?? false);
    return store;
  } catch (error) {
    const isFull = isForWantOfSpace(error, space, OPENING_BYTES);
    if (store !== undefined) await store.letGo();
    else {
      space.close();
      await environment.close();
    }
    throw isFull ? new NoRoom("the disk is full", { cause: error }) : error;
  }
}

function spaceOfStore(options: EmbeddedStoreOptions, inside: Pick<SpaceOptions, "freeInside" | "whileFull">): Space {
  const { directory, log } = options;
  return new Space({
    ...inside,
    directory,
    reserveBytes: options.reserveBytes ?? RESERVE_BYTES,
    onChange: (full, freeBytes) => {
      if (full) log?.error({ directory, freeBytes }, "disk full: no new work until there is space again");
      else log?.warn({ directory, freeBytes }, "the disk has space again");
    },
  });
}

/** What a store is made of. */
export interface StoreParts {
  readonly environment: Environment;
  readonly space: Space;
  readonly journal: Journal;
}

export class EmbeddedStore implements TaskStore {
  readonly shared: boolean = false;
  readonly #environment: Environment;
  readonly #directory: string;
  readonly #space: Space;
  readonly #journal: Journal;
  readonly #line: CommitLine;
  readonly #terms = new TermTable();
  readonly #aside = new Aside();
  readonly #clearing: Clearing;
  #closed: Promise<void> | undefined;

  constructor(parts: StoreParts, options: EmbeddedStoreOptions) {
    const { directory, log } = options;
    this.#environment = parts.environment;
    this.#space = parts.space;
    this.#journal = parts.journal;
    this.#directory = directory;
    this.#line = new CommitLine({
      journal: parts.journal,
      space: parts.space,
      waitingLimitBytes: options.waitingLimitBytes ?? WAITING_LIMIT_BYTES,
      onBroken: (err) => log?.error({ directory, err }, "the store is broken: nothing is accepted any more"),
    });
    this.#clearing = new Clearing({
      line: this.#line,
      journal: parts.journal,
      terms: this.#terms,
      aside: this.#aside,
      check: () => this.#check(),
      ...(log && { log: log }),
    });
  }

  /** Bytes that the database will take when it gets what the journal holds. */
  get owedBytes(): number {
    return this.#journal.owedBytes;
  }

  /** How long commits have been waiting for a disk that cannot keep up; 0 while they do not. */
  get behindMs(): number {
    return this.#journal.behindMs;
  }

  /** S4: the database failed behind the journal. */
  break(error: unknown): void {
    this.#line.break(error);
  }

  get broken(): Error | undefined {
    return this.#line.broken;
  }

  /** E4. New work gets `QUEUE_FULL` with a delay; the store finds out by itself when there is space again. */
  get full(): boolean {
    return this.#space.full;
  }

  async open(partition: Partition, at: { readonly history: number; readonly generation: number }): Promise<Term> {
    while (this.#clearing.isBusy(partition)) await this.#clearing.over(partition);
    this.#check();
    const term = this.#terms.raise(partition, at);
    await this.#line.submit({
      ...SMALL_JOB,
      partitions: [partition],
      write: (rows) => rows.put(TERMS, termKey(partition), encodeTerm(term, "live")),
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
      if (this.#clearing.isBusy(group.partition) || !this.#terms.accept(group.partition, group.term))
        refused.push(index);
      else accepted.push(group);
    }
    if (accepted.length === 0) return { refused };
    const job: Job = {
      grows,
      reads: false,
      changes: size.changes,
      bytes: size.putBytes,
      partitions: accepted.map((group) => group.partition),
      write: (rows) => {
        for (const group of accepted) this.#write(rows, group);
      },
    };
    await this.#line.submit(job);
    for (const group of accepted) this.#terms.saved(group.partition, group.term);
    return { refused };
  }

  async page(request: PageRequest): Promise<RowPage> {
    this.#check();
    return pageOf(
      request,
      (range) => this.#journal.range(range),
      (key) => this.#clearing.damaged(key),
    );
  }

  drop(partition: Partition): Promise<void> {
    return this.#clearing.drop(partition);
  }

  quarantine(partition: Partition, why: string): Promise<void> {
    return this.#clearing.quarantine(partition, why);
  }

  async partitions(): Promise<readonly { readonly partition: Partition; readonly term: Term }[]> {
    this.#check();
    return this.#terms.entries();
  }

  /** Met since it was opened. */
  get damagedRows(): number {
    return this.#clearing.damagedRows;
  }

  /** `syncs`: one per commit, and two per transaction of the database behind them. */
  stats(): StoreStats {
    const { usedBytes } = this.#environment.size();
    const own = 2 + this.#terms.size + this.#aside.entries;
    const commits = this.#line.commits;
    return {
      rows: Math.max(0, this.#journal.rows() - own),
      bytes: usedBytes,
      commits,
      syncs: commits + 2 * this.#journal.checkpoints,
      quarantined: this.#aside.rows,
    };
  }

  /** Resolves when everything committed so far is in the database itself: for whoever copies its file. */
  async settle(): Promise<void> {
    this.#check();
    return this.#journal.settle();
  }

  /** Waits for what was accepted. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /**
   * Resolves when nothing is written to the directory any more. That of a broken store does so once the disk has answered, if ever: until
   * then lmdb holds up whoever opens it, and the whole event loop with him, and a late write of the journal could be over his own.
   */
  async letGo(): Promise<void> {
    await this[Symbol.asyncDispose]();
    if (!this.#line.broken) return;
    await this.#journal.close(true);
    await this.#environment.close();
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
        this.#clearing.damaged(key);
      } else {
        this.#terms.load(partition, row.term);
        if (row.state !== "live") unfinished.push({ partition, drop: row.state === "dropping" });
      }
    }
    // E2
    for (const { partition, drop } of unfinished) {
      await (drop ? this.drop(partition) : this.quarantine(partition, "a quarantine that a crash had cut short"));
    }
    const emptied = new Set(unfinished.map(({ partition }) => partition)); // of which the database may not know yet
    for (const partition of this.#withRows()) {
      // Without its term nobody can tell who may write here, so nobody may.
      if (this.#terms.get(partition) === undefined && !emptied.has(partition)) {
        await this.quarantine(partition, "its term row is missing or damaged");
      }
    }
  }

  async #checkFormat(mustExist: boolean): Promise<void> {
    const key = keyOf(FORMAT, FORMAT_KEY);
    const found = this.#journal.get(key);
    if (found === undefined) {
      if (mustExist) throw this.#unusable("is empty, although this member has stored rows before");
      if (this.#journal.rows() > 1) throw this.#unusable("holds rows but no format row: not a store, or damaged");
      await this.#line.submit({
        ...SMALL_JOB,
        write: (rows) => rows.put(FORMAT, FORMAT_KEY, Uint8Array.of(FORMAT_VERSION)),
      });
      await this.#journal.settle();
      return;
    }
    const version = contentOf(found)?.[0];
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

  #write(rows: RowSink, group: RowGroup): void {
    const { partition } = group;
    const unsaved = this.#terms.unsaved(partition);
    if (unsaved !== undefined) rows.put(TERMS, termKey(partition), encodeTerm(unsaved, "live"));
    rows.change(partition, Changes.of(group.changes));
  }

  #check(): void {
    if (this.#line.broken) throw this.#line.broken;
    if (this.#closed) throw new RingError("STORE_BROKEN", "the store is closed");
  }

  async #close(): Promise<void> {
    await this.#line.idle();
    const closed = this.#journal.close(this.#line.broken !== undefined);
    this.#space.close();
    // What is broken stays, until the process ends or `letGo`: its disk may never answer, and lmdb's thread hold its lock for good.
    if (this.#line.broken) closed.catch(() => {});
    else await closed;
    if (!this.#line.broken) await this.#environment.close();
  }
}

/** E4. An ack puts a result, a state and a dedupe record for the task row it deletes. */
function beginsWork(size: GroupSize): boolean {
  return size.putBytes > size.deletes * RESULT_ALLOWANCE_BYTES;
}

/** A few bytes of the store's own. */
const SMALL_JOB = { grows: false, reads: false, changes: 1, bytes: 32, partitions: [] } as const;
/** 2: with a journal. */
const FORMAT_VERSION = 2;
const FORMAT_KEY: Uint8Array = Uint8Array.of(0);
const RESERVE_BYTES: number = 64 * 1024 * 1024;
const COMMIT_DEADLINE_MS = 10_000;
/** Long enough for whatever fills a disk by turns; a supervisor starts the process again after it. */
const ROOM_DEADLINE_MS = 30_000;
/** What an opening may write at once. */
const OPENING_BYTES: number = 4 * 1024 * 1024;
const WAITING_LIMIT_BYTES: number = 256 * 1024 * 1024;
/** Results are at most 64 KiB. */
const RESULT_ALLOWANCE_BYTES: number = 80 * 1024;
