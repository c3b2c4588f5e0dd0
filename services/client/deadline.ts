/** How long a caller is willing to wait: a time in ms that every wait of the client is given. */

import { RingError } from "../../ring/errors.ts";

/** When `deadlineMs` from now is over, by the monotonic clock. Throws `INVALID_ARGUMENT` for what is no time: nothing would end by it. */
export function deadlineIn(deadlineMs: number | undefined, otherwiseMs: number): number {
  return performance.now() + timeOf(deadlineMs ?? otherwiseMs);
}

/** `deadlineMs`, if it is a time. Throws `INVALID_ARGUMENT`. */
export function timeOf(deadlineMs: number): number {
  if (typeof deadlineMs === "number" && deadlineMs >= 0) return deadlineMs;
  throw new RingError("INVALID_ARGUMENT", `deadlineMs must be 0 or more, not ${String(deadlineMs).slice(0, 40)}`);
}
