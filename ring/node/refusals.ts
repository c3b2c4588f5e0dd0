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
export const NO_RING: SubmitOutcome = {
  type: "refused",
  code: "NO_OWNER",
  detail: "this node is not part of a ring yet",
  retryAfterMs: 500,
};
export const NO_OWNER: SubmitOutcome = {
  type: "refused",
  code: "NO_OWNER",
  detail: "the partition's owner cannot be reached",
  retryAfterMs: 500,
};
export const NOT_READY: SubmitOutcome = {
  type: "refused",
  code: "NO_OWNER",
  detail: "the partition is not served yet",
  retryAfterMs: 500,
};
export const NOT_OWNER: SubmitOutcome = {
  type: "refused",
  code: "NOT_OWNER",
  detail: "the ring changed",
  retryAfterMs: 50,
};
export const DRAINING: SubmitOutcome = {
  type: "refused",
  code: "DRAINING",
  detail: "the node is stopping",
  retryAfterMs: 1_000,
};
export const DISK_FULL: SubmitOutcome = {
  type: "refused",
  code: "QUEUE_FULL",
  detail: "the store of the owner is full, or does not answer",
  retryAfterMs: 2_000,
};
export const FULL: SubmitOutcome = {
  type: "refused",
  code: "QUEUE_FULL",
  detail: "too many tasks wait for their owners at this node",
  retryAfterMs: 500,
};
export const LINK_FULL: SubmitOutcome = {
  type: "refused",
  code: "QUEUE_FULL",
  detail: "the link to the partition's owner takes no more now",
  retryAfterMs: 500,
};
