/**
 * The next version of a file that is often replaced as a whole, made ahead of time: its name beside the file, its blocks and its
 * identity are there, so that making a value durable costs one synced write. It takes the file's place after that, when
 * nobody waits any more.
 *
 * N1  After `write` resolved the content is durable under a name beside the file, if the directory has been synced since `prepare`.
 *     Before that it is nothing, whole, or torn. Behind the content the file is padded with zeros.
 * N2  A failed write is reported, never tried again, and what it left is taken away.
 */

import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import type { SyncHandle } from "./files.ts";

export class Replacement {
  readonly #beside: string;
  readonly #handle: FileHandle;
  readonly #sync: SyncHandle | undefined;
  readonly capacity: number;
  /** Kept when it takes its place. */
  readonly inode: bigint;
  readonly birthNs: bigint;

  private constructor(beside: string, handle: FileHandle, found: Found) {
    this.#beside = beside;
    this.#handle = handle;
    this.#sync = found.sync;
    this.capacity = found.capacity;
    this.inode = BigInt.asUintN(64, found.ino);
    this.birthNs = BigInt.asUintN(64, found.birthtimeNs);
  }

  /** Makes the file at `beside`, with room for `capacity` bytes. `sync`: for tests, how a file is synced. */
  static async prepare(beside: string, capacity: number, sync?: SyncHandle): Promise<Replacement> {
    // A leftover of a crash would lend the new file its identity.
    await rm(beside, { force: true });
    const blocks = await open(beside, "wx", 0o600);
    try {
      await blocks.writeFile(new Uint8Array(capacity));
      const { ino, birthtimeNs } = await blocks.stat({ bigint: true });
      const handle = await open(beside, constants.O_WRONLY | SYNC_FLAG);
      // Nobody waits for the blocks: a write that comes before they are on disk takes them along.
      letGo(blocks, blocks.datasync());
      return new Replacement(beside, handle, { ino, birthtimeNs, capacity, sync });
    } catch (error) {
      letGo(blocks, Promise.resolve());
      await rm(beside, { force: true }); // of a full disk a part is not to take the rest
      throw error;
    }
  }

  /** N1. At most `capacity` bytes. Once only. */
  async write(content: Uint8Array): Promise<void> {
    try {
      await writeAll(this.#handle, content);
      if (this.#sync !== undefined) await this.#sync(this.#handle);
      else if (SYNC_FLAG === 0) await this.#handle.datasync();
    } catch (error) {
      await this.discard().catch(() => {}); // N2
      throw error;
    }
  }

  /** The name of the file is this one's from now on; the directory is still to be synced. */
  async takePlace(path: string): Promise<void> {
    await rename(this.#beside, path);
    letGo(this.#handle, Promise.resolve());
  }

  async discard(): Promise<void> {
    await rm(this.#beside, { force: true });
    await this.#handle.close();
  }
}

interface Found {
  readonly ino: bigint;
  readonly birthtimeNs: bigint;
  readonly capacity: number;
  readonly sync: SyncHandle | undefined;
}

/** Nobody waits for a close, nor hears of a failed one: what was to be on disk is. */
function letGo(handle: FileHandle, after: Promise<void>): void {
  after
    .catch(() => {})
    .then(() => handle.close())
    .catch(() => {});
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
