/** One task between `submit` and its outcome. */

import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import { type EncodedTask, taskIdOf } from "./submit-task.ts";

export interface Entry extends EncodedTask {
  /** Where the outcome goes; replaced when the caller has given up. */
  target: OutcomeTarget;
  readonly index: number;
  /** By `performance.now()`. */
  readonly deadline: number;
  /** Rises with each submit: the order to keep. */
  readonly order: number;
  attempts: number;
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
