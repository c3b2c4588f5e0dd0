/** `taskring.v1.Cluster`: members, ring, plan and transfers. */

import type * as messages from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import { type NodeName, type Partition, parseNodeName } from "../../ring/ids.ts";
import type { RingEvent, RingNode } from "../../ring/node/port.ts";
import { planOf } from "../../ring/plan.ts";
import { preflist } from "../../ring/preflist.ts";
import { documentOf, gather, memberNames, placeOfKey, refusal } from "./asking.ts";
import type { Handlers, StreamContext } from "./calls.ts";
import {
  changeText,
  membersMessage,
  planMessage,
  ringMessage,
  statusMessage,
  transferMessage,
} from "./cluster-views.ts";
import { type GossipKeys, keysHandlers } from "./gossip-keys.ts";
import type { ApiLimits } from "./limits.ts";
import { planSizes } from "./plan-sizes.ts";
import { stagedChangeOf } from "./staged-change.ts";

export interface ClusterOptions {
  readonly node: RingNode;
  readonly limits: ApiLimits;
  readonly keys?: GossipKeys | undefined;
}

export function clusterHandlers({ node, limits, keys }: ClusterOptions): Handlers {
  async function status(request: { readonly node: string }, deadlineMs: number): Promise<messages.StatusReply> {
    const names = request.node === "" ? memberNames(node) : [knownName(node, request.node)];
    const patience = Math.min(deadlineMs, STATUS_MS);
    const { answers, unreachable } = await gather(node, () => ({ type: "node-status" }), "node-status", {
      deadlineMs: patience,
      names,
    });
    return {
      nodes: answers.map(({ answer }) => statusMessage(answer.status)),
      unreachable: unreachable.map(({ name, error }) => ({ node: name, code: error.code, message: error.message })),
    };
  }

  async function transfers(deadlineMs: number): Promise<messages.TransfersReply> {
    const { answers, unreachable } = await gather(node, () => ({ type: "transfers" }), "transfers", { deadlineMs });
    const here = answers.find(({ name }) => name === node.name) ?? answers[0];
    const views = new Map(
      answers
        .flatMap(({ answer }) => answer.transfers)
        .map((view) => [`${view.kind} ${view.partition} ${view.from} ${view.to}`, view]),
    );
    return {
      transfers: [...views.values()].sort((left, right) => left.partition - right.partition).map(transferMessage),
      limit: here?.answer.limit ?? 0,
      paused: here?.answer.paused ?? false,
      unreachable: unreachable.map(({ name }) => name),
    };
  }

  async function setTransferLimit(
    request: messages.TransferLimitRequest,
    deadlineMs: number,
  ): Promise<messages.TransfersReply> {
    const { limit, paused, force } = request;
    if (limit !== undefined && (limit < 1 || limit > 64))
      throw new RingError("INVALID_ARGUMENT", "limit must be 1 to 64; pause instead of 0");
    if (force !== undefined && force >= documentOf(node).ringSize)
      throw new RingError("INVALID_ARGUMENT", `there is no partition ${force}`);
    const change = {
      type: "transfer-limit",
      ...(limit === undefined ? {} : { limit }),
      ...(paused === undefined ? {} : { paused }),
      ...(force === undefined ? {} : { force: force as Partition }),
    } as const;
    const refusals: { readonly name: NodeName; readonly error: RingError }[] = [];
    await Promise.all(
      memberNames(node).map(async (to) => {
        const answer = await node.ask(change, { deadlineMs, to });
        if (answer.type === "refused") refusals.push({ name: to, error: refusal(answer) });
      }),
    );
    const reply = await transfers(deadlineMs);
    // Only one member has the transfer that is forced.
    const failed = refusals.filter(({ error }) => force === undefined || error.code !== "NOT_FOUND");
    const [first] = failed.length > 0 ? failed : refusals;
    // A member that is away takes the setting from nobody; all refusing is an error.
    if (refusals.length === memberNames(node).length && first !== undefined) throw first.error;
    return { ...reply, unreachable: [...new Set([...reply.unreachable, ...failed.map(({ name }) => name)])].sort() };
  }

  async function commit(request: { readonly planId: string }, deadlineMs: number): Promise<messages.CommitReply> {
    const planId = request.planId === "" ? {} : { planId: request.planId };
    const answer = await node.ask({ type: "commit", ...planId }, { deadlineMs });
    if (answer.type === "refused") throw refusal(answer);
    return { epoch: answer.type === "document" ? answer.document.epoch : documentOf(node).epoch };
  }

  async function stage(request: messages.StageRequest, deadlineMs: number): Promise<messages.StagedReply> {
    const answer = await node.ask({ type: "stage", change: stagedChangeOf(request) }, { deadlineMs });
    if (answer.type === "refused") throw refusal(answer);
    const document = answer.type === "document" ? answer.document : documentOf(node);
    return { staged: document.staged.map(changeText) };
  }

  async function* events(request: { readonly recent: number }, { signal }: StreamContext): AsyncIterable<RingEvent> {
    const queue: RingEvent[] = request.recent === 0 ? [] : node.recentEvents().slice(-request.recent);
    let wake: (() => void) | undefined;
    let overrun = false;
    const notice = (): void => wake?.();
    const stop = node.onRingEvent((event) => {
      if (queue.length < limits.eventQueue) queue.push(event);
      else overrun = true;
      notice();
    });
    signal.addEventListener("abort", notice);
    try {
      while (!signal.aborted) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else if (overrun)
          throw new RingError("QUEUE_FULL", `the reader is ${limits.eventQueue} events behind; connect again`);
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      stop();
      signal.removeEventListener("abort", notice);
    }
  }

  return {
    unary: {
      ...keysHandlers(node.name, keys),
      Status: (request: { readonly node: string }, { deadlineMs }) => status(request, deadlineMs),
      Holdings: async (): Promise<messages.HoldingsReply> => (await node.holdings()) ?? NOTHING_SHARED,
      Members: async () => membersMessage(node),
      Ring: async () => ringMessage(node, documentOf(node)),
      Locate: async (request: messages.KeyRequest): Promise<messages.LocateReply> => {
        const { partition } = placeOfKey(node, request);
        const document = documentOf(node);
        const owner = document.owners[partition];
        return {
          partition,
          owner: owner ?? "",
          nextOwner: document.next[partition] ?? "",
          preflist: preflist(document, partition, PREFLIST),
          epoch: document.epoch,
          grpcAddress: owner === undefined ? "" : (node.addressesOf(owner)?.grpc ?? ""),
        };
      },
      Stage: (request: messages.StageRequest, { deadlineMs }) => stage(request, deadlineMs),
      Plan: async (_request, { deadlineMs }) => {
        const document = documentOf(node);
        const plan = planOf(document, { keepStranded: node.sharesStore !== true });
        return planMessage(document, plan, await planSizes(node, plan, deadlineMs));
      },
      Commit: (request: { readonly planId: string }, { deadlineMs }) => commit(request, deadlineMs),
      Clear: async (_request, { deadlineMs }) => {
        const answer = await node.ask({ type: "clear" }, { deadlineMs });
        if (answer.type === "refused") throw refusal(answer);
        return {};
      },
      Transfers: (_request, { deadlineMs }) => transfers(deadlineMs),
      SetTransferLimit: (request: messages.TransferLimitRequest, { deadlineMs }) =>
        setTransferLimit(request, deadlineMs),
      Drain: async (request: { readonly node: string; readonly undo: boolean }, { deadlineMs }) => {
        const name = request.node === "" ? node.name : knownName(node, request.node);
        const answer = await node.ask({ type: "drain", name, drain: !request.undo }, { deadlineMs });
        if (answer.type === "refused") throw refusal(answer);
        return {};
      },
    },
    streaming: { Events: events },
  };
}

function knownName(node: RingNode, text: string): NodeName {
  const name = parseNodeName(text);
  const known = memberNames(node).includes(name) || node.member(name) !== undefined;
  if (!known) throw new RingError("MEMBER_UNKNOWN", `no member ${name}`);
  return name;
}

/** A member that takes longer to say how it is counts as unreachable. */
const STATUS_MS = 2_000;
const PREFLIST = 5;
const NOTHING_SHARED: messages.HoldingsReply = {
  holdings: [],
  usedBytes: 0,
  limitBytes: 0,
  logBytes: 0,
  logShortened: true,
  sinceMs: 0,
};
