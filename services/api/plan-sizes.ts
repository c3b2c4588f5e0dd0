/**
 * How much a plan would move: tasks as the present owners count them, and their share of what the owners' stores hold.
 * For display; nothing is decided by it.
 */

import type { NodeName, Partition } from "../../ring/ids.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { NodeStatus } from "../../ring/node/requests.ts";
import type { Plan } from "../../ring/plan.ts";
import { gather } from "./asking.ts";

export interface PlanSizes {
  /** By partition that is transferred; those are missing whose owner did not answer. */
  readonly tasks: ReadonlyMap<Partition, number>;
  /** An estimate: a store knows its bytes as a whole. */
  readonly bytes: number;
}

export async function planSizes(node: RingNode, plan: Plan, deadlineMs: number): Promise<PlanSizes> {
  const moving = new Map<NodeName, Partition[]>();
  for (const { type, from, partition } of plan.moves) {
    if (type !== "transfer" || from === undefined) continue;
    const partitions = moving.get(from);
    if (partitions === undefined) moving.set(from, [partition]);
    else partitions.push(partition);
  }
  const names = [...moving.keys()];
  const { answers } = await gather(node, () => ({ type: "node-status" }), "node-status", {
    deadlineMs: Math.min(deadlineMs, PATIENCE_MS),
    names,
  });
  const tasks = new Map<Partition, number>();
  let bytes = 0;
  for (const { name, answer } of answers) {
    const partitions = moving.get(name) ?? [];
    for (const view of answer.status.partitions)
      if (partitions.includes(view.partition)) tasks.set(view.partition, tasksOf(view));
    bytes += answer.status.store.bytes * shareOf(answer.status, partitions);
  }
  return { tasks, bytes: Math.round(bytes) };
}

/** Of the store: by tasks, and of state and results as if every partition had as much. */
function shareOf(status: NodeStatus, partitions: readonly Partition[]): number {
  let all = 0;
  let moved = 0;
  for (const view of status.partitions) {
    const weight = 1 + tasksOf(view);
    all += weight;
    if (partitions.includes(view.partition)) moved += weight;
  }
  return all === 0 ? 0 : moved / all;
}

function tasksOf(view: NodeStatus["partitions"][number]): number {
  return view.queued + view.delayed + view.dead;
}

const PATIENCE_MS = 2_000;
