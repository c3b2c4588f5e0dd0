/** `ringctl dead …`: tasks that failed for good and are kept: look, group by what went wrong, run again, drop. */

import { createHash } from "node:crypto";
import type { Task } from "../proto/messages.ts";
import { RingError } from "../ring/errors.ts";
import { type AskedNode, askNode, type CommandRun } from "./ask-node.ts";
import { confirm } from "./confirm.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import { count, plural, tableLines } from "./table.ts";
import { TASK_COLUMNS, type TaskItem, taskItem, taskLines } from "./task-view.ts";
import { limitOf, partly } from "./tasks.ts";

export function listDead({ settings, output, flags }: CommandRun): Promise<number> {
  const limit = limitOf(String(flags.limit ?? "100"));
  return askNode(settings, async (node) => {
    const { items, unreachable, more } = await collect(node, { ...appOf(flags), most: limit });
    output.show({
      kind: "Task",
      items,
      extra: { unreachable, more },
      lines: (paint) => (items.length === 0 ? [] : tableLines(TASK_COLUMNS, items, paint)),
    });
    if (items.length === 0) output.remark("no dead letters");
    if (more) output.remark(`the first ${count(limit)}; --limit shows more`);
    return partly(output, unreachable);
  });
}

export function groupDead({ settings, output, flags }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const { items, unreachable, more } = await collect(node, { ...appOf(flags), most: COLLECT_MOST });
    const groups = groupsOf(items);
    output.show({
      kind: "DeadGroup",
      items: groups,
      extra: { unreachable, complete: !more && unreachable.length === 0 },
      lines: (paint) =>
        groups.length === 0
          ? []
          : tableLines<DeadGroup>(
              [
                { title: "GROUP", text: (row) => row.group },
                { title: "COUNT", text: (row) => count(row.count), right: true, tint: () => "strong" },
                { title: "APP", text: (row) => row.app },
                { title: "TYPE", text: (row) => row.type },
                { title: "EXAMPLE", text: (row) => row.example },
                { title: "ERROR", text: (row) => row.error },
              ],
              groups,
              paint,
            ),
    });
    if (groups.length === 0) output.remark("no dead letters");
    if (more) output.remark(`of the first ${count(COLLECT_MOST)} only`);
    return partly(output, unreachable);
  });
}

export function showDead({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const item = await letterOf(node, args[0] ?? "");
    if (item.state !== "dead")
      throw new CliError("TASK_NOT_FOUND", `task ${item.taskId} is ${item.state}, no dead letter`, {
        exit: EXIT.notFound,
      });
    output.show({ kind: "Task", items: [item], lines: (paint) => taskLines(item, paint) });
    output.remark(`next: ringctl dead retry ${item.taskId}, or ringctl dead drop ${item.taskId}`);
    return EXIT.ok;
  });
}

/** One of a child that was refused lies where its id does not lead. */
async function letterOf(node: AskedNode, id: string): Promise<TaskItem> {
  try {
    return taskItem(await node.client.get(id, node.call));
  } catch (error) {
    if (!(error instanceof RingError) || error.code !== "TASK_NOT_FOUND") throw error;
    const { items } = await collect(node, { most: COLLECT_MOST });
    const found = items.find(({ taskId }) => taskId === id);
    if (found === undefined) throw error;
    return found;
  }
}

export function retryDead(run: CommandRun): Promise<number> {
  return changeDead(run, "retry");
}

export function dropDead(run: CommandRun): Promise<number> {
  return changeDead(run, "drop");
}

export interface DeadGroup {
  readonly group: string;
  readonly count: number;
  readonly app: string;
  readonly type: string;
  readonly error: string;
  /** Id of one of them. */
  readonly example: string;
}

/** By app, type and error, largest first; numbers, ids and quoted texts inside a message do not tell two errors apart. */
export function groupsOf(items: readonly TaskItem[]): readonly DeadGroup[] {
  const groups = new Map<string, DeadGroup>();
  for (const item of items) {
    const error = `${item.error?.name ?? "Error"}: ${normalised(item.error?.message ?? "")}`;
    const group = groupIdOf(item, error);
    const known = groups.get(group);
    groups.set(group, {
      group,
      count: (known?.count ?? 0) + 1,
      app: item.app,
      type: item.type,
      error,
      example: known?.example ?? item.taskId,
    });
  }
  return [...groups.values()].sort((left, right) => right.count - left.count || (left.group < right.group ? -1 : 1));
}

export function normalised(message: string): string {
  return message
    .slice(0, MESSAGE_CHARACTERS)
    .replace(/https?:\/\/[^\s"')]+/g, "<url>")
    .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, "<id>")
    .replace(/\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b/gi, "<id>")
    .replace(/"[^"]*"|'[^']*'|`[^`]*`/g, "<text>")
    .replace(/\d+(?:\.\d+)?/g, "<n>");
}

function groupIdOf(item: TaskItem, error: string): string {
  return createHash("sha256").update(`${item.app}\0${item.type}\0${error}`).digest("hex").slice(0, 8);
}

/** Those named, or all of an app, or of one group; in batches, not faster than `--rate` a second. */
async function changeDead({ args, settings, output, flags }: CommandRun, action: "retry" | "drop"): Promise<number> {
  const rate = flags.rate === undefined ? undefined : rateOf(String(flags.rate));
  const all = flags.all === true || flags.group !== undefined;
  if (all === args.length > 0) throw usage(`dead ${action}: name task ids, or --group GROUP, or --all`);
  if (action === "drop" && all)
    await confirm("dead letters that are dropped are gone for good", { yes: flags.yes === true });
  return askNode(settings, async (node) => {
    const { client, call } = node;
    const found = all ? await collect(node, { ...appOf(flags), most: COLLECT_MOST }) : undefined;
    const ids = found === undefined ? args : chosen(found.items, flags).map(({ taskId }) => taskId);
    const { changed, failure } = await inBatches(ids, {
      rate,
      change: (part) => (action === "retry" ? client.tasks.retryDead(part, call) : client.tasks.dropDead(part, call)),
      progress: (done) => output.progress(done, ids.length, ""),
    });
    output.endProgress();
    if (failure !== undefined && changed === 0) throw failure;
    const more = found?.more ?? false;
    output.show({
      kind: "DeadChange",
      items: [{ action, asked: ids.length, changed, more }],
      lines: () => [
        `${action === "retry" ? "runs again" : "dropped"}: ${plural(changed, "task")}${changed === ids.length ? "" : ` of ${count(ids.length)}`}`,
      ],
    });
    if (failure !== undefined) throw failure;
    if (more) output.remark("there are more: run it again");
    if (changed === ids.length && !more && (found?.unreachable.length ?? 0) === 0) return EXIT.ok;
    return !all && changed === 0 ? EXIT.notFound : EXIT.partly;
  });
}

interface Batches {
  /** Tasks a second, at most. */
  readonly rate: number | undefined;
  /** How many of them were changed. */
  readonly change: (ids: readonly string[]) => Promise<number>;
  readonly progress: (done: number) => void;
}

/** A failure ends it; what was changed before stays so. */
export async function inBatches(
  ids: readonly string[],
  { rate, change, progress }: Batches,
): Promise<{ readonly changed: number; readonly failure?: unknown }> {
  const batch = rate === undefined ? BATCH : Math.max(1, Math.min(BATCH, Math.floor(rate)));
  let changed = 0;
  for (let at = 0; at < ids.length; at += batch) {
    const begun = performance.now();
    try {
      changed += await change(ids.slice(at, at + batch));
    } catch (failure) {
      return { changed, failure };
    }
    progress(Math.min(at + batch, ids.length));
    const restMs =
      rate === undefined || at + batch >= ids.length ? 0 : (1_000 * batch) / rate - (performance.now() - begun);
    if (restMs > 0) await new Promise((resolve) => setTimeout(resolve, restMs));
  }
  return { changed };
}

function chosen(items: readonly TaskItem[], flags: CommandRun["flags"]): readonly TaskItem[] {
  if (flags.group === undefined) return items;
  const wanted = String(flags.group);
  const inGroup = items.filter(
    (item) => groupIdOf(item, `${item.error?.name ?? "Error"}: ${normalised(item.error?.message ?? "")}`) === wanted,
  );
  if (inGroup.length === 0)
    throw new CliError("NOT_FOUND", `no dead letters in group ${wanted}`, {
      exit: EXIT.notFound,
      hint: "ringctl dead groups",
    });
  return inGroup;
}

interface Collected {
  readonly items: readonly TaskItem[];
  readonly unreachable: readonly string[];
  /** There were more than asked for. */
  readonly more: boolean;
}

async function collect(
  { client, call }: AskedNode,
  { app, most }: { readonly app?: string; readonly most: number },
): Promise<Collected> {
  const tasks: Task[] = [];
  const unreachable = new Set<string>();
  let pageToken = "";
  do {
    const page = await client.tasks.listDead(
      { ...(app === undefined ? {} : { app }), pageToken, limit: Math.min(PAGE, most) },
      call,
    );
    tasks.push(...page.tasks);
    for (const name of page.unreachable) unreachable.add(name);
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && tasks.length < most);
  return {
    items: tasks.slice(0, most).map(taskItem),
    unreachable: [...unreachable],
    more: pageToken !== "" || tasks.length > most,
  };
}

function appOf(flags: CommandRun["flags"]): { readonly app?: string } {
  return flags.app === undefined ? {} : { app: String(flags.app) };
}

function rateOf(text: string): number {
  const rate = Number(text);
  if (!(rate > 0 && rate <= 100_000)) throw usage(`--rate ${text}: expected tasks a second, above 0`);
  return rate;
}

const PAGE = 1_000;
const BATCH = 500;
const COLLECT_MOST = 20_000;
const MESSAGE_CHARACTERS = 300;
