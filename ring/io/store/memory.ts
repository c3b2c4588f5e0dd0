/**
 * `MemoryStore`: a `TaskStore` without a disk, for tests, for the simulator and for work that can be replayed.
 *
 * It behaves as a store with a disk does where that can be seen: calls settle later, groups wait for a sync that they
 * share, and `crash()` keeps only what was synced. The failpoints are questions the store asks before each sync.
 *
 * M1  A page shows synced rows only, so nothing that a crash would take back is ever shown.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { CommitResult, PageRequest, Row, RowGroup, RowPage, StoreStats, TaskStore, Term } from "../../store.ts";
import { checkPageRequest, measureGroups, PAGE_ROW_LIMIT } from "./limits.ts";
import { TermTable } from "./terms.ts";

export interface MemoryStoreOptions {
  /** Runs a sync later; default `setImmediate`. The simulator passes its own, in virtual time. */
  readonly schedule?: (sync: () => void) => void;
  /** Asked before each sync: an error breaks the store (S4). */
  readonly failSync?: () => Error | undefined;
  /** Asked before each commit is queued: true refuses it as a full disk would. */
  readonly failFull?: (groups: readonly RowGroup[]) => boolean;
}

export class MemoryStore implements TaskStore {
  readonly shared: boolean = false;
  #broken: RingError | undefined;
  #closed = false;
  #commits = 0;
  #quarantined = 0;
  #scheduled = false;
  #waiting: Job[] = [];
  readonly #options: MemoryStoreOptions;
  readonly #terms = new TermTable();
  readonly #partitions = new Map<Partition, Shelf>();
  /** Being dropped or set aside: groups are refused, as in the embedded store. */
  readonly #leaving = new Set<Partition>();
  readonly #aside: { readonly partition: Partition; readonly why: string; readonly rows: readonly Row[] }[] = [];

  constructor(options: MemoryStoreOptions = {}) {
    this.#options = options;
  }

  get broken(): Error | undefined {
    return this.#broken;
  }

  async open(partition: Partition, at: { readonly history: number; readonly generation: number }): Promise<Term> {
    this.#check();
    const term = this.#terms.raise(partition, at);
    await this.#later(() => {
      this.#shelf(partition).term = term;
    });
    return term;
  }

  async commit(groups: readonly RowGroup[]): Promise<CommitResult> {
    this.#check();
    measureGroups(groups);
    if (this.#options.failFull?.(groups)) throw new RingError("QUEUE_FULL", "the disk is full", { retryAfterMs: 1000 });
    const refused: number[] = [];
    const accepted: { readonly group: RowGroup; readonly rows: readonly (readonly [string, Row | undefined])[] }[] = [];
    for (const [index, group] of groups.entries()) {
      if (this.#leaving.has(group.partition) || !this.#terms.accept(group.partition, group.term)) {
        refused.push(index);
        continue;
      }
      const rows = [...group.changes].map((change) => {
        const row = change.value && { key: change.key.slice(), value: change.value.slice() };
        return [textOf(change.key), row] as const;
      });
      accepted.push({ group, rows });
    }
    if (accepted.length > 0) {
      await this.#later(() => {
        for (const { group, rows } of accepted) {
          const shelf = this.#shelf(group.partition);
          shelf.term = group.term;
          for (const [key, row] of rows) shelf.set(key, row);
        }
      });
    }
    return { refused };
  }

  async page(request: PageRequest): Promise<RowPage> {
    this.#check();
    checkPageRequest(request);
    // M1: nothing is applied before its sync.
    const shelf = this.#partitions.get(request.partition);
    const keys = shelf?.sortedKeys() ?? [];
    const after = request.after && textOf(request.after);
    const prefix = textOf(request.prefix ?? new Uint8Array());
    const rows: Row[] = [];
    let bytes = 0;
    for (let at = after === undefined ? lowerBound(keys, prefix) : lowerBound(keys, after); at < keys.length; at += 1) {
      const key = keys[at]!;
      if (after !== undefined && key <= after) continue;
      if (!key.startsWith(prefix)) {
        if (key < prefix) continue;
        break;
      }
      const row = shelf!.rows.get(key)!;
      bytes += row.key.length + row.value.length;
      if (rows.length > 0 && (rows.length >= Math.min(request.rowLimit, PAGE_ROW_LIMIT) || bytes > request.byteLimit)) {
        return { rows, next: rows.at(-1)!.key };
      }
      rows.push({ key: row.key.slice(), value: row.value.slice() });
    }
    return { rows };
  }

  async drop(partition: Partition): Promise<void> {
    this.#check();
    this.#terms.delete(partition);
    this.#leaving.add(partition);
    await this.#later(() => {
      this.#partitions.delete(partition);
      this.#leaving.delete(partition);
    });
  }

  async quarantine(partition: Partition, why: string): Promise<void> {
    this.#check();
    this.#terms.delete(partition);
    this.#leaving.add(partition);
    await this.#later(() => {
      this.#leaving.delete(partition);
      const rows = [...(this.#partitions.get(partition)?.rows.values() ?? [])];
      this.#partitions.delete(partition);
      this.#aside.push({ partition, why, rows });
      this.#quarantined += rows.length;
    });
  }

  async partitions(): Promise<readonly { readonly partition: Partition; readonly term: Term }[]> {
    this.#check();
    return [...this.#partitions]
      .map(([partition, shelf]) => ({ partition, term: shelf.term ?? FIRST_TERM }))
      .sort((a, b) => a.partition - b.partition);
  }

  stats(): StoreStats {
    let rows = 0;
    let bytes = 0;
    for (const shelf of this.#partitions.values()) {
      rows += shelf.rows.size;
      for (const row of shelf.rows.values()) bytes += row.key.length + row.value.length;
    }
    return { rows, bytes, commits: this.#commits, syncs: this.#commits, quarantined: this.#quarantined };
  }

  /** What a restart after a power cut finds: the synced rows. This store is dead afterwards. */
  crash(options: MemoryStoreOptions = this.#options): MemoryStore {
    const next = new MemoryStore(options);
    for (const [partition, shelf] of this.#partitions) {
      next.#partitions.set(partition, shelf);
      if (shelf.term !== undefined) next.#terms.load(partition, shelf.term);
    }
    next.#aside.push(...this.#aside);
    next.#quarantined = this.#quarantined;
    this.#break(new Error("the process crashed"));
    return next;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#broken && this.#waiting.length > 0) await this.#later(() => {}).catch(() => {});
    this.#closed = true;
  }

  #check(): void {
    if (this.#broken) throw this.#broken;
    if (this.#closed) throw new RingError("STORE_BROKEN", "the store is closed");
  }

  #shelf(partition: Partition): Shelf {
    const known = this.#partitions.get(partition);
    if (known) return known;
    const shelf = new Shelf();
    this.#partitions.set(partition, shelf);
    return shelf;
  }

  /** Applies `change` at the next sync, together with whatever else waits for it, in order. */
  #later(change: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ change, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      (this.#options.schedule ?? setImmediate)(() => this.#sync());
    });
  }

  #sync(): void {
    this.#scheduled = false;
    if (this.#broken) return;
    const failure = this.#options.failSync?.();
    if (failure) {
      this.#break(failure);
      return;
    }
    const jobs = this.#waiting;
    this.#waiting = [];
    for (const job of jobs) job.change();
    this.#commits += 1;
    for (const job of jobs) job.resolve();
  }

  /** S4. */
  #break(cause: Error): void {
    this.#broken ??= new RingError("STORE_BROKEN", cause.message, { cause });
    const jobs = this.#waiting;
    this.#waiting = [];
    for (const job of jobs) job.reject(this.#broken);
  }
}

interface Job {
  readonly change: () => void;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Rows of one partition by key as text (one character per byte, so text order is byte order). */
class Shelf {
  term: Term | undefined;
  readonly rows = new Map<string, Row>();
  #sorted: string[] | undefined;

  set(key: string, row: Row | undefined): void {
    if (row === undefined ? this.rows.delete(key) : !this.rows.has(key)) this.#sorted = undefined;
    if (row !== undefined) this.rows.set(key, row);
  }

  sortedKeys(): readonly string[] {
    this.#sorted ??= [...this.rows.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    return this.#sorted;
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

const FIRST_TERM: Term = { history: 0, generation: 0, opens: 0 };
