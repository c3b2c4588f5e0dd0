/**
 * What a handler returned: a stranger's object. A look at it calls its getters and its `toJSON`, so it is looked at inside the run: what
 * they throw, now or later, is the attempt's own (runner.ts, N4).
 */

import { isPromise } from "node:util/types";
import { type Outcome, outcomeOfValue } from "./outcome.ts";
import type { Run } from "./run.ts";
import { insideRun } from "./strays.ts";

/** May throw. */
export function judge(run: Run, returned: unknown): Outcome | Promise<unknown> {
  if (!isObject(returned)) return outcomeOfValue(returned);
  return isPromise(returned) ? promiseOf(run, returned) : insideRun(run, lookAt, run, returned);
}

function lookAt(run: Run, returned: unknown): Outcome | Promise<unknown> {
  return isThenable(returned) ? promiseOf(run, returned) : outcomeOfValue(returned);
}

/** With getters or a `toJSON`, perhaps. */
export function isObject(value: unknown): boolean {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

/** A promise of the language's own, whose `then` nobody has replaced: neither call can throw. */
function promiseOf(run: Run, returned: PromiseLike<unknown>): Promise<unknown> {
  const isPlain = isPromise(returned) && returned.constructor === Promise && returned.then === PLAIN_THEN;
  return isPlain ? returned : insideRun(run, adopt, returned, undefined);
}

async function adopt(promise: PromiseLike<unknown>): Promise<unknown> {
  return await promise;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" && value !== null && typeof (value as { readonly then?: unknown }).then === "function"
  );
}

const PLAIN_THEN = Promise.prototype.then;
