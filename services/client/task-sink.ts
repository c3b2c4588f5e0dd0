/** A sink of a run that makes each output a durable task. */

import { RingError } from "../../ring/errors.ts";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import type { SubmitTask } from "./submit-task.ts";

/**
 * For `RingClient.run` and a node's own runs. Outputs are acknowledged when their tasks are on disk. Outputs that come twice after
 * a loss make one task if `taskOf` gives an idempotency key. A refused task ends the run with its code.
 */
export function taskSink<Out>(
  ring: { submitMany(tasks: Iterable<SubmitTask>): Promise<readonly SubmitOutcome[]> },
  taskOf: (output: Out) => SubmitTask,
): (outputs: readonly Out[]) => Promise<void> {
  return async (outputs) => {
    const outcomes = await ring.submitMany(outputs.map(taskOf));
    const refused = outcomes.find((outcome) => outcome.type === "refused");
    if (refused?.type === "refused") throw new RingError(refused.code, refused.detail);
  };
}
