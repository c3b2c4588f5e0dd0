/**
 * What the engine must know of an app: its task types, residents, schedules and limits, without their code.
 * `services/app.ts` makes these from `defineApp`; the simulator writes them by hand.
 */

import type { AppName } from "../ids.ts";

export interface TaskType {
  readonly name: string;
  /** At most this many attempts of the type at once on one node. Default 64. */
  readonly concurrency: number;
  /** Default 5. */
  readonly attempts: number;
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
  /** Default 30,000. */
  readonly timeoutMs: number;
  readonly order: "strict" | "relaxed";
  /** `detect` (default): the first touch of ctx.state tells; `none`: never uses it. */
  readonly state: "detect" | "none";
  /** Where the key's state is on a machine that is away (ownership rule 17). */
  readonly onAway: "wait" | "fresh";
}

export interface ScheduleSpec {
  readonly name: string;
  readonly every:
    | { readonly type: "interval"; readonly everyMs: number }
    | { readonly type: "cron"; readonly expression: string; readonly timeZone?: string };
  readonly taskType: string;
  readonly key: string;
  readonly payload: Uint8Array;
  /** What happens to firings missed while nothing ran: `once` (default) runs one late; `skip` waits for the next. */
  readonly misfire: "once" | "skip";
}

export interface AppLimits {
  /**
   * Tasks waiting or running in the whole ring; a node's share is in proportion to its partitions, rounded up: a ring of n nodes
   * may hold n - 1 more, and each takes one at least. Default 100,000.
   */
  readonly queued: number;
  /** Attempts at once on one node. Default 64. */
  readonly running: number;
  /** Task starts a second on one node; 0 for no limit. */
  readonly perSecond: number;
  /** Share relative to other apps. Default 1. */
  readonly weight: number;
}

export interface AppDefinition {
  /** An exact name or a template such as `event-*`. */
  readonly match: string;
  readonly version: string;
  readonly types: ReadonlyMap<string, TaskType>;
  readonly residents: ReadonlyMap<
    string,
    { readonly name: string; readonly backoff: { readonly baseMs: number; readonly maxMs: number } }
  >;
  readonly schedules: ReadonlyMap<string, ScheduleSpec>;
  readonly limits: AppLimits;
}

/** What an operator or a service said about one app at run time; the same on all nodes (highest version wins). */
export interface AppOverride {
  readonly app: AppName;
  readonly version: number;
  /** `created` by name from a template (starts its residents and schedules); `deleted` refuses tasks. */
  readonly existence: "implied" | "created" | "deleted";
  readonly paused: boolean;
  readonly limits: Partial<AppLimits>;
}

/** Resolves an app name to what is loaded here. */
export interface AppCatalogue {
  /** `undefined`: no definition or template matches, or the app is deleted. */
  find(app: AppName): { readonly definition: AppDefinition; readonly override: AppOverride | undefined } | undefined;
  /** Exact definitions, and created apps of templates: those whose residents and schedules run. */
  active(): Iterable<AppName>;
}
