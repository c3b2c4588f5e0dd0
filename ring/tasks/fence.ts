/**
 * Fence numbers: what outside writes compare to refuse a stale attempt (promise P3).
 *
 * F1  Rises strictly with every attempt of a key: the counter within an opening, `opens` over restarts, `generation` over
 *     owners, `history` over recoveries. So no store write is needed per attempt.
 */

import type { Term } from "../store.ts";

/** At most 144 bits; `counter` counts the partition's attempts under this term, from 1. */
export function fenceOf(term: Term, counter: number): bigint {
  return (
    (((BigInt(term.history) << 32n) | BigInt(term.generation)) << 80n) | (BigInt(term.opens) << 48n) | BigInt(counter)
  );
}
