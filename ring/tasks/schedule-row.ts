/** The row of a recurring task: where it stands, and what it is if no app declares it. */

import type { ScheduleSpec } from "./definition.ts";
import { RowReader, RowWriter, textBytes } from "./row-writer.ts";

export interface ScheduleRow {
  readonly paused: boolean;
  /** Wall ms of the newest tick that fired or was passed over. */
  readonly lastTickMs: number;
  /** Made while older rows of it may come, none of which has: where it stands there counts. */
  readonly isNew?: boolean;
  /** One of those that has fired here. */
  readonly hasFired?: boolean;
  /** Of the owner that was told last how it is to be; absent: whoever left the row. */
  readonly origin?: number;
  /** Whole wall ms of when it was resumed behind its newest tick. */
  readonly resumedAtMs?: number;
  /** Of a declared one: by which times it went on (`timesOf`). Absent in rows of older versions. */
  readonly times?: string;
  /** Absent for a schedule declared in `defineApp`. */
  readonly spec: Omit<ScheduleSpec, "name" | "key"> | undefined;
}

export function scheduleValue(row: ScheduleRow): Uint8Array {
  const [spec, every] = [row.spec, row.spec?.every];
  const expression = every?.type === "cron" ? every.expression : "";
  const timeZone = every?.type === "cron" ? (every.timeZone ?? "") : "";
  writer.begin(
    64 +
      textBytes(expression) +
      textBytes(timeZone) +
      textBytes(spec?.taskType ?? "") +
      (spec?.payload.length ?? 0) +
      textBytes(row.times ?? ""),
  );
  const flags =
    (row.paused ? 1 : 0) |
    (spec === undefined ? 0 : 2) |
    (every?.type === "cron" ? 4 : 0) |
    (spec?.misfire === "skip" ? 8 : 0) |
    (row.isNew === true ? 16 : 0) |
    (row.hasFired === true ? 32 : 0) |
    (row.origin === undefined ? 0 : 64) |
    (row.resumedAtMs === undefined ? 0 : 128);
  writer.u8(1).u8(flags).u48(row.lastTickMs);
  if (row.origin !== undefined) writer.u32(row.origin);
  if (row.resumedAtMs !== undefined) writer.u48(row.resumedAtMs);
  if (spec !== undefined) {
    writer.text16(spec.taskType).u48(every?.type === "interval" ? every.everyMs : 0);
    writer.text16(expression).text8(timeZone).bytes(spec.payload);
  } else if (row.times !== undefined) writer.text16(row.times); // older versions read no further than this
  return writer.end();
}

export function readSchedule(value: Uint8Array): ScheduleRow {
  const reader = new RowReader(value);
  if (reader.u8() !== 1) throw new RangeError("a schedule of another version");
  const flags = reader.u8();
  const lastTickMs = reader.u48();
  const paused = (flags & 1) !== 0;
  const made = {
    ...((flags & 16) === 0 ? {} : { isNew: true, hasFired: (flags & 32) !== 0 }),
    ...((flags & 64) === 0 ? {} : { origin: reader.u32() }),
    ...((flags & 128) === 0 ? {} : { resumedAtMs: reader.u48() }),
  };
  if ((flags & 2) === 0)
    return { paused, lastTickMs, ...made, ...(reader.isEnd ? {} : { times: reader.text16() }), spec: undefined };
  const taskType = reader.text16();
  const everyMs = reader.u48();
  const expression = reader.text16();
  const timeZone = reader.text8();
  const every: ScheduleSpec["every"] =
    (flags & 4) === 0
      ? { type: "interval", everyMs }
      : timeZone === ""
        ? { type: "cron", expression }
        : { type: "cron", expression, timeZone };
  return {
    paused,
    lastTickMs,
    ...made,
    spec: { every, taskType, payload: new Uint8Array(reader.rest()), misfire: (flags & 8) === 0 ? "once" : "skip" },
  };
}

const writer = new RowWriter();
