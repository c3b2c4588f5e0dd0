/**
 * How long keys stood still: when they moved to another process, and when their process was killed.
 */

import type { Attempt, History, Lane } from "./history.ts";
import { byStart, endOf } from "./rules.ts";

export interface PauseFigures {
  /** Keys (a key counts once for each move or kill). */
  readonly keys: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

/**
 * Of each key that went from one living process to another: from the moment its next task could have started (the one
 * before had ended, and it was accepted) until it did.
 */
export function movePauses(history: History): PauseFigures {
  const pauses: number[] = [];
  for (const lane of history.lanes.values()) {
    const attempts = [...lane.attempts].sort(byStart);
    for (let at = 1; at < attempts.length; at += 1) {
      const before = attempts[at - 1];
      const after = attempts[at];
      if (before === undefined || after === undefined || before.process === after.process) continue;
      const { killedAt } = before.process;
      if (killedAt !== undefined && killedAt <= after.start) continue;
      const ready = Math.max(endOf(before), after.task.acceptedAt ?? after.start);
      if (Number.isFinite(ready)) pauses.push(Math.max(after.start - ready, 0));
    }
  }
  return figures(pauses);
}

/**
 * Of each key whose process was killed while tasks of it were queued or running: from the kill until the key's next
 * start. Keys that had not run there before are not known to have been there, and are left out.
 */
export function takeoverPauses(history: History): PauseFigures {
  const pauses: number[] = [];
  const killed = history.processes.filter((each) => each.killedAt !== undefined);
  if (killed.length === 0) return figures(pauses);
  for (const lane of history.lanes.values()) {
    const attempts = [...lane.attempts].sort(byStart);
    for (const { killedAt = 0, ...victim } of killed) {
      const next = attempts.findIndex((attempt) => attempt.start > killedAt);
      const last = attempts[next - 1];
      const first = attempts[next];
      if (
        last === undefined ||
        first === undefined ||
        last.process.pid !== victim.pid ||
        last.process.openedAt !== victim.openedAt
      )
        continue;
      if (waitedAt(lane, first, killedAt)) pauses.push(first.start - killedAt);
    }
  }
  return figures(pauses);
}

/** Whether the task that ran first after the kill was there before it. */
function waitedAt(lane: Lane, first: Attempt, at: number): boolean {
  const { task } = first;
  if (task.acceptedAt !== undefined) return task.acceptedAt <= at;
  return lane.attempts.some((attempt) => attempt.task === task && attempt.start <= at);
}

function figures(ns: number[]): PauseFigures {
  ns.sort((a, b) => a - b);
  const at = (share: number): number => (ns[Math.min(Math.ceil(ns.length * share), ns.length) - 1] ?? 0) / 1e6;
  return { keys: ns.length, p50Ms: at(0.5), p99Ms: at(0.99), worstMs: at(1) };
}
