/** What a submitter is told of a task that its owner did not take, or may have taken. */

import type { SubmitOutcome } from "../tasks/task.ts";

type Refusal = Extract<SubmitOutcome, { readonly type: "refused" }>;

/** NO_OWNER where all of its partition are refused alike and may be tried again; else DEADLINE, which nobody tries again unasked. */
export function unsureOf(outcome: Refusal): SubmitOutcome {
  const code = outcome.code === "DRAINING" || REROUTED.has(outcome.code) ? "NO_OWNER" : "DEADLINE";
  const detail = `an earlier try may have been accepted; the last one was refused with ${outcome.code}: ${outcome.detail}`;
  return { ...outcome, code, detail };
}

/** Another owner may take it. */
export const REROUTED: ReadonlySet<string> = new Set(["NOT_OWNER", "NO_LEASE", "NO_OWNER"]);

export const NO_RING: SubmitOutcome = refusal("NO_OWNER", "this node is not part of a ring yet", 500);
export const NO_OWNER: SubmitOutcome = refusal("NO_OWNER", "the partition's owner cannot be reached", 500);
export const NOT_READY: SubmitOutcome = refusal("NO_OWNER", "the partition is not served yet", 500);
export const NOT_OWNER: SubmitOutcome = refusal("NOT_OWNER", "the ring changed", 50);
export const DRAINING: SubmitOutcome = refusal("DRAINING", "the node is stopping", 1_000);
export const DISK_FULL: SubmitOutcome = refusal(
  "QUEUE_FULL",
  "the store of the owner is full, or does not answer",
  2_000,
);
export const FULL: SubmitOutcome = refusal("QUEUE_FULL", "too many tasks wait for their owners at this node", 500);
export const LINK_FULL: SubmitOutcome = refusal(
  "QUEUE_FULL",
  "the link to the partition's owner takes no more now",
  500,
);

function refusal(code: Refusal["code"], detail: string, retryAfterMs: number): SubmitOutcome {
  return { type: "refused", code, detail, retryAfterMs };
}
