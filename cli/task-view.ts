/** A task as the commands show it: states in small letters, results and state values as they were, not as bytes. */

import type { Task } from "../proto/messages.ts";
import { showDuration } from "./duration.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import type { Column } from "./table.ts";
import { fieldLines, moment } from "./table.ts";
import { type Paint, tintOfState } from "./tint.ts";

export type TaskItem = Omit<Task, "state" | "result" | "error"> & {
  readonly state: string;
  /** Absent without one. */
  readonly result?: unknown;
  /** Of a result that is bytes. */
  readonly resultBase64?: string;
  readonly error?: NonNullable<Task["error"]>;
};

export function taskItem({ state, result, error, ...rest }: Task): TaskItem {
  return {
    ...rest,
    state: state.toLowerCase(),
    ...(error === undefined || error === null ? {} : { error }),
    ...(result === undefined || result.length === 0 ? {} : decoded(result)),
  };
}

/** What a handler gave: JSON, or bytes in base64. First byte 0: JSON follows; 1: raw bytes follow. */
export function decoded(bytes: Uint8Array): { readonly result: unknown } | { readonly resultBase64: string } {
  const body = Buffer.from(bytes.subarray(1));
  if (bytes[0] === 0) {
    try {
      return { result: JSON.parse(body.toString()) };
    } catch {
      // Written by another version: as bytes then.
    }
  }
  return { resultBase64: body.toString("base64") };
}

export function taskLines(item: TaskItem, paint: Paint): readonly string[] {
  return [
    ...fieldLines(
      [
        ["task", item.taskId],
        ["state", item.state],
        ["app", item.app],
        ["type", item.type],
        ["key", item.key],
        ["partition", String(item.partition)],
        ["attempts", String(item.attempts)],
        ["accepted", moment(item.acceptedAtMs)],
        item.dueAtMs === undefined ? undefined : ["due", moment(item.dueAtMs)],
        item.endedAtMs === undefined
          ? undefined
          : ["ended", `${moment(item.endedAtMs)} (after ${showDuration(item.endedAtMs - item.acceptedAtMs)})`],
        item.waits === "" ? undefined : ["waits", item.waits],
        item.error === undefined ? undefined : ["error", `${item.error.name}: ${item.error.message}`],
        item.result === undefined ? undefined : ["result", JSON.stringify(item.result)],
        item.resultBase64 === undefined ? undefined : ["result", `${item.resultBase64} (base64)`],
      ],
      paint,
    ),
    ...(item.error === undefined || item.error.stack === ""
      ? []
      : item.error.stack.split("\n").map((line) => paint(`  ${line.trim()}`, "dim"))),
  ];
}

export const TASK_COLUMNS: readonly Column<TaskItem>[] = [
  { title: "TASK", text: (row) => row.taskId },
  { title: "STATE", text: (row) => row.state, tint: (row) => tintOfState(row.state) },
  { title: "APP", text: (row) => row.app },
  { title: "TYPE", text: (row) => row.type },
  { title: "KEY", text: (row) => row.key, widest: 32 },
  { title: "TRIES", text: (row) => String(row.attempts), right: true },
  { title: "ACCEPTED", text: (row) => moment(row.acceptedAtMs) },
  {
    title: "WHY",
    text: (row) => (row.error === undefined ? row.waits || "-" : `${row.error.name}: ${row.error.message}`),
  },
];

/** Of a command that waited for the task's end. */
export function exitOfTask({ state }: TaskItem): ExitCode {
  if (state === "done") return EXIT.ok;
  return state === "dead" || state === "cancelled" ? EXIT.failure : EXIT.unreachable;
}

export function hasEnded({ state }: { readonly state: string }): boolean {
  return state === "done" || state === "dead" || state === "cancelled";
}
