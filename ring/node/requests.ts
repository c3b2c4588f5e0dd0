/**
 * What the API, the CLI and other nodes may ask a node for: one union, answered once. The hot path (submits) is not here.
 */

import type { Member, RingDocument, StagedChange } from "../document.ts";
import type { ErrorCode } from "../errors.ts";
import type { AppName, NodeName, Partition } from "../ids.ts";
import type { AppLimits } from "../tasks/definition.ts";
import type { PartitionView, TaskAnswer, TaskRequest } from "../tasks/engine-contract.ts";

export type NodeRequest =
  /** To the owner of the partition; any node forwards it there. */
  | { readonly type: "task"; readonly partition: Partition; readonly request: TaskRequest }
  /** To every partition of the node that is asked (not forwarded): lists. */
  | { readonly type: "local-tasks"; readonly request: TaskRequest }
  | { readonly type: "node-status" }
  /** Ring changes; any node may propose them. */
  | { readonly type: "stage"; readonly change: StagedChange }
  | { readonly type: "clear" }
  | { readonly type: "commit"; readonly planId?: string }
  /** Takes this newcomer in at once; what else is staged stays so. Of a member: that is where it is now. */
  | { readonly type: "admit"; readonly member: Omit<Member, "status"> }
  | { readonly type: "transfers" }
  | { readonly type: "transfer-limit"; readonly limit?: number; readonly paused?: boolean; readonly force?: Partition }
  /** Moves all partitions of the node away (it stays a member); `false` ends that. */
  | { readonly type: "drain"; readonly name: NodeName; readonly drain: boolean }
  | {
      readonly type: "app";
      readonly app: AppName;
      readonly action: "create" | "delete" | "pause" | "resume" | { readonly limits: Partial<AppLimits> };
    }
  /** `app`: that one alone, also where only a template matches it. */
  | { readonly type: "list-apps"; readonly limit: number; readonly app?: AppName };

export type NodeAnswer =
  /** `missing`: of a list, partitions that the node owns and that are not in it. */
  | { readonly type: "task"; readonly answer: TaskAnswer; readonly missing?: number | undefined }
  | { readonly type: "node-status"; readonly status: NodeStatus }
  | { readonly type: "document"; readonly document: RingDocument }
  | {
      readonly type: "transfers";
      readonly transfers: readonly TransferView[];
      readonly limit: number;
      readonly paused: boolean;
    }
  | { readonly type: "apps"; readonly apps: readonly AppView[] }
  | { readonly type: "ok" }
  | { readonly type: "refused"; readonly code: ErrorCode; readonly detail: string; readonly retryAfterMs?: number };

export interface AppView {
  readonly app: string;
  readonly match: string;
  readonly version: string;
  readonly existence: "implied" | "created" | "deleted";
  readonly paused: boolean;
  readonly limits: AppLimits;
  readonly queued: number;
  readonly running: number;
  readonly dead: number;
  /** Children of its tasks that wait to reach their owners. */
  readonly children: number;
  readonly oldestWaitMs: number;
}

export interface TransferView {
  readonly partition: Partition;
  readonly kind: "handoff" | "stranded";
  readonly from: NodeName;
  readonly to: NodeName;
  readonly phase: "waiting" | "offered" | "snapshot" | "catch-up" | "cut-over" | "done";
  /** Why it is in this phase and not further (P8). */
  readonly reason: string;
  readonly rows: number;
  readonly bytes: number;
  readonly sinceMs: number;
}

export interface NodeStatus {
  readonly name: NodeName;
  readonly version: string;
  readonly state: "starting" | "waiting-to-join" | "serving" | "draining" | "stopping" | "broken";
  readonly epoch: number;
  readonly history: number;
  /** Milliseconds for which the lease is still held; absent without one. */
  readonly leaseMs?: number;
  readonly partitions: readonly PartitionView[];
  readonly queued: number;
  readonly running: number;
  readonly dead: number;
  /** Children of tasks here that wait to reach their owners. */
  readonly children: number;
  /** Tasks of other members held in directories that this node adopted, and its own that wait to be handed back. */
  /** `rows`: tasks, as the member last told; absent when it never did. */
  readonly stranded: readonly {
    readonly member: NodeName;
    readonly partition: Partition;
    readonly rows?: number;
    readonly where: "adopter" | "away";
  }[];
  readonly apps: readonly { readonly match: string; readonly version: string }[];
  readonly warnings: readonly { readonly code: string; readonly detail: string }[];
  readonly store: {
    readonly rows: number;
    readonly bytes: number;
    readonly commits: number;
    readonly syncs: number;
    readonly quarantined: number;
    readonly broken?: string;
  };
  /** Names for which this node holds the directory lock. */
  readonly adopting: readonly NodeName[];
}
