/**
 * Quarantine: rows that must not be opened, kept for the operator as they were found.
 *
 * A batch is a header that says why and when (JSON), and behind it each row under its original key, with the checksum
 * it came with.
 */

import type { Term } from "../../store.ts";
import type { Environment } from "./environment.ts";
import type { RowSink } from "./row-sink.ts";
import { ASIDE, keyOf, SPACE_BYTES, type Space, spaceOf, upperBound } from "./rows.ts";

export interface AsideReason {
  readonly partition: Space;
  readonly term?: Term;
  readonly why: string;
}

export class Aside {
  #nextBatch = 0;
  #batches = 0;
  #rows = 0;

  /** Rows set aside, ever. */
  get rows(): number {
    return this.#rows;
  }

  /** Rows and headers. */
  get entries(): number {
    return this.#rows + this.#batches;
  }

  load(environment: Environment): void {
    for (const { key } of environment.range({ start: keyOf(ASIDE), end: upperBound(keyOf(ASIDE)) })) {
      if (key.length > SPACE_BYTES + BATCH_BYTES) this.#rows += 1;
      else this.#batches += 1;
      this.#nextBatch = new DataView(key.buffer, key.byteOffset).getUint32(SPACE_BYTES) + 1;
    }
  }

  /** A number for a batch that is to begin. */
  next(): number {
    return this.#nextBatch++;
  }

  /** The header of a batch. */
  begin(rows: RowSink, number: number, reason: AsideReason): void {
    const text = JSON.stringify({ ...reason, why: reason.why.slice(0, WHY_LIMIT), at: new Date().toISOString() });
    rows.put(ASIDE, asideKey(number), new TextEncoder().encode(text));
  }

  /** Moves one row; `stored` with the checksum that it has. */
  move(rows: RowSink, number: number, row: { readonly key: Uint8Array; readonly stored: Uint8Array }): void {
    rows.putStored(ASIDE, asideKey(number, row.key), row.stored);
    rows.remove(spaceOf(row.key), row.key.subarray(SPACE_BYTES));
  }

  /** So many were moved; with `begun` to a batch of their own. */
  moved(rows: number, begun: boolean): void {
    this.#rows += rows;
    if (begun) this.#batches += 1;
  }
}

function asideKey(number: number, row: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array(BATCH_BYTES + row.length);
  new DataView(bytes.buffer).setUint32(0, number);
  bytes.set(row, BATCH_BYTES);
  return bytes;
}

const BATCH_BYTES = 4;
const WHY_LIMIT = 1000;
