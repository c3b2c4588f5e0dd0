/**
 * The store contract (`TaskStore`): durable rows of partitions, fenced by the owner's term.
 *
 * A vnode module (tasks, later pipes) keeps what it needs in memory and describes every change as rows. So one small
 * contract serves every module and every engine: memory, embedded (LMDB), later Redis, where the same groups become one
 * fenced Lua call per partition.
 *
 * S1  A group is atomic: all of its rows or none survive a crash; groups of one partition survive in commit order.
 * S2  `commit` resolves only when every accepted group is synced.
 * S3  A group whose term is older than the newest term the partition was opened with or written by is refused and changes nothing.
 * S4  The first failed sync breaks the store: every later call rejects with `STORE_BROKEN`; nothing is retried.
 */

import type { Partition } from "./ids.ts";

/**
 * The right under which an owner writes a partition; compared field by field, first to last. Raised at every change of
 * owner (generation, by the ring document) and every opening by the same owner (opens, by the store).
 */
export interface Term {
  readonly history: number;
  /** Raised by the ring document at every owner change of the partition. u32. */
  readonly generation: number;
  /** Raised by the store each time a node opens the partition at this generation. u32. */
  readonly opens: number;
}

/** First byte of `key` is the row's kind; keys sort bytewise; at most 1,024 bytes. Values up to 4 MiB. */
export interface Row {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** One change of one row. Without `value` the row is deleted. */
export interface RowChange {
  readonly key: Uint8Array;
  readonly value?: Uint8Array | undefined;
  /** There has never been a row under this key. A store may spare itself what that makes needless. */
  readonly isNew?: boolean;
}

/** A key as a string that sorts like it; one character a byte. */
export function keyText(key: Uint8Array): string {
  let text = "";
  for (const byte of key) text += String.fromCharCode(byte);
  return text;
}

/** Changes in order: an array, or `Changes`. */
export interface RowChanges extends Iterable<RowChange> {
  readonly length: number;
}

/** All changes that one commit makes to one partition. They are read until the commit is answered. */
export interface RowGroup {
  readonly partition: Partition;
  readonly term: Term;
  readonly changes: RowChanges;
}

export interface CommitResult {
  /** Indexes into the groups given: refused because a newer term owns the partition (S3). */
  readonly refused: readonly number[];
}

export interface RowPage {
  readonly rows: readonly Row[];
  /** Present when there are more rows: pass it as `after`. */
  readonly next?: Uint8Array;
}

export interface PageRequest {
  readonly partition: Partition;
  /** Only keys greater than this. */
  readonly after?: Uint8Array;
  /** Only keys that begin with this. */
  readonly prefix?: Uint8Array;
  readonly rowLimit: number;
  readonly byteLimit: number;
}

export interface StoreStats {
  readonly rows: number;
  readonly bytes: number;
  readonly commits: number;
  readonly syncs: number;
  /** Rows set aside because they could not be read. */
  readonly quarantined: number;
}

/** What rows of one kind and app take in a store, as an estimate. */
export interface Holding {
  /** Such as `tasks`, `state` or `results`. */
  readonly family: string;
  /** Empty for what belongs to no app. */
  readonly app: string;
  readonly rows: number;
  readonly bytes: number;
  /** With any of them. */
  readonly partitions: number;
  /** What keeps them from growing for ever, for people. */
  readonly bound: string;
  /** Since the look that it is compared with; negative when there are fewer. */
  readonly grownRows: number;
  readonly grownBytes: number;
}

export interface StoreHoldings {
  /** Largest first. */
  readonly holdings: readonly Holding[];
  readonly usedBytes: number;
  /** 0: none. */
  readonly limitBytes: number;
  /** Of the store's log of changes, 0 without one; and whether the store shortens it by itself. */
  readonly logBytes: number;
  readonly logShortened: boolean;
  /** How long ago the look was that `grownRows` and `grownBytes` count from; 0: this is the first. */
  readonly sinceMs: number;
}

export interface TaskStore extends AsyncDisposable {
  /** True when every node sees the same rows (Redis): handoff then moves no rows. */
  readonly shared: boolean;
  /** Why the store no longer accepts anything (S4). */
  readonly broken: Error | undefined;
  /**
   * Durably raises `opens` of the partition at (history, generation) and returns the new term.
   * Rejects with `STORE_BROKEN`, or with `NOT_OWNER` when the partition is held at a newer term.
   */
  open(partition: Partition, at: { readonly history: number; readonly generation: number }): Promise<Term>;
  /** See S1 to S4. Groups given in one call, and calls made while a commit is under way, share one sync. */
  commit(groups: readonly RowGroup[]): Promise<CommitResult>;
  /** Rows in key order, as of the newest commit that resolved (never older; possibly newer). */
  page(request: PageRequest): Promise<RowPage>;
  /** Removes all rows and the term of a partition, durably. */
  drop(partition: Partition): Promise<void>;
  /** Renames a partition's rows into quarantine: they are kept for the operator and never opened. */
  quarantine(partition: Partition, why: string): Promise<void>;
  /** The partitions that have any row, with the term last seen. */
  partitions(): Promise<readonly { readonly partition: Partition; readonly term: Term }[]>;
  stats(): StoreStats;
}
