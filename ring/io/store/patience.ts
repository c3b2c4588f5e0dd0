/** Opening a store on a full disk: again and again for a while, then an error that names the disk. */

import { setTimeout as delay } from "node:timers/promises";
import { RingError } from "../../errors.ts";
import type { StoreLog } from "./log.ts";
import { RETRY_MS } from "./space.ts";

/** It may do when the disk has room; the cause says more. */
export class NoRoom extends Error {}

/** Rejects with `QUEUE_FULL` when `open` rejected with `NoRoom` for `deadlineMs`. */
export async function openWhenThereIsRoom<T>(
  open: () => Promise<T>,
  options: { readonly directory: string; readonly deadlineMs: number; readonly log?: StoreLog },
): Promise<T> {
  const { directory, deadlineMs, log } = options;
  const deadline = performance.now() + deadlineMs;
  for (let waits = false; ; waits = true) {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof NoRoom)) throw error;
      if (performance.now() >= deadline) throw diskFull(error, directory, deadlineMs);
      if (!waits)
        log?.warn({ directory, err: error.cause }, "the disk is full: the store waits for room before it opens");
    }
    await delay(LOOK_MS);
  }
}

function diskFull({ cause }: NoRoom, directory: string, waitedMs: number): RingError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new RingError(
    "QUEUE_FULL",
    `the disk of ${directory} is full, and the store needs some of it to open: make room there, then start again (waited ${Math.round(waitedMs / 1_000)} s; ${why})`,
    { cause, retryAfterMs: RETRY_MS },
  );
}

const LOOK_MS = 500;
