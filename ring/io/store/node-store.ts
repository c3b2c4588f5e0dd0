/** What a running node asks of its store beyond the contract that modules see. */

import type { CommitResult, RowGroup, StoreHoldings, TaskStore } from "../../store.ts";

export interface NodeStore extends TaskStore {
  /** No room for new work, or no answer: new tasks are refused with a delay until it is false again. */
  readonly full: boolean;
  /** How long commits have been waiting for a disk that cannot keep up; 0 while they do not. */
  readonly behindMs?: number;
  /** `fromReserve`: also while there is no room for new work, for what was let in before that was known. */
  commit(groups: readonly RowGroup[], options?: { readonly fromReserve?: boolean }): Promise<CommitResult>;
  /** Of a shared store: what it holds, and what of it has grown since an earlier look. */
  holdings?(): Promise<StoreHoldings>;
}
