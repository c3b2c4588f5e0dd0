/**
 * When a schedule is due: pure functions of its spec and wall times.
 *
 * Intervals are aligned to the epoch with a phase from the schedule's name, so that every owner finds the same ticks and a
 * thousand feeds polled each minute do not all start in the same second.
 */

import { Cron } from "croner";
import { murmur3 } from "../hash.ts";
import type { ScheduleSpec } from "./definition.ts";

export interface Ticks {
  /** The first tick after a wall time; `undefined` when there is none. */
  next(afterMs: number): number | undefined;
  /** The newest tick up to `wallMs`, given that `dueMs` is one that has passed. */
  newest(dueMs: number, wallMs: number): number;
}

/** Why the spec cannot be kept, or its tasks not be taken. */
export function tooLongOf(spec: ScheduleSpec, payloadBytes: number): string | undefined {
  if (spec.name === "" || spec.name.length > 128 || spec.key === "" || spec.key.length > 128)
    return "name and key have 1 to 128 characters";
  if (encoder.encode(spec.taskType).length > TYPE_BYTES) return `the task type is longer than ${TYPE_BYTES} bytes`;
  return spec.payload.length > payloadBytes ? `the payload is longer than ${payloadBytes} bytes` : undefined;
}

/** Why the spec cannot be followed, or its ticks. */
export function ticksOf(app: string, spec: ScheduleSpec): Ticks | { readonly refusal: string } {
  const { every } = spec;
  if (every.type === "interval") {
    if (!Number.isSafeInteger(every.everyMs) || every.everyMs < LEAST_INTERVAL_MS || every.everyMs > MOST_INTERVAL_MS) {
      return { refusal: `everyMs is ${LEAST_INTERVAL_MS} to ${MOST_INTERVAL_MS}` };
    }
    return intervalTicks(every.everyMs, murmur3(encoder.encode(`${app}\0${spec.key}\0${spec.name}`)) % every.everyMs);
  }
  if (every.expression.length > 256) return { refusal: "the cron expression is longer than 256 characters" };
  const name = `${every.timeZone ?? ""}\0${every.expression}`;
  const known = calendars.get(name);
  if (known !== undefined) return cronTicks(known);
  try {
    const calendar = new Calendar(every.expression, every.timeZone);
    // It looks at the zone no sooner, and throws. One that no day fits is looked for through thousands of years, each time anew.
    if (calendar.next(0) === undefined) return { refusal: "the cron expression fits no day" };
    if (calendars.size >= CALENDARS) calendars.clear();
    calendars.set(name, calendar);
    return cronTicks(calendar);
  } catch (error) {
    return { refusal: error instanceof Error ? error.message : "the cron expression is not valid" };
  }
}

function intervalTicks(everyMs: number, phaseMs: number): Ticks {
  const at = (wallMs: number): number => Math.floor((wallMs - phaseMs) / everyMs) * everyMs + phaseMs;
  return { next: (afterMs) => at(afterMs) + everyMs, newest: (_dueMs, wallMs) => at(wallMs) };
}

/** The same tick is asked for whenever the wall clock is looked at, each second; and to find one anew takes the zone's calendar. */
function cronTicks(calendar: Calendar): Ticks {
  let askedMs = Number.NaN;
  let found: number | undefined;
  return {
    next: (afterMs) => {
      if (afterMs !== askedMs) [askedMs, found] = [afterMs, calendar.next(afterMs)];
      return found;
    },
    newest: (dueMs, wallMs) => {
      const newest = calendar.newest(wallMs);
      return newest !== undefined && newest > dueMs && newest <= wallMs ? newest : dueMs;
    },
  };
}

/**
 * An expression in a zone, for all schedules that have it: those of ten thousand apps of one template fire in the same moment, and
 * each looks for the same two ticks then.
 */
class Calendar {
  readonly #expression: string;
  readonly #timeZone: string;
  /** From here on the next tick is that one, before it. */
  #fromMs = Number.POSITIVE_INFINITY;
  #nextMs = Number.NEGATIVE_INFINITY;
  /** The newest tick of the wall time that was asked for last. */
  #wallMs = Number.NaN;
  #newestMs: number | undefined;

  constructor(expression: string, timeZone: string | undefined) {
    this.#expression = expression;
    this.#timeZone = timeZone ?? "UTC"; // whichever zone the owner's machine is set to
  }

  next(afterMs: number): number | undefined {
    if (afterMs < this.#fromMs || afterMs >= this.#nextMs) {
      this.#nextMs = this.#cron().nextRun(new Date(afterMs))?.getTime() ?? Number.POSITIVE_INFINITY;
      this.#fromMs = afterMs;
    }
    return this.#nextMs === Number.POSITIVE_INFINITY ? undefined : this.#nextMs;
  }

  newest(wallMs: number): number | undefined {
    if (wallMs !== this.#wallMs) {
      this.#newestMs = this.#cron()
        .previousRuns(1, new Date(wallMs + 1))[0]
        ?.getTime(); // of those before that instant
      this.#wallMs = wallMs;
    }
    return this.#newestMs;
  }

  /** It has a number for each of ten thousand years, 80 KB: none is kept, as to make one takes less than to search with it. */
  #cron(): Cron {
    return new Cron(this.#expression, { paused: true, timezone: this.#timeZone });
  }
}

const LEAST_INTERVAL_MS = 100;
const MOST_INTERVAL_MS = 366 * 86_400_000;
const calendars: Map<string, Calendar> = new Map();
/** Shared ones; schedules keep theirs. */
const CALENDARS = 1_000;
/** As of any task. */
const TYPE_BYTES = 128;
const encoder = new TextEncoder();
