/**
 * Keeps apart who opens the database beside the node that writes it (`online.ts`) and a transaction of that node, by a lock of a file.
 *
 * All processes share one number, that of the newest transaction. lmdb 3.5 sets it, whenever it opens, to what it found when it began:
 * on top of what was committed meanwhile the next transaction would write its own, as if that had never been, or be given up.
 */

import type { FileHandle } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import locks from "fs-native-extensions";
import { RingError } from "../../errors.ts";

/**
 * Resolves when `file` is locked for the caller, until it unlocks or closes it. Rejects with `STORE_BROKEN` at the deadline; time in
 * which this process was itself stopped or busy does not count.
 */
export async function lockAlone(file: FileHandle, deadlineMs: number): Promise<void> {
  let leftMs = deadlineMs;
  for (let lookedAt = performance.now(); file.fd >= 0 && !locks.tryLock(file.fd); ) {
    if (leftMs <= 0)
      throw new RingError(
        "STORE_BROKEN",
        `a process that looks at the store does not let go of it for ${deadlineMs} ms`,
      );
    await delay(LOOK_MS);
    const now = performance.now();
    leftMs -= Math.min(now - lookedAt, LOOK_MOST_MS);
    lookedAt = now;
  }
  if (file.fd < 0) throw new RingError("STORE_BROKEN", "the store is closed");
}

export function unlockAlone(file: FileHandle): void {
  if (file.fd >= 0) locks.unlock(file.fd); // closed, it has no lock any more
}

/** Resolves when nobody else has `file` locked, after `mostMs` all the same. */
export async function whenUnlocked(file: FileHandle, mostMs: number): Promise<void> {
  await lockAlone(file, mostMs).catch(() => {});
  unlockAlone(file);
}

const LOOK_MS = 1;
/** Of the deadline, for one look. */
const LOOK_MOST_MS = 100;
