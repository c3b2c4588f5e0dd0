/**
 * The checkers: each states one promise over a history and reports what breaks it. They know nothing of the ring.
 *
 * An attempt without an end line lasted until its process was killed or ended; without that, until now.
 * A pause (SIGSTOP, cut) is the one exception that P3 names: an attempt during which its process was paused counts as
 * over when the pause began, and overlaps that this excuses are counted.
 *
 * Each rule was seen to fail on a history made by hand: `test/unit/history-*.test.ts`.
 */

import type { Attempt, History, HistoryTask, Lane } from "./history.ts";
import { staleWrites } from "./state-writes.ts";

export type RuleName =
  | "history"
  | "lost"
  | "order"
  | "replay"
  | "passed"
  | "overlap"
  | "fence"
  | "stale-write"
  | "child-lost"
  | "child-twice"
  | "clean-repeat";

export interface Rule {
  readonly promise: "P1" | "P2" | "P3" | "-";
  readonly says: string;
  readonly check: (history: History, report: (detail: string) => void) => void;
}

export const RULES: Readonly<Record<RuleName, Rule>> = {
  history: { promise: "-", says: "history complete and readable", check: checkHistoryItself },
  lost: { promise: "P1", says: "accepted tasks that did not end", check: checkLost },
  order: { promise: "P3", says: "first starts against the order of acceptance", check: checkOrder },
  replay: { promise: "P3", says: "steps back within one process, without a fault", check: checkReplays },
  passed: {
    promise: "P3",
    says: "tasks that started while an earlier one waited for its next attempt",
    check: checkPassed,
  },
  overlap: { promise: "P3", says: "attempts of one key at the same time", check: checkOverlap },
  fence: { promise: "P2", says: "fences that did not rise", check: checkFences },
  "stale-write": { promise: "P3", says: "stale writes accepted", check: checkStaleWrites },
  "child-lost": { promise: "P1", says: "children of a finished task that did not end", check: checkChildrenLost },
  "child-twice": { promise: "P2", says: "children that ran under two ids", check: checkChildrenTwice },
  "clean-repeat": { promise: "P2", says: "finished tasks run again without a fault", check: checkCleanRepeats },
};

/** Ends well, or badly but on record. */
export function isDone(task: HistoryTask): boolean {
  if (task.settled !== undefined) return true;
  // The newest attempt decides: an older one that ended well while a newer one was started was not acknowledged.
  const { outcome } = newest(task) ?? {};
  return outcome === "ok" || outcome === "dead";
}

/** The attempt with the highest fence. */
function newest(task: HistoryTask): Attempt | undefined {
  let best: Attempt | undefined;
  for (const attempt of task.attempts) if (best === undefined || attempt.fence > best.fence) best = attempt;
  return best;
}

/** See the head of this file. */
export function endOf(attempt: Attempt): number {
  const { process } = attempt;
  if (attempt.end !== undefined) return attempt.end;
  if (process.killedAt !== undefined) return process.killedAt;
  return process.closed ? process.lastAt : Number.POSITIVE_INFINITY;
}

export function byStart(a: Attempt, b: Attempt): number {
  return a.start - b.start;
}

/** Overlaps that a pause excuses. */
export function countExcused(history: History): number {
  let excused = 0;
  for (const lane of history.lanes.values()) {
    excused += overlaps(lane, endOf).length - overlaps(lane, endUnlessPaused).length;
  }
  return excused;
}

function checkHistoryItself(history: History, report: (detail: string) => void): void {
  for (const damage of history.damage) report(damage);
  let accepted = false;
  for (const task of history.tasks.values()) accepted ||= task.acceptedAt !== undefined;
  if (!accepted) report("no accepted task: nothing was checked");
}

function checkLost(history: History, report: (detail: string) => void): void {
  for (const task of history.tasks.values()) {
    if (task.acceptedAt === undefined || isDone(task)) continue;
    const last = newest(task);
    report(`${nameOf(task)}: ${last === undefined ? "never started" : `last ${describe(last)}`}`);
  }
}

function checkOrder(history: History, report: (detail: string) => void): void {
  for (const lane of history.lanes.values()) {
    const numbered = lane.tasks.filter((task) => task.seq !== undefined && task.attempts.length > 0);
    numbered.sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0));
    let latest: { readonly task: HistoryTask; readonly start: number } | undefined;
    for (const task of numbered) {
      const start = firstStart(task);
      if (latest !== undefined && latest.task.seq !== task.seq && start <= latest.start) {
        report(`${nameOf(task)} started ${ms(latest.start - start)} before ${nameOf(latest.task)}`);
      }
      if (latest === undefined || start > latest.start) latest = { task, start };
    }
    checkAcceptance(lane, report);
  }
}

/** Whoever submitted them: what was acknowledged before another was submitted starts before it. */
function checkAcceptance(lane: Lane, report: (detail: string) => void): void {
  const started = lane.tasks.filter((task) => task.attempts.length > 0);
  const accepted = started.flatMap((task) => (task.acceptedAt === undefined ? [] : [{ task, at: task.acceptedAt }]));
  const submitted = started.flatMap((task) => (task.submittedAt === undefined ? [] : [{ task, at: task.submittedAt }]));
  accepted.sort((a, b) => a.at - b.at);
  submitted.sort((a, b) => a.at - b.at);
  let latest: { readonly task: HistoryTask; readonly start: number } | undefined;
  let before = 0;
  for (const { task, at } of submitted) {
    for (let next = accepted[before]; next !== undefined && next.at < at; next = accepted[++before]) {
      const start = firstStart(next.task);
      if (latest === undefined || start > latest.start) latest = { task: next.task, start };
    }
    const start = firstStart(task);
    // Of one client's numbers `checkOrder` has told already.
    if (
      latest === undefined ||
      start > latest.start ||
      (task.seq ?? -1) > (latest.task.seq ?? Number.POSITIVE_INFINITY)
    )
      continue;
    report(
      `${nameOf(task)} started ${ms(latest.start - start)} before ${nameOf(latest.task)}, accepted before its submit`,
    );
  }
}

function firstStart(task: HistoryTask): number {
  return Math.min(...task.attempts.map((attempt) => attempt.start));
}

function checkReplays(history: History, report: (detail: string) => void): void {
  for (const lane of history.lanes.values()) {
    const attempts = lane.attempts.filter((attempt) => attempt.task.seq !== undefined).sort(byStart);
    for (let at = 1; at < attempts.length; at += 1) {
      const before = attempts[at - 1];
      const after = attempts[at];
      if (before === undefined || after === undefined || (after.task.seq ?? 0) >= (before.task.seq ?? 0)) continue;
      if (before.process !== after.process) continue; // a new owner replays what was not synced
      const first = earliest(after.task);
      if (!pausedBetween(after, first, after.start) && !cameBack(after))
        report(`${nameOf(after.task)} again after ${nameOf(before.task)}`);
    }
  }
}

/** A head that failed blocks its lane until its next attempt, wherever that is, unless its process died or stood still. */
function checkPassed(history: History, report: (detail: string) => void): void {
  for (const lane of history.lanes.values()) {
    for (const task of lane.tasks) {
      if (task.seq === undefined || task.attempts.length < 2) continue;
      const attempts = [...task.attempts].sort(byStart);
      for (const [at, failed] of attempts.entries()) {
        const again = attempts[at + 1];
        if (failed.outcome !== "error" || failed.end === undefined || again === undefined || cameBack(again)) continue;
        const passing = lane.attempts.find(
          (other) => (other.task.seq ?? -1) > task.seq! && other.start >= failed.end! && other.start < again.start,
        );
        if (passing !== undefined) report(`${nameOf(passing.task)} between two attempts of ${nameOf(task)}`);
      }
    }
  }
}

function checkOverlap(history: History, report: (detail: string) => void): void {
  for (const lane of history.lanes.values()) {
    for (const { earlier, later } of overlaps(lane, endUnlessPaused)) {
      report(`${describe(later)} of ${nameOf(later.task)} during ${describe(earlier)} of ${nameOf(earlier.task)}`);
    }
  }
}

function checkFences(history: History, report: (detail: string) => void): void {
  for (const lane of history.lanes.values()) {
    let highest: Attempt | undefined;
    for (const attempt of [...lane.attempts].sort(byStart)) {
      if (highest !== undefined && attempt.fence <= highest.fence) {
        report(`${describe(attempt)} of ${nameOf(attempt.task)} after fence ${highest.fence}`);
      } else highest = attempt;
    }
  }
}

function checkStaleWrites(history: History, report: (detail: string) => void): void {
  for (const lane of history.lanes.values()) {
    for (const { fence, newer, seenBy } of staleWrites(lane)) {
      report(
        `${nameOf(seenBy.task)} found the state of fence ${fence}, which ${describe(newer)} had begun without finding`,
      );
    }
  }
}

function checkChildrenLost(history: History, report: (detail: string) => void): void {
  for (const parent of history.tasks.values()) {
    const last = newest(parent);
    if (last?.outcome !== "ok") continue; // an outbox is written with the acknowledgement of the newest attempt only
    for (const id of last.children) {
      const child = history.tasks.get(id);
      if (child === undefined || !isDone(child))
        report(`child ${id} of ${nameOf(parent)} ${child === undefined ? "never started" : "did not end"}`);
    }
  }
}

function checkChildrenTwice(history: History, report: (detail: string) => void): void {
  const firsts = new Map<string, HistoryTask>();
  for (const task of history.tasks.values()) {
    if (task.child === undefined || !task.attempts.some((attempt) => attempt.outcome === "ok")) continue;
    const name = `${task.parent ?? ""}\0${task.child}`;
    const first = firsts.get(name);
    if (first === undefined) firsts.set(name, task);
    else report(`child ${JSON.stringify(task.child)} ran as ${first.id} and as ${task.id}`);
  }
}

/** After a clean handoff, or none, a finished task must not run again; only a process that died or stood still repeats. */
function checkCleanRepeats(history: History, report: (detail: string) => void): void {
  for (const task of history.tasks.values()) {
    if (task.attempts.length < 2) continue;
    const attempts = [...task.attempts].sort(byStart);
    for (const [at, attempt] of attempts.entries()) {
      const next = attempts[at + 1];
      if (attempt.outcome !== "ok" || attempt.end === undefined || next === undefined) continue;
      const { killedAt } = attempt.process;
      const died = killedAt !== undefined && killedAt <= next.start;
      if (!died && !pausedBetween(attempt, attempt.start, next.start))
        report(`${nameOf(task)} on ${attempt.process.node}, then on ${next.process.node}`);
    }
  }
}

function overlaps(
  lane: Lane,
  end: (attempt: Attempt) => number,
): { readonly earlier: Attempt; readonly later: Attempt }[] {
  const found: { readonly earlier: Attempt; readonly later: Attempt }[] = [];
  let longest: Attempt | undefined;
  for (const attempt of [...lane.attempts].sort(byStart)) {
    if (longest !== undefined && attempt.start < end(longest)) found.push({ earlier: longest, later: attempt });
    if (longest === undefined || end(attempt) > end(longest)) longest = attempt;
  }
  return found;
}

function endUnlessPaused(attempt: Attempt): number {
  const end = endOf(attempt);
  let over = end;
  for (const pause of attempt.process.pauses) {
    if (pause.until >= attempt.start && pause.from <= end) over = Math.min(over, Math.max(pause.from, attempt.start));
  }
  return over;
}

function pausedBetween(attempt: Attempt, from: number, until: number): boolean {
  return attempt.process.pauses.some((pause) => pause.until >= from && pause.from <= until);
}

/** Its task was on a process that stood still or died, and re-entered behind newer ones (P3). */
function cameBack(attempt: Attempt): boolean {
  return attempt.task.attempts.some((earlier) => {
    if (earlier.process === attempt.process || earlier.start >= attempt.start) return false;
    const { killedAt } = earlier.process;
    const died = killedAt !== undefined && killedAt >= earlier.start && killedAt <= attempt.start;
    return died || pausedBetween(earlier, earlier.start, attempt.start);
  });
}

function earliest(task: HistoryTask): number {
  let first = Number.POSITIVE_INFINITY;
  for (const attempt of task.attempts) first = Math.min(first, attempt.start);
  return first;
}

function nameOf(task: HistoryTask): string {
  const seq = task.seq === undefined ? "" : ` #${task.seq}`;
  return `(${task.lane.app}, ${task.lane.key})${seq} ${task.id}`;
}

function describe(attempt: Attempt): string {
  return `attempt ${attempt.attempt} on ${attempt.process.node} (fence ${attempt.fence}, ${attempt.outcome ?? "no end"})`;
}

function ms(ns: number): string {
  return `${(ns / 1e6).toFixed(3)} ms`;
}
