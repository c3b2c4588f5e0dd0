/** Asks a node for everything that says how its ring is. What is not there yet (no ring) is left out; the rest must answer. */

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
