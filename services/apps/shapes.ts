/**
 * The shapes of an app as its author writes it and as a node loads it.
 */

import type { Pipeline } from "../../pipe/fitting.ts";
import type { AppDefinition, AppLimits } from "../../ring/tasks/definition.ts";
import type { Payload, ResidentContext, TaskContext, TaskView } from "./context.ts";

/** A return value (JSON-able or bytes, at most 64 KiB) is kept as the task's result. */
export type TaskHandler = (task: TaskView, context: TaskContext) => unknown;
export type ResidentHandler = (context: ResidentContext) => unknown;

/** An exact app name, or a template: a prefix and `*`. */
export type AppMatch = string | { readonly match: string };

export interface TaskOptions {
  /** Attempts of the type at once on one node. 1 to 10,000, default 64. */
  readonly concurrency?: number;
  /** Before the task becomes a dead letter. 1 to 1,000, default 5. */
  readonly attempts?: number;
  /** The delay doubles from `baseMs` (default 500) to `maxMs` (default 60,000), with jitter. */
  readonly backoff?: { readonly baseMs?: number; readonly maxMs?: number };
  /** Then `signal` aborts. 1 ms to 24 h, default 30,000. */
  readonly timeoutMs?: number;
  /** `strict` (default): a failing head blocks its lane while it backs off; `relaxed`: later tasks pass it. */
  readonly order?: "strict" | "relaxed";
  /** `none`: never touches `ctx.state`, so nothing is loaded. Default `detect`. */
  readonly state?: "detect" | "none";
  /** While the key's state is on a machine that is away: `wait` (default), or start with `fresh` state. */
  readonly onAway?: "wait" | "fresh";
}

export interface ResidentOptions {
  /** Between restarts; it doubles. Default 500 to 60,000. */
  readonly backoff?: { readonly baseMs?: number; readonly maxMs?: number };
}

/** One firing per tick for the whole ring. Either `everyMs` or `cron`. */
export interface ScheduleOptions {
  /** 100 ms to 366 days. */
  readonly everyMs?: number;
  /** Five or six fields. */
  readonly cron?: string;
  /** IANA name, for `cron` only. Default UTC. */
  readonly timeZone?: string;
  /** A task type of the same app. */
  readonly task: string;
  /** Lane key of the firings. Default: the schedule's name. */
  readonly key?: string;
  readonly payload?: Payload;
  /** Firings missed while nothing ran: `once` (default) runs one late, `skip` none. */
  readonly misfire?: "once" | "skip";
}

export interface AppOptions {
  /** The code's version, told to other nodes. Default "0". */
  readonly version?: string;
  readonly tasks?: Readonly<Record<string, Task>>;
  readonly residents?: Readonly<Record<string, Resident>>;
  readonly schedules?: Readonly<Record<string, ScheduleOptions>>;
  /** Runnable by name on any node, and worked on by every node that has loaded the app. */
  readonly pipelines?: readonly Pipeline[];
  readonly limits?: Partial<AppLimits>;
}

export interface Task {
  readonly kind: "task";
  readonly handler: TaskHandler;
  readonly options: TaskOptions;
}

export interface Resident {
  readonly kind: "resident";
  readonly handler: ResidentHandler;
  readonly options: ResidentOptions;
}

/** A loaded app: what the engine knows of it, and its code. */
export interface App {
  readonly [APP_MARK]: true;
  readonly definition: AppDefinition;
  readonly tasks: ReadonlyMap<string, TaskHandler>;
  readonly residents: ReadonlyMap<string, ResidentHandler>;
  readonly pipelines: ReadonlyMap<string, Pipeline>;
}

export function isApp(value: unknown): value is App {
  return typeof value === "object" && value !== null && (value as { readonly [APP_MARK]?: unknown })[APP_MARK] === true;
}

/** In the global symbol registry: the mark survives two copies of this package in one process. */
export const APP_MARK: unique symbol = Symbol.for("taskring.app.1");
