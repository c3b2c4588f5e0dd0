/** Text tables: columns as wide as their widest cell, numbers to the right, nothing that a terminal would obey. */

import type { Paint, Tint } from "./tint.ts";

export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  readonly right?: boolean;
  readonly tint?: (row: Row) => Tint;
  /** Longer cells are cut. Default: 48; the last column is never cut. */
  readonly widest?: number;
}

/** A heading and one line a row. */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  paint: Paint,
): readonly string[] {
  const last = columns.length - 1;
  const cells = rows.map((row) =>
    columns.map(({ text, widest }, at) =>
      cut(printable(text(row)), at === last ? Number.POSITIVE_INFINITY : (widest ?? WIDEST)),
    ),
  );
  const widths = columns.map(({ title }, at) =>
    Math.max(title.length, ...cells.map((line) => [...(line[at] ?? "")].length)),
  );
  const placed = (text: string, at: number): string => {
    const space = " ".repeat(Math.max(0, (widths[at] ?? 0) - [...text].length));
    if (columns[at]?.right === true) return space + text;
    return at === last ? text : text + space;
  };
  const heading = columns.map(({ title }, at) => paint(placed(title, at), "dim")).join(GAP);
  const lines = cells.map((line, index) =>
    line.map((text, at) => paint(placed(text, at), columns[at]?.tint?.(rows[index] as Row) ?? "plain")).join(GAP),
  );
  return [heading, ...lines];
}

/** `name  value` lines. */
export function fieldLines(
  fields: readonly (readonly [string, string] | undefined)[],
  paint: Paint,
): readonly string[] {
  const shown = fields.filter((field) => field !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${paint(name.padEnd(width), "dim")}${GAP}${printable(value)}`);
}

/** Without control characters: names, keys and errors come from anywhere. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\u00b7");
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1 task`, `2 tasks`. */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export function bytes(value: number): string {
  if (value < 1_024) return `${value} B`;
  const power = Math.min(4, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1_024 ** power;
  return `${scaled.toFixed(scaled < 10 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function percent(part: number, whole: number): string {
  return whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)}%`;
}

/** Local time of day, with the date where it is not today. */
export function moment(ms: number, now: number = Date.now()): string {
  const at = new Date(ms);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  if (new Date(now).toDateString() === at.toDateString()) return time;
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`;
}

/** `0-3, 7, 9-10`. */
export function ranges(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((left, right) => left - right);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length; ) {
    let end = at;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end += 1;
    parts.push(end === at ? `${sorted[at]}` : `${sorted[at]}-${sorted[end]}`);
    at = end + 1;
  }
  return parts.join(", ");
}

function cut(text: string, widest: number): string {
  const letters = [...text];
  return letters.length <= widest ? text : `${letters.slice(0, widest - 1).join("")}\u2026`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

const GAP = "  ";
const WIDEST = 48;
