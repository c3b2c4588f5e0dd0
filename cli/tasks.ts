/** `ringctl task …`: submit work, follow it, take it back. */

import { readFileSync } from "node:fs";
import type { Task } from "../proto/messages.ts";
import type { RingClient } from "../services/client/ring-client.ts";
import type { SubmitTask } from "../services/client/submit-task.ts";
import { type AskedNode, answers, askNode, type CommandRun, waitMs } from "./ask-node.ts";
import { parseDuration } from "./duration.ts";
import { CliError, EXIT, usage } from "./exit-codes.ts";
import type { Output } from "./output.ts";
import { moment, printable, tableLines } from "./table.ts";
import { exitOfTask, hasEnded, TASK_COLUMNS, type TaskItem, taskItem, taskLines } from "./task-view.ts";
import { tintOfState } from "./tint.ts";

export async function submitTask(run: CommandRun): Promise<number> {
  const { settings, output, flags } = run;
  const task = submitTaskOf(run, readData);
  return askNode(settings, async (node) => {
    const { client, call } = node;
    const submitted = await client.submit(task, { deadlineMs: call.deadlineMs ?? 10_000 });
    if (flags.wait === true) {
      output.remark(`accepted as ${submitted.taskId}`); // who gives up waiting can ask for it
      return showEnd(node, output, { id: submitted.taskId, withinMs: waitMs(settings) });
    }
    output.show({
      kind: "Submitted",
      items: [{ taskId: submitted.taskId, duplicate: submitted.duplicate, state: submitted.state }],
      lines: (paint) => [
        submitted.duplicate
          ? `${submitted.taskId}  ${paint("known already", "warn")}, ${submitted.state}`
          : submitted.taskId,
      ],
    });
    output.remark(`next: ringctl task watch ${submitted.taskId}`);
    return EXIT.ok;
  });
}

export function getTask({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async ({ client, call }) => {
    showTask(output, taskItem(await client.get(args[0] ?? "", call)));
    return EXIT.ok;
  });
}

/** Each state that the task passes through, until it ends. */
export function watchTask({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async (node) => {
    const { client, call } = node;
    await answers(node);
    let last: TaskItem | undefined;
    for await (const task of client.watch(args[0] ?? "", call)) {
      const item = taskItem(task);
      last = item;
      output.item(item, (paint) => {
        const why = item.error === undefined ? item.waits : `${item.error.name}: ${item.error.message}`;
        return `${paint(moment(Date.now()), "dim")}  ${paint(item.state.padEnd(9), tintOfState(item.state))}  attempt ${item.attempts}  ${printable(why)}`.trimEnd();
      });
    }
    if (last === undefined || !hasEnded(last))
      throw new CliError("NO_OWNER", "the stream ended before the task did", {
        exit: EXIT.unreachable,
        retryable: true,
      });
    return exitOfTask(last);
  });
}

export function cancelTask({ args, settings, output }: CommandRun): Promise<number> {
  return askNode(settings, async ({ client, call }) => {
    const item = taskItem(await client.cancel(args[0] ?? "", call));
    showTask(output, item);
    if (item.state === "cancelled") return EXIT.ok;
    if (!hasEnded(item)) {
      output.remark("its attempt runs: the signal was given, and it ends when its handler returns");
      return EXIT.ok;
    }
    throw new CliError("CONFLICT", `task ${item.taskId} was ${item.state} already`, { exit: EXIT.conflict });
  });
}

export function listTasks({ settings, output, flags }: CommandRun): Promise<number> {
  const query = {
    ...(flags.app === undefined ? {} : { app: String(flags.app) }),
    ...(flags.key === undefined ? {} : { key: String(flags.key) }),
    ...(flags.state === undefined ? {} : { state: stateOf(String(flags.state)) }),
    limit: limitOf(String(flags.limit ?? "100")),
  };
  return askNode(settings, async ({ client, call }) => {
    const { tasks, unreachable } = await client.tasks.list(query, call);
    const items = tasks.map(taskItem);
    output.show({
      kind: "Task",
      items,
      extra: { unreachable },
      lines: (paint) => (items.length === 0 ? [] : tableLines(TASK_COLUMNS, items, paint)),
    });
    if (items.length === 0) output.remark("no such tasks");
    if (items.length === query.limit) output.remark(firstOf(query.limit, LIST_MOST));
    return partly(output, unreachable);
  });
}

/** Of a list that may have been cut. */
export function firstOf(limit: number, most: number): string {
  return `the first ${limit}; ${limit < most ? "--limit shows more" : "there may be more"}`;
}

/** Some members did not answer, so the list is not whole: exit 8. */
export function partly(output: Output, unreachable: readonly string[]): number {
  if (unreachable.length === 0) return EXIT.ok;
  output.remark(`no answer from ${unreachable.join(", ")}: what they hold is missing`);
  return EXIT.partly;
}

/** Throws a usage error. `read` gives the bytes behind `@FILE` and `-`. */
export function submitTaskOf(
  { args, flags }: Pick<CommandRun, "args" | "flags">,
  read: (source: string) => Uint8Array,
): SubmitTask {
  const [app = "", type = ""] = args;
  const text = (name: string): string | undefined => (flags[name] === undefined ? undefined : String(flags[name]));
  const [key, data, delay, deadline, attempts, priority, idempotencyKey, taskId] = [
    "key",
    "data",
    "delay",
    "deadline",
    "attempts",
    "priority",
    "idempotencyKey",
    "id",
  ].map(text);
  return {
    app,
    type,
    ...(key === undefined ? {} : { key }),
    ...(data === undefined ? {} : { payload: data === "-" || data.startsWith("@") ? read(data) : data }),
    ...(delay === undefined ? {} : { delayMs: parseDuration(delay, "--delay", Number.MAX_SAFE_INTEGER) }),
    ...(deadline === undefined ? {} : { deadlineMs: parseDuration(deadline, "--deadline", Number.MAX_SAFE_INTEGER) }),
    ...(attempts === undefined ? {} : { maxAttempts: whole(attempts, "--attempts", { least: 1, most: 65_535 }) }),
    ...(priority === undefined ? {} : { priority: whole(priority, "--priority", { least: -100, most: 100 }) }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(taskId === undefined ? {} : { taskId }),
    ...(Array.isArray(flags.header) ? { headers: headersOf(flags.header.map(String)) } : {}),
  };
}

export function limitOf(text: string): number {
  return whole(text, "--limit", { least: 1, most: LIST_MOST });
}

async function showEnd(
  { client }: AskedNode,
  output: Output,
  { id, withinMs }: { readonly id: string; readonly withinMs: number },
): Promise<number> {
  const item = taskItem(await endOf(client, id, withinMs));
  showTask(output, item);
  if (hasEnded(item)) return exitOfTask(item);
  throw new CliError("DEADLINE", `task ${id} is still ${item.state}${item.waits === "" ? "" : ` (${item.waits})`}`, {
    exit: EXIT.unreachable,
    hint: `it goes on by itself: ringctl task watch ${id}`,
    retryable: true,
  });
}

/** The task when it has ended, or as it is after the time: an owner that is away ends the wait only when that is over. */
export async function endOf(client: Pick<RingClient, "wait">, id: string, withinMs: number): Promise<Task> {
  const end = performance.now() + withinMs;
  for (;;) {
    const left = Math.max(1, end - performance.now());
    const task = await client.wait(id, { timeoutMs: Math.ceil(Math.min(left, WAIT_MOST_MS)) });
    if (hasEnded(taskItem(task)) || performance.now() >= end) return task;
  }
}

function showTask(output: Output, item: TaskItem): void {
  output.show({ kind: "Task", items: [item], lines: (paint) => taskLines(item, paint) });
}

function stateOf(text: string): (typeof STATES)[number] {
  const state = STATES.find((known) => known === text);
  if (state === undefined) throw usage(`--state ${text}: expected one of ${STATES.join(", ")}`);
  return state;
}

function headersOf(list: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    list.map((header) => {
      const at = header.indexOf("=");
      if (at < 1) throw usage(`--header ${header}: expected NAME=VALUE`);
      return [header.slice(0, at), header.slice(at + 1)];
    }),
  );
}

function readData(source: string): Uint8Array {
  if (source === "-" && process.stdin.isTTY === true) throw usage("--data -: nothing is piped into stdin");
  try {
    return readFileSync(source === "-" ? 0 : source.slice(1));
  } catch (error) {
    throw usage(`--data ${source} cannot be read: ${(error as Error).message}`);
  }
}

function whole(text: string, flag: string, { least, most }: { readonly least: number; readonly most: number }): number {
  const value = Number(text);
  if (!/^-?\d{1,9}$/.test(text) || value < least || value > most)
    throw usage(`${flag} ${text}: expected a whole number from ${least} to ${most}`);
  return value;
}

/** What a node lists at once. */
export const LIST_MOST = 1_000;
const STATES = ["queued", "delayed", "running", "retrying", "done", "dead", "cancelled"] as const;
/** What a client may ask for at once. */
const WAIT_MOST_MS = 600_000;
