/** What people see of a run: progress, report, workers, trace. */

import type { ErrorCode } from "../ring/errors.ts";
import type { NodeName } from "../ring/ids.ts";
import type { Failure } from "./token.ts";

export interface Report {
  readonly run: string;
  readonly pipeline: string;
  readonly state: "done" | "failed" | "cancelled";
  /** Inputs that were taken. */
  readonly accepted: number;
  /** Inputs of which everything that came of them has an end. */
  readonly acknowledged: number;
  /** Inputs and outputs at any fitting that failed for good. */
  readonly failed: number;
  /** The first 100 of them. */
  readonly failures: readonly Failure[];
  /** Outputs that the sink has acknowledged. */
  readonly outputs: number;
  /** Inputs, of any fitting, that were sent again because a node was lost: what came of each of them may be there twice. */
  readonly resent: number;
  readonly elapsedMs: number;
  readonly error?: { readonly code: ErrorCode; readonly detail: string };
}

export interface Progress {
  readonly accepted: number;
  readonly acknowledged: number;
  readonly inFlight: number;
  /** Outputs that reached the sink. */
  readonly emitted: number;
  readonly failed: number;
  /** Acknowledged inputs a second since the start. */
  readonly perSecond: number;
  /** Where a total was given. */
  readonly etaMs?: number;
}

export interface WorkerStatus {
  readonly node: NodeName;
  readonly fitting: string;
  readonly partition: number;
  readonly state: "waiting" | "ready" | "working" | "leaving";
  readonly queue: number;
  readonly queueLimit: number;
  /** Senders parked here. */
  readonly blocked: number;
  /** How long there was one, in ms. */
  readonly blockedMs: number;
  /** How long calls were under way, and none, in ms. */
  readonly workMs: number;
  readonly idleMs: number;
  readonly processed: number;
  readonly failures: number;
}

export interface TraceEvent {
  readonly node: NodeName;
  readonly fitting: string;
  readonly partition: number;
  readonly type: "blocked" | "failed" | "done" | "archived" | "log";
  readonly text: string;
  /** On the node's own monotonic clock. */
  readonly atMs: number;
}

export interface RunSummary {
  readonly run: string;
  readonly pipeline: string;
  readonly coordinator: NodeName;
  readonly progress: Progress | undefined;
}
