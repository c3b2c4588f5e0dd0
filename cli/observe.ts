/** Asks a node for everything that says how its ring is. What is not there yet (no ring) is left out; the rest must answer. */

import type { HoldingsReply } from "../proto/messages.ts";
import { RingError } from "../ring/errors.ts";
import type { AskedNode } from "./ask-node.ts";
import type { Observed } from "./findings.ts";

export async function observe({ client, call }: AskedNode): Promise<Observed> {
  const { cluster } = client;
  const [status, members, ring, plan, transfers] = await Promise.all([
    cluster.status({}, call),
    cluster.members(call),
    inRing(cluster.ring(call)),
    inRing(cluster.plan(call)),
    inRing(cluster.transfers(call)),
  ]);
  return {
    status,
    members,
    ...(ring === undefined ? {} : { ring }),
    ...(plan === undefined ? {} : { plan }),
    ...(transfers === undefined ? {} : { transfers }),
  };
}

/** Undefined where no store is shared, or it cannot be asked now. */
export async function observeHoldings({ client, call }: AskedNode): Promise<HoldingsReply | undefined> {
  try {
    const reply = await client.cluster.holdings(call);
    return reply.usedBytes === 0 ? undefined : reply;
  } catch {
    return undefined; // what is wrong with the node or its store is found out elsewhere
  }
}

/** Undefined if the node is not part of a ring yet. */
async function inRing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RingError && error.code === "NO_OWNER" && error.message.includes("not part of a ring"))
      return undefined;
    throw error;
  }
}
