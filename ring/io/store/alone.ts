/**
 * Keeps apart a node that writes its store and who looks at it from beside (`online.ts`), by locks of the journal's two files: of the
 * first while the database is opened or a transaction is under way, of the second while both files are read.
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

/** Resolves to true when nobody else has `file` locked, after `mostMs` to false. */
export async function whenUnlocked(file: FileHandle, mostMs: number): Promise<boolean> {
  try {
    await lockAlone(file, mostMs);
  } catch {
    return false;
  }
  unlockAlone(file);
  return true;
}

const LOOK_MS = 1;
/** Of the deadline, for one look. */
const LOOK_MOST_MS = 100;
