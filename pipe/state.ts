/**
 * The code of a fitting that makes a worker's state, gives it away and takes another's in.
 *
 * A1  It runs where no call is under way: what it throws fails the run, or the worker's start, and never reaches the node.
 * A2  `archive` and `absorb` answer at once. A promise would be moved as an empty object, so it is refused.
 */

import { atOnce, unheard } from "./at-once.ts";
import type { Fitting } from "./fitting.ts";
import { errorTextOf } from "./token.ts";
import type { Worker } from "./worker.ts";

/** Throws what `start` throws. */
export function stateOf({ start }: Fitting): unknown {
  const state = start?.();
  unheard(state);
  return state;
}

/** Throws what `archive` throws. */
export function archiveOf({ archive }: Fitting, state: unknown): unknown {
  return atOnce(archive?.(state as never));
}

/** Undefined: it cannot be moved, and the run has failed. */
export function archived(worker: Worker): { readonly state: unknown; readonly inputs: number } | undefined {
  const { fitting, run } = worker.stage;
  if (fitting.archive === undefined) {
    run.fail("STATE_LOST", `${fitting.name} has no archive, and partition ${worker.partition} has moved`);
    return undefined;
  }
  try {
    return { state: archiveOf(fitting, worker.state), inputs: worker.absorbed };
  } catch (error) {
    run.fail("RUN_FAILED", `${fitting.name}.archive: ${errorTextOf(error)}`);
    return undefined;
  }
}

/** What another worker has archived becomes part of this one's state. False: it cannot, and the run has failed. */
export function absorbed(worker: Worker, moved: unknown): boolean {
  const { fitting, run } = worker.stage;
  try {
    worker.state ??= stateOf(fitting);
    worker.state = atOnce(fitting.absorb?.(worker.state as never, moved as never)) ?? worker.state;
    return true;
  } catch (error) {
    run.fail("RUN_FAILED", `${fitting.name}.absorb: ${errorTextOf(error)}`);
    return false;
  }
}
