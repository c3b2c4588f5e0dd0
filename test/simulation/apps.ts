/** The apps of a simulation: two task types whose handlers bump a counter in the key's state; one of them submits a child. */

import type { AppName } from "../../ring/ids.ts";
import type { AppSource } from "../../ring/node/app-source.ts";
import type { AppDefinition, AppOverride, TaskType } from "../../ring/tasks/definition.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Attempt, AttemptEnd, Child } from "../../ring/tasks/task.ts";
import { deriveId } from "../../ring/tasks/task-id.ts";

/** What operators work on; its handlers are theirs. */
export const OPERATED_APP = "gamma" as AppName;

export class SimulatedApps implements AppSource {
  readonly #overrides = new Map<AppName, AppOverride>();
  readonly #definitions: readonly AppDefinition[];

  /** `running`: attempts of one app at once on one node, 64 if absent. Few of them make queues. */
  constructor(options: { readonly running?: number } = {}) {
    this.#definitions = definitionsOf(options.running ?? 64);
  }

  find(app: AppName): { definition: AppDefinition; override: AppOverride | undefined } | undefined {
    const definition = this.#definitions.find((known) => known.match === app);
    const override = this.#overrides.get(app);
    return definition === undefined || override?.existence === "deleted" ? undefined : { definition, override };
  }

  active(): Iterable<AppName> {
    return this.#definitions.map((definition) => definition.match as AppName);
  }

  override(override: AppOverride): boolean {
    this.#overrides.set(override.app, override);
    return true;
  }

  presence(): readonly { match: string; version: string }[] {
    return this.#definitions;
  }

  definitions(): Iterable<AppDefinition> {
    return this.#definitions;
  }
}

/** What the handler of an attempt comes to. */
export function handlerEnd(attempt: Attempt, failed: boolean): AttemptEnd {
  const { attemptId, record } = attempt;
  if (failed)
    return {
      attemptId,
      outcome: { type: "failed", error: { name: "Error", message: "simulated" }, permanent: false },
      stateChanges: [],
      children: [],
    };
  const count = (attempt.state.get("count")?.[0] ?? 0) + 1;
  const children: Child[] = [];
  if (record.type === "parent") {
    const key = `child-of-${record.key}`;
    const id = deriveId({ app: record.app, key, seed: `${record.id}/0` });
    children.push({ id, wire: encodeRecord({ app: record.app, type: "child", key, id }) });
  }
  return {
    attemptId,
    outcome: { type: "done", result: undefined },
    stateChanges: [{ name: "count", value: Uint8Array.of(count % 256) }],
    children,
  };
}

function type(name: string): [string, TaskType] {
  return [
    name,
    {
      name,
      concurrency: 64,
      attempts: 50,
      backoff: { baseMs: 50, maxMs: 1_000 },
      timeoutMs: 30_000,
      order: "strict",
      state: "detect",
      onAway: "wait",
    },
  ];
}

function definitionsOf(running: number): readonly AppDefinition[] {
  return ["alpha", "beta", OPERATED_APP].map((match) => ({
    match,
    version: "1",
    types: new Map([type("bump"), type("parent"), type("child"), type("work"), type("fail"), type("spawn")]),
    residents: new Map(),
    schedules: new Map(),
    limits: { queued: 100_000, running, perSecond: 0, weight: 1 },
  }));
}
