/** Lists over all partitions of a node: asked of each, answered as one page. */

import type { Partition } from "../ids.ts";
import type { TaskAnswer, TaskRequest } from "../tasks/engine-contract.ts";
import type { TaskStatus } from "../tasks/task.ts";
import { partitionOfId } from "../tasks/task-id.ts";
import type { Asker } from "./asks.ts";

/** A list over all partitions of this node, collected from one request to each. */
export interface Gathering {
  readonly asker: Asker;
  readonly limit: number;
  /** The asker goes on where a page ends, so a page may be cut by its bytes as well. */
  readonly paged: boolean;
  missing: number;
  /** Partitions that this node owns and has not loaded: a list without them is not whole. */
  readonly away?: number;
  readonly answers: TaskAnswer[];
}

/** What to ask of each partition: dead letters that lie where their ids lead were asked for there, and may have died again since. */
export function straysIn(request: TaskRequest, ringSize: number): (partition: Partition) => TaskRequest {
  if (request.type !== "retry-dead" && request.type !== "drop-dead") return () => request;
  const homes = request.ids.map((id) => partitionOfId(id, ringSize));
  return (partition) => ({ ...request, ids: request.ids.filter((_, index) => homes[index] !== partition) });
}

/** What all partitions answered, as one. */
export function merged(gathering: Gathering): TaskAnswer {
  const { answers, limit, paged } = gathering;
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
  const statuses = all.slice(0, paged ? Math.min(limit, pageLength(all)) : limit);
  const last = statuses.at(-1);
  const isCut = all.length > statuses.length || parts.some((part) => part.next !== undefined);
  return { type: "tasks", statuses, ...(isCut && last !== undefined && { next: last.id }) };
}

/** How many of them one message takes, between nodes or to a caller; one at least. */
export function pageLength(statuses: readonly TaskStatus[]): number {
  let bytes = 0;
  const end = statuses.findIndex(({ error, result, app, type, key }) => {
    const texts = [app, type, key, error?.name, error?.message, error?.stack];
    bytes += STATUS_BYTES + (result?.length ?? 0);
    for (const text of texts) bytes += UTF8_MOST * (text?.length ?? 0);
    return bytes > PAGE_BYTES;
  });
  return end < 0 ? statuses.length : Math.max(1, end);
}

/** Half of what a link, or a gRPC client that nobody configured, takes as one message. */
const PAGE_BYTES = 2_097_152;
/** Field names, id and numbers. */
const STATUS_BYTES = 384;
/** Bytes of a character, at most. */
const UTF8_MOST = 3;
