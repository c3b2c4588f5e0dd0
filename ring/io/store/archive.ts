/**
 * A store in one file: for backups, and to move a store from one engine to another.
 *
 *   "TRARCH01", then frames [kind u8][partition u16][key length u16][value length u32][key][value][crc32 u32 over all before it
 *   in the frame], the last one of kind end, whose value is the number of frames before it.
 *
 * A1  A file without its end, or with a frame that does not fit its checksum, is refused as a whole: nothing is restored
 *     of it. So it is read twice: once to check, once to restore.
 */

import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { Term } from "../../store.ts";
import { syncDirectory } from "../files.ts";
import { checksum } from "./checksum.ts";
import { decodeTerm, encodeTerm } from "./rows.ts";

export type ArchiveRecord =
  /** What the store says of itself, such as its id. */
  | { readonly type: "about"; readonly name: string; readonly value: string }
  /** Comes before the rows of its partition. */
  | { readonly type: "term"; readonly partition: Partition; readonly term: Term }
  | { readonly type: "row"; readonly partition: Partition; readonly key: Uint8Array; readonly value: Uint8Array };

export interface ArchiveSize {
  readonly partitions: number;
  readonly rows: number;
  readonly bytes: number;
}

/** Written beside, synced, renamed: a file of that name is whole. Undefined: another is being written to it since, and nothing was renamed. */
export async function writeArchive(
  path: string,
  records: AsyncIterable<ArchiveRecord>,
): Promise<ArchiveSize | undefined> {
  const beside = `${path}.part`;
  await rm(beside, { force: true });
  const handle = await open(beside, "wx", 0o600);
  let size: ArchiveSize = NOTHING;
  try {
    let frames = 0;
    let waiting: Buffer[] = [MAGIC];
    let waitingBytes = 0;
    for await (const record of records) {
      const frame = encode(record);
      size = grown(size, record, frame.length);
      frames++;
      waiting.push(frame);
      waitingBytes += frame.length;
      if (waitingBytes < FLUSH_BYTES) continue;
      await writeAll(handle, Buffer.concat(waiting));
      waiting = [];
      waitingBytes = 0;
    }
    waiting.push(frameOf(END, 0, NO_BYTES, Buffer.from(String(frames))));
    await writeAll(handle, Buffer.concat(waiting));
    await handle.sync();
    if (!(await isAt(handle, beside))) return undefined;
    await rename(beside, path);
  } catch (error) {
    if (await isAt(handle, beside)) await rm(beside, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  await syncDirectory(dirname(path));
  return size;
}

/** Throws `STORE_BROKEN` for a file that is not whole (A1). */
export async function checkArchive(path: string): Promise<ArchiveSize> {
  let size: ArchiveSize = NOTHING;
  for await (const record of readArchive(path)) size = grown(size, record, 0);
  return size;
}

/** Throws `STORE_BROKEN` where it is damaged, `NOT_FOUND` when there is no such file. */
export async function* readArchive(path: string): AsyncGenerator<ArchiveRecord, void, undefined> {
  const broken = (why: string): RingError => new RingError("STORE_BROKEN", `${path} ${why}`);
  let rest: Buffer = Buffer.alloc(0);
  let begun = false;
  let frames = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: FLUSH_BYTES })) {
      rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
      if (!begun) {
        if (rest.length < MAGIC.length) continue;
        if (!rest.subarray(0, MAGIC.length).equals(MAGIC)) throw broken("is no archive of a store");
        begun = true;
        rest = rest.subarray(MAGIC.length);
      }
      for (let length = frameLength(rest); length !== undefined; length = frameLength(rest)) {
        if (length > FRAME_MOST_BYTES) throw broken("is damaged: a frame is too large"); // before it is waited for
        if (rest.length < length) break;
        const frame = rest.subarray(0, length);
        rest = rest.subarray(length);
        if (checksum(frame, 0, length - SUM_BYTES) !== frame.readUInt32LE(length - SUM_BYTES))
          throw broken(`is damaged: frame ${frames + 1} does not fit its checksum`);
        if (frame[0] === END) {
          if (contentOf(frame).toString() !== String(frames) || rest.length > 0) throw broken("is damaged at its end");
          return;
        }
        const record = decode(frame);
        if (record === undefined) throw broken(`is damaged: frame ${frames + 1} cannot be read`);
        frames++;
        yield record;
      }
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new RingError("NOT_FOUND", `there is no ${path}`);
    if (code === "EISDIR") throw broken("is no archive of a store");
    throw error;
  }
  throw broken("is cut off");
}

/** As long as it is open no other file has its inode. */
async function isAt(handle: FileHandle, path: string): Promise<boolean> {
  const there = await stat(path, { bigint: true }).catch(() => undefined);
  return there?.ino === (await handle.stat({ bigint: true })).ino;
}

async function writeAll(handle: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten;
}

function encode(record: ArchiveRecord): Buffer {
  switch (record.type) {
    case "about":
      return frameOf(ABOUT, 0, Buffer.from(record.name), Buffer.from(record.value));
    case "term":
      return frameOf(TERM, record.partition, NO_BYTES, encodeTerm(record.term, "live"));
    case "row":
      return frameOf(ROW, record.partition, record.key, record.value);
  }
}

function decode(frame: Buffer): ArchiveRecord | undefined {
  const partition = frame.readUInt16BE(1) as Partition;
  const keyBytes = frame.readUInt16BE(3);
  const key = frame.subarray(HEAD_BYTES, HEAD_BYTES + keyBytes);
  const value = contentOf(frame);
  if (frame[0] === ROW) return { type: "row", partition, key, value };
  if (frame[0] === ABOUT) return { type: "about", name: key.toString(), value: value.toString() };
  const term = frame[0] === TERM ? decodeTerm(value)?.term : undefined;
  return term && { type: "term", partition, term };
}

function contentOf(frame: Buffer): Buffer {
  return frame.subarray(HEAD_BYTES + frame.readUInt16BE(3), frame.length - SUM_BYTES);
}

function frameOf(kind: number, partition: number, key: Uint8Array, value: Uint8Array): Buffer {
  const length = HEAD_BYTES + key.length + value.length + SUM_BYTES;
  const frame = Buffer.allocUnsafe(length);
  frame[0] = kind;
  frame.writeUInt16BE(partition, 1);
  frame.writeUInt16BE(key.length, 3);
  frame.writeUInt32BE(value.length, 5);
  frame.set(key, HEAD_BYTES);
  frame.set(value, HEAD_BYTES + key.length);
  frame.writeUInt32LE(checksum(frame, 0, length - SUM_BYTES), length - SUM_BYTES);
  return frame;
}

function frameLength(bytes: Buffer): number | undefined {
  if (bytes.length < HEAD_BYTES) return undefined;
  return HEAD_BYTES + bytes.readUInt16BE(3) + bytes.readUInt32BE(5) + SUM_BYTES;
}

function grown(size: ArchiveSize, record: ArchiveRecord, bytes: number): ArchiveSize {
  return {
    partitions: size.partitions + (record.type === "term" ? 1 : 0),
    rows: size.rows + (record.type === "row" ? 1 : 0),
    bytes: size.bytes + (bytes > 0 ? bytes : record.type === "row" ? record.key.length + record.value.length : 0),
  };
}

const MAGIC: Buffer = Buffer.from("TRARCH01");
const ABOUT = 1;
const TERM = 2;
const ROW = 3;
const END = 4;
const HEAD_BYTES = 9;
const SUM_BYTES = 4;
const NO_BYTES = new Uint8Array();
const NOTHING: ArchiveSize = { partitions: 0, rows: 0, bytes: 0 };
const FLUSH_BYTES: number = 1024 * 1024;
const FRAME_MOST_BYTES: number = 8 * 1024 * 1024;
