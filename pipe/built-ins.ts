/** Ready fittings. `crash` and `countdown` are for tests of pipelines, one's own included. */

import { RingError } from "../ring/errors.ts";
import { Batch } from "./batch.ts";
import { type Fitting, type FittingContext, type FittingOptions, fitting } from "./fitting.ts";
import { byKey } from "./partition.ts";

type Options<In> = Omit<
  FittingOptions<In>,
  "process" | "done" | "start" | "archive" | "absorb" | "stateAfterCrash" | "checkpointEvery"
>;
type Named<In> = Options<In> | string;

/** Each input as it is. */
export function pass<T = unknown>(options: Named<T> = "pass"): Fitting<T, T> {
  return fitting<T, T>({ ...named(options), process: (input) => (typeof input === "object" ? [input] : input) });
}

/** One output for each input; a promise is awaited. An array is one output. */
export function map<In, Out>(options: Named<In>, change: (input: In) => Out | Promise<Out>): Fitting<In, Out> {
  const single = (output: unknown): unknown => (Array.isArray(output) ? [output] : output);
  return fitting<In, Out>({
    ...named(options),
    process: (input) => {
      const output: unknown = change(input);
      return isPromise(output) ? output.then(single) : single(output);
    },
  });
}

export function filter<T>(options: Named<T>, keep: (input: T) => boolean): Fitting<T, T> {
  return fitting<T, T>({ ...named(options), process: (input) => (keep(input) ? [input] : undefined) });
}

export function flatMap<In, Out>(
  options: Named<In>,
  expand: (input: In) => Iterable<Out> | AsyncIterable<Out> | Promise<Iterable<Out>>,
): Fitting<In, Out> {
  return fitting<In, Out>({ ...named(options), process: expand });
}

export interface Reduction<In, Acc> {
  readonly name?: string;
  readonly key: (input: In) => string | number;
  readonly initial: () => Acc;
  /** Returns the new value; may change the old one. */
  readonly add: (acc: Acc, input: In) => Acc;
  /** Two values of one key into one, when a partition has moved. */
  readonly merge: (left: Acc, right: Acc) => Acc;
  readonly queueLimit?: number;
  /** As of `fitting`. */
  readonly checkpointEvery?: number;
}

/** One `[key, value]` for each key, after the last input. */
export function reduceByKey<In, Acc>(reduction: Reduction<In, Acc>): Fitting<In, readonly [string | number, Acc]> {
  type State = Map<string | number, Acc>;
  const { key, initial, add, merge } = reduction;
  return fitting<In, readonly [string | number, Acc], State>({
    name: reduction.name ?? "reduce",
    partition: byKey(key),
    ...(reduction.queueLimit === undefined ? {} : { queueLimit: reduction.queueLimit }),
    ...(reduction.checkpointEvery === undefined ? {} : { checkpointEvery: reduction.checkpointEvery }),
    start: () => new Map(),
    process: (input, { state }) => {
      const at = key(input);
      const before = state.get(at);
      state.set(at, add(before === undefined ? initial() : before, input));
    },
    done: ({ state }) => [...state],
    archive: (state) => [...state],
    absorb: (state, archived: readonly (readonly [string | number, Acc])[]) => {
      for (const [at, value] of archived) {
        const before = state.get(at);
        state.set(at, before === undefined ? value : merge(before, value));
      }
      return state;
    },
  });
}

/** Each input as it is, after `look` has seen it. */
export function tee<T>(options: Named<T>, look: (input: T) => void): Fitting<T, T> {
  return fitting<T, T>({
    ...named(options),
    process: (input) => {
      look(input);
      return [input];
    },
  });
}

/**
 * `batch(rows)`: many outputs in one yield, which costs one turn of the generator instead of one for each row.
 * `batch(name, size)`: a fitting that makes arrays of `size` inputs; what is left comes with the end.
 */
export function batch<T>(items: readonly T[]): Batch<T>;
export function batch<T>(options: Named<T>, size: number): Fitting<T, readonly T[]>;
export function batch<T>(first: readonly T[] | Named<T>, size = 0): Batch<T> | Fitting<T, readonly T[]> {
  return Array.isArray(first) ? new Batch<T>(first) : batching(first as Named<T>, size);
}

function batching<T>(options: Named<T>, size: number): Fitting<T, readonly T[]> {
  if (!Number.isInteger(size) || size < 1)
    throw new RingError(
      "PIPELINE_INVALID",
      `batch size must be a whole number from 1, not ${String(size).slice(0, 40)}`,
    );
  return fitting<T, readonly T[], T[]>({
    partition: byKey(() => 0),
    ...named(options),
    start: () => [],
    process: (input, context) => {
      context.state.push(input);
      if (context.state.length < size) return undefined;
      const full = context.state;
      context.state = [];
      return [full];
    },
    done: (context) => {
      const rest = context.state;
      context.state = [];
      return rest.length === 0 ? undefined : [rest];
    },
    archive: (state) => state,
    absorb: (state, archived: readonly T[]) => [...state, ...archived],
  });
}

/** At most `perSecond` inputs a second through each worker. */
export function throttle<T>(options: Named<T>, perSecond: number, clock: ThrottleClock): Fitting<T, T> {
  if (!(perSecond > 0))
    throw new RingError("PIPELINE_INVALID", `perSecond must be above 0, not ${String(perSecond).slice(0, 40)}`);
  return fitting<T, T>({
    ...named(options),
    process: async (input, { signal }) => {
      await clock.wait(1_000 / perSecond, signal);
      return [input];
    },
  });
}

/** The pure part has no clock: the engine's `throttleClock` is one. */
export interface ThrottleClock {
  wait(delayMs: number, signal: AbortSignal): Promise<void>;
}

/** Throws for the inputs of which `when` says true; passes the others. */
export function crash<T>(options: Named<T>, when: (input: T, context: FittingContext) => boolean): Fitting<T, T> {
  return fitting<T, T>({
    ...named(options),
    process: (input, context) => {
      if (when(input, context)) throw new Error("crashed on purpose");
      return [input];
    },
  });
}

/** Sends itself n-1 until 0, and emits each number. */
export function countdown(options: Named<number> = "countdown"): Fitting<number, number> {
  return fitting<number, number>({
    ...named(options),
    process: (input, context) => {
      if (input > 0) context.recurse(input - 1);
      return input;
    },
  });
}

function named<In>(options: Named<In>): Options<In> {
  return typeof options === "string" ? { name: options } : options;
}

function isPromise(value: unknown): value is Promise<unknown> {
  return (
    typeof value === "object" && value !== null && typeof (value as { readonly then?: unknown }).then === "function"
  );
}
