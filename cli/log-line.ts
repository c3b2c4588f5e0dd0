/** One line of a node's log (JSON, see `services/host/log.ts`) as a line for people. Anything else stays as it is. */

import { moment, printable } from "./table.ts";
import type { Paint, Tint } from "./tint.ts";

export interface LogLine {
  readonly text: string;
  readonly tint: Tint;
  /** One of many of its kind while partitions move: worth a line only to those who ask for all. */
  readonly routine: boolean;
}

export function readLogLine(line: string): LogLine {
  const record = parse(line);
  if (record === undefined) return { text: printable(line), tint: "plain", routine: false };
  const { level, time, msg = "", event, detail, err, node: _node, ...rest } = record;
  const words =
    event === undefined
      ? [String(msg)]
      : [String(event), ...(detail === undefined || detail === "" ? [] : [String(detail)])];
  for (const [key, value] of Object.entries(rest))
    words.push(`${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const reason = messageOf(err);
  if (reason !== undefined) words.push(`(${reason})`);
  const at = typeof time === "number" ? `${moment(time)} ` : "";
  return {
    text: printable(`${at}${words.join(" ")}`),
    tint: tintOf(Number(level)),
    routine: ROUTINE.has(String(event ?? msg)),
  };
}

/** Prints a log as readable lines. */
export function readableLog(write: (text: string) => void, paint: Paint): (line: string) => void {
  return (lines) => {
    for (const line of lines.split("\n")) {
      if (line === "") continue;
      const { text, tint } = readLogLine(line);
      write(`${paint(text, tint)}\n`);
    }
  };
}

function parse(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "level" in value
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function messageOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("message" in error)) return undefined;
  return String(error.message);
}

function tintOf(level: number): Tint {
  if (level >= 50) return "bad";
  return level >= 40 ? "warn" : "plain";
}

const ROUTINE: ReadonlySet<string> = new Set(["ring-changed", "handoff-started", "handoff-done", "linked"]);
