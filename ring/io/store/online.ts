/**
 * A store as it is at one moment, read by another process while its node goes on: a read transaction of the database,
 * and then its journal.
 *
 * O1  Nothing synced before the call is missing: it was in the database when the transaction began, or the journal has it.
 * O2  It is of one moment, although the database may hold half of a segment by then: the whole of that segment is in the
 *     journal until it is applied, and hides that half. If a file was turned meanwhile, its head is another or the chain has a
 *     gap, and if it was cut, it is shorter than before the transaction: then the look is taken again.
 * O3  The database is opened between two transactions of the node (`alone.ts`).
 * O4  While the files are read the node begins to tell no segment more, for a second at most: so it turns one of them at most.
 */

import { type FileHandle, open as openFile, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { open, type RootDatabase, type Transaction } from "lmdb";
import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { PageRequest, Row, RowPage, StoreStats, TaskStore, Term } from "../../store.ts";
import { lockAlone } from "./alone.ts";
import { HEAD_BYTES, JOURNAL_FILES, readChain } from "./journal-file.ts";
import { contentOf, type FoundRow, type KeyRange, mergedRows, pageOf } from "./merged.ts";
import type { Overlay } from "./overlay.ts";
import { decodeTerm, KNOWN_ROW, keyOf, knownOf, SPACE_BYTES, spaceOf, TERMS, upperBound } from "./rows.ts";

/** What can be asked of a store that is only looked at. */
export type ReadableStore = Pick<TaskStore, "partitions" | "page" | "stats"> & {
  /** Rows met so far that do not fit their checksum; absent where `stats` tells. */
  readonly damagedRows?: number;
};

/** How a file is read whole; another one for tests. */
type Read = (path: string) => Promise<Uint8Array>;

/** `directory`: the store's, inside a data directory. Rejects with `STORE_BROKEN`. */
export async function openOnline(directory: string, read: Read = readFile): Promise<OnlineStore> {
  await using _reading = await lockBeside(directory, JOURNAL_FILES[1]); // O4
  const database = await openBeside(directory);
  for (let tries = 1; ; tries++) {
    const leastBytes = await journalBytes(directory);
    const transaction = database.useReadTransaction();
    try {
      const overlays = await overlaysOf({ directory, read, leastBytes }, database, transaction);
      return new OnlineStore(database, transaction, overlays);
    } catch (error) {
      transaction.done();
      if (tries < TRIES && error instanceof RingError) continue; // O2
      await database.close();
      throw error;
    }
  }
}

type Database = RootDatabase<Uint8Array, Uint8Array>;

export class OnlineStore implements ReadableStore, AsyncDisposable {
  readonly #database: Database;
  readonly #transaction: Transaction;
  readonly #overlays: readonly Overlay[];
  #damaged = 0;

  constructor(database: Database, transaction: Transaction, overlays: readonly Overlay[]) {
    this.#database = database;
    this.#transaction = transaction;
    this.#overlays = overlays;
  }

  async partitions(): Promise<readonly { readonly partition: Partition; readonly term: Term }[]> {
    const found: { partition: Partition; term: Term }[] = [];
    for (const row of this.#rows({ start: keyOf(TERMS), end: upperBound(keyOf(TERMS)) })) {
      const content = contentOf(row);
      const term = content && decodeTerm(content);
      if (term === undefined) this.#damaged++; // and with it all that the partition holds
      if (term?.state === "live")
        found.push({ partition: spaceOf(row.key.subarray(SPACE_BYTES)) as Partition, term: term.term });
    }
    return found;
  }

  async page(request: PageRequest): Promise<RowPage> {
    return pageOf(
      request,
      (range) => this.#rows(range),
      () => {
        this.#damaged++;
      },
    );
  }

  get damagedRows(): number {
    return this.#damaged;
  }

  /** Nothing is counted. */
  stats(): StoreStats {
    return { rows: 0, bytes: 0, commits: 0, syncs: 0, quarantined: 0 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#transaction.done();
    await this.#database.close();
  }

  #rows(range: KeyRange): Iterable<FoundRow> {
    const { start, end, exclusive } = range;
    const options = { start, end, exclusiveStart: exclusive ?? false, transaction: this.#transaction };
    return mergedRows(range, this.#database.getRange(options) as Iterable<Row>, this.#overlays);
  }
}

async function openBeside(directory: string): Promise<Database> {
  await using _opening = await lockBeside(directory, JOURNAL_FILES[0]); // O3
  try {
    return open<Uint8Array, Uint8Array>({
      path: directory,
      noSubdir: false,
      encoding: "binary",
      keyEncoding: "binary",
      readOnly: true,
    });
  } catch (cause) {
    throw cannotBeLookedAt(directory, cause);
  }
}

/** Locked until it is closed. */
async function lockBeside(directory: string, name: string): Promise<FileHandle> {
  let file: FileHandle | undefined;
  try {
    file = await openFile(join(directory, name), "r+");
    await lockAlone(file, LOCK_DEADLINE_MS);
    return file;
  } catch (cause) {
    await file?.close();
    throw cannotBeLookedAt(directory, cause);
  }
}

function cannotBeLookedAt(directory: string, cause: unknown): RingError {
  return new RingError("STORE_BROKEN", `the store in ${directory} cannot be looked at: ${String(cause)}`, { cause });
}

/** Of each file of the journal; that one is missing shows when it is read. */
function journalBytes(directory: string): Promise<readonly number[]> {
  const sizeOf = (name: string): Promise<number> =>
    stat(join(directory, name)).then(
      ({ size }) => size,
      () => 0,
    );
  return Promise.all(JOURNAL_FILES.map(sizeOf));
}

/** What the database does not have, newest first. `leastBytes`: how large the files were before the transaction began. */
async function overlaysOf(
  {
    directory,
    read,
    leastBytes,
  }: { readonly directory: string; readonly read: Read; readonly leastBytes: readonly number[] },
  database: Database,
  transaction: Transaction,
): Promise<readonly Overlay[]> {
  const [row] = database.getRange({ start: KNOWN_ROW, limit: 1, transaction }) as Iterable<Row>;
  const known = knownOf(row && Buffer.compare(row.key, KNOWN_ROW) === 0 ? row.value : undefined);
  if (known === undefined) throw new RingError("STORE_BROKEN", `${directory} does not say how far it is`);
  const files: { path: string; bytes: Uint8Array }[] = [];
  for (const name of JOURNAL_FILES)
    files.push({ path: join(directory, name), bytes: await read(join(directory, name)) });
  for (const [index, { path, bytes }] of files.entries()) {
    if (Buffer.compare(await headOf(path), bytes.subarray(0, HEAD_BYTES)) !== 0)
      throw new RingError("STORE_BROKEN", `${path} was turned while it was read`); // its end may be of the segment after
    if (bytes.length < leastBytes[index]!) throw new RingError("STORE_BROKEN", `${path} was cut before it was read`); // without its newest batches
  }
  return readChain(directory, files, known)
    .map(({ overlay }) => overlay)
    .reverse();
}

async function headOf(path: string): Promise<Uint8Array> {
  await using file = await openFile(path);
  const { buffer, bytesRead } = await file.read(new Uint8Array(HEAD_BYTES), 0, HEAD_BYTES, 0);
  return buffer.subarray(0, bytesRead);
}

/** The third one fits (O4), unless reading takes longer than the node waits. */
const TRIES = 10;
/** A busy node leaves the database alone for some 10 ms in each segment; others may look as well. */
const LOCK_DEADLINE_MS = 30_000;
