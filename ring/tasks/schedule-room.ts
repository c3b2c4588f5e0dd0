/**
 * Room for run-time schedules, which are kept in memory with their payloads: a number for each app, and bytes for the node, of which
 * an app takes of what the others leave all but a part (promise P4). What is stored already is taken in any case.
 */

import type { ScheduleSpec } from "./definition.ts";
import type { EngineLimits } from "./limits.ts";
import type { AppRun } from "./model.ts";
import { invalid, type Refusal, type Schedule } from "./schedule.ts";
import { ticksOf, tooLongOf } from "./ticks.ts";

export class ScheduleRoom {
  readonly #limits: EngineLimits;
  #bytes = 0;

  constructor(limits: EngineLimits) {
    this.#limits = limits;
  }

  /** Why one may not be put, in place of the one `before` if there is one. */
  refusal(app: AppRun, spec: ScheduleSpec, before: Schedule | undefined): Refusal | undefined {
    const { schedulesPerApp, scheduleBytes, payloadBytes } = this.#limits;
    if (before?.declared === true) return invalid("the app declares a schedule of this name");
    if (before === undefined && app.schedules >= schedulesPerApp)
      return { code: "QUEUE_FULL", detail: `app ${app.name} has ${app.schedules} schedules, its limit` };
    const tooLong = tooLongOf(spec, payloadBytes);
    if (tooLong !== undefined) return invalid(tooLong);
    const ticks = ticksOf(app.name, spec);
    if ("refusal" in ticks) return invalid(ticks.refusal);
    const given = before === undefined ? 0 : bytesOf(before);
    const bytes = bytesOf({ spec, declared: false });
    const free = scheduleBytes - this.#bytes + given;
    if (bytes <= given || (bytes <= free && app.scheduleBytes - given + bytes <= free * SHARE)) return undefined;
    return { code: "QUEUE_FULL", detail: `the schedules of app ${app.name} have ${app.scheduleBytes} bytes` };
  }

  /** One that is here, or that is gone. */
  count(schedule: Schedule, sign: 1 | -1): void {
    const { app } = schedule;
    const bytes = sign * bytesOf(schedule);
    app.schedules += sign;
    app.scheduleBytes += bytes;
    this.#bytes += bytes;
  }
}

/** Those of the code of an app have their specs from there. */
function bytesOf({ spec, declared }: Pick<Schedule, "spec" | "declared">): number {
  return declared ? 0 : OBJECT_BYTES + spec.payload.length;
}

/** What one takes beside its payload. */
const OBJECT_BYTES = 2_048;
/** As in `fullness.ts`. */
const SHARE = 4;
