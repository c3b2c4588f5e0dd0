/** Asking the node: refusals become errors, and questions to all members are gathered. */

import type { RingDocument } from "../../ring/document.ts";
import { RingError } from "../../ring/errors.ts";
import { partitionOf } from "../../ring/hash.ts";
import { type AppName, type NodeName, type Partition, parseAppName } from "../../ring/ids.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";
import type { TaskAnswer, TaskRequest } from "../../ring/tasks/engine-contract.ts";
import { partitionOfId } from "../../ring/tasks/task-id.ts";

export type Answered<T extends NodeAnswer["type"]> = Extract<NodeAnswer, { readonly type: T }>;
export type TaskAnswered<T extends TaskAnswer["type"]> = Extract<TaskAnswer, { readonly type: T }>;

export interface AskOptions {
  readonly deadlineMs: number;
  readonly to?: NodeName;
}

/** Throws the refusal as an error; INTERNAL if the answer is of another kind. */
export async function ask<T extends NodeAnswer["type"]>(
  node: RingNode,
  request: NodeRequest,
  expected: T,
  options: AskOptions,
): Promise<Answered<T>> {
  const answer = await node.ask(request, options);
  if (answer.type === expected) return answer as Answered<T>;
  if (answer.type === "refused") throw refusal(answer);
  throw new RingError("INTERNAL", `the node answered ${request.type} with ${answer.type}`);
}

export async function askTask<T extends TaskAnswer["type"]>(
  node: RingNode,
  at: { readonly partition: Partition; readonly request: TaskRequest },
  expected: T,
  options: AskOptions,
): Promise<TaskAnswered<T>> {
  const { answer } = await ask(node, { type: "task", ...at }, "task", options);
  return expectTask(answer, expected);
}

export function expectTask<T extends TaskAnswer["type"]>(answer: TaskAnswer, expected: T): TaskAnswered<T> {
  if (answer.type === expected) return answer as TaskAnswered<T>;
  if (answer.type === "refused") throw new RingError(answer.code, answer.detail);
  throw new RingError("INTERNAL", `the vnode answered with ${answer.type}`);
}

export interface Gathered<T> {
  readonly answers: readonly { readonly name: NodeName; readonly answer: T }[];
  readonly unreachable: readonly { readonly name: NodeName; readonly error: RingError }[];
}

/** Asks all members (or those named) at once. One that does not answer in time, or not for all that it owns, is listed, never silently left out. */
export async function gather<T extends NodeAnswer["type"]>(
  node: RingNode,
  request: (name: NodeName) => NodeRequest,
  expected: T,
  options: { readonly deadlineMs: number; readonly names?: readonly NodeName[] },
): Promise<Gathered<Answered<T>>> {
  const names = options.names ?? memberNames(node);
  const answers: { name: NodeName; answer: Answered<T> }[] = [];
  const unreachable: { name: NodeName; error: RingError }[] = [];
  await Promise.all(
    names.map(async (name) => {
      try {
        const answer = await ask(node, request(name), expected, { deadlineMs: options.deadlineMs, to: name });
        answers.push({ name, answer });
        if ("missing" in answer && answer.missing !== undefined)
          unreachable.push({
            name,
            error: new RingError("NO_OWNER", `${name} still opens ${answer.missing} partitions`),
          });
      } catch (error) {
        // It is there: the caller can ask it for less.
        if (!(error instanceof RingError) || error.code === "PAYLOAD_TOO_LARGE") throw error;
        unreachable.push({ name, error });
      }
    }),
  );
  const byName = (left: { name: NodeName }, right: { name: NodeName }): number => (left.name < right.name ? -1 : 1);
  return { answers: answers.sort(byName), unreachable: unreachable.sort(byName) };
}

export function memberNames(node: RingNode): readonly NodeName[] {
  const document = node.document();
  if (document === undefined) return [node.name];
  const names = document.members.map((member) => member.name);
  return names.includes(node.name) ? names : [...names, node.name];
}

/** Throws NO_OWNER before the node is part of a ring. */
export function documentOf(node: RingNode): RingDocument {
  const document = node.document();
  if (document === undefined)
    throw new RingError("NO_OWNER", `${node.name} is not part of a ring yet`, { retryAfterMs: 500 });
  return document;
}

export function placeOfKey(
  node: RingNode,
  at: { readonly app: string; readonly key: string },
): { readonly app: AppName; readonly key: string; readonly partition: Partition } {
  const app = parseAppName(at.app);
  if (at.key === "" || Buffer.byteLength(at.key) > KEY_BYTES) {
    throw new RingError("INVALID_ARGUMENT", `key must have 1 to ${KEY_BYTES} bytes`);
  }
  return { app, key: at.key, partition: partitionOf({ app, key: at.key }, documentOf(node).ringSize) };
}

export function placeOfTask(node: RingNode, id: string): Partition {
  const partition = partitionOfId(id, documentOf(node).ringSize);
  if (partition === undefined) throw new RingError("INVALID_ARGUMENT", "task_id must be 32 hex digits, lower case");
  return partition;
}

export function refusal(answer: Answered<"refused">): RingError {
  return new RingError(
    answer.code,
    answer.detail,
    answer.retryAfterMs === undefined ? {} : { retryAfterMs: answer.retryAfterMs },
  );
}

export function limitOf(value: number, range: { readonly fallback: number; readonly most: number }): number {
  if (value === 0) return range.fallback;
  if (value > range.most) throw new RingError("INVALID_ARGUMENT", `limit must be 1 to ${range.most}`);
  return value;
}

const KEY_BYTES = 512;
