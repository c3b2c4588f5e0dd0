/** One task between `submit` and its outcome. */

import type { ErrorCode } from "../../ring/errors.ts";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import { type EncodedTask, taskIdOf } from "./submit-task.ts";

export interface Entry extends EncodedTask {
  /** Replaced by a copy of its own when the entry stays for long: the buffer is shared with its neighbours. */
  buffer: Buffer;
  start: number;
  end: number;
  /** Where the outcome goes; replaced when the caller has given up. */
  target: OutcomeTarget;
  readonly index: number;
  /** By `performance.now()`. */
  readonly deadline: number;
  /** Rises with each submit: the order to keep. */
  readonly order: number;
  attempts: number;
  /** An earlier try may have been accepted: its outcome was lost. */
  unsure?: boolean;
}

type Refused = Extract<SubmitOutcome, { readonly type: "refused" }>;

/** What became of a task. A refused one has its id as well: with it the task can be submitted again without running twice. */
export type TaskOutcome = Exclude<SubmitOutcome, Refused> | (Refused & { readonly taskId: string });

export function withTaskId(entry: Entry, outcome: SubmitOutcome): TaskOutcome {
  return outcome.type === "refused" ? { ...outcome, taskId: taskIdOf(entry) } : outcome;
}

export interface OutcomeTarget {
  /** Without an outcome: accepted. The entry may not be kept. */
  settled(entry: Entry, outcome?: SubmitOutcome): void;
}

/** Its bytes are its own from now on. */
export function detach(entry: Entry): void {
  const own = Buffer.allocUnsafeSlow(entry.end - entry.start);
  entry.buffer.copy(own, 0, entry.start, entry.end);
  entry.buffer = own;
  entry.start = 0;
  entry.end = own.length;
}

/** What was refused now may have been accepted before, at a node that is gone: only the caller may decide what to do. */
export function unsureOf(outcome: Refused): Refused {
  if (UNSURE.has(outcome.code)) return outcome;
  const detail = `an earlier try may have been accepted; the last one was refused with ${outcome.code}: ${outcome.detail}`;
  return { ...outcome, code: "NO_OWNER", detail };
}

/** They say by themselves that it is not known. */
const UNSURE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["NO_OWNER", "DEADLINE", "CANCELLED"]);
