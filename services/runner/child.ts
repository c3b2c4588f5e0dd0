/**
 * Makes the child task of a `submit` inside an attempt.
 *
 * The id is derived from the parent's id and the ordinal of the call, or the child's lane and idempotency key: the same
 * on every attempt, so that receivers deduplicate. Its time digits are the parent's.
 */

import { RingError } from "../../ring/errors.ts";
import { parseAppName } from "../../ring/ids.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Child } from "../../ring/tasks/task.ts";
import { deriveId, hashText } from "../../ring/tasks/task-id.ts";
import type { SubmitOptions } from "../apps/context.ts";
import type { Run } from "./run.ts";
import { encodePayload } from "./value.ts";

/**
 * Throws `APP_NAME_INVALID`, `TASK_TYPE_UNKNOWN`, `PAYLOAD_TOO_LARGE` or `INVALID_ARGUMENT` naming the field.
 * Raises the run's count of submits.
 */
export function makeChild(run: Run, type: string, options: SubmitOptions): Child {
  const app = options.app === undefined ? run.attempt.record.app : parseAppName(String(options.app));
  if (run.host.knowsType(app, type) === false) {
    throw new RingError(
      "TASK_TYPE_UNKNOWN",
      `submit: app ${app} defines no task ${JSON.stringify(String(type).slice(0, 80))}`,
    );
  }
  const { key = "", headers } = options;
  // A number would be hashed otherwise than the text that it is sent as.
  if (typeof key !== "string")
    throw new RingError("INVALID_ARGUMENT", `submit: key must be a string, not ${String(key).slice(0, 40)}`);
  const idempotencyKey = options.idempotencyKey || undefined; // empty is none, as on the wire
  const ordinal = run.submits++;
  const lane = key === "" && idempotencyKey !== undefined ? hashText(idempotencyKey) : key;
  const id = deriveId({
    app,
    key: lane,
    seed: seedOf(run, idempotencyKey === undefined ? ["ordinal", `${ordinal}`] : ["key", app, lane, idempotencyKey]),
    wallMs: Number.parseInt(run.attempt.record.id.slice(0, 12), 16),
  });
  const wire = encodeRecord({
    app,
    type,
    key,
    id,
    payload: payloadOf(options),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    ...(headers === undefined ? {} : { headers: headersOf(headers) }),
    delayMs: wholeNumber("delayMs", options.delayMs, { least: 0, most: Number.MAX_SAFE_INTEGER }),
    deadlineMs: wholeNumber("deadlineMs", options.deadlineMs, { least: 0, most: Number.MAX_SAFE_INTEGER }),
    maxAttempts: wholeNumber("maxAttempts", options.maxAttempts, { least: 0, most: 1_000 }),
    priority: wholeNumber("priority", options.priority, { least: -100, most: 100 }),
  });
  const record = parseRecord(wire, 0, wire.length);
  if (isRefused(record)) throw new RingError(record.code, `submit: ${record.detail}`);
  return { id, wire };
}

/** A resident has no task id that stays: its runs are told apart by their fence. */
function seedOf(run: Run, parts: readonly string[]): string {
  const { record, resident } = run.attempt;
  const parent = resident === undefined ? record.id : `${record.app}/${resident}/${run.attempt.fence}`;
  return [parent, ...parts].join("\u0000");
}

function payloadOf(options: SubmitOptions): Uint8Array {
  try {
    return encodePayload(options.payload);
  } catch (error) {
    throw new RingError("INVALID_ARGUMENT", "submit: the payload has no JSON form", { cause: error });
  }
}

function headersOf(headers: NonNullable<SubmitOptions["headers"]>): ReadonlyMap<string, string> {
  const entries = headers instanceof Map ? [...headers] : Object.entries(headers);
  return new Map(entries.map(([name, value]) => [String(name), String(value)]));
}

/** Absent: 0, which is left off the wire. Rounded up: a deadline of less than 1 is not none. */
function wholeNumber(
  field: string,
  value: number | undefined,
  range: { readonly least: number; readonly most: number },
): number {
  if (value === undefined) return 0;
  const rounded = Math.ceil(value);
  if (rounded >= range.least && rounded <= range.most) return rounded;
  throw new RingError(
    "INVALID_ARGUMENT",
    `submit: ${field} must be ${range.least} to ${range.most}, not ${String(value).slice(0, 40)}`,
  );
}
