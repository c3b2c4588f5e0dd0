/**
 * The LMDB environment under an `EmbeddedStore`: opened so that a put's promise means synced, read in short transactions.
 *
 * V1  `overlappingSync` is off. With lmdb's default the promise of a put resolves before the sync; without it LMDB syncs
 *     the data (fdatasync), writes the meta page through an O_DSYNC descriptor, and then resolves. Seen under strace:
 *     as many fdatasync calls as commits.
 * V2  A read transaction ends with the turn it began in: one that stays open would pin every page freed since.
 */

import { open as openFile } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
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
    await checkMetaPages(join(directory, "data.mdb"));
    await (await openFile(join(directory, "lock.mdb"), "a+")).close(); // lmdb-js ends the process when it cannot
    const database: Database = open<Uint8Array, Uint8Array>({
      path: directory,
      noSubdir: false,
      encoding: "binary",
      keyEncoding: "binary",
      overlappingSync: false, // V1
      eventTurnBatching: false, // `Batch` makes its own
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

  /** A process that was killed while it read (`online.ts`) would pin every page freed since, for good. */
  forgetDeadReaders(): void {
    this.database.readerCheck();
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

/**
 * Throws when the file is not one that LMDB can open: lmdb-js ends the process with a segmentation fault then, and a
 * truncated file would end it with SIGBUS. Layout of `MDB_meta`, 64 bit, data version 2.
 */
async function checkMetaPages(path: string): Promise<void> {
  if (endianness() !== "LE") return;
  let bytes: Buffer;
  let fileBytes: number;
  try {
    await using handle = await openFile(path, "r");
    fileBytes = (await handle.stat()).size;
    const head = Buffer.alloc(META_HEAD_BYTES * 2);
    const first = await handle.read(head, 0, META_HEAD_BYTES, 0);
    if (first.bytesRead === 0) return;
    const pageSize = first.bytesRead === META_HEAD_BYTES ? head.readUInt32LE(META_PAGE_SIZE) : 0;
    await handle.read(head, META_HEAD_BYTES, META_HEAD_BYTES, pageSize);
    bytes = head;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  for (const start of [0, META_HEAD_BYTES]) {
    const pageSize = bytes.readUInt32LE(start + META_PAGE_SIZE);
    const isMeta = bytes.readUInt32LE(start + META_MAGIC) === LMDB_MAGIC && pageSize >= 512 && pageSize <= 65_536;
    if (!isMeta) throw new Error("data.mdb is damaged: it does not begin with the pages of an LMDB file");
    for (const at of META_ROOTS) {
      const root = bytes.readBigUInt64LE(start + at);
      if (root !== NO_PAGE && (root + 1n) * BigInt(pageSize) > BigInt(fileBytes))
        throw new Error("data.mdb is cut off");
    }
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

const LMDB_MAGIC = 0xbeefc0de;
const META_HEAD_BYTES = 160;
const META_MAGIC = 24;
/** Where the free tree's record lies, which holds the page size. */
const META_PAGE_SIZE = 48;
/** Root pages of the free tree and of the one database. */
const META_ROOTS: readonly number[] = [88, 136];
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const META_PAGES = 2;
/** Address space only; lmdb doubles the map when the file outgrows it. */
const MAP_START_BYTES: number = 1024 * 1024 * 1024;
