/**
 * Which loaded app serves a name: exact names first, then the template with the longest prefix; and what was said about
 * the app at run time.
 *
 * C1  `find` gives the same frozen entry for the same name until an override of that name changes it.
 * C2  The override with the highest version wins, in whatever order they arrive.
 * C3  Memory is bounded: resolved names are a cache that is emptied when full; overrides beyond the limit are refused.
 */

import type { Pipeline } from "../../pipe/fitting.ts";
import { RingError } from "../../ring/errors.ts";
import { type AppName, parseAppName } from "../../ring/ids.ts";
import { OVERRIDE_LIMIT } from "../../ring/node/overrides.ts";
import type { AppCatalogue, AppDefinition, AppOverride } from "../../ring/tasks/definition.ts";
import type { App, ResidentHandler, TaskHandler } from "./shapes.ts";

/** One app name, resolved. */
export interface LoadedApp {
  readonly name: AppName;
  readonly definition: AppDefinition;
  readonly override: AppOverride | undefined;
  readonly tasks: ReadonlyMap<string, TaskHandler>;
  readonly residents: ReadonlyMap<string, ResidentHandler>;
}

export class Catalogue implements AppCatalogue {
  readonly #exact = new Map<string, App>();
  readonly #pipelines = new Map<string, Pipeline>();
  /** Longest prefix first. */
  readonly #templates: { readonly prefix: string; readonly app: App }[] = [];
  readonly #overrides = new Map<AppName, AppOverride>();
  readonly #resolved = new Map<AppName, LoadedApp | typeof NOT_HERE>();
  /** The last one found: attempts of one app come in runs. */
  #recent: LoadedApp | undefined;
  readonly #cacheLimit: number;
  readonly #overrideLimit: number;

  /** Throws `INVALID_ARGUMENT` when two apps have the same name or template. */
  constructor(apps: readonly App[], limits: { readonly cached?: number; readonly overrides?: number } = {}) {
    this.#cacheLimit = limits.cached ?? CACHED_NAMES;
    this.#overrideLimit = limits.overrides ?? OVERRIDE_LIMIT;
    const seen = new Set<string>();
    for (const app of apps) {
      const { match } = app.definition;
      if (seen.has(match)) throw new RingError("INVALID_ARGUMENT", `app ${JSON.stringify(match)} is defined twice`);
      seen.add(match);
      if (match.endsWith("*")) this.#templates.push({ prefix: match.slice(0, -1), app });
      else this.#exact.set(match, app);
    }
    for (const app of apps) {
      for (const [name, pipeline] of app.pipelines ?? []) {
        const known = this.#pipelines.get(name);
        if (known !== undefined && known !== pipeline)
          throw new RingError("INVALID_ARGUMENT", `pipeline ${JSON.stringify(name)} is defined twice`);
        this.#pipelines.set(name, pipeline);
      }
    }
    this.#templates.sort((a, b) => b.prefix.length - a.prefix.length);
  }

  find(app: AppName): LoadedApp | undefined {
    if (app === this.#recent?.name) return this.#recent;
    const known = this.#resolved.get(app);
    if (known !== undefined) {
      if (known === NOT_HERE) return undefined;
      this.#recent = known;
      return known;
    }
    const loaded = this.#resolve(app);
    if (this.#resolved.size >= this.#cacheLimit) this.#resolved.clear();
    this.#resolved.set(app, loaded ?? NOT_HERE);
    this.#recent = loaded;
    return loaded;
  }

  pipeline(name: string): Pipeline | undefined {
    return this.#pipelines.get(name);
  }

  pipelineNames(): readonly string[] {
    return [...this.#pipelines.keys()].sort();
  }

  /** Exact definitions, and created apps of templates; deleted ones left out. */
  *active(): Iterable<AppName> {
    for (const name of this.#exact.keys()) {
      if (this.#overrides.get(name as AppName)?.existence !== "deleted") yield name as AppName;
    }
    for (const override of this.#overrides.values()) {
      if (override.existence !== "created" || this.#exact.has(override.app)) continue;
      if (this.find(override.app) !== undefined) yield override.app;
    }
  }

  /** True if it was news (C2). Throws `QUEUE_FULL` at the limit of apps with overrides (C3). */
  override(override: AppOverride): boolean {
    const known = this.#overrides.get(override.app);
    if (known !== undefined && known.version >= override.version) return false;
    if (known === undefined && this.#overrides.size >= this.#overrideLimit) {
      throw new RingError("QUEUE_FULL", `at most ${this.#overrideLimit} apps may be created or changed at run time`);
    }
    this.#overrides.set(parseAppName(override.app), override);
    this.#resolved.delete(override.app);
    this.#recent = undefined;
    return true;
  }

  overrideOf(app: AppName): AppOverride | undefined {
    return this.#overrides.get(app);
  }

  overrides(): Iterable<AppOverride> {
    return this.#overrides.values();
  }

  /** What this node can run, as told to other members: sorted names and templates with their versions. */
  presence(): readonly { readonly match: string; readonly version: string }[] {
    const definitions = [...this.definitions()];
    return definitions.map(({ match, version }) => ({ match, version })).sort((a, b) => (a.match < b.match ? -1 : 1));
  }

  *definitions(): Iterable<AppDefinition> {
    for (const app of this.#exact.values()) yield app.definition;
    for (const { app } of this.#templates) yield app.definition;
  }

  #resolve(name: AppName): LoadedApp | undefined {
    const override = this.#overrides.get(name);
    if (override?.existence === "deleted") return undefined;
    const app = this.#exact.get(name) ?? this.#templates.find(({ prefix }) => name.startsWith(prefix))?.app;
    if (app === undefined) return undefined;
    const { definition, tasks, residents } = app;
    return Object.freeze({ name, definition, override, tasks, residents });
  }
}

const NOT_HERE: unique symbol = Symbol("not here");
/** Twice the 10,000 apps that one code base is built for. */
const CACHED_NAMES = 20_000;
