/** One task between `submit` and its outcome. */

import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import type { EncodedTask } from "./submit-task.ts";

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

export interface OutcomeTarget {
  /** Without an outcome: accepted. The entry may not be kept. */
  settled(entry: Entry, outcome?: SubmitOutcome): void;
}
