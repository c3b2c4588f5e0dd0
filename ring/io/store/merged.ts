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
  const changes = new Changes(range, overlays);
  for (const row of database) {
    let change = changes.current;
    for (; change !== undefined && Buffer.compare(change.key, row.key) < 0; change = changes.step())
      if (change.value !== undefined) yield { key: change.key, value: change.value };
    if (change === undefined || Buffer.compare(change.key, row.key) !== 0) yield { key: row.key, stored: row.value };
    else {
      changes.step();
      if (change.value !== undefined) yield { key: change.key, value: change.value };
    }
  }
  for (let change = changes.current; change !== undefined; change = changes.step())
    if (change.value !== undefined) yield { key: change.key, value: change.value };
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
    bytes += row.key.length + ("value" in row ? row.value : row.stored).length;
    // It may so hold fewer rows than it could; `next` still leads on.
    if (last !== undefined && (seen >= rowLimit || bytes > request.byteLimit)) return { rows, next: last };
    const key = row.key.slice(SPACE_BYTES);
    last = key;
    seen += 1;
    const content = contentOf(row);
    if (content === undefined) damaged(row.key.slice());
    else rows.push({ key, value: "value" in row ? content.slice() : content });
  }
  return { rows };
}

/** The newest change of each row in the range, one after another. */
class Changes {
  readonly #cursors: readonly Cursor[];
  #at: Cursor | undefined;

  constructor(range: KeyRange, overlays: readonly Overlay[]) {
    this.#cursors = overlays.filter(({ rows }) => rows > 0).map((overlay) => new Cursor(overlay, range));
    this.#choose();
  }

  get current(): NetChange | undefined {
    return this.#at?.change;
  }

  /** The next one. */
  step(): NetChange | undefined {
    this.#at?.step();
    this.#choose();
    return this.current;
  }

  /** The least key; of equal ones the newest, and the others are passed over. */
  #choose(): void {
    let least: Cursor | undefined;
    for (const cursor of this.#cursors) {
      if (cursor.change === undefined) continue;
      const order = least?.change === undefined ? -1 : Buffer.compare(cursor.change.key, least.change.key);
      if (order < 0) least = cursor;
      else if (order === 0) cursor.step();
    }
    this.#at = least;
  }
}

class Cursor {
  readonly #overlay: Overlay;
  readonly #places: readonly number[];
  #next = 0;
  change: NetChange | undefined;

  constructor(overlay: Overlay, range: KeyRange) {
    this.#overlay = overlay;
    this.#places = overlay.within(range.start, range.end);
    this.step();
    if (range.exclusive === true && this.change !== undefined && Buffer.compare(this.change.key, range.start) === 0)
      this.step();
  }

  step(): void {
    const at = this.#places[this.#next++];
    this.change = at === undefined ? undefined : this.#overlay.newestOf(at);
  }
}
