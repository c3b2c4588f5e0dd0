/**
 * Says whether a history holds the promises: `node dist/services/history/check.js DIR [--strict] [--json]`.
 * It reads the files that clients and handlers wrote, and asks no node. Exit 0: all held; 1: not; 2: usage.
 */

import { pathToFileURL } from "node:url";
import { type History, loadHistory } from "./history.ts";
import { movePauses, type PauseFigures, takeoverPauses } from "./pauses.ts";
import { countExcused, isDone, RULES, type Rule, type RuleName } from "./rules.ts";
import { uncountedWrites } from "./state-writes.ts";

export interface Verdict {
  readonly ok: boolean;
  readonly accepted: number;
  /** Accepted tasks that ended: well, dead or cancelled. */
  readonly done: number;
  readonly dead: number;
  readonly lost: number;
  readonly keys: number;
  readonly attempts: number;
  /** Attempts that ended well beyond the first of their task: allowed after a crash (P2). */
  readonly duplicates: number;
  /** Overlaps during a pause or cut, the exception in P3. */
  readonly excusedOverlaps: number;
  /** Writes to state of attempts that ended well and were not found later: what a stale owner was refused is among them. */
  readonly uncountedWrites: number;
  readonly processes: number;
  readonly killed: number;
  readonly lines: number;
  readonly torn: number;
  readonly moves: PauseFigures;
  readonly takeovers: PauseFigures;
  readonly rules: readonly RuleResult[];
}

export interface RuleResult {
  readonly rule: RuleName;
  readonly promise: Rule["promise"];
  readonly says: string;
  readonly violations: number;
  /** The first few. */
  readonly examples: readonly string[];
  /** Whether violations make the verdict fail. */
  readonly counts: boolean;
}

export interface CheckOptions {
  /**
   * Also fails on finished tasks that ran again without a fault on record. Off by default: a machine that is too busy to
   * renew a lease causes the same as a fault, and nobody writes that down.
   */
  readonly strict?: boolean;
}

/** Reads and checks a directory. Throws when it cannot be read. */
export function checkHistory(directory: string, options: CheckOptions = {}): Verdict {
  return judge(loadHistory(directory), options);
}

export function judge(history: History, options: CheckOptions = {}): Verdict {
  const rules = (Object.keys(RULES) as RuleName[]).map((rule) => {
    return run(rule, history, rule !== "clean-repeat" || options.strict === true);
  });
  const accepted = [...history.tasks.values()].filter((task) => task.acceptedAt !== undefined);
  const done = accepted.filter(isDone);
  let attempts = 0;
  let duplicates = 0;
  for (const task of history.tasks.values()) {
    attempts += task.attempts.length;
    duplicates += Math.max(task.attempts.filter((attempt) => attempt.outcome === "ok").length - 1, 0);
  }
  return {
    ok: rules.every((result) => !result.counts || result.violations === 0),
    accepted: accepted.length,
    done: done.length,
    dead: done.filter((task) => task.settled !== undefined || !task.attempts.some(({ outcome }) => outcome === "ok"))
      .length,
    lost: accepted.length - done.length,
    keys: history.lanes.size,
    attempts,
    duplicates,
    excusedOverlaps: countExcused(history),
    uncountedWrites: [...history.lanes.values()].reduce((sum, lane) => sum + uncountedWrites(lane), 0),
    processes: history.processes.length,
    killed: history.processes.filter((each) => each.killedAt !== undefined).length,
    lines: history.lines,
    torn: history.torn,
    moves: movePauses(history),
    takeovers: takeoverPauses(history),
    rules,
  };
}

/** For people: one line per promise kept or broken, with the first examples of what broke it. */
export function formatVerdict(verdict: Verdict): string {
  const lines = [
    `accepted ${verdict.accepted}  done ${verdict.done}  dead ${verdict.dead}  lost ${verdict.lost}  keys ${verdict.keys}`,
    `attempts ${verdict.attempts}  duplicates ${verdict.duplicates}  processes ${verdict.processes}  killed ${verdict.killed}  excused overlaps ${verdict.excusedOverlaps}`,
    `pause of moved keys     ${pauseText(verdict.moves)}`,
    `takeover after a kill   ${pauseText(verdict.takeovers)}`,
    "",
  ];
  for (const result of verdict.rules) {
    const mark = result.violations === 0 ? "ok  " : result.counts ? "FAIL" : "note";
    lines.push(`${mark}  ${result.promise.padEnd(2)}  ${String(result.violations).padStart(7)}  ${result.says}`);
    for (const example of result.examples) lines.push(`${" ".repeat(19)}${example}`);
  }
  lines.push("", verdict.ok ? "every promise held" : "BROKEN");
  return `${lines.join("\n")}\n`;
}

function run(rule: RuleName, history: History, counts: boolean): RuleResult {
  const { promise, says, check } = RULES[rule];
  const examples: string[] = [];
  let violations = 0;
  check(history, (detail) => {
    violations += 1;
    if (examples.length < EXAMPLE_LIMIT) examples.push(detail);
  });
  return { rule, promise, says, violations, examples, counts };
}

function pauseText(figures: PauseFigures): string {
  if (figures.keys === 0) return "none";
  const [p50, p99, worst] = [figures.p50Ms, figures.p99Ms, figures.worstMs].map((each) => `${each.toFixed(1)} ms`);
  return `${figures.keys} keys, p50 ${p50}, p99 ${p99}, worst ${worst}`;
}

function main(args: readonly string[]): number {
  const directories = args.filter((each) => !each.startsWith("--"));
  const unknown = args.filter((each) => each.startsWith("--") && each !== "--strict" && each !== "--json");
  const [directory] = directories;
  if (directory === undefined || directories.length > 1 || unknown.length > 0) {
    process.stderr.write("usage: check.js DIR [--strict] [--json]\n");
    return 2;
  }
  const verdict = checkHistory(directory, { strict: args.includes("--strict") });
  process.stdout.write(args.includes("--json") ? `${JSON.stringify(verdict)}\n` : formatVerdict(verdict));
  return verdict.ok ? 0 : 1;
}

const EXAMPLE_LIMIT = 5;

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = main(process.argv.slice(2));
}
