/**
 * The next version of a file that is often replaced as a whole, made ahead of time: its blocks are there, its identity is
 * known, and so taking the place of the version before costs one synced write, a rename and the directory's sync.
 *
 * What waits for no disk is not waited for: in a node that is busy each answer of the system costs a turn of its event loop,
 * 30 ms and more, and a decision of the ring is many such files, one after another.
 *
 * N1  After `replace` resolved, a reader finds the new content; before that the old or the new, never a mixture (as
 *     `replaceFile`). Behind the content the file is padded with zeros.
 * N2  A failed sync is reported, never tried again.
 */

import { close, constants, fdatasync, fstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { BESIDE, type SyncHandle } from "./files.ts";

export class Replacement {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #sync: SyncHandle | undefined;
  readonly capacity: number;
  /** Kept when it takes its place. */
  readonly inode: bigint;
  readonly birthNs: bigint;

  private constructor(path: string, handle: FileHandle, found: Found) {
    this.#path = path;
    this.#handle = handle;
    this.#sync = found.sync;
    this.capacity = found.capacity;
    this.inode = BigInt.asUintN(64, found.ino);
    this.birthNs = BigInt.asUintN(64, found.birthtimeNs);
  }

  /** Makes the file beside `path`, with room for `capacity` bytes. `sync`: for tests, how a file or directory is synced. */
  static async prepare(path: string, capacity: number, sync?: SyncHandle): Promise<Replacement> {
    const beside = `${path}${BESIDE}`;
    // A leftover of a crash would lend the new file its identity.
    rmSync(beside, { force: true });
    const blocks = openSync(beside, "wx", 0o600);
    try {
      fillWithZeros(blocks, capacity);
      const { ino, birthtimeNs } = fstatSync(blocks, { bigint: true });
      const handle = await open(beside, constants.O_WRONLY | SYNC_FLAG);
      // Nobody waits for the blocks either: a write that comes before they are on disk takes them along.
      fdatasync(blocks, () => close(blocks, ignore));
      return new Replacement(path, handle, { ino, birthtimeNs, capacity, sync });
    } catch (error) {
      close(blocks, ignore);
      rmSync(beside, { force: true }); // of a full disk a part is not to take the rest
      throw error;
    }
  }

  /** N1. At most `capacity` bytes. Once only. */
  async replace(content: Uint8Array): Promise<void> {
    const opening = open(dirname(this.#path), "r");
    opening.catch(() => {}); // awaited below, unless the write fails first
    try {
      await this.#write(content);
      renameSync(`${this.#path}${BESIDE}`, this.#path);
      const directory = await opening;
      await (this.#sync?.(directory) ?? directory.sync());
    } finally {
      letGo(Promise.resolve(this.#handle));
      letGo(opening);
    }
  }

  async #write(content: Uint8Array): Promise<void> {
    await writeAll(this.#handle, content);
    if (this.#sync !== undefined) await this.#sync(this.#handle);
    else if (SYNC_FLAG === 0) await this.#handle.datasync();
  }

  async discard(): Promise<void> {
    await this.#handle.close();
    rmSync(`${this.#path}${BESIDE}`, { force: true });
  }
}

/** Nobody waits for a close: what was to be on disk is. */
function letGo(handle: Promise<FileHandle>): void {
  handle.then((opened) => opened.close()).catch(() => {});
}

interface Found {
  readonly ino: bigint;
  readonly birthtimeNs: bigint;
  readonly capacity: number;
  readonly sync: SyncHandle | undefined;
}

/** Without it a failed close would end the process. */
function ignore(): void {}

function fillWithZeros(file: number, bytes: number): void {
  const zeros = new Uint8Array(bytes);
  for (let at = 0; at < bytes; ) {
    const written = writeSync(file, zeros, at, bytes - at, at);
    if (written === 0) throw noRoom();
    at += written;
  }
}

function noRoom(): Error {
  return Object.assign(new Error("the disk takes nothing more"), { code: "ENOSPC" });
}

/** libuv hides a full disk behind a short count; the next call tells (reliability rule 7). */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, at);
    if (bytesWritten === 0) throw noRoom();
    at += bytesWritten;
  }
}

/** One call writes and syncs. Elsewhere the flag does not reach the platters; `datasync` does. */
const SYNC_FLAG: number = process.platform === "linux" ? constants.O_DSYNC : 0;
