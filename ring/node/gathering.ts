/** Lists over all partitions of a node: asked of each, answered as one page. */

import type { TaskAnswer } from "../tasks/engine-contract.ts";
import type { Asker } from "./asks.ts";

/** A list over all partitions of this node, collected from one request to each. */
export interface Gathering {
  readonly asker: Asker;
  readonly limit: number;
  missing: number;
  readonly answers: TaskAnswer[];
}

/** What all partitions answered, as one. */
export function merged(gathering: Gathering): TaskAnswer {
  const { answers, limit } = gathering;
  const first = answers[0]!;
  if (first.type === "schedules")
    return {
      type: "schedules",
      schedules: answers.flatMap((answer) => (answer.type === "schedules" ? answer.schedules : [])).slice(0, limit),
    };
  if (first.type === "count")
    return {
      type: "count",
      count: answers.reduce((sum, answer) => sum + (answer.type === "count" ? answer.count : 0), 0),
    };
  if (first.type === "refused") return first;
  // One page of all partitions, in the order of ids: where it ends, the next one begins.
  const parts = answers.filter((answer) => answer.type === "tasks");
  const all = parts.flatMap((part) => part.statuses).sort((left, right) => (left.id < right.id ? -1 : 1));
  const statuses = all.slice(0, limit);
  const last = statuses.at(-1);
  const isCut = all.length > limit || parts.some((part) => part.next !== undefined);
  return { type: "tasks", statuses, ...(isCut && last !== undefined && { next: last.id }) };
}
