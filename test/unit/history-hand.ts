/** Histories written by hand, for tests of their checker. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { Verdict } from "../../services/history/check.ts";
import { type AttemptOutcome, formatLine, type HistoryLine } from "../../services/history/line.ts";
import type { RuleName } from "../../services/history/rules.ts";

export const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

interface Step {
  readonly id: string;
  readonly seq?: number;
  readonly key?: string;
  readonly fence: number;
  /** Ms. */
  readonly at: readonly [start: number, end?: number];
  readonly outcome?: AttemptOutcome;
  readonly attempt?: number;
  /** Fence of the state that it found. */
  readonly saw?: string;
  readonly children?: readonly string[];
  readonly parent?: string;
  readonly child?: string;
}

export const MS = 1e6;

/** A history written by hand: one client, and the named nodes with their attempts. */
export function history(given: {
  readonly accepted?: readonly (readonly [id: string, seq?: number, at?: number, submitted?: number])[];
  readonly nodes: Readonly<Record<string, readonly Step[]>>;
  readonly harness?: readonly HistoryLine[];
  readonly closed?: readonly string[];
  readonly torn?: string;
}): string {
  const directory = mkdtempSync(join(tmpdir(), "taskring-history-"));
  directories.push(directory);
  const write = (name: string, lines: readonly HistoryLine[], tail = ""): void => {
    writeFileSync(join(directory, `${name}.ndjson`), lines.map(formatLine).join("") + tail);
  };
  const accepted = given.accepted ?? [];
  write("client", [
    { type: "open", t: 0, node: "client", pid: 1 },
    ...accepted.map(
      ([id, seq, at = 0, submitted]): HistoryLine => ({
        type: "accepted",
        t: at * MS,
        id,
        app: "a",
        key: "k",
        ...(submitted === undefined ? {} : { submitted: submitted * MS }),
        ...(seq === undefined ? {} : { seq }),
      }),
    ),
    ...(given.harness ?? []),
  ]);
  for (const [at, [node, steps]] of Object.entries(given.nodes).entries()) {
    const lines: HistoryLine[] = [{ type: "open", t: 0, node, pid: 100 + at }];
    for (const {
      id,
      fence,
      at: [start, end],
      key = "k",
      attempt = 1,
      outcome = "ok",
      children,
      ...place
    } of steps) {
      lines.push({ type: "start", t: start * MS, id, app: "a", key, fence: BigInt(fence), attempt, ...place });
      if (end !== undefined)
        lines.push({
          type: "end",
          t: end * MS,
          id,
          fence: BigInt(fence),
          outcome,
          ...(children === undefined ? {} : { children }),
        });
    }
    // In a process attempts of several keys run at once, so lines stand in the order of time.
    lines.sort((a, b) => a.t - b.t);
    if (given.closed?.includes(node) === true) lines.push({ type: "closed", t: (lines.at(-1)?.t ?? 0) + 1 });
    write(node, lines, given.torn);
  }
  return directory;
}

export function killed(process: string, at: number): HistoryLine {
  return { type: "killed", t: at * MS, process };
}

export function paused(process: string, from: number, until: number): HistoryLine {
  return { type: "paused", t: from * MS, until: until * MS, process };
}

export function broken(verdict: Verdict): RuleName[] {
  return verdict.rules.filter((result) => result.violations > 0).map((result) => result.rule);
}

export const GOOD = {
  accepted: [
    ["t0", 0],
    ["t1", 1],
    ["t2", 2],
  ] as const,
};
