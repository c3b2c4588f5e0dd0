/**
 * Refusals that another node, or the same one a little later, may not repeat. STATE_AWAY is what a new owner says of a task that still
 * lies on the disk of the one before; DEADLINE what a node says when the owner did not answer it: its time, not its caller's.
 */

import { type ErrorCode, RingError } from "../../ring/errors.ts";

export const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "NOT_OWNER",
  "NO_OWNER",
  "NO_LEASE",
  "DRAINING",
  "STATE_AWAY",
  "DEADLINE",
]);

export interface Tries {
  /** That came before the one that failed, and told nothing new. */
  readonly tries: number;
  /** Nothing is tried after it. By `performance.now()`. */
  readonly end: number;
}

/** How long to wait before another try. Throws the error where another is of no use, or `end` comes first. */
export function pauseMsAfter(error: unknown, { tries, end }: Tries): number {
  if (!(error instanceof RingError) || !PASSING.has(error.code)) throw error;
  const pauseMs = Math.min(error.retryAfterMs ?? PAUSE_MS * 2 ** Math.min(tries, 10), PAUSE_MOST_MS);
  if (performance.now() + pauseMs >= end) throw error;
  return pauseMs;
}

const PAUSE_MS = 100;
const PAUSE_MOST_MS = 1_000;
