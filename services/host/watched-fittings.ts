/**
 * Runs the code of fittings in an async context of their own, so that an error which escapes their calls costs its run and not the
 * node (P4): as `insideRun` does for handlers.
 */

import { isGeneratorObject, isPromise } from "node:util/types";
import type { Fitting, Pipeline } from "../../pipe/fitting.ts";
import type { FittingOfRun } from "../../pipe/host.ts";
import { type FittingScope, insideFitting, type StrayKind } from "../runner/strays.ts";

export interface FittingStray {
  readonly pipeline: string;
  readonly fitting: string;
  /** Undefined for what `start`, `archive` and `absorb` have left behind. */
  readonly run: string | undefined;
  readonly error: unknown;
  readonly kind: StrayKind;
}

/** The same pipeline for the same one, its fittings watched. */
export function watchFittings(onStray: (stray: FittingStray) => void): (pipeline: Pipeline) => Pipeline {
  const watched = new WeakMap<Pipeline, Pipeline>();
  return (pipeline) => {
    let known = watched.get(pipeline);
    if (known === undefined) {
      const fittings = pipeline.fittings.map((fitting) => watch(pipeline.name, fitting, onStray));
      known = Object.freeze({ ...pipeline, fittings: Object.freeze(fittings) as Pipeline["fittings"] });
      watched.set(pipeline, known);
    }
    return known;
  };
}

/** Looks at a value of a fitting where it is the fitting's that is lost by its getters. */
export function watchLooks(onStray: (stray: FittingStray) => void): <T>(of: FittingOfRun, look: () => T) => T {
  return (of, look) => insideFitting({ onStray: (error, kind) => onStray({ ...of, error, kind }) }, look);
}

function watch(pipeline: string, fitting: Fitting, onStray: (stray: FittingStray) => void): Fitting {
  const scopeOf = (run: string | undefined): Scope => ({
    run,
    onStray: (error, kind) => onStray({ pipeline, fitting: fitting.name, run, error, kind }),
  });
  const between = scopeOf(undefined);
  let recent = between;
  /** Calls of one run come in a row. */
  const ofRun = (run: string): Scope => {
    if (recent.run !== run) recent = scopeOf(run);
    return recent;
  };
  const inRun = (context: never): Scope => ofRun((context as { readonly run: string }).run);
  const { process, done, start, archive, absorb } = fitting;
  return Object.freeze({
    ...fitting,
    process: (input: never, context: never) => {
      const scope = inRun(context);
      return watchedResult(scope, insideFitting(scope, process, input, context));
    },
    done:
      done &&
      ((context: never) => {
        const scope = inRun(context);
        return watchedResult(scope, insideFitting(scope, done, context));
      }),
    given: (value: object, run: string) => watchedResult(ofRun(run), value),
    start: start && (() => insideFitting(between, start)),
    archive: archive && ((state: never) => insideFitting(between, archive, state)),
    absorb: absorb && ((state: never, archived: never) => insideFitting(between, absorb, state, archived)),
  });
}

interface Scope extends FittingScope {
  readonly run: string | undefined;
}

/** What the engine will look at, call or wait for is the fitting's code, too: a thenable's `then`, the body of an iterator. */
function watchedResult(scope: Scope, result: unknown): unknown {
  if (typeof result !== "object" || result === null || Array.isArray(result) || ArrayBuffer.isView(result))
    return result;
  if (isGeneratorObject(result)) return iterated(scope, result as Generator & AsyncGenerator, isAsync(result));
  const isData = !("then" in result || Symbol.asyncIterator in result || Symbol.iterator in result);
  return isData || isPlainPromise(result) ? result : insideFitting(scope, lookAt, scope, result);
}

function lookAt(scope: Scope, result: object): unknown {
  const many = result as Partial<PromiseLike<unknown> & AsyncIterable<unknown> & Iterable<unknown>>;
  if (typeof many.then === "function") return adopt(result);
  const asked = many[Symbol.asyncIterator];
  if (typeof asked === "function") return iterated(scope, asked.call(result), true);
  const listed = many[Symbol.iterator];
  return typeof listed === "function" ? iterated(scope, listed.call(result), false) : result;
}

function iterated(scope: Scope, iterator: Iterator<unknown> | AsyncIterator<unknown>, isAsyncOne: boolean): object {
  const next = (): unknown => {
    const given = iterator.next();
    return isAsyncOne && !isPlainPromise(given) ? adopt(given) : given;
  };
  const end = (): unknown => iterator.return?.();
  const watched = { next: () => insideFitting(scope, next), return: () => insideFitting(scope, end) };
  return { ...watched, [isAsyncOne ? Symbol.asyncIterator : Symbol.iterator]: () => watched };
}

function isAsync(generator: object): boolean {
  return typeof (generator as Partial<AsyncGenerator>)[Symbol.asyncIterator] === "function";
}

/** To wait for it calls no code of others. */
function isPlainPromise(value: unknown): boolean {
  return isPromise(value) && value.constructor === Promise && value.then === PLAIN_THEN;
}

async function adopt(given: unknown): Promise<unknown> {
  return await given;
}

const PLAIN_THEN = Promise.prototype.then;
