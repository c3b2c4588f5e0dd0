/**
 * One of the two files of a journal: batches of row changes, each synced before the next is written.
 *
 *   file    [segment head, 32 bytes][batch]…                        numbers are little-endian
 *   head    [magic u32][crc32 u32][segment u48][batches of the segment before u32]
 *   batch   [magic u32][crc32 u32][segment u48][number u32][bytes u32][changes …], padded to 8 bytes
 *
 * A file is used again and again, always from its beginning: old batches behind the newest carry older segment numbers.
 * The checksum of a batch begins with the store's secret, so that no payload can pass for a batch.
 *
 * J1  A batch counts when its checksum fits and all before it do. The next is written only after it is synced: so if what
 *     does not fit has a whole batch of the same segment behind it, it is damage, and the file is refused. If not, it is
 *     taken for a torn tail, which nobody was told of. Damage to the last batches, and to those alone, looks the same, but for
 *     those that the database counts on (W6 of `journal.ts`).
 * J2  Looking for one takes time in proportion to the file, whatever is in it: a payload may be full of heads of batches.
 */

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { RingError } from "../../errors.ts";
import { lockAlone, unlockAlone, whenUnlocked } from "./alone.ts";
import { checksum } from "./checksum.ts";
import { Overlay } from "./overlay.ts";
import type { Known } from "./rows.ts";

export class JournalFile {
  readonly #handle: FileHandle;
  readonly path: string;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.path = path;
  }

  static async open(path: string): Promise<JournalFile> {
    return new JournalFile(await open(path, constants.O_RDWR | constants.O_CREAT | SYNC_FLAG, 0o600), path);
  }

  /** Resolves when `bytes[from, to)` are on disk at the same place of the file. */
  async write(bytes: Uint8Array, from: number, to: number): Promise<void> {
    for (let at = from; at < to; ) {
      // libuv hides a full disk behind a short count; the next call tells.
      const { bytesWritten } = await this.#handle.write(bytes, at, to - at, at);
      if (bytesWritten === 0) throw Object.assign(new Error("the disk takes nothing more"), { code: "ENOSPC" });
      at += bytesWritten;
    }
    if (SYNC_FLAG === 0) await this.#handle.datasync();
  }

  async read(): Promise<Uint8Array> {
    const { size } = await this.#handle.stat();
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await this.#handle.read(bytes, at, size - at, at);
      if (bytesRead === 0) return bytes.subarray(0, at);
      at += bytesRead;
    }
    return bytes;
  }

  /** Gives back what an unusually large batch took. */
  async shrink(bytes: number): Promise<void> {
    if ((await this.#handle.stat()).size > bytes) await this.#handle.truncate(bytes);
  }

  /** See `alone.ts`; until `unlock` or `close`. */
  lock(deadlineMs: number): Promise<void> {
    return lockAlone(this.#handle, deadlineMs);
  }

  unlock(): void {
    unlockAlone(this.#handle);
  }

  whenUnlocked(mostMs: number): Promise<boolean> {
    return whenUnlocked(this.#handle, mostMs);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

export interface Segment {
  readonly number: number;
  /** Batches of the segment before. */
  readonly batchesBefore: number;
  readonly batches: number;
  /** Every change of the segment. */
  readonly overlay: Overlay;
}

export function writeSegmentHead(bytes: Uint8Array, segment: number, batchesBefore: number): void {
  bytes.fill(0, 0, HEAD_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, HEAD_MAGIC, true);
  setUint48(view, 8, segment);
  view.setUint32(14, batchesBefore, true);
  view.setUint32(4, checksum(bytes, 8, HEAD_BYTES), true);
}

/** Closes the batch whose changes lie in `bytes[start + BATCH_HEAD_BYTES, end)`; returns where the next one begins. */
export function writeBatchHead(
  bytes: Uint8Array,
  batch: {
    readonly start: number;
    readonly end: number;
    readonly segment: number;
    readonly number: number;
    readonly secret: number;
  },
): number {
  const { start, end, secret } = batch;
  const view = viewOf(bytes);
  view.setUint32(start, BATCH_MAGIC, true);
  setUint48(view, start + 8, batch.segment);
  view.setUint32(start + 14, batch.number, true);
  view.setUint32(start + 18, end - start - BATCH_HEAD_BYTES, true);
  view.setUint32(start + 4, checksum(bytes, start + 8, end, secret), true);
  const next = Math.ceil(end / ALIGN_BYTES) * ALIGN_BYTES;
  bytes.fill(0, end, next);
  return next;
}

interface ReadOptions extends Known {
  readonly path: string;
}

/** The segments newer than what the database holds, oldest first. Throws `STORE_BROKEN` when one is missing or damaged. */
export function readChain(
  directory: string,
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
  known: Known,
): readonly Segment[] {
  const found: Segment[] = [];
  for (const { path, bytes } of files) {
    const segment = readSegment(bytes, { ...known, path });
    if (segment !== undefined) found.push(segment);
  }
  found.sort((left, right) => left.number - right.number);
  checkChain(directory, known, found);
  return found;
}

/** The same from the files themselves, which belong to their database: a new one (`isNew`) has none, any other one has both. */
export async function readSegments(
  directory: string,
  files: readonly JournalFile[],
  { known, isNew }: { readonly known: Known; readonly isNew: boolean },
): Promise<readonly Segment[]> {
  const contents = await Promise.all(files.map(async (file) => ({ path: file.path, bytes: await file.read() })));
  const found = readChain(directory, contents, known);
  if (isNew && found.length > 0)
    throw new RingError("STORE_BROKEN", `${directory} is empty, although a journal lies beside it`);
  const lost = isNew ? undefined : contents.find(({ bytes }) => bytes.length === 0);
  if (lost !== undefined) throw new RingError("STORE_BROKEN", `${lost.path} is lost: its newest changes with it`);
  return found;
}

/** Segments follow each other without a gap, and of all but the last every batch is there, of the first those that are counted on. */
function checkChain(directory: string, known: Known, segments: readonly Segment[]): void {
  let expected = known.applied + 1;
  const refuse = (number: number, has: number, of: number): never => {
    throw new RingError("STORE_BROKEN", `segment ${number} of the journal in ${directory} has ${has} of ${of} batches`);
  };
  for (const [index, segment] of segments.entries()) {
    const before = segments[index - 1];
    if (segment.number !== expected)
      throw new RingError("STORE_BROKEN", `${directory} lacks segment ${expected} of its journal`);
    if (before !== undefined && before.batches !== segment.batchesBefore)
      refuse(before.number, before.batches, segment.batchesBefore);
    expected += 1;
  }
  const has = segments[0]?.batches ?? 0;
  if (has < known.batchesAfter) refuse(known.applied + 1, has, known.batchesAfter);
}

/** The segment in a file of this content; undefined when there is none newer than `applied`. Throws `STORE_BROKEN` (J1). */
function readSegment(bytes: Uint8Array, options: ReadOptions): Segment | undefined {
  const { applied } = options;
  const view = viewOf(bytes);
  const hasHead =
    bytes.length >= HEAD_BYTES &&
    view.getUint32(0, true) === HEAD_MAGIC &&
    view.getUint32(4, true) === checksum(bytes, 8, HEAD_BYTES);
  const number = hasHead ? getUint48(view, 8) : 0;
  if (number <= applied) {
    refuseLater(view, HEAD_BYTES, { ...options, isLater: (segment) => segment > applied && segment <= applied + 2 }); // W3
    return undefined;
  }
  const overlay = new Overlay(bytes, HEAD_BYTES);
  let batches = 0;
  let at = HEAD_BYTES;
  for (;;) {
    const end = batchEnd(view, at, options.secret);
    if (end === undefined || getUint48(view, at + 8) !== number || view.getUint32(at + 14, true) !== batches) break;
    const next = Math.ceil(end / ALIGN_BYTES) * ALIGN_BYTES;
    overlay.replay(at + BATCH_HEAD_BYTES, end, next);
    batches += 1;
    at = next;
  }
  refuseLater(view, at, { ...options, isLater: (segment, batch) => segment === number && batch >= batches });
  return { number, batchesBefore: view.getUint32(14, true), batches, overlay };
}

/** J1, J2 */
function refuseLater(
  view: DataView,
  from: number,
  look: ReadOptions & { readonly isLater: (segment: number, batch: number) => boolean },
): void {
  let left = LOOKED_THROUGH * view.byteLength;
  for (let at = from; at + BATCH_HEAD_BYTES <= view.byteLength && left > 0; at += ALIGN_BYTES) {
    if (view.getUint32(at, true) !== BATCH_MAGIC) continue;
    if (!look.isLater(getUint48(view, at + 8), view.getUint32(at + 14, true))) continue;
    left -= Math.min(view.getUint32(at + 18, true), view.byteLength); // damaged, it says anything
    if (batchEnd(view, at, look.secret) !== undefined)
      throw new RingError("STORE_BROKEN", `${look.path} is damaged at byte ${from}: what lies behind is whole`);
  }
}

/** Where the batch at `at` ends, if it is whole. */
function batchEnd(view: DataView, at: number, secret: number): number | undefined {
  if (at + BATCH_HEAD_BYTES > view.byteLength || view.getUint32(at, true) !== BATCH_MAGIC) return undefined;
  const end = at + BATCH_HEAD_BYTES + view.getUint32(at + 18, true);
  if (end > view.byteLength) return undefined;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  return checksum(bytes, at + 8, end, secret) === view.getUint32(at + 4, true) ? end : undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function setUint48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x100000000, true);
  view.setUint16(at + 4, Math.floor(value / 0x100000000), true);
}

function getUint48(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint16(at + 4, true) * 0x100000000;
}

/** In a store's directory, beside LMDB's. */
export const JOURNAL_FILES = ["journal-0", "journal-1"] as const;
export const HEAD_BYTES = 32;
/** Not a multiple of the alignment: changes need none. */
export const BATCH_HEAD_BYTES = 22;
const ALIGN_BYTES = 8;
/** How often the checksums of batches that are none may go over the file (J2): but for forged ones, one is not whole. */
const LOOKED_THROUGH = 64;
const HEAD_MAGIC = 0x4a524b54;
const BATCH_MAGIC = 0x42524b54;
/** One call writes and syncs. Elsewhere the flag does not reach the platters; `datasync` does. */
const SYNC_FLAG: number = process.platform === "linux" ? constants.O_DSYNC : 0;
