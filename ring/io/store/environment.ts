/**
 * The LMDB environment under an `EmbeddedStore`: opened so that a put's promise means synced, read in short transactions.
 *
 * V1  `overlappingSync` is off. With lmdb's default the promise of a put resolves before the sync; without it LMDB syncs
 *     the data (fdatasync), writes the meta page through an O_DSYNC descriptor, and then resolves. Seen under strace:
 *     as many fdatasync calls as commits.
 * V2  A read transaction ends with the turn it began in: one that stays open would pin every page freed since.
 */

import { open, type RootDatabase } from "lmdb";
import { RingError } from "../../errors.ts";
import type { Row } from "../../store.ts";
import { makeDirectory, syncDirectory } from "../files.ts";
import { upperBound } from "./rows.ts";

export type Database = RootDatabase<Uint8Array, Uint8Array>;

export interface RowRange {
  readonly start: Uint8Array;
  /** Not included. */
  readonly end: Uint8Array;
  /** Without `start` itself. */
  readonly exclusive?: boolean;
  readonly limit?: number;
}

export interface EnvironmentSize {
  readonly rows: number;
  readonly usedBytes: number;
  /** Pages inside the file, which never shrinks, that LMDB will use again before it grows. */
  readonly freeBytes: number;
}

/** Rejects with `STORE_BROKEN`. The caller holds the lock of the data directory: LMDB itself would let a second process in. */
export async function openEnvironment(directory: string): Promise<Environment> {
  await makeDirectory(directory);
  try {
    const database: Database = open<Uint8Array, Uint8Array>({
      path: directory,
      noSubdir: false,
      encoding: "binary",
      keyEncoding: "binary",
      overlappingSync: false, // V1
      mapSize: MAP_START_BYTES,
      maxReaders: 16,
    });
    // Reliability rule 7: new files need their directory synced.
    await syncDirectory(directory);
    return new Environment(database);
  } catch (cause) {
    throw new RingError("STORE_BROKEN", `the store in ${directory} cannot be opened: ${String(cause)}`, { cause });
  }
}

export class Environment {
  readonly database: Database;
  #closed = false;

  constructor(database: Database) {
    this.database = database;
  }

  /** The stored bytes, checksum included. */
  get(key: Uint8Array): Uint8Array | undefined {
    this.database.resetReadTxn();
    return this.database.getBinary(key);
  }

  /** Rows in key order, checksums included, read as they are asked for; within one turn (V2). */
  *range(range: RowRange): Generator<Row, void, undefined> {
    this.database.resetReadTxn();
    try {
      const { start, end, limit } = range;
      const options = {
        start,
        end,
        exclusiveStart: range.exclusive ?? false,
        ...(limit === undefined ? {} : { limit }),
      };
      yield* this.database.getRange(options) as Iterable<Row>;
    } finally {
      this.database.resetReadTxn();
    }
  }

  /** Whether there is a row behind `key` that begins with `prefix`. */
  hasAfter(key: Uint8Array, prefix: Uint8Array): boolean {
    return !this.range({ start: key, end: upperBound(prefix), exclusive: true, limit: 1 }).next().done;
  }

  size(): EnvironmentSize {
    if (this.#closed) return { rows: 0, usedBytes: 0, freeBytes: 0 };
    this.database.resetReadTxn();
    const { root, free, lastPageNumber, pageSize } = this.database.getStats() as EnvironmentStats;
    const used = pagesOf(root);
    return {
      rows: root.entryCount,
      usedBytes: used * pageSize,
      freeBytes: Math.max(0, lastPageNumber + 1 - META_PAGES - used - pagesOf(free)) * pageSize,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.database.close();
  }
}

interface TreeStats {
  readonly entryCount: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

/** The part of lmdb's statistics that is read here. */
interface EnvironmentStats {
  readonly root: TreeStats;
  readonly free: TreeStats;
  readonly lastPageNumber: number;
  readonly pageSize: number;
}

function pagesOf(tree: TreeStats): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages;
}

const META_PAGES = 2;
/** Address space only; lmdb doubles the map when the file outgrows it. */
const MAP_START_BYTES: number = 1024 * 1024 * 1024;
