/**
 * What operators and services said about apps at run time (created, deleted, paused, limits): every node keeps all of
 * it on disk; the owner of an app's home partition numbers the changes, and the highest number wins everywhere.
 */

import { RingError } from "../errors.ts";
import { hashKey, partitionOfHash } from "../hash.ts";
import { type AppName, isAppName, type Partition } from "../ids.ts";
import type { Row, RowChange } from "../store.ts";
import type { AppDefinition, AppLimits, AppOverride } from "../tasks/definition.ts";

/** One past the partitions of the largest ring: rows of the node itself. */
export const NODE_ROWS = 4_096 as Partition;

export type AppAction = "create" | "delete" | "pause" | "resume" | { readonly limits: Partial<AppLimits> };

export interface Numbering {
  readonly definition: AppDefinition | undefined;
  /** Of the app's home partition. */
  readonly generation: number;
}

export class Overrides {
  readonly #known = new Map<AppName, AppOverride>();

  all(): readonly AppOverride[] {
    return [...this.#known.values()];
  }

  get(app: AppName): AppOverride | undefined {
    return this.#known.get(app);
  }

  /** Where changes of the app are numbered. */
  homeOf(app: AppName, ringSize: number): Partition {
    return partitionOfHash(hashKey(app, ""), ringSize);
  }

  load(rows: readonly Row[]): readonly AppOverride[] {
    const loaded: AppOverride[] = [];
    for (const row of rows) {
      const override = decode(row.value);
      if (override !== undefined && this.learn(override)) loaded.push(override);
    }
    return loaded;
  }

  /** True if it is news. */
  learn(override: AppOverride): boolean {
    const known = this.#known.get(override.app);
    if (known !== undefined && known.version >= override.version) return false;
    if (known === undefined && this.#known.size >= OVERRIDE_LIMIT) return false;
    this.#known.set(override.app, override);
    return true;
  }

  /** The app's next override. Throws `APP_UNKNOWN` where there is nothing to change, `QUEUE_FULL` at the limit. */
  next(app: AppName, action: AppAction, { definition, generation }: Numbering): AppOverride {
    const known = this.#known.get(app);
    if (known === undefined && this.#known.size >= OVERRIDE_LIMIT)
      throw new RingError("QUEUE_FULL", `${OVERRIDE_LIMIT} apps have settings of their own`);
    if (definition === undefined && (action !== "delete" || known === undefined))
      throw new RingError("APP_UNKNOWN", `no loaded app or template matches ${app}`);
    const base: AppOverride = known ?? { app, version: 0, existence: "implied", paused: false, limits: {} };
    // Two owners of the home never give the same number, also when the later one has not heard of the earlier one's change.
    const version = Math.max(base.version, generation * VERSIONS_PER_GENERATION) + 1;
    if (action === "create") return { ...base, version, existence: "created" };
    if (action === "delete") return { ...base, version, existence: "deleted" };
    if (action === "pause" || action === "resume") return { ...base, version, paused: action === "pause" };
    return { ...base, version, limits: { ...base.limits, ...action.limits } };
  }
}

export function overrideChange(override: AppOverride): RowChange {
  const name = new TextEncoder().encode(override.app);
  const key = new Uint8Array(1 + name.length);
  key[0] = OVERRIDE_KIND;
  key.set(name, 1);
  return { key, value: new TextEncoder().encode(JSON.stringify({ v: 1, ...override })) };
}

function decode(bytes: Uint8Array): AppOverride | undefined {
  try {
    return checkOverride(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return undefined;
  }
}

/** An override as it came from disk or from a peer, or undefined if it is none. */
function checkOverride(value: unknown): AppOverride | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { app, version, existence, paused, limits } = value as Record<string, unknown>;
  if (typeof app !== "string" || !isAppName(app)) return undefined;
  if (typeof version !== "number" || !Number.isSafeInteger(version) || version < 1) return undefined;
  if (existence !== "implied" && existence !== "created" && existence !== "deleted") return undefined;
  if (typeof paused !== "boolean" || typeof limits !== "object" || limits === null) return undefined;
  const checked: Record<string, number> = {};
  for (const name of LIMIT_NAMES) {
    const limit = (limits as Record<string, unknown>)[name];
    if (limit === undefined) continue;
    if (typeof limit !== "number" || !Number.isFinite(limit) || limit < 0) return undefined;
    checked[name] = limit;
  }
  return { app, version, existence, paused, limits: checked };
}

const LIMIT_NAMES = ["queued", "running", "perSecond", "weight"] as const;
const OVERRIDE_KIND = 0x10;
/** Apps with settings of their own. */
export const OVERRIDE_LIMIT = 100_000;
/** Generations are u32: both fit into a safe integer. */
const VERSIONS_PER_GENERATION = 2 ** 20;
