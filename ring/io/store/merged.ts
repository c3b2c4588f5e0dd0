/** Rows of the database and what the journal says newer of them, as one. */

import type { PageRequest, Row, RowPage } from "../../store.ts";
import type { RowRange } from "./environment.ts";
import { checkPageRequest, PAGE_ROW_LIMIT } from "./limits.ts";
import type { NetChange, Overlay } from "./overlay.ts";
import { keyOf, openValue, SPACE_BYTES, upperBound } from "./rows.ts";

/** A row as it is now: in the database, with its checksum, or newer than that. Keys have their space in front. */
export type FoundRow =
  | { readonly key: Uint8Array; readonly stored: Uint8Array }
  | { readonly key: Uint8Array; readonly value: Uint8Array };

export type KeyRange = Omit<RowRange, "limit">;

/** Undefined when the checksum does not fit. A view. */
export function contentOf(row: FoundRow): Uint8Array | undefined {
  return "value" in row ? row.value : openValue(row.key, row.stored);
}

/** In key order; `overlays` newest first. Views: copy what is kept longer than this turn. */
export function* mergedRows(
  range: KeyRange,
  database: Iterable<Row>,
  overlays: readonly Overlay[],
): Generator<FoundRow, void, undefined> {
  const changes = changesIn(range, overlays);
  let next = 0;
  for (const row of database) {
    for (; next < changes.length && Buffer.compare(changes[next]!.key, row.key) < 0; next++) {
      const { key, value } = changes[next]!;
      if (value !== undefined) yield { key, value };
    }
    const change = changes[next];
    if (change === undefined || Buffer.compare(change.key, row.key) !== 0) yield { key: row.key, stored: row.value };
    else {
      next++;
      if (change.value !== undefined) yield { key: change.key, value: change.value };
    }
  }
  for (; next < changes.length; next++) {
    const { key, value } = changes[next]!;
    if (value !== undefined) yield { key, value };
  }
}

/** The page that was asked for. A row whose checksum does not fit is told to `damaged` and left out. */
export function pageOf(
  request: PageRequest,
  rowsIn: (range: KeyRange) => Iterable<FoundRow>,
  damaged: (key: Uint8Array) => void,
): RowPage {
  checkPageRequest(request);
  const prefix = keyOf(request.partition, request.prefix);
  const after = request.after && keyOf(request.partition, request.after);
  const exclusive = after !== undefined && Buffer.compare(after, prefix) >= 0;
  const rowLimit = Math.min(request.rowLimit, PAGE_ROW_LIMIT);
  const rows: Row[] = [];
  let bytes = 0;
  let seen = 0;
  let last: Uint8Array | undefined;
  for (const row of rowsIn({ start: exclusive ? after : prefix, end: upperBound(prefix), exclusive })) {
    const key = row.key.slice();
    bytes += key.length + ("value" in row ? row.value : row.stored).length;
    // It may so hold fewer rows than it could; `next` still leads on.
    if (last !== undefined && (seen >= rowLimit || bytes > request.byteLimit))
      return { rows, next: last.slice(SPACE_BYTES) };
    last = key;
    seen += 1;
    const content = contentOf(row);
    if (content === undefined) damaged(key);
    else rows.push({ key: key.subarray(SPACE_BYTES), value: "value" in row ? content.slice() : content });
  }
  return { rows };
}

/** The newest change of each row in the range. */
function changesIn(range: KeyRange, overlays: readonly Overlay[]): readonly NetChange[] {
  let merged: readonly NetChange[] = [];
  for (const overlay of overlays) {
    const found = overlay.rows === 0 ? [] : overlay.range(range.start, range.end);
    const skipped = range.exclusive === true && found[0] !== undefined && isSame(found[0].key, range.start);
    merged = merge(merged, skipped ? found.slice(1) : found);
  }
  return merged;
}

function merge(newer: readonly NetChange[], older: readonly NetChange[]): readonly NetChange[] {
  if (older.length === 0) return newer;
  if (newer.length === 0) return older;
  const merged: NetChange[] = [];
  let next = 0;
  for (const change of older) {
    while (next < newer.length && Buffer.compare(newer[next]!.key, change.key) < 0) merged.push(newer[next++]!);
    if (next < newer.length && isSame(newer[next]!.key, change.key)) merged.push(newer[next++]!);
    else merged.push(change);
  }
  merged.push(...newer.slice(next));
  return merged;
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
