/**
 * What makes a commit durable: a journal of row changes, one write and one sync for each batch. The database behind it is
 * written later and in the background, a segment at a time, with what is left of the segment's changes by then: a task
 * that came and ended meanwhile never gets there, a counter that moved a thousand times does once.
 *
 * Two files take turns. While one segment goes into the database the next one grows; it is full before the other is
 * free only if the disk cannot keep up, and then commits wait: for as long as the disk goes on answering.
 *
 * W1  A batch is visible to reads once it is synced, and from then on: in the overlay, then in the database.
 * W2  A segment counts as applied by a row of the same database, in the transaction that writes the last of its changes.
 *     A crash before that replays the whole segment: its changes say what a row is, not how it changes.
 * W3  A file is written anew only after its segment is applied.
 * W4  Both files have a head before the database knows of a journal, and ever after: one that is missing or empty is a fault.
 * W5  What has a deadline is one answer of the disk: a write of the journal, a transaction of the database. A commit may
 *     wait for a hundred of them in a row.
 * W6  A change of the segment before is not told when the segment after it says newer of the row, in a batch that has another one
 *     behind it: whoever replays comes to that one too, and if it were damaged he would refuse (J1). How many batches there are by
 *     then is said with W2: if they were lost together he would refuse as well. The same is said of a segment that is told by half.
 * W7  Nobody opens the database while a transaction is under way: that is what the lock of the first file is for (`alone.ts`).
 * W8  A segment is not begun to be told while somebody reads the two files beside their node (`online.ts`), for a second at most, and
 *     not again before he has let go: file after file would be turned before he was through.
 */

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { RingError } from "../../errors.ts";
import { syncDirectory } from "../files.ts";
import { Batch } from "./batch.ts";
import type { Environment } from "./environment.ts";
import { causeOf, isGivenUp, isWantOfSpace, withDeadline } from "./failure.ts";
import {
  BATCH_HEAD_BYTES,
  HEAD_BYTES,
  JOURNAL_FILES,
  JournalFile,
  readSegments,
  type Segment,
  writeBatchHead,
  writeSegmentHead,
} from "./journal-file.ts";
import { Lull } from "./lull.ts";
import { type FoundRow, type KeyRange, mergedRows } from "./merged.ts";
import { Overlay } from "./overlay.ts";
import type { RowSink } from "./row-sink.ts";
import { encodeKnown, KNOWN_ROW, type Known, knownOf } from "./rows.ts";
import { Slices } from "./slices.ts";
import { RETRY_MS, type Space } from "./space.ts";
import { Untold } from "./untold.ts";

export interface JournalOptions {
  readonly directory: string;
  readonly environment: Environment;
  readonly space: Space;
  /** A write of the journal, or a transaction of the database, that takes longer breaks the store (W5). */
  readonly deadlineMs: number;
  /** The database failed in the background. */
  readonly onBroken: (error: unknown) => void;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #files: readonly [JournalFile, JournalFile];
  readonly #batch: Batch;
  readonly #secret: number;
  #segment: number;
  #batches = 0;
  /** Of the segment before, as the head of the active one says. */
  #before = 0;
  #active: Overlay;
  /** On its way into the database. */
  #frozen: Overlay | undefined;
  #checkpoint: Promise<void> = Promise.resolve();
  /** Memory of the segment before, to be used again. */
  #spare: Uint8Array | undefined;
  /** One write or turn of files at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Why the database takes nothing at the moment. */
  #starved: unknown;
  readonly #onStarved = new Set<() => void>();
  readonly #slices: Slices;
  readonly #lull = new Lull();
  /** Since when something waits for the segment before; undefined while nothing does. */
  #behindSince: number | undefined;
  #waiters = 0;
  /** Of these, those who want all of it in the database: what they wait for is told, whatever comes meanwhile. */
  #settling = 0;
  /** Nobody is there yet, or any more, whose work could go on meanwhile. */
  #isPatient = false;
  /** Closed broken: the database may be somebody else's by now. */
  #isGone = false;
  #checkpoints = 0;
  #isReaderSlow = false;

  private constructor(options: JournalOptions, files: readonly [JournalFile, JournalFile], known: Known) {
    const { applied, secret } = known;
    this.#options = options;
    this.#secret = secret;
    this.#files = files;
    this.#batch = new Batch(options.environment.database);
    this.#slices = new Slices(options.deadlineMs);
    this.#segment = applied + 1;
    this.#active = this.#begin(0, SEGMENT_BYTES);
  }

  /** Brings the database up to date. Rejects with `STORE_BROKEN` when files are missing or damaged; waits for no room. */
  static async open(options: JournalOptions): Promise<Journal> {
    const { directory, environment } = options;
    const stored = knownOf(environment.get(KNOWN_ROW));
    const known: Known = stored ?? { applied: 0, batchesAfter: 0, secret: randomBytes(4).readUInt32LE() };
    const files: readonly [JournalFile, JournalFile] = [
      await JournalFile.open(join(directory, JOURNAL_FILES[0])),
      await JournalFile.open(join(directory, JOURNAL_FILES[1])),
    ];
    try {
      await syncDirectory(directory);
      const found = await readSegments(directory, files, { known, isNew: stored === undefined });
      const journal = new Journal(options, files, known);
      if (stored === undefined) await journal.#create(known);
      for (const segment of found) {
        await journal.#apply(segment);
        journal.#segment = segment.number + 1;
      }
      journal.#active = journal.#begin(found.at(-1)?.batches ?? 0, SEGMENT_BYTES);
      journal.#isPatient = true;
      return journal;
    } catch (error) {
      await Promise.all(files.map((file) => file.close()));
      throw error;
    }
  }

  /** W4 */
  async #create(known: Known): Promise<void> {
    const head = new Uint8Array(HEAD_BYTES);
    writeSegmentHead(head, known.applied, 0);
    for (const file of this.#files) await this.#answer(file.write(head, 0, HEAD_BYTES));
    await this.#write((batch) => batch.putRow(KNOWN_ROW, encodeKnown(known), false));
  }

  /** Transactions of the database so far. */
  get checkpoints(): number {
    return this.#checkpoints;
  }

  /**
   * Resolves when what `write` puts is on disk and visible; to false when it put nothing. `write` may be called again
   * when there was no room. What was put is not there at all after a rejection.
   */
  append(write: (rows: RowSink) => void): Promise<boolean> {
    return this.#inTurn(async () => {
      for (;;) {
        const active = this.#active;
        const start = active.end;
        active.skip(BATCH_HEAD_BYTES);
        write(active);
        if (!active.overflow) return await this.#sync(active, start);
        active.discard();
        if (this.#batches > 0) await this.#rotate();
        else this.#active = this.#begin(this.#before, active.bytes.length * 2);
      }
    });
  }

  /** How long commits have been waiting for the database by now; 0 while they do not. */
  get behindMs(): number {
    return this.#behindSince === undefined ? 0 : performance.now() - this.#behindSince;
  }

  /** What the database has yet to be given, at most. */
  get owedBytes(): number {
    return this.#active.end + (this.#frozen?.end ?? 0);
  }

  /** Resolves when everything synced so far is in the database. Rejects when it takes nothing. */
  async settle(): Promise<void> {
    this.#settling += 1;
    try {
      await this.#inTurn(async () => {
        if (this.#batches > 0) await this.#rotate();
      });
      await this.#applied();
    } finally {
      this.#settling -= 1;
    }
  }

  /** The row under `key`, space included. */
  get(key: Uint8Array): FoundRow | undefined {
    const change = this.#active.find(key) ?? this.#frozen?.find(key);
    if (change !== undefined) return change.value === undefined ? undefined : { key, value: change.value };
    const stored = this.#options.environment.get(key);
    return stored === undefined ? undefined : { key, stored };
  }

  /** Rows in key order as they are now; to be used up within one turn. Views: copy what is kept longer. */
  range(range: KeyRange): Iterable<FoundRow> {
    return mergedRows(range, this.#options.environment.range(range), this.#overlays());
  }

  /** Rows there are. Under load an estimate: what the database will be told to replace is taken to be there. */
  rows(): number {
    const { environment } = this.#options;
    let rows = environment.size().rows;
    for (const overlay of this.#overlays()) {
      const isExact = overlay.rows <= EXACT_ROWS;
      rows += overlay.growth(isExact ? (key) => environment.get(key) !== undefined : undefined);
    }
    return rows;
  }

  /** Brings the database up to date if it can, and lets go of the files. */
  async close(isBroken: boolean): Promise<void> {
    this.#isPatient = false;
    this.#isGone = isBroken;
    this.#lull.end();
    if (!isBroken) await this.settle().catch(() => {}); // what is not applied is replayed
    if (!isBroken) await this.#checkpoint.catch(() => {});
    await Promise.all(this.#files.map((file) => file.close()));
  }

  get #file(): JournalFile {
    return this.#files[this.#segment % 2]!;
  }

  /** Newest first. */
  #overlays(): readonly Overlay[] {
    return this.#frozen === undefined ? [this.#active] : [this.#active, this.#frozen];
  }

  async #sync(active: Overlay, start: number): Promise<boolean> {
    const end = active.at;
    if (end === start + BATCH_HEAD_BYTES) {
      active.discard();
      return false;
    }
    const { bytes } = active;
    const next = writeBatchHead(bytes, {
      start,
      end,
      segment: this.#segment,
      number: this.#batches,
      secret: this.#secret,
    });
    try {
      await this.#answer(this.#file.write(bytes, this.#batches === 0 ? 0 : start, next));
    } catch (error) {
      active.discard();
      throw error;
    }
    this.#batches += 1;
    active.keep(next); // W1
    this.#lull.look();
    return true;
  }

  /** Waits for the segment before, and begins the next one in its file (W3). */
  async #rotate(): Promise<void> {
    await this.#applied();
    const [overlay, number, batches] = [this.#active, this.#segment, this.#batches];
    this.#frozen = overlay;
    this.#segment = number + 1;
    this.#active = this.#begin(batches, SEGMENT_BYTES);
    const file = this.#files[number % 2]!;
    this.#checkpoint = this.#apply({ overlay, number, batches }).then(async () => {
      if (overlay.bytes.length === SEGMENT_BYTES) this.#spare = overlay.bytes;
      else await this.#answer(file.shrink(SEGMENT_BYTES)); // before the next segment but one begins in that file
      this.#frozen = undefined;
    });
    this.#checkpoint.catch((error: unknown) => {
      if (this.#isPatient) this.#options.onBroken(error);
    });
  }

  /** Resolves when no segment is on its way. Rejects when the database has no room for it. */
  async #applied(): Promise<void> {
    if (this.#frozen === undefined) return;
    if (this.#starved !== undefined) throw this.#starved;
    let tell = (): void => {};
    const starved = new Promise<void>((resolve) => {
      tell = resolve;
    });
    this.#onStarved.add(tell);
    this.#waiters += 1;
    this.#behindSince ??= performance.now();
    this.#lull.end();
    try {
      await Promise.race([this.#checkpoint, starved]);
    } finally {
      this.#onStarved.delete(tell);
      this.#waiters -= 1;
      if (this.#waiters === 0) this.#behindSince = undefined;
    }
    if (this.#starved !== undefined) throw this.#starved;
  }

  #begin(batchesBefore: number, size: number): Overlay {
    const bytes = size === SEGMENT_BYTES && this.#spare !== undefined ? this.#spare : new Uint8Array(size);
    if (bytes === this.#spare) this.#spare = undefined;
    writeSegmentHead(bytes, this.#segment, batchesBefore);
    this.#before = batchesBefore;
    this.#batches = 0;
    return new Overlay(bytes, HEAD_BYTES);
  }

  /** In transactions small enough that none holds up the event loop; the last one says that it was the last (W2). */
  async #apply({ overlay, number, batches }: Omit<Segment, "batchesBefore">): Promise<void> {
    this.#options.environment.forgetDeadReaders();
    this.#isReaderSlow = !(await this.#files[1].whenUnlocked(this.#isReaderSlow ? 0 : READ_MOST_MS)); // W8
    const untold = new Untold(overlay);
    if (this.#isPatient && this.#waiters === 0 && untold.rows > 0)
      await this.#lull.over({
        filled: () => this.#active.end / this.#active.bytes.length,
        replaced: () => untold.shareIn(this.#active),
      });
    while (this.#settling === 0 && untold.leaveOut(this.#active, this.#waiters > 0 ? LOOKS_MOST : LOOKS))
      await nextTurn(); // W6
    untold.keepRest();
    do {
      const changes = untold.take(this.#slices);
      await this.#writeWhenThereIsRoom((batch) => {
        for (const { key, value, stored } of changes) {
          if (value === undefined) batch.removeRow(key);
          else batch.putRow(key, value, stored);
        }
        const known = untold.isOver
          ? { applied: number, batchesAfter: this.#batches }
          : { applied: number - 1, batchesAfter: batches };
        batch.putRow(KNOWN_ROW, encodeKnown({ ...known, secret: this.#secret }), false);
      });
    } while (!untold.isOver);
  }

  /** A disk that is full may have room again; until then nothing of the segment is lost. */
  async #writeWhenThereIsRoom(write: (batch: Batch) => void): Promise<void> {
    for (;;) {
      try {
        await this.#write(write);
        this.#starved = undefined;
        return;
      } catch (error) {
        if (!this.#isPatient || !isWantOfSpace(error, this.#options.space, 2 * this.#slices.bytes)) throw error;
        this.#options.space.ranOut();
        this.#starved = error;
        for (const tell of this.#onStarved) tell();
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #write(write: (batch: Batch) => void): Promise<void> {
    for (let pauseMs = PAUSE_FIRST_MS; ; pauseMs *= 4) {
      await this.#files[0].lock(this.#options.deadlineMs); // W7
      if (this.#isGone) throw new RingError("STORE_BROKEN", "the store is closed"); // what is not applied is replayed
      const begunAt = performance.now();
      const synced = this.#batch.transact(() => write(this.#batch)).finally(() => this.#files[0].unlock());
      try {
        await this.#answer(synced);
        this.#checkpoints += 1;
        this.#slices.answered({
          tookMs: performance.now() - begunAt,
          isWaitedFor: this.#waiters > 0 || !this.#isPatient,
        });
        return;
      } catch (error) {
        const cause = await causeOf(error);
        if (!isGivenUp(cause) || pauseMs > PAUSE_LAST_MS) throw cause;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  /** W5 */
  #answer<T>(answer: Promise<T>): Promise<T> {
    return withDeadline(answer, this.#options.deadlineMs);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(work, work);
    this.#turn = run.catch(() => {});
    return run;
  }
}

/** Of changes and of file: more means fewer writes of the database, and more memory (twice this). */
const SEGMENT_BYTES: number = 12 * 1024 * 1024;
/** Reading both files takes some 10 ms, some 100 on a busy machine. */
const READ_MOST_MS = 1_000;
/** Before a transaction that lmdb gave up is tried again, four times as long each time: five times at most. */
const PAUSE_FIRST_MS = 10;
const PAUSE_LAST_MS = 2_560;
/** Rows of a segment that are looked at in a turn: well below a millisecond, and a few when somebody waits. */
const LOOKS = 1_000;
const LOOKS_MOST = 10_000;
/** More changes than this are not looked up one by one. */
const EXACT_ROWS = 512;
