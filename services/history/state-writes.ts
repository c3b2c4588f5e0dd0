/**
 * Whose writes to the state of a key counted, as later attempts saw it.
 *
 * A traced attempt (`recorded.ts`) notes the fence of the write that it found, and writes its own with its end. So the
 * writes that a store accepted can be read from what handlers saw, without asking a node or the store.
 */

import type { Attempt, Lane } from "./history.ts";

/** A write that counted although a newer attempt had begun without it. */
export interface StaleWrite {
  readonly fence: bigint;
  /** The newer attempt, which had not found it. */
  readonly newer: Attempt;
  /** Who found it later. */
  readonly seenBy: Attempt;
}

export function staleWrites(lane: Lane): readonly StaleWrite[] {
  const traced = tracedOf(lane);
  const found: StaleWrite[] = [];
  for (const [at, seenBy] of traced.entries()) {
    const fence = seenBy.saw ?? NONE;
    for (let before = at - 1; before >= 0; before--) {
      const newer = traced[before]!;
      if (newer.fence <= fence) break;
      if ((newer.saw ?? NONE) >= fence) continue;
      found.push({ fence, newer, seenBy });
      break;
    }
  }
  return found;
}

/** Attempts that ended well and whose write nobody found: refused, or never sent. The newest of a key is left out. */
export function uncountedWrites(lane: Lane): number {
  const traced = tracedOf(lane);
  const seen = new Set(traced.map(({ saw }) => saw ?? NONE));
  return traced.filter(({ fence, outcome }, at) => outcome === "ok" && at < traced.length - 1 && !seen.has(fence))
    .length;
}

function tracedOf(lane: Lane): readonly Attempt[] {
  return lane.attempts
    .filter(({ saw }) => saw !== undefined)
    .sort((a, b) => (a.fence < b.fence ? -1 : a.fence > b.fence ? 1 : 0));
}

const NONE = 0n;
