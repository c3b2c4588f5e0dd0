/**
 * Declarations: a fitting is one stage of work, a pipeline a line of them. Both are checked when they are made, and a refusal
 * (`PIPELINE_INVALID`) begins with the path of the failing field.
 */

import { RingError } from "../ring/errors.ts";
import { hashKey } from "../ring/hash.ts";
import {
  CHECKPOINT_EVERY_MOST,
  CONCURRENCY_MOST,
  FITTINGS_MOST,
  QUEUE_LIMIT_DEFAULT,
  QUEUE_LIMIT_MOST,
  RETRIES_MOST,
} from "./limits.ts";
import { byKey, type Partitioner, spread } from "./partition.ts";

/** What a call of `process` is given beside its input. */
export interface FittingContext<State = unknown> {
  readonly run: string;
  readonly pipeline: string;
  readonly fitting: string;
  readonly partition: number;
  /** 1 for the first try of this input on this worker. */
  readonly attempt: number;
  /** Aborts when the run ends early, or when the partition moves and the grace is over. */
  readonly signal: AbortSignal;
  /** The last cursor of this input that was kept; undefined at the first try. */
  readonly cursor: unknown;
  /** The worker's own, made by `start`. */
  state: State;
  /**
   * Keeps `cursor`, a JSON value of at most 64 KiB, as it is now, once everything emitted before is acknowledged. Resolves when
   * the source may go on: at most 16 checkpoints may be open at once. None is kept after `recurse` or
   * a recorded failure, nor with `broadcast`. Rejects with `INVALID_ARGUMENT`.
   */
  checkpoint(cursor: unknown): Promise<void>;
  /** Sends an input to this very worker. Throws `QUEUE_FULL` when its overflow is full; never waits. */
  recurse(input: unknown): void;
  /** Of this call's span, for what it asks of others; undefined for an input that is not sampled. */
  readonly traceparent: string | undefined;
  /** A line in the run's trace, if anybody listens. */
  trace(text: string): void;
}

export type OnCrash = "skip" | "fail" | { readonly retry: number };

export interface FittingOptions<In, State = unknown> {
  /** Unique in the pipeline: 1 to 63 of `A-Z a-z 0-9 . _ -`. */
  readonly name: string;
  /**
   * Returns nothing, an output, an array of outputs, an iterable, a promise or an async iterable of outputs or of
   * `batch([...])`.
   */
  readonly process: (input: In, context: FittingContext<State>) => unknown;
  /** After the last input; may emit, as `process` does. With it the fitting has state. */
  readonly done?: (context: FittingContext<State>) => unknown;
  /** Makes the worker's state; when it throws, the worker cannot start. */
  readonly start?: () => State;
  /** The worker's state as a JSON value, when its partition moves. */
  readonly archive?: (state: State) => unknown;
  /** Merges what another worker archived into this one's state, and returns the state. */
  readonly absorb?: (state: State, archived: never) => State;
  /**
   * Inputs after which the state is stored off its node, 1 to 100,000; an input is acknowledged then, and the loss of a node
   * costs no state. With it outputs come from `done` only. Absent: the loss of absorbed state fails the run.
   */
  readonly checkpointEvery?: number;
  /** Default: `spread` for a fitting without state, `byKey` of the whole input with it. */
  readonly partition?: Partitioner;
  /** Nodes of the preflist that may take an input whose worker cannot start. 1 to 7, default 1. */
  readonly nval?: number;
  /** Inputs that wait at one worker. 1 to 4,096, default 64. */
  readonly queueLimit?: number;
  /** Calls at once in one worker, 1 to 1,024, default 1; more than 1 gives up the order. */
  readonly concurrency?: number;
  /** What becomes of an input whose call throws. Default `skip`: it is recorded as failed. */
  readonly onCrash?: OnCrash;
  /**
   * The worker's state after a crash: as it was (default), or made anew, its absorbed inputs recorded as failed; with
   * `checkpointEvery`, as it was stored last, and those since then have failed.
   */
  readonly stateAfterCrash?: "keep" | "reset";
}

export interface Fitting<In = never, Out = unknown> {
  readonly kind: "fitting";
  readonly name: string;
  readonly process: (input: In, context: never) => unknown;
  readonly done: ((context: never) => unknown) | undefined;
  /** Set by who watches its calls: what a promise of it gave, to be iterated in their context. */
  readonly given?: (value: object, run: string) => unknown;
  readonly start: (() => unknown) | undefined;
  readonly archive: ((state: never) => unknown) | undefined;
  readonly absorb: ((state: never, archived: never) => unknown) | undefined;
  /** 0: never. */
  readonly checkpointEvery: number;
  readonly partition: Partitioner;
  readonly nval: number;
  readonly queueLimit: number;
  readonly concurrency: number;
  readonly onCrash: "skip" | "fail" | "retry";
  readonly retries: number;
  readonly stateAfterCrash: "keep" | "reset";
  /** Its results depend on what it has absorbed. */
  readonly stateful: boolean;
  /** `process` is a generator: each of its inputs may have a cursor. */
  readonly resumable: boolean;
  /** Never set: it carries the type of the outputs. */
  readonly output?: Out;
}

export interface Pipeline<In = never, Out = unknown> {
  readonly kind: "pipeline";
  readonly name: string;
  readonly fittings: readonly Fitting<never, unknown>[];
  /** Never set: they carry the types. */
  readonly input?: (value: In) => void;
  readonly output?: Out;
}

export function fitting<In, Out = unknown, State = unknown>(options: FittingOptions<In, State>): Fitting<In, Out> {
  const path = fieldsOf(options);
  const stateful = options.done !== undefined || options.archive !== undefined;
  const [onCrash, retries] = crashOf(path, options.onCrash ?? "skip");
  const concurrency = integer(path, "concurrency", options.concurrency, {
    fallback: 1,
    least: 1,
    most: CONCURRENCY_MOST,
  });
  if ((options.archive === undefined) !== (options.absorb === undefined))
    throw invalid(path, options.archive === undefined ? "archive" : "absorb", "archive and absorb come together");
  if (stateful && concurrency > 1) throw invalid(path, "concurrency", "a fitting with state runs one call at a time");
  if (options.checkpointEvery !== undefined) {
    if (options.archive === undefined || options.done === undefined)
      throw invalid(path, "checkpointEvery", "is for fittings with archive, absorb and done");
    if (GENERATORS.includes(options.process.constructor.name))
      throw invalid(path, "checkpointEvery", "is for fittings that emit in done only, not for generators");
    if (options.partition?.type === "follow")
      throw invalid(path, "checkpointEvery", "needs a partition that the input decides, not follow");
  }
  return Object.freeze({
    kind: "fitting",
    name: options.name,
    process: options.process as (input: In, context: never) => unknown,
    done: options.done as ((context: never) => unknown) | undefined,
    start: options.start,
    archive: options.archive as ((state: never) => unknown) | undefined,
    absorb: options.absorb as ((state: never, archived: never) => unknown) | undefined,
    checkpointEvery: integer(path, "checkpointEvery", options.checkpointEvery, {
      fallback: 0,
      least: 1,
      most: CHECKPOINT_EVERY_MOST,
    }),
    partition: partitionerOf(path, options.partition, stateful),
    nval: integer(path, "nval", options.nval, { fallback: 1, least: 1, most: 7 }),
    queueLimit: integer(path, "queueLimit", options.queueLimit, {
      fallback: QUEUE_LIMIT_DEFAULT,
      least: 1,
      most: QUEUE_LIMIT_MOST,
    }),
    concurrency,
    onCrash,
    retries,
    stateAfterCrash: oneOf(path, "stateAfterCrash", options.stateAfterCrash, ["keep", "reset"]),
    stateful,
    resumable: GENERATORS.includes(options.process.constructor.name),
  });
}

/** Types follow from the first and the last fitting. */
export function pipeline<const Fittings extends readonly [AnyFitting, ...AnyFitting[]]>(
  name: string,
  fittings: Fittings,
): Pipeline<InputOf<Fittings>, OutputOf<Fittings>> {
  if (typeof name !== "string" || !NAME.test(name))
    throw new RingError("PIPELINE_INVALID", `name must be 1 to 63 of A-Z a-z 0-9 . _ -, not ${shown(name)}`);
  const path = `pipeline "${name}": fittings`;
  if (!Array.isArray(fittings) || fittings.length < 1 || fittings.length > FITTINGS_MOST)
    throw new RingError("PIPELINE_INVALID", `${path} must be an array of 1 to ${FITTINGS_MOST} fittings`);
  const names = new Set<string>();
  for (const [at, one] of fittings.entries()) {
    if (one?.kind !== "fitting") throw new RingError("PIPELINE_INVALID", `${path}[${at}] must be made by fitting()`);
    if (names.has(one.name))
      throw new RingError("PIPELINE_INVALID", `${path}[${at}].name: "${one.name}" is there twice`);
    names.add(one.name);
  }
  return Object.freeze({ kind: "pipeline", name, fittings: Object.freeze([...fittings]) as readonly Fitting[] });
}

export function isPipeline(value: unknown): value is Pipeline {
  if (typeof value !== "object" || value === null) return false;
  const { kind, fittings } = value as { readonly kind?: unknown; readonly fittings?: unknown };
  return kind === "pipeline" && Array.isArray(fittings) && fittings.every((one) => one?.kind === "fitting");
}

/** The same on two nodes whose stages fit together: names, partitions and what is done with state, in order. */
export function shapeOf({ fittings }: Pipeline): number {
  const shapes = fittings.map(({ name, partition, stateful, checkpointEvery }) => {
    const to = partition.type === "constant" ? partition.partition : 0;
    return [name, partition.type, to, stateful, checkpointEvery > 0];
  });
  return hashKey("", JSON.stringify(shapes));
}

type AnyFitting = Fitting<never, unknown>;
type InputOf<Fittings extends readonly AnyFitting[]> = Fittings[0] extends Fitting<infer In, unknown> ? In : never;
type OutputOf<Fittings extends readonly AnyFitting[]> = Fittings extends readonly [...AnyFitting[], infer Last]
  ? Last extends Fitting<never, infer Out>
    ? Out
    : unknown
  : unknown;

/** The path of errors, after the fields that need no default are checked. */
function fieldsOf(options: object): string {
  if (typeof options !== "object" || options === null)
    throw new RingError("PIPELINE_INVALID", "fitting: its options must be an object");
  const given = options as Readonly<Record<string, unknown>>;
  const { name } = given;
  if (typeof name !== "string" || !NAME.test(name))
    throw new RingError("PIPELINE_INVALID", `fitting: name must be 1 to 63 of A-Z a-z 0-9 . _ -, not ${shown(name)}`);
  const path = `fitting "${name}"`;
  for (const field of Object.keys(given))
    if (!FIELDS.includes(field)) throw invalid(path, field, `is unknown; there are ${FIELDS.join(", ")}`);
  if (typeof given.process !== "function") throw invalid(path, "process", "must be a function");
  for (const field of ["done", "start", "archive", "absorb"])
    if (given[field] !== undefined && typeof given[field] !== "function")
      throw invalid(path, field, "must be a function");
  return path;
}

function crashOf(path: string, onCrash: unknown): ["skip" | "fail" | "retry", number] {
  if (onCrash === "skip" || onCrash === "fail") return [onCrash, 0];
  const retry =
    typeof onCrash === "object" && onCrash !== null ? (onCrash as { readonly retry?: unknown }).retry : undefined;
  if (typeof retry !== "number")
    throw invalid(path, "onCrash", `must be "skip", "fail" or { retry: n }, not ${shown(onCrash)}`);
  return ["retry", integer(path, "onCrash.retry", retry, { fallback: 1, least: 1, most: RETRIES_MOST })];
}

function partitionerOf(path: string, given: Partitioner | undefined, stateful: boolean): Partitioner {
  if (given === undefined) return stateful ? byKey((value) => value as string) : spread;
  const type = (given as { readonly type?: unknown } | null)?.type;
  const bad = (field: string, what: string): RingError => invalid(path, `partition${field}`, what);
  if (type === "key" || type === "hash") {
    const called = (given as { readonly keyOf?: unknown; readonly hashOf?: unknown })[
      type === "key" ? "keyOf" : "hashOf"
    ];
    if (typeof called !== "function") throw bad("", `by${type === "key" ? "Key" : "Hash"} needs a function`);
  } else if (type === "constant") {
    const { partition } = given as { readonly partition: unknown };
    if (typeof partition !== "number" || !Number.isInteger(partition) || partition < 0)
      throw bad("", `constant needs a whole number from 0, not ${shown(partition)}`);
  } else if (type !== "follow" && type !== "spread" && type !== "broadcast") {
    throw bad("", "must be byKey, byHash, constant, follow, spread or broadcast");
  }
  if (type === "spread" && stateful) throw bad("", "spread is for fittings without state");
  return given;
}

interface Range {
  readonly fallback: number;
  readonly least: number;
  readonly most: number;
}

function integer(path: string, field: string, value: unknown, range: Range): number {
  if (value === undefined) return range.fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < range.least || value > range.most)
    throw invalid(path, field, `must be a whole number from ${range.least} to ${range.most}, not ${shown(value)}`);
  return value;
}

function oneOf<const T extends string>(path: string, field: string, value: unknown, choices: readonly [T, ...T[]]): T {
  if (value === undefined) return choices[0];
  const choice = choices.find((one) => one === value);
  if (choice === undefined) throw invalid(path, field, `must be one of ${choices.join(", ")}, not ${shown(value)}`);
  return choice;
}

function invalid(path: string, field: string, what: string): RingError {
  return new RingError("PIPELINE_INVALID", `${path}.${field} ${what}`);
}

function shown(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value.slice(0, 80))
    : typeof value === "number"
      ? `${value}`
      : typeof value;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const GENERATORS: readonly string[] = ["AsyncGeneratorFunction", "GeneratorFunction"];
const FIELDS: readonly string[] = [
  "name",
  "process",
  "done",
  "start",
  "archive",
  "absorb",
  "checkpointEvery",
  "partition",
  "nval",
  "queueLimit",
  "concurrency",
  "onCrash",
  "stateAfterCrash",
];
