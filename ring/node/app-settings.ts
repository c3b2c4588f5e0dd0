/**
 * What operators and services say about apps at run time: decided by the owner of the app's home partition, told to all.
 *
 * G1  It is answered, and told, once it is on the disk here.
 * G2  Whoever hears of a change tells it on: who decided it may not reach all. Not of very many at once, which only a newcomer
 *     hears: those are known.
 */

import type { RingDocument } from "../document.ts";
import { RingError } from "../errors.ts";
import type { AppName, NodeName } from "../ids.ts";
import type { AppDefinition, AppOverride } from "../tasks/definition.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { AppSource } from "./app-source.ts";
import type { Asker, Asks } from "./asks.ts";
import type { Commits } from "./commits.ts";
import type { Here } from "./here.ts";
import { type AppAction, NODE_ROWS, type Overrides, overrideChange } from "./overrides.ts";
import type { AppView, NodeRequest } from "./requests.ts";

export interface AppSettingsParts {
  readonly overrides: Overrides;
  readonly apps: AppSource;
  readonly engine: TaskEngineContract;
  readonly commits: Commits;
  readonly asks: Asks;
  links(): Iterable<NodeName>;
}

export class AppSettings {
  readonly #here: Here;
  readonly #parts: AppSettingsParts;

  constructor(here: Here, parts: AppSettingsParts) {
    this.#here = here;
    this.#parts = parts;
  }

  change(
    asker: Asker,
    request: Extract<NodeRequest, { type: "app" }>,
    {
      document,
      holdsLease,
      deadlineMs,
    }: { readonly document: RingDocument; readonly holdsLease: boolean; readonly deadlineMs: number },
  ): void {
    const { asks, overrides, apps, commits } = this.#parts;
    const partition = overrides.homeOf(request.app, document.ringSize);
    const home = document.owners[partition];
    if (home !== this.#here.self) {
      if (home === undefined)
        throw new RingError("NO_OWNER", "the app's home partition has no owner", { retryAfterMs: 500 });
      if (asker.type === "peer")
        throw new RingError("NOT_OWNER", `${home} owns the app's home partition`, { retryAfterMs: 50 });
      return asks.forward(asker, home, request, deadlineMs);
    }
    // The home may have another owner by now, whose next change would undo this one.
    if (!holdsLease)
      throw new RingError("NO_LEASE", "this node may not own the app's home partition any more", { retryAfterMs: 500 });
    const override = overrides.next(request.app, request.action as AppAction, {
      definition: definitionOf(apps, request.app),
      generation: document.generations[partition]!,
    });
    this.#learn(override);
    commits.whenSynced(() => {
      this.#tell([override]);
      asks.answer(asker, { type: "ok" });
    }); // G1
  }

  /** A peer told them: those that changed, or all that it knows as a greeting. */
  told(from: NodeName, overrides: readonly AppOverride[]): void {
    const news = overrides.filter((override) => this.#learn(override));
    if (news.length > 0 && news.length <= TOLD_ON_MOST) this.#tell(news, { except: from }); // G2
  }

  views({ limit, app: only }: { readonly limit: number; readonly app?: AppName }): readonly AppView[] {
    const { apps, engine, overrides } = this.#parts;
    const views = new Map<string, AppView>();
    const add = (
      app: string,
      counts: { queued: number; running: number; dead: number; children: number; oldestWaitMs: number },
    ): void => {
      if (views.has(app) || views.size >= limit || (only !== undefined && app !== only)) return;
      const found = apps.find(app as AppName);
      const override = overrides.get(app as AppName);
      if (found === undefined && override === undefined) return;
      const { definition } = found ?? {};
      views.set(app, {
        app,
        match: definition?.match ?? "",
        version: definition?.version ?? "",
        existence: override?.existence ?? "implied",
        paused: override?.paused ?? false,
        limits: { ...NO_LIMITS, ...definition?.limits, ...override?.limits },
        ...counts,
      });
    };
    for (const { app, ...counts } of engine.appViews(only === undefined ? limit : Number.POSITIVE_INFINITY))
      add(app, counts);
    for (const app of apps.active()) add(app, NO_COUNTS);
    for (const { app } of overrides.all()) add(app, NO_COUNTS);
    if (only !== undefined) add(only, NO_COUNTS);
    return [...views.values()];
  }

  /** True if it is news. */
  #learn(override: AppOverride): boolean {
    const { overrides, commits, apps, engine } = this.#parts;
    if (!overrides.learn(override)) return false;
    commits.add(NODE_ROWS, overrideChange(override));
    apps.override(override);
    engine.appChanged(this.#here.now, override.app);
    return true;
  }

  #tell(overrides: readonly AppOverride[], { except }: { readonly except?: NodeName } = {}): void {
    const message = { type: "apps", loaded: this.#parts.apps.presence(), overrides } as const;
    for (const peer of this.#parts.links()) if (peer !== except) this.#here.send(peer, message);
  }
}

/** Also of a deleted app: it may be created again. */
function definitionOf(apps: AppSource, app: AppName): AppDefinition | undefined {
  const found = apps.find(app);
  if (found !== undefined) return found.definition;
  for (const definition of apps.definitions()) {
    const { match } = definition;
    if (match === app || (match.endsWith("*") && app.startsWith(match.slice(0, -1)))) return definition;
  }
  return undefined;
}

const TOLD_ON_MOST = 100;
const NO_COUNTS = { queued: 0, running: 0, dead: 0, children: 0, oldestWaitMs: 0 };
const NO_LIMITS = { queued: 0, running: 0, perSecond: 0, weight: 1 };
