/** What a resident submits goes the way of any client's task: to its owner, and back once it is stored there. */

import type { RingNode } from "../../ring/node/port.ts";
import type { Child } from "../../ring/tasks/task.ts";
import { submitOne } from "../api/submit-calls.ts";

/** The stored task's id: an earlier one's for the same idempotency key. Throws the refusal, or `DEADLINE`. */
export async function submitOfResident(node: RingNode, { wire }: Child): Promise<string> {
  const { taskId } = await submitOne(node, wire, { deadlineMs: SUBMIT_MS, onGone: () => undefined });
  return taskId;
}

/** Longer than a failover takes. */
const SUBMIT_MS = 30_000;
