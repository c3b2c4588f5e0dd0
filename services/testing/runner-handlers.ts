/**
 * Runs an app's own handlers for one simulated process.
 *
 * H1  What handlers come to counts for the process that started them: after a crash it counts for nothing, as their writes do. The
 *     handlers themselves go on, since they run in the test's own process; their signals abort.
 */

import type { AbortReason, Attempt } from "../../ring/tasks/task.ts";
import type { Catalogue } from "../apps/catalogue.ts";
import { createRunner, type Runner, type RunnerOptions } from "../runner/runner.ts";
import type { Host } from "./host.ts";
import type { Handlers } from "./surroundings.ts";

export interface RunnerHandlersOptions {
  readonly host: Host;
  readonly apps: Catalogue;
  readonly wallNow: () => number;
  /** What residents submit. */
  readonly submit: NonNullable<RunnerOptions["submit"]>;
}

export class RunnerHandlers implements Handlers {
  readonly #runner: Runner;
  /** Started, and not told to the host as ended. */
  #open = 0;

  constructor({ host, apps, wallNow, submit }: RunnerHandlersOptions) {
    this.#runner = createRunner({
      apps,
      now: () => host.clock,
      wallNow,
      submit,
      blockedMs: NEVER_MS,
      mayStart: () => host.machine?.holdsLease(host.clock) === true,
      keep: (attemptId, changes) => host.step({ type: "keep", attemptId, changes }),
      onEnds: (ends) => {
        this.#open -= ends.length;
        host.step({ type: "ended", ends });
      },
    });
  }

  /** Handlers may have something to do without that time passes. */
  get busy(): boolean {
    return this.#open > 0;
  }

  start(attempts: readonly Attempt[]): void {
    this.#open += attempts.length;
    this.#runner.start(attempts);
  }

  abort(attemptId: number, reason: AbortReason): void {
    this.#runner.abort(attemptId, reason);
  }

  over(): void {
    for (const { attemptId } of this.#runner.running()) this.#runner.abort(attemptId, "lease");
    this.#runner[Symbol.dispose](); // H1: it tells of no more ends
    this.#open = 0;
  }
}

/** Virtual time says nothing of who holds the loop. */
const NEVER_MS = 86_400_000;
