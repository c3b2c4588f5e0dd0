/**
 * Attributes errors that escape a handler's own promise to the attempt that caused them (P4): rejections nobody awaits,
 * and throws from timers, sockets and microtasks.
 *
 * S1  Handlers, and nothing of the node, run inside an attempt's async context. Whatever a handler calls of the node
 *     leaves it first (`outsideRuns`), or a node's broken invariant would be taken for a handler's mistake.
 * S2  An error outside of any attempt is the node's own: it is given to `onForeign`, which is expected to stop the node.
 */

import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import type { Run } from "./run.ts";

export type StrayKind = "unhandledRejection" | "uncaughtException";

export interface StrayListener {
  /** An error of an attempt; the runner that started it knows what to do. */
  readonly onStray: (run: Run, error: unknown, kind: StrayKind) => void;
  /** S2. */
  readonly onForeign: (error: unknown, kind: StrayKind) => void;
}

/** Where an error of a fitting's code goes. */
export interface FittingScope {
  readonly onStray: (error: unknown, kind: StrayKind) => void;
}

/** Calls code of a fitting in its context. */
export function insideFitting<Args extends unknown[], Result>(
  scope: FittingScope,
  code: (...args: Args) => Result,
  ...args: Args
): Result {
  return fittings.run(scope, code, ...args);
}

/** S1, for what a fitting calls of the node, or a handler of the pipelines: what comes of it serves other runs as well. */
export function outsideFittings<Result>(call: () => Result): Result {
  return fittings.getStore() === undefined ? outsideRuns(call) : fittings.exit(outsideRuns, call);
}

/** Calls a handler in its attempt's context. */
export function insideRun<A, B, Result>(run: Run, handler: (a: A, b: B) => Result, a: A, b: B): Result {
  return runs.run(run, handler, a, b);
}

/** S1. */
export function outsideRuns<Result>(call: () => Result): Result {
  return runs.getStore() === undefined ? call() : runs.exit(call);
}

/** The attempt whose code, or whose consequence, is running now. */
export function currentRun(): Run | undefined {
  return runs.getStore();
}

/** Watches the whole process until disposed; one at a time is enough for any number of runners. */
export function listenForStrays(listener: StrayListener): Disposable {
  const report = (error: unknown, kind: StrayKind): void => {
    const run = runs.getStore();
    const scope = fittings.getStore();
    if (run !== undefined) runs.exit(() => listener.onStray(run, error, kind));
    else if (scope !== undefined) fittings.exit(() => scope.onStray(error, kind));
    else listener.onForeign(error, kind);
  };
  const onRejection = (error: unknown): void => report(error, "unhandledRejection");
  const onException = (error: unknown): void => report(error, "uncaughtException");
  process.on("unhandledRejection", onRejection);
  process.on("uncaughtException", onException);
  const unwatch = watchQueues(onException);
  return {
    [Symbol.dispose](): void {
      process.off("unhandledRejection", onRejection);
      process.off("uncaughtException", onException);
      unwatch();
    },
  };
}

/**
 * Catches what handlers throw in microtasks, immediates and finalizers before the process sees it. A microtask's error
 * reaches the process after its context is gone, and a finalizer never had one; and after an error in an immediate, a
 * `clearImmediate` of a later one of the same turn makes Node's loop over them endless (all seen with Node 20).
 */
function watchQueues(onException: (error: unknown) => void): () => void {
  const { queueMicrotask: microtask, setImmediate: immediate, FinalizationRegistry: Finalizers } = globalThis;
  const isNodes = (): boolean => runs.getStore() === undefined && fittings.getStore() === undefined;
  const caught = <Args extends readonly unknown[]>(callback: (...args: Args) => void): ((...args: Args) => void) => {
    if (isNodes() || typeof callback !== "function") return callback;
    return (...args) => {
      try {
        callback(...args);
      } catch (error) {
        onException(error);
      }
    };
  };
  const watchedMicrotask = (callback: () => void): void => microtask(caught(callback));
  const watchedImmediate = <Args extends unknown[]>(
    callback: (...args: Args) => void,
    ...args: Args
  ): NodeJS.Immediate => immediate(caught(callback), ...args);
  const watchedFinalizers = new Proxy(Finalizers, {
    construct: (target, [finalize, ...rest], made) =>
      Reflect.construct(target, [isNodes() ? finalize : AsyncResource.bind(caught(finalize)), ...rest], made),
  });
  globalThis.FinalizationRegistry = watchedFinalizers;
  globalThis.queueMicrotask = watchedMicrotask;
  globalThis.setImmediate = Object.assign(watchedImmediate, { __promisify__: immediate.__promisify__ });
  // `promisify` finds the promise form under a symbol.
  Object.defineProperties(watchedImmediate, Object.getOwnPropertyDescriptors(immediate));
  return () => {
    if (globalThis.queueMicrotask === watchedMicrotask) globalThis.queueMicrotask = microtask;
    if (globalThis.setImmediate === watchedImmediate) globalThis.setImmediate = immediate;
    if (globalThis.FinalizationRegistry === watchedFinalizers) globalThis.FinalizationRegistry = Finalizers;
  };
}

const runs = new AsyncLocalStorage<Run>();
const fittings = new AsyncLocalStorage<FittingScope>();
