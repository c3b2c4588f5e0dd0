/** A task out of a request's bytes: parsed, and given an id if it came without one. */

import { completeRecord, isRefused, parseRecord, type RefusedRecord } from "../../ring/tasks/record.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";

/** The record lies in `bytes`, unless an id was minted. */
export function takeRecord(bytes: Uint8Array, start: number, end: number): TaskRecord | RefusedRecord {
  const record = parseRecord(bytes, start, end);
  if (!isRefused(record) || record.detail !== ID_MISSING) return record;
  return completeRecord(bytes.subarray(start, end), { wallMs: Date.now(), random: Math.random });
}

/** True if `takeRecord` had to mint the id: then the record does not lie in the frame. */
export function wasMinted(record: TaskRecord, bytes: Uint8Array): boolean {
  return record.bytes.buffer !== bytes.buffer;
}

const ID_MISSING = "task_id is missing";
