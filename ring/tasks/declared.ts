/**
 * The residents and schedules that loaded apps declare, by the hash of their key: which partition each belongs to.
 *
 * Kept per app, so that creating the ten-thousandth app from a template does not look at the others.
 */

import { hashKey, partitionOfHash } from "../hash.ts";
import type { AppName, Partition } from "../ids.ts";
import type { AppCatalogue, AppDefinition, ScheduleSpec } from "./definition.ts";

export interface DeclaredResident {
  readonly type: "resident";
  readonly app: AppName;
  readonly key: string;
  readonly hash: number;
  readonly name: string;
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
}

export interface DeclaredSchedule {
  readonly type: "schedule";
  readonly app: AppName;
  readonly key: string;
  readonly hash: number;
  readonly name: string;
  readonly spec: ScheduleSpec;
}

export type Declared = DeclaredResident | DeclaredSchedule;

export class Declarations {
  readonly #catalogue: AppCatalogue;
  readonly #byApp: Map<AppName, readonly Declared[]> = new Map();
  #byPartition: Map<Partition, Set<Declared>> = new Map();
  #ringSize: number;

  constructor(catalogue: AppCatalogue, ringSize: number) {
    this.#catalogue = catalogue;
    this.#ringSize = ringSize;
  }

  /** Looks at every active app again. */
  rebuild(ringSize: number): void {
    const before = new Map(this.#byApp);
    this.#ringSize = ringSize;
    this.#byApp.clear();
    this.#byPartition = new Map();
    for (const app of this.#catalogue.active()) this.#enter(app, before.get(app));
  }

  /** Looks at one app again. */
  update(app: AppName): void {
    const before = this.#byApp.get(app) ?? [];
    for (const declared of before) this.#byPartition.get(this.#partition(declared))?.delete(declared);
    this.#byApp.delete(app);
    this.#enter(app, before);
  }

  ofApp(app: AppName): readonly Declared[] {
    return this.#byApp.get(app) ?? [];
  }

  ofPartition(partition: Partition): Iterable<Declared> {
    return this.#byPartition.get(partition) ?? [];
  }

  apps(): Iterable<AppName> {
    return this.#byApp.keys();
  }

  #enter(app: AppName, before: readonly Declared[] = []): void {
    const found = this.#catalogue.find(app);
    if (found === undefined || found.override?.existence === "deleted") return;
    if (found.definition.match !== app && found.override?.existence !== "created") return;
    // What did not change stays the same object: what runs for it goes on.
    const all = declaredBy(app, found.definition).map(
      (declared) => before.find((known) => same(known, declared)) ?? declared,
    );
    if (all.length === 0) return;
    this.#byApp.set(app, all);
    for (const declared of all) {
      const partition = this.#partition(declared);
      const there = this.#byPartition.get(partition);
      if (there === undefined) this.#byPartition.set(partition, new Set([declared]));
      else there.add(declared);
    }
  }

  #partition(declared: Declared): Partition {
    return partitionOfHash(declared.hash, this.#ringSize);
  }
}

function same(a: Declared, b: Declared): boolean {
  if (a.name !== b.name || a.key !== b.key) return false;
  if (a.type === "schedule") return b.type === "schedule" && a.spec === b.spec;
  return b.type === "resident" && a.backoff.baseMs === b.backoff.baseMs && a.backoff.maxMs === b.backoff.maxMs;
}

function declaredBy(app: AppName, definition: AppDefinition): Declared[] {
  const all: Declared[] = [];
  for (const resident of definition.residents.values()) {
    all.push({
      type: "resident",
      app,
      key: resident.name,
      hash: hashKey(app, resident.name),
      name: resident.name,
      backoff: resident.backoff,
    });
  }
  for (const spec of definition.schedules.values()) {
    all.push({ type: "schedule", app, key: spec.key, hash: hashKey(app, spec.key), name: spec.name, spec });
  }
  return all;
}
