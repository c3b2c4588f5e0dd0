/**
 * A task's deadline has passed: given up where it waits, aborted where it runs (its handler settles first, rule 21).
 */

import type { Instant } from "../machine.ts";
import { DEADLINE_FAILURE } from "./completion.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import type { Task } from "./model.ts";
import type { Scheduler } from "./scheduler.ts";

export interface ExpiryParts {
  readonly core: Core;
  readonly dead: DeadLetters;
  readonly scheduler: Scheduler;
}

export function expireTask(now: Instant, task: Task, parts: ExpiryParts): void {
  task.deadlineTimer = undefined;
  if (task.phase === "ending" || task.phase === "ended") return;
  const attempt = task.lane?.attempt;
  if (task.phase === "running" && attempt?.task === task) {
    parts.scheduler.abort(attempt, "deadline");
    // Told to stop for another reason before: it is too late all the same, and no timer is left that would say so later.
    if (attempt.aborted !== "cancelled") attempt.aborted = "deadline";
    return;
  }
  parts.dead.bury(now, task, DEADLINE_FAILURE, () => {
    task.waits = "DEAD_LETTERS_FULL";
    task.deadlineTimer = parts.core.timers.set(now + AGAIN_MS, { type: "task-deadline", task });
  });
}

/** With no room for a dead letter the deadline is looked at again after this. */
const AGAIN_MS = 60_000;
