/**
 * Rows of a partition, each read once before anything is done with it: so whatever is made of them cannot fail half-way, and a
 * task, of which there may be a hundred thousand, is read no second time.
 */

import { isAppName } from "../ids.ts";
import type { Row } from "../store.ts";
import { readEnded } from "./ended-row.ts";
import { detachRecord, isRefused, parseRecord } from "./record.ts";
import {
  KIND,
  type Position,
  readDead,
  readId,
  readKeyed,
  readPosition,
  readResult,
  readSchedule,
  readTaskHeader,
  TASK_HEADER_BYTES,
  type TaskHeader,
} from "./rows.ts";
import { readAside, readStateMark } from "./state-rows.ts";
import type { TaskRecord } from "./task.ts";

export interface TaskRow {
  readonly position: Position;
  readonly header: TaskHeader;
  readonly record: TaskRecord;
}

export type ReadRow = TaskRow | Row;

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
      case KIND.ended:
        readPosition(key);
        return readEnded(value).length > 0 ? row : undefined;
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
