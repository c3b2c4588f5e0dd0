/**
 * The bookkeeping of one attempt under way: what the runner, the context and the state share about it.
 *
 * R1  A run ends once, and is its own `AttemptEnd` then; everything that its handler does afterwards is refused or ignored.
 * R2  From the first abort on, the token is stale: `assertFresh` throws whatever the handler tries to write.
 */

import { RingError } from "../../ring/errors.ts";
import type { AbortReason, Attempt, AttemptEnd, Child } from "../../ring/tasks/task.ts";
import type { LoadedApp } from "../apps/catalogue.ts";
import type { Progress } from "../apps/context.ts";
import type { Log } from "./log.ts";
import { DONE, type Outcome } from "./outcome.ts";
import type { OpenRun } from "./pipeline-run.ts";

export interface StateChange {
  readonly name: string;
  readonly value: Uint8Array | undefined;
}

/** Why a run's signal aborted: the engine's reasons, or an error that its handler threw from somewhere else. */
export type StaleReason = AbortReason | "stray error";

/** What a run needs of the runner that runs it; the same object for all runs. */
export interface RunHost {
  readonly now: () => number;
  readonly wallNow: () => number;
  readonly log: Log;
  /** Refuses a child that the parent's app does not define; undefined for apps that are not loaded here. */
  readonly knowsType: (app: string, type: string) => boolean | undefined;
  /** Absent where there are no pipelines. */
  readonly openRun: OpenRun | undefined;
  /** Stores changes of the attempt's key now, while the attempt runs. */
  readonly keep: ((attemptId: number, changes: readonly StateChange[]) => void) | undefined;
  readonly submit: ((child: Child, app: string) => Promise<string>) | undefined;
}

export class Run implements AttemptEnd {
  readonly attempt: Attempt;
  readonly app: LoadedApp;
  readonly host: RunHost;
  /** On the runner's clock. */
  readonly startedAt: number;
  ended = false;
  /** Set when it ends. */
  outcome: Outcome = DONE;
  abortReason: StaleReason | undefined = undefined;
  /** Its type is declared with `state: "none"`. */
  stateless = false;
  /** The handler touched state that is away: the attempt comes to `state-away`, whatever else it does. */
  stateAway = false;
  /** Thrown or rejected outside the handler's own promise, and what ends the run if that does not settle. */
  stray: { readonly error: unknown; grace?: NodeJS.Timeout } | undefined = undefined;
  changes: StateChange[] = NO_CHANGES;
  children: Child[] = NO_CHILDREN;
  childrenBytes = 0;
  /** Ids of those that have an idempotency key. */
  keyedChildren: Set<string> | undefined = undefined;
  submits = 0;
  pipelines = 0;
  progress: Progress | undefined = undefined;
  #controller: AbortController | undefined = undefined;

  constructor(attempt: Attempt, app: LoadedApp, host: RunHost, startedAt: number) {
    this.attempt = attempt;
    this.app = app;
    this.host = host;
    this.startedAt = startedAt;
  }

  get attemptId(): number {
    return this.attempt.attemptId;
  }

  get stateChanges(): readonly StateChange[] {
    return this.changes;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.abortReason !== undefined) this.#controller.abort(staleError(this.abortReason));
    }
    return this.#controller.signal;
  }

  get stale(): boolean {
    return this.ended || this.abortReason !== undefined;
  }

  /** The first reason stays. Listeners of the signal run inside, so call it in the run's own async context. */
  abort(reason: StaleReason): void {
    if (this.abortReason !== undefined || this.ended) return;
    this.abortReason = reason;
    this.#controller?.abort(staleError(reason));
  }

  /** R2. Throws `CANCELLED`. */
  assertFresh(what: string): void {
    if (this.abortReason !== undefined) {
      throw new RingError("CANCELLED", `${what}: the attempt was aborted (${this.abortReason}); its token is stale`);
    }
    if (this.ended) throw new RingError("CANCELLED", `${what}: the attempt has ended; its token is stale`);
  }

  addChange(change: StateChange): void {
    if (this.changes === NO_CHANGES) this.changes = [change];
    else this.changes.push(change);
  }

  addChild(child: Child): void {
    if (this.children === NO_CHILDREN) this.children = [child];
    else this.children.push(child);
  }
}

function staleError(reason: StaleReason): RingError {
  return new RingError("CANCELLED", `the attempt was aborted: ${reason}`);
}

/** Shared by all runs that change nothing; never written to. */
export const NO_CHANGES: StateChange[] = [];
export const NO_CHILDREN: Child[] = [];
