/**
 * Small files that survive a crash whole: written beside, synced, renamed over the old one, directory synced.
 *
 * F1  After `replaceFile` resolved, a reader finds the new content; before that the old or the new, never a mixture.
 * F2  A failed sync is reported, never tried again: the system may have marked the lost pages as clean.
 */

import { type FileHandle, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";

export interface ReplaceOptions {
  /** Content may depend on the new file, which keeps its identity when it is renamed. */
  readonly content: (handle: FileHandle) => Promise<Uint8Array>;
  /** How a file or directory is synced; tests pass one that fails. */
  readonly sync?: SyncHandle;
}

export type SyncHandle = (handle: FileHandle) => Promise<void>;

/** Two syncs: the file's and its directory's. */
export async function replaceFile(path: string, options: ReplaceOptions): Promise<void> {
  const sync = options.sync ?? syncHandle;
  const beside = `${path}${BESIDE}`;
  // A leftover of a crash would lend the new file its identity.
  await rm(beside, { force: true });
  const handle = await open(beside, "wx", 0o600);
  try {
    const bytes = await options.content(handle);
    // libuv hides ENOSPC behind a short count (reliability rule 7); `writeFile` goes on until all is written or fails.
    await handle.writeFile(bytes);
    await sync(handle);
  } finally {
    await handle.close();
  }
  await rename(beside, path);
  await syncDirectory(dirname(path), sync);
}

/** The file's bytes, or undefined when there is none. */
export async function readFileIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

/** Makes a directory, and those above it, so that their names survive a crash. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  const top = dirname(resolve(first));
  for (let at = resolve(path); at !== top; at = dirname(at)) await syncDirectory(dirname(at));
}

export function syncDirectory(path: string, sync?: SyncHandle): Promise<void> {
  return syncFile(path, sync);
}

export async function syncFile(path: string, sync: SyncHandle = syncHandle): Promise<void> {
  const handle = await open(path, "r");
  try {
    await sync(handle);
  } finally {
    await handle.close();
  }
}

/** What a write or a new file is refused with when there is no room, or no more for this user. */
export function isDiskFull(error: unknown): error is NodeJS.ErrnoException {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return error instanceof Error && (code === "ENOSPC" || code === "EDQUOT");
}

function syncHandle(handle: FileHandle): Promise<void> {
  return handle.sync();
}

const BESIDE = ".new";
