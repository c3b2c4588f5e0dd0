/** `taskring.v1.Apps`: tenants at run time. Figures are summed over the members that answer. */

import type { HotKeysReply, HotKeysRequest } from "../../proto/key-messages.ts";
import type * as messages from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import { type AppName, parseAppName } from "../../ring/ids.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { AppView } from "../../ring/node/requests.ts";
import type { AppLimits } from "../../ring/tasks/definition.ts";
import { ask, gather, limitOf, placeOfKey } from "./asking.ts";
import type { Handlers, Unary } from "./calls.ts";

/** Counts until the time is over or the asker has gone. */
export type AskHotKeys = (
  request: { readonly app: string | undefined; readonly forMs: number; readonly limit: number },
  onGone: (tell: () => void) => void,
) => Promise<HotKeysReply>;

export function appsHandlers({ node, hotKeys }: { node: RingNode; hotKeys: AskHotKeys | undefined }): Handlers {
  const change =
    (action: "create" | "delete" | "pause" | "resume"): Unary =>
    async (request: { readonly app: string }, { deadlineMs }) => {
      await ask(node, { type: "app", app: parseAppName(request.app), action }, "ok", { deadlineMs });
      return {};
    };
  const changeKey =
    (action: "pause" | "resume"): Unary =>
    async (request: messages.KeyRequest, { deadlineMs }) => {
      const { app, key, partition } = placeOfKey(node, request);
      const answer = await node.ask(
        { type: "task", partition, request: { type: "key", app, key, action } },
        { deadlineMs },
      );
      if (answer.type === "refused") throw new RingError(answer.code, answer.detail);
      if (answer.type === "task" && answer.answer.type === "refused")
        throw new RingError(answer.answer.code, answer.answer.detail);
      return {};
    };

  async function list(asked: { limit: number; app?: AppName }, deadlineMs: number): Promise<messages.ListAppsReply> {
    const { answers, unreachable } = await gather(node, () => ({ type: "list-apps", ...asked }), "apps", {
      deadlineMs,
    });
    const sums = new Map<string, messages.App>();
    for (const { answer } of answers)
      for (const view of answer.apps) sums.set(view.app, added(sums.get(view.app), view));
    const apps = [...sums.values()].sort(
      (left, right) => right.queued + right.running - left.queued - left.running || (left.app < right.app ? -1 : 1),
    );
    return { apps: apps.slice(0, asked.limit), unreachable: unreachable.map(({ name }) => name) };
  }

  return {
    unary: {
      Create: change("create"),
      Delete: change("delete"),
      Pause: change("pause"),
      Resume: change("resume"),
      PauseKey: changeKey("pause"),
      ResumeKey: changeKey("resume"),
      List: (request: { readonly limit: number }, { deadlineMs }) =>
        list({ limit: limitOf(request.limit, { fallback: 1_000, most: APPS_MOST }) }, deadlineMs),
      Describe: async (request: { readonly app: string }, { deadlineMs }) => {
        const app = parseAppName(request.app);
        const { apps, unreachable } = await list({ limit: APPS_MOST, app }, deadlineMs);
        const found = apps.find((view) => view.app === app);
        if (found !== undefined) return { ...found, unreachable };
        if (unreachable.length > 0)
          throw new RingError(
            "NO_OWNER",
            `no answer from ${unreachable.join(", ")}, and the others know no app ${app}`,
          );
        throw new RingError("APP_UNKNOWN", `no app or template that is loaded matches ${app}, and it has no tasks`);
      },
      HotKeys: async ({ app, forMs, limit }: HotKeysRequest, { onGone }) => {
        if (hotKeys === undefined) throw new RingError("UNIMPLEMENTED", "this node does not count keys");
        const askedMs = forMs === 0 ? COUNT_MS : forMs;
        if (askedMs < COUNT_LEAST_MS || askedMs > COUNT_MOST_MS)
          throw new RingError("INVALID_ARGUMENT", `for_ms must be ${COUNT_LEAST_MS} to ${COUNT_MOST_MS}`);
        return hotKeys(
          {
            app: app === "" ? undefined : parseAppName(app),
            forMs: askedMs,
            limit: limitOf(limit, { fallback: 20, most: 1_000 }),
          },
          onGone,
        );
      },
      SetLimits: async (request: messages.SetLimitsRequest, { deadlineMs }) => {
        const limits = limitsOf(request.limits);
        await ask(node, { type: "app", app: parseAppName(request.app), action: { limits } }, "ok", { deadlineMs });
        return {};
      },
    },
  };
}

function added(sum: messages.App | undefined, view: AppView): messages.App {
  return {
    app: view.app,
    match: view.match,
    version: view.version,
    existence: view.existence,
    paused: view.paused,
    limits: view.limits,
    queued: (sum?.queued ?? 0) + view.queued,
    running: (sum?.running ?? 0) + view.running,
    dead: (sum?.dead ?? 0) + view.dead,
    children: (sum?.children ?? 0) + view.children,
    oldestWaitMs: Math.round(Math.max(sum?.oldestWaitMs ?? 0, view.oldestWaitMs)),
  };
}

function limitsOf(limits: messages.Limits | null): Partial<AppLimits> {
  if (limits === null) throw new RingError("INVALID_ARGUMENT", "limits is missing");
  const { queued, running, perSecond, weight } = limits;
  if (running !== undefined && running < 1)
    throw new RingError("INVALID_ARGUMENT", "limits.running must be above 0; pause the app to stop it");
  checkRange("queued", queued, 0, 100_000_000);
  checkRange("running", running, 1, 100_000);
  checkRange("per_second", perSecond, 0, 1_000_000_000);
  checkRange("weight", weight, 0.01, 10_000);
  return {
    ...(queued === undefined ? {} : { queued }),
    ...(running === undefined ? {} : { running }),
    ...(perSecond === undefined ? {} : { perSecond }),
    ...(weight === undefined ? {} : { weight }),
  };
}

/** As in `defineApp`, but that nothing may wait: then an app takes nothing more. */
function checkRange(name: string, value: number | undefined, least: number, most: number): void {
  if (value !== undefined && !(value >= least && value <= most))
    throw new RingError("INVALID_ARGUMENT", `limits.${name} must be from ${least} to ${most}`);
}

const APPS_MOST = 10_000;
const COUNT_MS = 5_000;
const COUNT_LEAST_MS = 100;
const COUNT_MOST_MS = 60_000;
