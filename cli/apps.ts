/** `ringctl app …`, `key …` and `cron …`: tenants, their keys and their schedules at run time. */

import type { App, KeyReply, Limits } from "../proto/messages.ts";
import type { Schedule } from "../proto/schedule-messages.ts";
import { type AskedNode, askNode, type CommandRun } from "./ask-node.ts";
import { showDuration } from "./duration.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import type { Output } from "./output.ts";
import { type Column, count, fieldLines, moment, tableLines } from "./table.ts";
import { decoded, taskItem } from "./task-view.ts";
import { firstOf, LIST_MOST, limitOf, partly } from "./tasks.ts";
import { type Paint, tintOfState } from "./tint.ts";

export const changeApp =
  (action: "create" | "delete" | "pause" | "resume"): ((run: CommandRun) => Promise<undefined>) =>
  ({ args, settings, output }) => {
    const [app = ""] = args;
    return askNode(settings, async ({ client, call }) => {
      await client.apps[action](app, call);
      done(output, "App", { app, action }, `${DONE[action]} ${app}`);
      return undefined;
    });
  };

export function listApps({ settings, output, flags }: CommandRun): Promise<number> {
  const limit = appLimitOf(String(flags.limit ?? "1000"));
  return askNode(settings, async ({ client, call }) => {
    const { apps, unreachable } = await client.apps.list({ limit }, call);
    output.show({
      kind: "App",
      items: apps,
      extra: { unreachable },
      lines: (paint) => (apps.length === 0 ? [] : tableLines(APP_COLUMNS, apps, paint)),
    });
    if (apps.length === 0) output.remark("no apps are loaded: start the nodes with --app FILE");
    if (apps.length === limit) output.remark(firstOf(limit, APPS_MOST));
    return partly(output, unreachable);
  });
}

export function describeApp({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async ({ client, call }) => {
    const app = await client.apps.describe(args[0] ?? "", call);
    showApp(output, app);
    return partly(output, app.unreachable ?? []);
  });
}

export function limitApp({ args, settings, output, flags }: CommandRun): Promise<undefined> {
  const [app = ""] = args;
  const limits = limitsOf(flags);
  return askNode(settings, async ({ client, call }) => {
    await client.apps.setLimits(app, limits, call);
    showApp(output, await client.apps.describe(app, call));
    return undefined;
  });
}

export function describeKey({ args, settings, output, flags }: CommandRun): Promise<undefined> {
  const [app = "", key = ""] = args;
  return askNode(settings, async ({ client, call }) => {
    const reply = await client.tasks.describeKey({ app, key }, call);
    const values = flags.state === true ? await client.tasks.readState({ app, key }, call) : undefined;
    const state =
      values === undefined ? undefined : [...values].map(([name, bytes]) => ({ name, ...shownValue(bytes) }));
    const { head, ...rest } = reply;
    output.show({
      kind: "Key",
      items: [
        {
          ...rest,
          ...(head === undefined || head === null ? {} : { head: taskItem(head) }),
          ...(state === undefined ? {} : { state }),
        },
      ],
      lines: (paint) => [
        ...keyLines(reply, paint),
        ...(state ?? []).map(({ name, ...value }) => `${paint("state", "dim")}  ${name} = ${valueText(value)}`),
      ],
    });
    return undefined;
  });
}

export function showAside({ args, settings, output, flags }: CommandRun): Promise<undefined> {
  const [app = "", key = ""] = args;
  const drop = flags.drop === true;
  return askNode(settings, async ({ client, call }) => {
    const values = await client.tasks.readAside({ app, key, drop }, call);
    const items = values.map(({ name, origin, value }) => ({ name, origin, ...shownValue(value) }));
    output.show({
      kind: "AsideValue",
      items,
      extra: { app, key, dropped: drop },
      lines: (paint) => (items.length === 0 ? [] : tableLines(ASIDE_COLUMNS, items, paint)),
    });
    if (items.length === 0) output.remark(`nothing of key ${key} of ${app} is kept aside`);
    else if (drop) output.remark(`dropped ${count(items.length)} values`);
    return undefined;
  });
}

export const changeKey =
  (action: "pause" | "resume"): ((run: CommandRun) => Promise<undefined>) =>
  ({ args, settings, output }) => {
    const [app = "", key = ""] = args;
    return askNode(settings, async ({ client, call }) => {
      await client.apps[action === "pause" ? "pauseKey" : "resumeKey"]({ app, key }, call);
      done(output, "Key", { app, key, action }, `${DONE[action]} key ${key} of ${app}`);
      return undefined;
    });
  };

export function listSchedules({ args, settings, output, flags }: CommandRun): Promise<number> {
  const [app] = args;
  const limit = limitOf(String(flags.limit ?? "1000"));
  return askNode(settings, async ({ client, call }) => {
    const { schedules, unreachable } = await client.tasks.listSchedules(
      { ...(app === undefined ? {} : { app }), limit },
      call,
    );
    output.show({
      kind: "Schedule",
      items: schedules,
      extra: { unreachable },
      lines: (paint) => (schedules.length === 0 ? [] : tableLines(SCHEDULE_COLUMNS, schedules, paint)),
    });
    if (schedules.length === 0) output.remark("no schedules");
    if (schedules.length === limit) output.remark(firstOf(limit, LIST_MOST));
    return partly(output, unreachable);
  });
}

export const changeSchedule =
  (action: "pause" | "resume" | "run"): ((run: CommandRun) => Promise<undefined>) =>
  ({ args, settings, output, flags }) => {
    const [app = "", name = ""] = args;
    return askNode(settings, async (node) => {
      const key = flags.key === undefined ? await keyOfSchedule(node, { app, name }) : String(flags.key);
      await node.client.tasks.controlSchedule({ app, key, name, action }, node.call);
      done(output, "Schedule", { app, key, name, action }, `${DONE[action]} ${name} of ${app}`);
      return undefined;
    });
  };

/** Throws a usage error for a number that cannot be, or when nothing is to be set. */
export function limitsOf(flags: CommandRun["flags"]): Limits {
  const limits: { queued?: number; running?: number; perSecond?: number; weight?: number } = {};
  for (const name of ["queued", "running", "perSecond", "weight"] as const) {
    if (flags[name] === undefined) continue;
    const value = Number(flags[name]);
    const isWhole = name === "perSecond" || name === "weight" || Number.isInteger(value);
    if (!Number.isFinite(value) || value < 0 || !isWhole)
      throw usage(
        `--${name === "perSecond" ? "per-second" : name} ${String(flags[name])}: expected a number of 0 or more`,
      );
    limits[name] = value;
  }
  if (Object.keys(limits).length === 0)
    throw usage("app limit: nothing to set; pass --queued, --running, --per-second or --weight");
  return limits;
}

/** The key of a schedule is seldom known; its name nearly always is enough. */
async function keyOfSchedule(
  { client, call }: AskedNode,
  { app, name }: { readonly app: string; readonly name: string },
): Promise<string> {
  const { schedules, unreachable } = await client.tasks.listSchedules({ app, name, limit: LIST_MOST }, call);
  const keys = schedules.filter((schedule) => schedule.name === name).map(({ key }) => key);
  const [key] = keys;
  if (key === undefined && unreachable.length > 0)
    throw new CliError("NO_OWNER", `no answer from ${unreachable.join(", ")}, where ${name} of ${app} may be`, {
      exit: EXIT.unreachable,
      hint: "pass --key to ask its owner alone",
      retryable: true,
    });
  if (key === undefined)
    throw new CliError("NOT_FOUND", `app ${app} has no schedule ${name}`, {
      exit: EXIT.notFound,
      hint: `ringctl cron list ${app}`,
    });
  if (keys.length > 1)
    throw usage(
      `schedule ${name} of ${app} exists for ${keys.length} keys: say which with --key`,
      `ringctl cron list ${app}`,
    );
  return key;
}

function showApp(output: Output, app: App): void {
  output.show({
    kind: "App",
    items: [app],
    lines: (paint) =>
      fieldLines(
        [
          ["app", app.app],
          ["defined by", app.match],
          ["version", app.version || "-"],
          ["existence", app.existence],
          ["paused", app.paused ? "yes" : "no"],
          ["queued", count(app.queued)],
          ["running", count(app.running)],
          ["dead", count(app.dead)],
          ["children", app.children === 0 ? "0" : `${count(app.children)} wait to reach their owners`],
          ["oldest wait", app.queued === 0 ? "-" : showDuration(app.oldestWaitMs)],
          ["limits", limitText(app.limits)],
        ],
        paint,
      ),
  });
}

function limitText(limits: Limits | null): string {
  const { queued, running, perSecond, weight } = limits ?? {};
  const parts = [
    queued === undefined ? undefined : `${count(queued)} queued in the ring`,
    running === undefined ? undefined : `${count(running)} running on a node`,
    perSecond === undefined || perSecond === 0 ? undefined : `${count(perSecond)} a second on a node`,
    weight === undefined ? undefined : `weight ${weight}`,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

function keyLines(reply: KeyReply, paint: Paint): readonly string[] {
  return fieldLines(
    [
      ["key", `${reply.key} of ${reply.app}`],
      ["owner", reply.owner || "none"],
      ["partition", String(reply.partition)],
      ["paused", reply.paused ? "yes" : "no"],
      ["queued", count(reply.queued)],
      ["running", reply.running ? "yes" : "no"],
      reply.head === undefined || reply.head === null
        ? undefined
        : [
            "head",
            `${reply.head.taskId} ${reply.head.type} ${reply.head.state.toLowerCase()}, ${reply.head.attempts} attempts`,
          ],
      reply.waits === "" ? undefined : ["waits", reply.waits],
    ],
    paint,
  );
}

type ShownValue = { readonly value: unknown } | { readonly valueBase64: string };
type AsideItem = { readonly name: string; readonly origin: string } & ShownValue;

function valueText(shown: ShownValue): string {
  return "value" in shown ? JSON.stringify(shown.value) : `${shown.valueBase64} (base64)`;
}

function shownValue(bytes: Uint8Array): ShownValue {
  const value = decoded(bytes);
  return "result" in value ? { value: value.result } : { valueBase64: value.resultBase64 };
}

function done(output: Output, kind: string, item: object, text: string): void {
  output.show({ kind, items: [item], lines: () => [text] });
}

function appLimitOf(text: string): number {
  const limit = Number(text);
  if (!/^\d{1,5}$/.test(text) || limit < 1 || limit > APPS_MOST)
    throw usage(`--limit ${text}: expected 1 to ${APPS_MOST}`);
  return limit;
}

const APPS_MOST = 10_000;
const DONE = { create: "created", delete: "deleted", pause: "paused", resume: "resumed", run: "fired" } as const;

const APP_COLUMNS: readonly Column<App>[] = [
  { title: "APP", text: (row) => row.app, tint: () => "strong" },
  {
    title: "STATE",
    text: (row) => (row.existence === "deleted" ? "deleted" : row.paused ? "paused" : "running"),
    tint: (row) => tintOfState(row.existence === "deleted" ? "deleted" : row.paused ? "paused" : ""),
  },
  { title: "QUEUED", text: (row) => count(row.queued), right: true },
  { title: "RUNNING", text: (row) => count(row.running), right: true },
  { title: "DEAD", text: (row) => count(row.dead), right: true, tint: (row) => (row.dead > 0 ? "bad" : "plain") },
  { title: "OLDEST", text: (row) => (row.queued === 0 ? "-" : showDuration(row.oldestWaitMs)), right: true },
  { title: "DEFINED BY", text: (row) => row.match },
  { title: "VERSION", text: (row) => row.version || "-" },
];

const ASIDE_COLUMNS: readonly Column<AsideItem>[] = [
  { title: "NAME", text: (row) => row.name, tint: () => "strong" },
  { title: "ORIGIN", text: (row) => row.origin },
  { title: "VALUE", text: valueText, widest: 80 },
];
const SCHEDULE_COLUMNS: readonly Column<Schedule>[] = [
  { title: "APP", text: (row) => row.app },
  { title: "NAME", text: (row) => row.name, tint: () => "strong" },
  { title: "KEY", text: (row) => row.key, widest: 32 },
  { title: "WHEN", text: (row) => row.spec },
  { title: "TASK", text: (row) => row.taskType },
  {
    title: "STATE",
    text: (row) => (row.paused ? "paused" : row.waits || "active"),
    tint: (row) => (row.paused || row.waits ? "warn" : "plain"),
  },
  { title: "FROM", text: (row) => (row.declared ? "code" : "run time") },
  { title: "LAST", text: (row) => (row.lastFireAtMs === undefined ? "-" : moment(row.lastFireAtMs)) },
  { title: "NEXT", text: (row) => (row.nextFireAtMs === undefined ? "-" : moment(row.nextFireAtMs)) },
];
