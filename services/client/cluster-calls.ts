/** `Cluster`: members, ring, plan and transfers. */

import type * as messages from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { Caller, CallOptions } from "./caller.ts";

const CLUSTER = "taskring.v1.Cluster";

export class ClusterCalls {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  status(query: { readonly node?: string } = {}, options?: CallOptions): Promise<messages.StatusReply> {
    return this.#caller.unary(CLUSTER, "Status", query, options);
  }

  /** What the store that all nodes share holds; nothing with stores of their own. */
  holdings(options?: CallOptions): Promise<messages.HoldingsReply> {
    return this.#caller.unary(CLUSTER, "Holdings", {}, options);
  }

  members(options?: CallOptions): Promise<messages.MembersReply> {
    return this.#caller.unary(CLUSTER, "Members", {}, options);
  }

  ring(options?: CallOptions): Promise<messages.RingReply> {
    return this.#caller.unary(CLUSTER, "Ring", {}, options);
  }

  /** Nodes that cover the ring together: each partition with its owner. Throws `NO_OWNER` while one has none. */
  async coverage(
    options?: CallOptions,
  ): Promise<readonly { readonly node: string; readonly partitions: readonly number[] }[]> {
    const { nodes, owners } = await this.ring(options);
    const covered = new Map<string, number[]>();
    for (const [partition, owner] of owners.entries()) {
      const name = nodes[owner]?.name;
      if (name === undefined)
        throw new RingError("NO_OWNER", `partition ${partition} has no owner`, { retryAfterMs: 500 });
      const partitions = covered.get(name);
      if (partitions === undefined) covered.set(name, [partition]);
      else partitions.push(partition);
    }
    return [...covered].map(([node, partitions]) => ({ node, partitions }));
  }

  locate(at: messages.KeyRequest, options?: CallOptions): Promise<messages.LocateReply> {
    return this.#caller.unary(CLUSTER, "Locate", at, options);
  }

  stage(change: messages.StageRequest, options?: CallOptions): Promise<messages.StagedReply> {
    return this.#caller.unary(CLUSTER, "Stage", change, options);
  }

  plan(options?: CallOptions): Promise<messages.PlanReply> {
    return this.#caller.unary(CLUSTER, "Plan", {}, options);
  }

  commit(planId: string | undefined, options?: CallOptions): Promise<messages.CommitReply> {
    return this.#caller.unary(CLUSTER, "Commit", { planId: planId ?? "" }, options);
  }

  async clear(options?: CallOptions): Promise<void> {
    await this.#caller.unary(CLUSTER, "Clear", {}, options);
  }

  transfers(options?: CallOptions): Promise<messages.TransfersReply> {
    return this.#caller.unary(CLUSTER, "Transfers", {}, options);
  }

  setTransferLimit(request: messages.TransferLimitRequest, options?: CallOptions): Promise<messages.TransfersReply> {
    return this.#caller.unary(CLUSTER, "SetTransferLimit", request, options);
  }

  async drain(request: { readonly node?: string; readonly undo?: boolean } = {}, options?: CallOptions): Promise<void> {
    await this.#caller.unary(CLUSTER, "Drain", request, options);
  }

  /** The gossip keys of the node that is asked: name it by `address`. */
  keys(
    change: { readonly action: "list" | "install" | "use" | "remove"; readonly key?: string },
    options?: CallOptions,
  ): Promise<messages.KeysReply> {
    return this.#caller.unary(CLUSTER, "Keys", change, options);
  }

  events(query: { readonly recent?: number } = {}, options?: CallOptions): AsyncIterable<messages.ClusterEvent> {
    return this.#caller.stream(CLUSTER, "Events", query, options);
  }
}
