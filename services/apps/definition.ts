/**
 * Validates what `defineApp` was given and splits it into the pure definition and the table of handlers.
 *
 * Every refusal is `INVALID_ARGUMENT` and begins with the path of the failing field, as in
 * `app "acme": tasks["mail.send"].timeoutMs must be …`.
 */

import { isPipeline, type Pipeline } from "../../pipe/fitting.ts";
import { RingError } from "../../ring/errors.ts";
import { isAppName } from "../../ring/ids.ts";
import type { AppDefinition, AppLimits, ScheduleSpec, TaskType } from "../../ring/tasks/definition.ts";
import { ENGINE_LIMITS } from "../../ring/tasks/limits.ts";
import { ticksOf } from "../../ring/tasks/ticks.ts";
import { encodePayload } from "../runner/value.ts";
import type { App, AppMatch, AppOptions, ResidentHandler, ScheduleOptions, TaskHandler } from "./shapes.ts";

export function makeDefinition(name: AppMatch, options: AppOptions): Omit<App, typeof import("./shapes.ts").APP_MARK> {
  const match = matchOf(name);
  const field = new Field(`app "${match}": `);
  if (!isObject(options)) throw field.refuse("its options must be an object");
  field.onlyKnown("", options, ["version", "tasks", "residents", "schedules", "pipelines", "limits"]);
  const pipelines = pipelinesOf(field, options.pipelines);
  const types = new Map<string, TaskType>();
  const tasks = new Map<string, TaskHandler>();
  for (const [type, entry] of field.entries("tasks", options.tasks)) {
    const path = `tasks["${type}"]`;
    field.kind(path, entry, "task");
    types.set(type, taskTypeOf(field.at(path), type, entry.options));
    tasks.set(type, entry.handler);
  }
  const residents = new Map<string, ResidentHandler>();
  const residentSpecs = new Map<string, ReturnType<typeof residentOf>>();
  for (const [resident, entry] of field.entries("residents", options.residents)) {
    const path = `residents["${resident}"]`;
    field.kind(path, entry, "resident");
    residentSpecs.set(resident, residentOf(field.at(path), resident, entry.options));
    residents.set(resident, entry.handler);
  }
  const schedules = new Map<string, ScheduleSpec>();
  for (const [schedule, entry] of field.entries("schedules", options.schedules)) {
    schedules.set(schedule, scheduleOf(field.at(`schedules["${schedule}"]`), schedule, entry, types));
  }
  const version = options.version ?? "0";
  if (typeof version !== "string" || version.length < 1 || version.length > VERSION_CHARACTERS) {
    throw field.refuse(`version must be a string of 1 to ${VERSION_CHARACTERS} characters`);
  }
  const definition: AppDefinition = {
    match,
    version,
    types,
    residents: residentSpecs,
    schedules,
    limits: limitsOf(field.at("limits"), options.limits ?? {}),
  };
  return { definition, tasks, residents, pipelines };
}

function pipelinesOf(field: Field, given: unknown): ReadonlyMap<string, Pipeline> {
  const pipelines = new Map<string, Pipeline>();
  if (given === undefined) return pipelines;
  if (!Array.isArray(given)) throw field.refuse("pipelines must be an array of what pipeline() made");
  for (const [at, one] of given.entries()) {
    if (!isPipeline(one)) throw field.refuse(`pipelines[${at}] must be made by pipeline()`);
    if (pipelines.has(one.name)) throw field.refuse(`pipelines[${at}]: "${one.name}" is there twice`);
    pipelines.set(one.name, one);
  }
  return pipelines;
}

/** All four fields. Also used for limits that an operator sets at run time: they are validated alike. */
export function parseLimits(limits: Partial<AppLimits>): AppLimits {
  return limitsOf(new Field("limits"), limits);
}

const DEFAULT_LIMITS: AppLimits = { queued: 100_000, running: 64, perSecond: 0, weight: 1 };

function matchOf(name: AppMatch): string {
  if (typeof name === "string") {
    if (isAppName(name)) return name;
    const hint = name.includes("*") ? `; a template is written { match: ${JSON.stringify(name.slice(0, 80))} }` : "";
    throw new RingError("APP_NAME_INVALID", `name: ${JSON.stringify(name.slice(0, 80))} is no app name${hint}`);
  }
  const match: unknown = isRecord(name) ? name.match : undefined;
  if (typeof match !== "string") throw new RingError("INVALID_ARGUMENT", "name must be a string or { match: string }");
  if (isAppName(match) || TEMPLATE.test(match)) return match;
  throw new RingError(
    "INVALID_ARGUMENT",
    `match: ${JSON.stringify(match.slice(0, 80))} is neither an app name nor a prefix of one followed by "*"`,
  );
}

function taskTypeOf(field: Field, name: string, options: object): TaskType {
  if (!isRecord(options)) throw field.refuse(" options must be an object");
  const known = ["concurrency", "attempts", "backoff", "timeoutMs", "order", "state", "onAway"];
  field.onlyKnown(".", options, known);
  return {
    name,
    concurrency: field.integer(".concurrency", options.concurrency, { fallback: 64, least: 1, most: 10_000 }),
    attempts: field.integer(".attempts", options.attempts, { fallback: 5, least: 1, most: 1_000 }),
    backoff: backoffOf(field, options.backoff),
    timeoutMs: field.integer(".timeoutMs", options.timeoutMs, { fallback: 30_000, least: 1, most: DAY_MS }),
    order: field.oneOf(".order", options.order, ["strict", "relaxed"]),
    state: field.oneOf(".state", options.state, ["detect", "none"]),
    onAway: field.oneOf(".onAway", options.onAway, ["wait", "fresh"]),
  };
}

function residentOf(field: Field, name: string, options: object): { name: string; backoff: TaskType["backoff"] } {
  if (!isRecord(options)) throw field.refuse(" options must be an object");
  field.onlyKnown(".", options, ["backoff"]);
  return { name, backoff: backoffOf(field, options.backoff) };
}

function backoffOf(field: Field, backoff: unknown): TaskType["backoff"] {
  if (backoff !== undefined && !isRecord(backoff)) throw field.refuse(".backoff must be { baseMs, maxMs }");
  const given = backoff ?? {};
  field.onlyKnown(".backoff.", given, ["baseMs", "maxMs"]);
  const baseMs = field.integer(".backoff.baseMs", given.baseMs, { fallback: 500, least: 1, most: DAY_MS });
  const fallback = Math.max(60_000, baseMs);
  const maxMs = field.integer(".backoff.maxMs", given.maxMs, { fallback, least: 1, most: 7 * DAY_MS });
  if (maxMs < baseMs) throw field.refuse(`.backoff.maxMs (${maxMs}) must be at least baseMs (${baseMs})`);
  return { baseMs, maxMs };
}

function scheduleOf(
  field: Field,
  name: string,
  options: ScheduleOptions,
  types: ReadonlyMap<string, TaskType>,
): ScheduleSpec {
  if (!isObject(options)) throw field.refuse(" must be an object");
  field.onlyKnown(".", options, ["everyMs", "cron", "timeZone", "task", "key", "payload", "misfire"]);
  const { everyMs, cron, timeZone, task, key = name } = options;
  if (typeof task !== "string" || !types.has(task)) {
    throw field.refuse(`.task: ${JSON.stringify(task)} is no task type of this app`);
  }
  if (typeof key !== "string" || key.length === 0 || byteLength(key) > KEY_BYTES) {
    throw field.refuse(`.key must be a string of 1 to ${KEY_BYTES} bytes`);
  }
  if ((everyMs === undefined) === (cron === undefined)) throw field.refuse(" needs either everyMs or cron");
  if (everyMs !== undefined && timeZone !== undefined) throw field.refuse(".timeZone goes with cron only");
  const spec: ScheduleSpec = {
    name,
    every:
      cron === undefined
        ? {
            type: "interval",
            everyMs: field.integer(".everyMs", everyMs, { fallback: 0, least: 100, most: 366 * DAY_MS }),
          }
        : cronOf(field, cron, timeZone),
    taskType: task,
    key,
    payload: payloadOf(field, options.payload),
    misfire: field.oneOf(".misfire", options.misfire, ["once", "skip"]),
  };
  const ticks = ticksOf("", spec); // which an owner would leave out without a word
  if ("refusal" in ticks) throw field.refuse(`.cron: ${ticks.refusal}`);
  return spec;
}

function cronOf(field: Field, expression: unknown, timeZone: unknown): ScheduleSpec["every"] {
  if (typeof expression !== "string" || expression.length > 200) throw field.refuse(".cron must be a cron expression");
  if (timeZone !== undefined && (typeof timeZone !== "string" || timeZone.length > 64)) {
    throw field.refuse(".timeZone must be an IANA time zone");
  }
  if (timeZone !== undefined && !isTimeZone(timeZone))
    throw field.refuse(`.timeZone: ${timeZone} is no IANA time zone`);
  return { type: "cron", expression, ...(timeZone === undefined ? {} : { timeZone }) };
}

function payloadOf(field: Field, payload: unknown): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = encodePayload(payload);
  } catch (error) {
    throw field.refuse(`.payload: ${messageOf(error)}`);
  }
  const { payloadBytes } = ENGINE_LIMITS;
  if (bytes.length > payloadBytes) throw field.refuse(`.payload has ${bytes.length} bytes, at most ${payloadBytes}`);
  return bytes;
}

function limitsOf(field: Field, limits: Partial<AppLimits>): AppLimits {
  if (!isObject(limits)) throw field.refuse(" must be an object");
  field.onlyKnown(".", limits, ["queued", "running", "perSecond", "weight"]);
  return {
    queued: field.integer(".queued", limits.queued, { fallback: DEFAULT_LIMITS.queued, least: 1, most: 100_000_000 }),
    running: field.integer(".running", limits.running, { fallback: DEFAULT_LIMITS.running, least: 1, most: 100_000 }),
    perSecond: field.number(".perSecond", limits.perSecond, { fallback: 0, least: 0, most: 1_000_000_000 }),
    weight: field.number(".weight", limits.weight, { fallback: 1, least: 0.01, most: 10_000 }),
  };
}

/** Says which field is wrong; the prefix is the path so far. */
class Field {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  at(path: string): Field {
    return new Field(this.#prefix + path);
  }

  refuse(detail: string): RingError {
    return new RingError("INVALID_ARGUMENT", this.#prefix + detail);
  }

  /** A misspelt option must not silently mean its default. */
  onlyKnown(path: string, given: object, known: readonly string[]): void {
    for (const name of Object.keys(given)) {
      if (!known.includes(name))
        throw this.refuse(`${path}${name.slice(0, 80)} is unknown; known: ${known.join(", ")}`);
    }
  }

  entries<T>(path: string, table: Readonly<Record<string, T>> | undefined): readonly (readonly [string, T])[] {
    if (table === undefined) return [];
    if (!isObject(table)) throw this.refuse(`${path} must be an object`);
    const entries: readonly (readonly [string, T])[] = Object.entries(table);
    if (entries.length > ENTRY_LIMIT) throw this.refuse(`${path} may have at most ${ENTRY_LIMIT} entries`);
    for (const [name] of entries) {
      if (!ENTRY_NAME.test(name))
        throw this.refuse(`${path}[${JSON.stringify(name.slice(0, 140))}]: the name must match ${ENTRY_NAME.source}`);
    }
    return entries;
  }

  kind(path: string, entry: unknown, kind: "task" | "resident"): void {
    const made = isRecord(entry) && entry.kind === kind && typeof entry.handler === "function";
    if (!made) throw this.refuse(`${path} must be made by ${kind}(async function, options)`);
  }

  integer(path: string, value: unknown, range: Range): number {
    const number = this.number(path, value, range);
    if (!Number.isInteger(number)) throw this.refuse(`${path} must be a whole number, not ${number}`);
    return number;
  }

  number(path: string, value: unknown, range: Range): number {
    if (value === undefined) return range.fallback;
    if (typeof value !== "number" || !(value >= range.least && value <= range.most)) {
      throw this.refuse(`${path} must be ${range.least} to ${range.most}, not ${shown(value)}`);
    }
    return value;
  }

  /** The first choice is the default. */
  oneOf<const T extends string>(path: string, value: unknown, choices: readonly [T, ...T[]]): T {
    if (value === undefined) return choices[0];
    const choice = choices.find((one) => one === value);
    if (choice === undefined) throw this.refuse(`${path} must be one of ${choices.join(", ")}, not ${shown(value)}`);
    return choice;
  }
}

interface Range {
  readonly fallback: number;
  readonly least: number;
  readonly most: number;
}

/** For what is typed already, since callers in plain JavaScript may give anything. */
function isObject(value: unknown): boolean {
  return isRecord(value);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

function shown(value: unknown): string {
  return typeof value === "string"
    ? JSON.stringify(value.slice(0, 80))
    : typeof value === "number"
      ? `${value}`
      : typeof value;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function byteLength(text: string): number {
  return Buffer.byteLength(text);
}

/** Names of task types, residents and schedules; 128 bytes is the engine's limit for a type. */
const ENTRY_NAME = /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/;
const TEMPLATE = /^([a-z0-9][a-z0-9-]{0,61})?\*$/;
const ENTRY_LIMIT = 1_000;
const KEY_BYTES = 512;
const VERSION_CHARACTERS = 64;
const DAY_MS = 86_400_000;
