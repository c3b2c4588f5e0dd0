/**
 * What a store takes: the bounds of `store.ts`, checked before a group is looked at, the same for every engine.
 */

import { Changes } from "../../changes.ts";
import { RingError } from "../../errors.ts";
import type { PageRequest, RowGroup } from "../../store.ts";

/** Size of what a commit asks for. */
export interface GroupSize {
  readonly changes: number;
  readonly deletes: number;
  /** Keys and values to be put. */
  readonly putBytes: number;
}

/** Throws `INVALID_ARGUMENT` or `PAYLOAD_TOO_LARGE` when a key, a value or a partition is outside the contract. */
export function measureGroups(groups: readonly RowGroup[]): GroupSize {
  let changes = 0;
  let deletes = 0;
  let putBytes = 0;
  for (const group of groups) {
    if (!(group.partition >= 0 && group.partition < PARTITION_LIMIT)) throw invalid(`partition ${group.partition}`);
    const of = Changes.of(group.changes);
    if (of.hasEmptyKey) throw invalid("a key of 0 bytes");
    if (of.longestKeyBytes > KEY_LIMIT_BYTES) throw invalid(`a key of ${of.longestKeyBytes} bytes`);
    if (of.longestValueBytes > VALUE_LIMIT_BYTES) {
      const detail = `a row of ${of.longestValueBytes} bytes; the limit is ${VALUE_LIMIT_BYTES}`;
      throw new RingError("PAYLOAD_TOO_LARGE", detail);
    }
    changes += of.length;
    deletes += of.deletes;
    putBytes += of.putBytes;
  }
  return { changes, deletes, putBytes };
}

/** Throws `INVALID_ARGUMENT` when a page is asked for that cannot make progress. */
export function checkPageRequest(request: PageRequest): void {
  if (!(request.partition >= 0 && request.partition < PARTITION_LIMIT)) throw invalid(`partition ${request.partition}`);
  if (!(request.rowLimit >= 1) || !(request.byteLimit >= 1)) throw invalid("a page of no rows or no bytes");
}

function invalid(what: string): RingError {
  return new RingError("INVALID_ARGUMENT", `the store does not take ${what}`);
}

/** The partitions of the largest ring, and one for rows of the node itself. */
export const PARTITION_LIMIT = 4097;
const KEY_LIMIT_BYTES = 1024;
const VALUE_LIMIT_BYTES: number = 4 * 1024 * 1024;
/** No page has more rows, whatever was asked for: one page is read in one turn of the event loop. */
export const PAGE_ROW_LIMIT = 10_000;
