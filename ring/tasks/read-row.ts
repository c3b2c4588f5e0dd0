/**
 * Rows of a partition, each read once before anything is done with it: so whatever is made of them cannot fail half-way, and a
 * task, of which there may be a hundred thousand, is read no second time.
 */

import { isAppName } from "../ids.ts";
import type { Row } from "../store.ts";
import { type EndedId, readEnded } from "./ended-row.ts";
import { detachRecord, isRefused, parseRecord } from "./record.ts";
import {
  KIND,
  type Position,
  readDead,
  readId,
  readKeyed,
  readPosition,
  readResult,
  readTaskHeader,
  TASK_HEADER_BYTES,
  type TaskHeader,
} from "./rows.ts";
import { readSchedule } from "./schedule-row.ts";
import { readAside, readStateMark } from "./state-rows.ts";
import type { TaskRecord } from "./task.ts";

export interface TaskRow {
  readonly position: Position;
  readonly header: TaskHeader;
  readonly record: TaskRecord;
}

/** Kept for whoever can read it: a newer version. */
export function unreadKey(generation: number, key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(UNREAD_BYTES + key.length);
  bytes[0] = KIND.unread;
  new DataView(bytes.buffer).setUint32(1, generation);
  bytes.set(key, UNREAD_BYTES);
  return bytes;
}

/** Undefined: it is no such row. */
export function unreadRow({ key, value }: Row): { readonly generation: number; readonly row: Row } | undefined {
  if (key[0] !== KIND.unread || key.length <= UNREAD_BYTES) return undefined;
  const generation = new DataView(key.buffer, key.byteOffset).getUint32(1);
  return { generation, row: { key: key.subarray(UNREAD_BYTES), value } };
}

export interface EndedRow extends Row {
  readonly position: Position;
  readonly ended: readonly EndedId[];
}

export type ReadRow = TaskRow | EndedRow | Row;

export function isPaused(row: ReadRow): boolean {
  return !("record" in row) && row.key[0] === KIND.paused;
}

/** Undefined when it cannot be read. */
export function readRow(row: Row): ReadRow | undefined {
  const { key, value } = row;
  try {
    switch (key[0]) {
      case KIND.task: {
        const record = parseRecord(value, TASK_HEADER_BYTES, value.length);
        if (isRefused(record)) return undefined;
        return { position: readPosition(key), header: readTaskHeader(value), record: detachRecord(record) };
      }
      case KIND.dead: {
        readPosition(key);
        const { wire } = readDead(value);
        return isRefused(parseRecord(wire, 0, wire.length)) ? undefined : row;
      }
      case KIND.dedupe:
        readId(value);
        return readKeyed(key).name === "" ? undefined : row;
      case KIND.ended: {
        const [position, ended] = [readPosition(key), readEnded(value)];
        return ended.length > 0 ? { key, value, position, ended } : undefined;
      }
      case KIND.result:
        return isAppName(readResult(value).app) ? row : undefined;
      case KIND.schedule:
        readSchedule(value);
        return isAppName(readKeyed(key).app) ? row : undefined;
      case KIND.stateHere:
        readStateMark(value);
        return isAppName(readKeyed(key).app) ? row : undefined;
      case KIND.stateAside:
        readAside(row);
        return isAppName(readKeyed(key).app) ? row : undefined;
      case KIND.state:
      case KIND.paused:
        return isAppName(readKeyed(key).app) ? row : undefined;
      default:
        return row; // not ours, or looked at as it is entered
    }
  } catch {
    return undefined;
  }
}

/** Kind and generation. */
const UNREAD_BYTES = 5;
