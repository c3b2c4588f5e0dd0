/** How a write to the disk can fail: for want of space, which passes, or for good; and what takes too long. */

import type { Space } from "./space.ts";

/**
 * Whether the error says that the disk is full. A short write, which is what a disk that fills up in the middle of a page
 * gives, LMDB reports as EIO: that counts when there is indeed little room for `bytes`. Of a file of the journal it is what it
 * says, however little room there is (reliability rule 6).
 */
export function isWantOfSpace(error: unknown, space: Space, bytes: number): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (code === ENOSPC || code === EDQUOT || code === MDB_MAP_FULL || code === "ENOSPC" || code === "EDQUOT")
    return true;
  if (code !== EIO) return false;
  const diskBytes = space.diskBytes();
  return diskBytes !== undefined && diskBytes < NEARLY_FULL_BYTES + bytes;
}

/**
 * Whether lmdb gave the transaction up because it did not understand its own list of free pages (`alone.ts` tells when).
 * Nothing of it counts, and the next one reads that list from the disk again: so it may be tried again.
 */
export function isGivenUp(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === MDB_BAD_TXN;
}

/** Whether what was refused, or failed, did so because the disk is full, at whatever depth that is said. */
export function isForWantOfSpace(error: unknown, space: Space, bytes: number): boolean {
  for (let cause = error, depth = 0; cause !== undefined && depth < CAUSES_MOST; depth++) {
    if (isWantOfSpace(cause, space, bytes) || (cause as { code?: unknown }).code === "QUEUE_FULL") return true;
    cause = (cause as { cause?: unknown }).cause;
  }
  return false;
}

/** lmdb rejects with an error that only promises the reason. */
export async function causeOf(error: unknown): Promise<unknown> {
  const reason = (error as { commitError?: Promise<unknown> }).commitError;
  if (reason === undefined) return error;
  const inTime = new Promise<unknown>((resolve) => setTimeout(resolve, REASON_MS, error).unref());
  return Promise.race([
    reason.then(
      () => error,
      (cause: unknown) => cause,
    ),
    inTime,
  ]);
}

/** Rejects when the disk does not answer. A process that was itself stopped or busy does not count as a slow disk. */
export function withDeadline<T>(synced: Promise<T>, deadlineMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    let since = performance.now();
    let timer = setTimeout(expire, deadlineMs);
    function expire(): void {
      if (performance.now() - since > deadlineMs + LATE_MS) {
        since = performance.now();
        timer = setTimeout(expire, deadlineMs);
        return;
      }
      // One whole turn more, in which an answer that is already there gets delivered.
      setImmediate(() => setImmediate(() => reject(new Error(`no answer from the disk for ${deadlineMs} ms`))));
    }
    synced.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

const CAUSES_MOST = 5;
const LATE_MS = 1000;
const REASON_MS = 1000;
/** Below this an EIO is put down to a full disk. */
const NEARLY_FULL_BYTES = 4 * 1024 * 1024;
/** As numbers they are LMDB's. */
const ENOSPC = 28;
const EIO = 5;
const EDQUOT = 122;
const MDB_MAP_FULL = -30792;
const MDB_BAD_TXN = -30782;
