/**
 * Runs attempts in this process: calls handlers, and reports how each came out, once, in batches.
 *
 * The engine decides what starts, when it times out and what its end means; the runner keeps no timer per attempt.
 * N1  Every attempt given to `start` is reported in `onEnds` exactly once, after its handler has settled. The one
 *     exception: a handler that threw a stray error and then never settles ends when its own timeout is over (P4).
 * N2  A handler that returns no promise costs no promise: it ends inside `start`.
 * N3  Ends come in batches: the first of a turn in a microtask, those of what waited then as N5 says, the others with the
 *     next `setImmediate`; and `start` yields to the loop after `sliceMs`. So neither endless work nor endless ends starve I/O.
 * N4  User code runs inside its attempt's async context, everything else outside (see `strays.ts`).
 * N5  Of many attempts a few start together, and what ended of them is told before the next few start: what an attempt
 *     brought into the processor's cache is still there when it ends.
 */

import { isPromise } from "node:util/types";
import type { AppName } from "../../ring/ids.ts";
import { Fifo } from "../../ring/tasks/fifo.ts";
import type { AbortReason, Attempt, AttemptEnd, Child } from "../../ring/tasks/task.ts";
import type { LoadedApp } from "../apps/catalogue.ts";
import type { Progress } from "../apps/context.ts";
import type { TaskHandler } from "../apps/shapes.ts";
import { EndQueue } from "./end-queue.ts";
import type { Log } from "./log.ts";
import { SILENT } from "./log.ts";
import { type BlockedLoop, LoopWatch } from "./loop-watch.ts";
import { DONE, describe, type Outcome, outcomeOfError, outcomeOfValue } from "./outcome.ts";
import { isObject, judge } from "./returned.ts";
import { NO_CHANGES, NO_CHILDREN, Run, type RunHost } from "./run.ts";
import { insideRun, listenForStrays, outsideRuns, type StrayKind } from "./strays.ts";
import { Context, namesOf, ResidentView, View } from "./task-context.ts";

export interface RunnerOptions {
  /** Where handlers are found; `Catalogue` is one. */
  readonly apps: { find(app: AppName): LoadedApp | undefined };
  /** Exactly one end per attempt (N1). Called outside of any attempt, never from inside `start` or `abort`. */
  readonly onEnds: (ends: AttemptEnd[]) => void;
  /** Asked right before each handler: a process that stood still between the decision and here has lost its lease. */
  readonly mayStart?: () => boolean;
  readonly log?: Log;
  /** Monotonic ms, on the scale of `Attempt.deadline`. Default: `performance.now`. */
  readonly now?: () => number;
  readonly wallNow?: () => number;
  /** Takes the tasks of residents; resolves with the id once stored. */
  readonly submit?: (child: Child, app: string) => Promise<string>;
  /** Opens pipeline runs for `ctx.run`. */
  readonly openRun?: RunHost["openRun"];
  /** Stores state of a key while an attempt of it runs; a stale attempt's are dropped by the engine. */
  readonly keep?: RunHost["keep"];
  /** A handler held the event loop for a second. Also logged. */
  readonly onBlocked?: (blocked: BlockedLoop) => void;
  /** An error escaped a handler's promise. Also logged. */
  readonly onStray?: (stray: { readonly app: string; readonly kind: StrayKind; readonly ended: boolean }) => void;
  /** `start` yields to the event loop after this. Default 10 ms. */
  readonly sliceMs?: number;
  /** From when on a blocked loop is reported. Default 1,000 ms. */
  readonly blockedMs?: number;
}

export interface RunningAttempt {
  readonly attemptId: number;
  readonly app: string;
  readonly key: string;
  /** Task type, or the resident's name. */
  readonly type: string;
  readonly taskId: string;
  readonly runningMs: number;
  readonly aborted?: string;
  readonly progress?: Progress;
}

export interface Runner extends Disposable {
  start(attempts: readonly Attempt[]): void;
  /** Aborts the signal and makes the token stale; the end is still reported when the handler settles. */
  abort(attemptId: number, reason: AbortReason): void;
  /** Longest running first. */
  running(): readonly RunningAttempt[];
  readonly runningCount: number;
  /**
   * Takes stray errors of the whole process and gives those outside of any attempt to `onForeign`, which is expected
   * to stop the node. At most one runner per process needs it.
   */
  watchProcess(onForeign: (error: unknown, kind: StrayKind) => void): void;
}

export function createRunner(options: RunnerOptions): Runner {
  return new InProcessRunner(options);
}

/** What runs of a type need. */
interface Code {
  readonly app: LoadedApp;
  readonly type: string;
  readonly handler: TaskHandler;
  /** Declared with `state: "none"`. */
  readonly stateless: boolean;
}

class InProcessRunner implements Runner, RunHost {
  readonly now: () => number;
  readonly wallNow: () => number;
  readonly log: Log;
  readonly submit: RunHost["submit"];
  readonly openRun: RunHost["openRun"];
  readonly keep: RunHost["keep"];
  readonly #apps: RunnerOptions["apps"];
  readonly #ends: EndQueue;
  readonly #mayStart: () => boolean;
  readonly #watch: LoopWatch;
  readonly #onStray: RunnerOptions["onStray"];
  readonly #sliceMs: number;
  /** Runs whose handler has returned a promise that has not settled. */
  readonly #underWay = new Map<number, Run>();
  /** Given to `start` and not started yet, but for those in `#dropped`, which were aborted before. */
  readonly #waiting = new Fifo<Attempt>();
  readonly #dropped = new Set<number>();
  /** Ids of `#waiting`, made when an abort asks and good until it changes. */
  #waitingIds: ReadonlySet<number> | undefined = undefined;
  #resumePending = false;
  #recent: Code | undefined = undefined;
  /** Until when, and how many, may still start in this turn of those that wait; 0 in a turn in which none waited yet. */
  #turnEnd = 0;
  #turnStarts = 0;
  #processWatch: Disposable | undefined = undefined;

  constructor(options: RunnerOptions) {
    this.now = options.now ?? monotonicNow;
    this.wallNow = options.wallNow ?? Date.now;
    this.log = options.log ?? SILENT;
    this.submit = options.submit;
    this.openRun = options.openRun;
    this.keep = options.keep;
    this.#apps = options.apps;
    this.#mayStart = options.mayStart ?? (() => true);
    this.#ends = new EndQueue(options.onEnds);
    this.#onStray = options.onStray;
    this.#sliceMs = options.sliceMs ?? SLICE_MS;
    this.#watch = new LoopWatch({
      now: this.now,
      blockedMs: options.blockedMs ?? BLOCKED_MS,
      underWay: () => this.#underWay.values(),
      onBlocked: (blocked) => {
        this.#logBlocked(blocked);
        options.onBlocked?.(blocked);
      },
    });
  }

  get runningCount(): number {
    return this.#underWay.size + this.#waiting.size - this.#dropped.size;
  }

  start(attempts: readonly Attempt[]): void {
    outsideRuns(() => {
      for (let at = 0; at < attempts.length; at++) this.#waiting.push(attempts[at] as Attempt);
      this.#waitingIds = undefined;
      if (!this.#resumePending) this.#startSome();
    });
  }

  abort(attemptId: number, reason: AbortReason): void {
    const run = this.#underWay.get(attemptId);
    if (run !== undefined) abortInside(run, reason);
    else if (this.#waiting.size > 0 && this.#isWaiting(attemptId)) {
      this.#dropped.add(attemptId);
      this.#ends.push(endOf(attemptId, abortedOutcome(reason, undefined)));
    }
  }

  running(): readonly RunningAttempt[] {
    const now = this.now();
    return [...this.#underWay.values()].map((run) => {
      const { app, key, type, task } = namesOf(run);
      return {
        attemptId: run.attempt.attemptId,
        app,
        key,
        type,
        taskId: task,
        runningMs: Math.round(now - run.startedAt),
        ...(run.abortReason === undefined ? {} : { aborted: run.abortReason }),
        ...(run.progress === undefined ? {} : { progress: run.progress }),
      };
    });
  }

  watchProcess(onForeign: (error: unknown, kind: StrayKind) => void): void {
    this.#processWatch ??= listenForStrays({
      onForeign,
      onStray: (run, error, kind) => this.#strayed(run, error, kind),
    });
  }

  [Symbol.dispose](): void {
    this.#processWatch?.[Symbol.dispose]();
    this.#watch[Symbol.dispose]();
    this.#waiting.clear();
    this.#dropped.clear();
    this.#ends.close();
  }

  knowsType(app: string, type: string): boolean | undefined {
    return this.#apps.find(app as AppName)?.definition.types.has(type);
  }

  #isWaiting(attemptId: number): boolean {
    this.#waitingIds ??= new Set(this.#waiting.toArray().map((attempt) => attempt.attemptId));
    return this.#waitingIds.has(attemptId) && !this.#dropped.has(attemptId);
  }

  /** In the order in which they were given. */
  #startSome(): void {
    let now = this.now();
    const sliceEnd = now < this.#turnEnd ? this.#turnEnd : now + this.#sliceMs;
    let started = 0;
    this.#waitingIds = undefined;
    while (started < STARTED_TOGETHER && now < sliceEnd && this.#waiting.size > 0) {
      const attempt = this.#waiting.shift() as Attempt;
      if (this.#dropped.size > 0 && this.#dropped.delete(attempt.attemptId)) continue;
      now = this.#startOne(attempt, now);
      started++;
    }
    if (this.#turnEnd > 0) this.#turnStarts -= started;
    if (this.#waiting.size > 0) this.#resumeLater(now, sliceEnd);
  }

  /** In this turn, but for what came of ends in it (N3). */
  #resumeLater(now: number, sliceEnd: number): void {
    this.#resumePending = true;
    if (this.#turnEnd === 0) {
      this.#turnEnd = sliceEnd;
      this.#turnStarts = this.#waiting.size;
      setImmediate(() => {
        this.#turnEnd = 0;
      });
    }
    if (now < this.#turnEnd && this.#turnStarts > 0) queueMicrotask(this.#resume);
    else setImmediate(this.#resume);
  }

  readonly #resume = (): void => {
    try {
      this.#ends.flush(); // N5
    } finally {
      this.#resumePending = false;
      this.#startSome();
    }
  };

  /** Returns the time after the handler's synchronous part, which is also the next one's start. */
  #startOne(attempt: Attempt, startedAt: number): number {
    const { record, resident } = attempt;
    if (!this.#mayStart()) {
      this.#ends.push(endOf(attempt.attemptId, abortedOutcome("lease", undefined)));
      return startedAt;
    }
    const app = this.#apps.find(record.app);
    if (app === undefined) return this.#missing(attempt, `app ${record.app} is not loaded here`, startedAt);
    const run = new Run(attempt, app, this, startedAt);
    let outcome: Outcome | Promise<unknown>;
    try {
      let returned: unknown;
      if (resident === undefined) {
        const code = this.#codeOf(app, record.type);
        if (code === undefined)
          return this.#missing(attempt, `app ${record.app} defines no task ${record.type}`, startedAt);
        run.stateless = code.stateless;
        returned = insideRun(run, code.handler, new View(record, attempt.attempt), new Context(run));
      } else {
        const handler = app.residents.get(resident);
        if (handler === undefined)
          return this.#missing(attempt, `app ${record.app} defines no resident ${resident}`, startedAt);
        returned = insideRun(run, handler, new ResidentView(run), undefined);
      }
      outcome = judge(run, returned);
    } catch (error) {
      outcome = insideRun(run, outcomeOfError, error, undefined);
    }
    const now = this.now();
    if (now - startedAt >= this.#watch.blockedMs) this.#watch.heldBy(run, now - startedAt);
    if (outcome !== DONE && isPromise(outcome))
      this.#await(run, outcome); // most are done: no call to find out
    else this.#settle(run, outcome);
    return now;
  }

  /** Attempts of one type come in runs. */
  #codeOf(app: LoadedApp, type: string): Code | undefined {
    const recent = this.#recent;
    if (recent?.app === app && recent.type === type) return recent;
    const handler = app.tasks.get(type);
    if (handler === undefined) return undefined;
    this.#recent = { app, type, handler, stateless: app.definition.types.get(type)?.state === "none" };
    return this.#recent;
  }

  #await(run: Run, promise: Promise<unknown>): void {
    this.#underWay.set(run.attempt.attemptId, run);
    this.#watch.start();
    promise.then(
      (value) =>
        this.#settle(run, isObject(value) ? insideRun(run, outcomeOfValue, value, undefined) : outcomeOfValue(value)),
      (error) => this.#settle(run, insideRun(run, outcomeOfError, error, undefined)), // N4
    );
  }

  #settle(run: Run, settled: Outcome): void {
    if (run.ended) return;
    run.ended = true;
    if (run.stray !== undefined) clearTimeout(run.stray.grace); // it would keep the run until then
    this.#underWay.delete(run.attempt.attemptId);
    run.outcome = outcomeOf(run, settled);
    const { outcome } = run;
    if (run.attempt.resident !== undefined && outcome.type === "failed" && run.abortReason === undefined)
      this.log.warn({ ...namesOf(run), error: outcome.error }, "a resident failed; it is started again");
    this.#ends.push(run);
  }

  #missing(attempt: Attempt, detail: string, now: number): number {
    const outcome: Outcome = { type: "failed", error: { name: "APP_NOT_HERE", message: detail }, permanent: false };
    this.#ends.push(endOf(attempt.attemptId, outcome));
    return now;
  }

  /** P4: it costs this attempt and nothing else. Its handler gets until its timeout to settle, so that no two overlap. */
  #strayed(run: Run, error: unknown, kind: StrayKind): void {
    const { ended } = run;
    this.log.error(
      { ...namesOf(run), kind, ended, error: insideRun(run, describe, error, undefined) },
      "a stray error of a task handler",
    );
    this.#onStray?.({ app: run.attempt.record.app, kind, ended });
    if (ended || run.stray !== undefined) return;
    run.stray = { error };
    abortInside(run, "stray error");
    const { timeoutMs, resident } = run.attempt;
    const graceMs =
      resident === undefined && timeoutMs > 0 ? run.startedAt + timeoutMs - this.now() : RESIDENT_GRACE_MS;
    run.stray.grace = setTimeout(
      () => this.#settle(run, insideRun(run, outcomeOfError, error, undefined)),
      Math.max(0, Math.min(graceMs, LONGEST_TIMER_MS)),
    ).unref();
  }

  #logBlocked(blocked: BlockedLoop): void {
    const names = blocked.handlers.map(
      ({ app, type, key, task }) => `${type} of app ${app} (key ${key}, task ${task})`,
    );
    const who = names.length === 0 ? "no handler was under way" : names.join(" or ");
    const message = blocked.certain
      ? `a handler blocked the event loop: ${who}`
      : `the event loop was blocked, perhaps by: ${who}`;
    this.log.warn({ ...blocked }, message);
  }
}

/** What the engine is told: a stray error, touched state that is away and an abort all outweigh what the handler did. */
function outcomeOf(run: Run, settled: Outcome): Outcome {
  if (run.stateAway) return STATE_AWAY;
  if (run.stray !== undefined) return insideRun(run, outcomeOfError, run.stray.error, undefined);
  if (run.abortReason !== undefined && run.attempt.resident === undefined)
    return abortedOutcome(run.abortReason, settled);
  return settled;
}

function abortedOutcome(reason: string, settled: Outcome | undefined): Outcome {
  const threw = settled?.type === "failed" && settled.error.name !== "CANCELLED" ? settled.error : undefined;
  const rest = threw === undefined ? "" : `; its handler then threw ${threw.name}: ${threw.message}`;
  const stack = threw?.stack === undefined ? {} : { stack: threw.stack };
  return {
    type: "failed",
    error: { name: "ABORTED", message: `aborted: ${reason}${rest}`, ...stack },
    permanent: false,
  };
}

function endOf(attemptId: number, outcome: Outcome): AttemptEnd {
  return { attemptId, outcome, stateChanges: NO_CHANGES, children: NO_CHILDREN };
}

function abortInside(run: Run, reason: AbortReason | "stray error"): void {
  insideRun(run, abortRun, run, reason);
}

function abortRun(run: Run, reason: AbortReason | "stray error"): void {
  run.abort(reason);
}

function monotonicNow(): number {
  return performance.now();
}

const STATE_AWAY: Outcome = { type: "state-away" };
const SLICE_MS = 10;
const STARTED_TOGETHER = 64;
const BLOCKED_MS = 1_000;
/** A resident has no timeout of its own. */
const RESIDENT_GRACE_MS = 5_000;
const LONGEST_TIMER_MS = 2_147_483_647;
