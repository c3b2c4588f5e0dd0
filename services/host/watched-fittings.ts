/**
 * Runs the code of fittings in an async context of their own, so that an error which escapes their calls costs its run and not the
 * node (P4): as `insideRun` does for handlers.
 */

import { isGeneratorObject } from "node:util/types";
import type { Fitting, Pipeline } from "../../pipe/fitting.ts";
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

function watch(pipeline: string, fitting: Fitting, onStray: (stray: FittingStray) => void): Fitting {
  const scopeOf = (run: string | undefined): Scope => ({
    run,
    onStray: (error, kind) => onStray({ pipeline, fitting: fitting.name, run, error, kind }),
  });
  const between = scopeOf(undefined);
  let recent = between;
  /** Calls of one run come in a row. */
  const inRun = (context: never): Scope => {
    const { run } = context as { readonly run: string };
    if (recent.run !== run) recent = scopeOf(run);
    return recent;
  };
  const { process, done, start, archive, absorb } = fitting;
  return Object.freeze({
    ...fitting,
    process: (input: never, context: never) => {
      const scope = inRun(context);
      return iterated(scope, insideFitting(scope, process, input, context));
    },
    done:
      done &&
      ((context: never) => {
        const scope = inRun(context);
        return iterated(scope, insideFitting(scope, done, context));
      }),
    start: start && (() => insideFitting(between, start)),
    archive: archive && ((state: never) => insideFitting(between, archive, state)),
    absorb: absorb && ((state: never, archived: never) => insideFitting(between, absorb, state, archived)),
  });
}

interface Scope extends FittingScope {
  readonly run: string | undefined;
}

/** The body of a generator runs where it is asked for its next output. */
function iterated(scope: Scope, result: unknown): unknown {
  if (!isGeneratorObject(result)) return result;
  const generator = result as Generator & AsyncGenerator;
  const next = (): unknown => generator.next();
  const end = (): unknown => generator.return(undefined);
  const watched = { next: () => insideFitting(scope, next), return: () => insideFitting(scope, end) };
  const symbol = typeof generator[Symbol.asyncIterator] === "function" ? Symbol.asyncIterator : Symbol.iterator;
  return { ...watched, [symbol]: () => watched };
}
