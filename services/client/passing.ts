/**
 * Refusals that another node, or the same one a little later, may not repeat. STATE_AWAY is what a new owner says of a task that still
 * lies on the disk of the one before.
 */

import type { ErrorCode } from "../../ring/errors.ts";

export const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "NOT_OWNER",
  "NO_OWNER",
  "NO_LEASE",
  "DRAINING",
  "STATE_AWAY",
]);
