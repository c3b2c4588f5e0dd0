/**
 * Submit and SubmitBatch: one call, one answer, for people and for few tasks. The hot path is `submit-stream.ts`.
 *
 * The request stays bytes here as well: what is stored is what the client sent.
 */

import type { SubmitReply, SubmitResult } from "../../proto/messages.ts";
import { WireError, WireReader } from "../../proto/wire.ts";
import { type ErrorCode, RingError } from "../../ring/errors.ts";
import { partitionOfHash } from "../../ring/hash.ts";
import type { RingNode, SubmitOrigin } from "../../ring/node/port.ts";
import { isRefused } from "../../ring/tasks/record.ts";
import type { SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { documentOf } from "./asking.ts";
import type { CallContext } from "./calls.ts";
import { takeRecord } from "./take-record.ts";
import { stateName } from "./task-views.ts";

export type SubmitOptions = Pick<CallContext, "deadlineMs" | "onGone">;

/** Throws the refusal. */
export async function submitOne(node: RingNode, bytes: Uint8Array, options: SubmitOptions): Promise<SubmitReply> {
  documentOf(node);
  const record = takeRecord(bytes, 0, bytes.length);
  if (isRefused(record)) throw new RingError(record.code, record.detail);
  const [outcome] = await submitAll(node, [record], options);
  if (outcome === undefined) throw new RingError("INTERNAL", "a task without an outcome");
  if (outcome.type === "refused") {
    throw new RingError(
      outcome.code,
      outcome.detail,
      outcome.retryAfterMs === undefined ? {} : { retryAfterMs: outcome.retryAfterMs },
    );
  }
  return replyOf(node, record, outcome);
}

/** `bytes` is a SubmitBatchRequest. */
export async function submitBatch(
  node: RingNode,
  bytes: Uint8Array,
  options: SubmitOptions & { readonly taskLimit: number },
): Promise<{ readonly results: readonly SubmitResult[] }> {
  documentOf(node);
  const taken = tasksOf(bytes, options.taskLimit);
  const records = taken.filter((record): record is TaskRecord => !isRefused(record));
  const outcomes = await submitAll(node, records, options);
  let next = 0;
  const results = taken.map((record): SubmitResult => {
    if (isRefused(record)) return { refused: { code: record.code, message: record.detail, retryAfterMs: 0 } };
    const outcome = outcomes[next++];
    if (outcome === undefined) throw new RingError("INTERNAL", "a task without an outcome");
    if (outcome.type !== "refused") return { accepted: replyOf(node, record, outcome) };
    return {
      refused: { code: outcome.code, message: outcome.detail, retryAfterMs: Math.round(outcome.retryAfterMs ?? 0) },
    };
  });
  return { results };
}

function tasksOf(bytes: Uint8Array, taskLimit: number): ReturnType<typeof takeRecord>[] {
  const taken: ReturnType<typeof takeRecord>[] = [];
  const reader = new WireReader(bytes);
  try {
    while (reader.next()) {
      if (reader.field !== 1) {
        reader.skip();
        continue;
      }
      const end = reader.enter();
      if (taken.length >= taskLimit) throw new RingError("INVALID_ARGUMENT", `more than ${taskLimit} tasks in a batch`);
      taken.push(takeRecord(bytes, reader.position, end));
      reader.position = end;
    }
  } catch (error) {
    if (error instanceof WireError)
      throw new RingError("INVALID_ARGUMENT", `malformed batch: ${error.message}`, { cause: error });
    throw error;
  }
  return taken;
}

/** One outcome for each record, in order. If the caller goes away or its deadline is over, the tasks stay. */
function submitAll(
  node: RingNode,
  records: readonly TaskRecord[],
  options: SubmitOptions,
): Promise<readonly SubmitOutcome[]> {
  if (records.length === 0) return Promise.resolve([]);
  return new Promise((resolve, reject) => {
    const found: SubmitOutcome[] = new Array(records.length);
    let missing = records.length;
    const origin: SubmitOrigin = {
      outcomes(tokens, outcomes) {
        for (const [index, token] of tokens.entries()) {
          const outcome = outcomes[index];
          if (outcome === undefined || found[token] !== undefined) continue;
          found[token] = outcome;
          missing -= 1;
        }
        if (missing > 0) return;
        clearTimeout(timer);
        node.forget(origin);
        resolve(found);
      },
    };
    const giveUp = (code: ErrorCode, detail: string): void => {
      if (missing === 0) return;
      clearTimeout(timer);
      node.forget(origin);
      reject(new RingError(code, detail));
    };
    const timer = setTimeout(
      () => giveUp("DEADLINE", "no outcome in time; submit again with the same task_id"),
      options.deadlineMs,
    );
    options.onGone(() => giveUp("CANCELLED", "the caller has gone"));
    node.submit(origin, [...records.keys()], records);
  });
}

function replyOf(
  node: RingNode,
  record: TaskRecord,
  outcome: Exclude<SubmitOutcome, { readonly type: "refused" }>,
): SubmitReply {
  const document = documentOf(node);
  const partition = partitionOfHash(record.hash, document.ringSize);
  return {
    taskId: outcome.id,
    partition,
    owner: node.ownerOf(partition) ?? "",
    epoch: document.epoch,
    duplicate: outcome.type === "duplicate",
    state: outcome.type === "duplicate" ? stateName(outcome.state) : "QUEUED",
  };
}
