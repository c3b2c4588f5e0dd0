/**
 * The running node as the API sees it: what `services/api` is built on, and what `ring/io/node.ts` provides.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { MemberView } from "../membership/events.ts";
import type { StoreHoldings } from "../store.ts";
import type { TaskEvent } from "../tasks/engine-contract.ts";
import type { SubmitOutcome, TaskRecord } from "../tasks/task.ts";
import type { NodeAnswer, NodeRequest } from "./requests.ts";

/** Where outcomes of submits go: one per stream or call. Called in batches, at most once per event-loop turn and origin. */
export interface SubmitOrigin {
  /** `tokens[i]` is the number given with the task; outcomes come in any order. */
  outcomes(tokens: readonly number[], outcomes: readonly SubmitOutcome[]): void;
}

export interface NodeAddresses {
  readonly grpc: string;
  readonly http: string;
}

export interface RingEvent {
  readonly atMs: number;
  /** `ring-changed member-up member-down transfer-done adoption-started adoption-done lease-lost …` */
  readonly type: string;
  readonly detail: string;
  readonly node: NodeName;
}

export interface RingNode {
  readonly name: NodeName;
  /** All nodes keep their rows in one store. */
  readonly sharesStore?: boolean;
  /** The newest decided document; undefined before the node is part of a ring. */
  document(): RingDocument | undefined;
  members(): readonly MemberView[];
  member(name: NodeName): MemberView | undefined;
  /** gRPC and HTTP addresses by member, from membership tags. */
  addressesOf(name: NodeName): NodeAddresses | undefined;
  ownerOf(partition: Partition): NodeName | undefined;
  /**
   * Takes tasks for any partition, forwarding what belongs elsewhere. Never throws; every token gets one outcome.
   * `tokens[i]` belongs to `records[i]`.
   */
  submit(origin: SubmitOrigin, tokens: readonly number[], records: readonly TaskRecord[]): void;
  /** The origin is gone: outcomes are dropped, tasks stay. */
  forget(origin: SubmitOrigin): void;
  /** Routes to the owner where the request names a partition, else answers here; `to` asks a certain member. Never rejects: deadlines answer `refused` DEADLINE. */
  ask(request: NodeRequest, options: { readonly deadlineMs: number; readonly to?: NodeName }): Promise<NodeAnswer>;
  /** Ring events and task events from now on; returns the way to stop. At most 1,000 listeners. */
  onRingEvent(listener: (event: RingEvent) => void): () => void;
  onTaskEvents(listener: (events: readonly TaskEvent[]) => void): () => void;
  onDocument(listener: (document: RingDocument) => void): () => void;
  /** Recent ring events, oldest first, at most 1,000. */
  recentEvents(): readonly RingEvent[];
  /** Of the store that all nodes share; undefined with stores of their own. */
  holdings(): Promise<StoreHoldings | undefined>;
}
