/**
 * Submitting by the hundred thousand: no promise and no object for each task beyond what carries it.
 *
 * `push` until it says false, then await `ready`; `drained` resolves when every task pushed so far has its outcome.
 */

import type { ErrorCode } from "../../ring/errors.ts";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import { timeOf } from "./deadline.ts";
import { type Entry, type OutcomeTarget, type TaskOutcome, withTaskId } from "./entry.ts";
import type { SubmitTask } from "./submit-task.ts";
import type { Submitter } from "./submitter.ts";

export interface SinkOptions {
  /** How long tasks are tried. Default 30,000. */
  readonly deadlineMs?: number;
  /** Each outcome, by the order of `push` from 0; `outcome` is absent for an accepted task. */
  readonly onOutcome?: (index: number, outcome?: TaskOutcome) => void;
}

export interface SinkCounts {
  readonly pushed: number;
  readonly accepted: number;
  readonly duplicates: number;
  readonly refused: number;
  readonly refusedByCode: ReadonlyMap<ErrorCode, number>;
}

export class SubmitSink implements OutcomeTarget {
  readonly #submitter: Submitter;
  readonly #options: SinkOptions;
  readonly #deadlineMs: number;
  #pushed = 0;
  #accepted = 0;
  #duplicates = 0;
  #refused = 0;
  readonly #refusedByCode = new Map<ErrorCode, number>();
  #drainWaiters: (() => void)[] = [];

  constructor(submitter: Submitter, options: SinkOptions) {
    this.#submitter = submitter;
    this.#options = options;
    this.#deadlineMs = timeOf(options.deadlineMs ?? DEADLINE_MS);
  }

  get counts(): SinkCounts {
    return {
      pushed: this.#pushed,
      accepted: this.#accepted,
      duplicates: this.#duplicates,
      refused: this.#refused,
      refusedByCode: this.#refusedByCode,
    };
  }

  /** Takes the task; false: await `ready` before the next. Throws `INVALID_ARGUMENT`. */
  push(task: SubmitTask): boolean {
    const deadline = performance.now() + this.#deadlineMs;
    const index = this.#pushed;
    this.#pushed += 1; // before an outcome that comes at once
    try {
      this.#submitter.push(task, this, { index, deadline });
    } catch (error) {
      this.#pushed -= 1;
      throw error;
    }
    return this.#submitter.room;
  }

  ready(): Promise<void> {
    return this.#submitter.whenRoom();
  }

  drained(): Promise<void> {
    if (this.#settled === this.#pushed) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /** Called by the submitter. */
  settled(entry: Entry, outcome?: SubmitOutcome): void {
    if (outcome === undefined || outcome.type === "accepted") this.#accepted += 1;
    else if (outcome.type === "duplicate") this.#duplicates += 1;
    else {
      this.#refused += 1;
      this.#refusedByCode.set(outcome.code, (this.#refusedByCode.get(outcome.code) ?? 0) + 1);
    }
    this.#tell(entry, outcome);
    if (this.#drainWaiters.length > 0 && this.#settled === this.#pushed) {
      for (const wake of this.#drainWaiters.splice(0)) wake();
    }
  }

  /** What the caller's function throws ends the process as uncaught, unless that listens; other tasks have their outcomes all the same. */
  #tell(entry: Entry, outcome: SubmitOutcome | undefined): void {
    const { onOutcome } = this.#options;
    if (onOutcome === undefined) return;
    try {
      onOutcome(entry.index, outcome === undefined ? undefined : withTaskId(entry, outcome));
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  get #settled(): number {
    return this.#accepted + this.#duplicates + this.#refused;
  }
}

const DEADLINE_MS = 30_000;
