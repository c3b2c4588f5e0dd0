/**
 * Names the handler that blocked the event loop (P4).
 *
 * Three ways, from cheap to dear: the runner times each handler's synchronous part and tells (`heldBy`); a timer that
 * comes late shows that something else held the loop, and lists the attempts under way as suspects; and for a minute
 * after that, every callback is timed by an async hook, so that a repeated offence after an `await` is named for certain.
 * A handler that never gives the loop back cannot be named from inside the process: its node loses its lease instead.
 */

import { type AsyncHook, createHook } from "node:async_hooks";
import type { Run } from "./run.ts";
import { currentRun } from "./strays.ts";
import { namesOf } from "./task-context.ts";

export interface BlockedLoop {
  readonly blockedMs: number;
  /** CPU time of the process meanwhile; far less than `blockedMs` means that it waited or was not scheduled. */
  readonly cpuMs: number | undefined;
  /** True: the one handler listed did it. False: one of those listed may have. */
  readonly certain: boolean;
  readonly handlers: readonly ReturnType<typeof namesOf>[];
}

export interface LoopWatchOptions {
  readonly now: () => number;
  readonly blockedMs: number;
  readonly underWay: () => Iterable<Run>;
  readonly onBlocked: (blocked: BlockedLoop) => void;
}

export class LoopWatch implements Disposable {
  readonly blockedMs: number;
  readonly #options: LoopWatchOptions;
  #timer: NodeJS.Timeout | undefined = undefined;
  #expectedAt = 0;
  #cpuMs = 0;
  /** The runner or the hook has named who held the loop since the last look. */
  #named = false;
  #hook: AsyncHook | undefined = undefined;
  #hookUntil = 0;
  #callback: { readonly asyncId: number; readonly run: Run; readonly since: number } | undefined = undefined;

  constructor(options: LoopWatchOptions) {
    this.#options = options;
    this.blockedMs = options.blockedMs;
  }

  /** Looks as long as attempts are under way, and stops by itself; the runner calls it with each asynchronous one. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#cpuMs = cpuNow();
    this.#expectedAt = this.#options.now() + this.#periodMs;
    this.#timer = setInterval(() => this.#look(), this.#periodMs).unref();
  }

  /** A handler's synchronous part took this long. */
  heldBy(run: Run, blockedMs: number): void {
    this.#named = true;
    this.#options.onBlocked({
      blockedMs: Math.round(blockedMs),
      cpuMs: undefined,
      certain: true,
      handlers: [namesOf(run)],
    });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stopHook();
  }

  get #periodMs(): number {
    return Math.max(10, this.blockedMs / 10);
  }

  #look(): void {
    const now = this.#options.now();
    const cpu = cpuNow();
    const lateMs = now - this.#expectedAt;
    const cpuMs = Math.round(cpu - this.#cpuMs);
    const named = this.#named;
    this.#expectedAt = now + this.#periodMs;
    this.#cpuMs = cpu;
    this.#named = false;
    // A callback that threw has no end; none is under way while this timer runs.
    this.#callback = undefined;
    // The block began at some time in the period before the timer was due, hence the difference.
    if (lateMs >= this.blockedMs - this.#periodMs && !named) {
      const handlers = take(this.#options.underWay(), SUSPECTS).map(namesOf);
      this.#options.onBlocked({ blockedMs: Math.round(lateMs), cpuMs, certain: false, handlers });
      this.#startHook(now);
    }
    if (this.#hook !== undefined && now > this.#hookUntil) this.#stopHook();
    if (take(this.#options.underWay(), 1).length > 0 || this.#hook !== undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #startHook(now: number): void {
    this.#hookUntil = now + HOOK_MS;
    this.#hook ??= createHook({
      before: (asyncId) => this.#callbackBegins(asyncId),
      after: (asyncId) => this.#callbackEnds(asyncId),
    }).enable();
  }

  #stopHook(): void {
    this.#hook?.disable();
    this.#hook = undefined;
    this.#callback = undefined;
  }

  #callbackBegins(asyncId: number): void {
    const run = currentRun();
    if (run === undefined || this.#callback !== undefined) return;
    this.#callback = { asyncId, run, since: this.#options.now() };
  }

  #callbackEnds(asyncId: number): void {
    const callback = this.#callback;
    if (callback === undefined || callback.asyncId !== asyncId) return;
    this.#callback = undefined;
    const heldMs = this.#options.now() - callback.since;
    if (heldMs >= this.blockedMs) this.heldBy(callback.run, heldMs);
  }
}

function take<T>(items: Iterable<T>, count: number): readonly T[] {
  const taken: T[] = [];
  for (const item of items) {
    taken.push(item);
    if (taken.length === count) break;
  }
  return taken;
}

function cpuNow(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

const SUSPECTS = 5;
const HOOK_MS = 60_000;
