/**
 * How rows lie in the one LMDB database of a node.
 *
 *   key    [space u16][key …]           spaces 0 to 4,095 are the partitions; the rest are listed at the end
 *   value  [value …][crc32 u32 LE]      over the whole key and the value
 *
 * The checksum covers the key too, so that a value found under another key is not served either. It stands behind the
 * value because key and value then lie side by side in the slab of a commit and cost one pass.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { Term } from "../../store.ts";
import { checksum } from "./checksum.ts";

/** The number in front of a key: a partition or one of the spaces below. */
export type Space = number;

export function keyOf(space: Space, key: Uint8Array = NO_BYTES): Uint8Array {
  const bytes = new Uint8Array(SPACE_BYTES + key.length);
  bytes[0] = space >>> 8;
  bytes[1] = space & 255;
  bytes.set(key, SPACE_BYTES);
  return bytes;
}

export function spaceOf(key: Uint8Array): Space {
  return (key[0]! << 8) | key[1]!;
}

/** The least key greater than all that begin with `prefix`; a prefix of a space always has one. */
export function upperBound(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (prefix[length - 1] === 255) length -= 1;
  const bound = prefix.slice(0, length);
  bound[length - 1]! += 1;
  return bound;
}

/** The value behind `stored`, or undefined when the checksum does not fit. A view, not a copy. */
export function openValue(key: Uint8Array, stored: Uint8Array): Uint8Array | undefined {
  const valueBytes = stored.length - CHECKSUM_BYTES;
  if (valueBytes < 0) return undefined;
  const sum = new DataView(stored.buffer, stored.byteOffset + valueBytes, CHECKSUM_BYTES).getUint32(0, true);
  return checksum(stored, 0, valueBytes, checksum(key, 0, key.length)) === sum
    ? stored.subarray(0, valueBytes)
    : undefined;
}

/** The value with its checksum. */
export function closeValue(key: Uint8Array, value: Uint8Array): Uint8Array {
  const stored = new Uint8Array(value.length + CHECKSUM_BYTES);
  stored.set(value);
  const sum = checksum(value, 0, value.length, checksum(key, 0, key.length));
  new DataView(stored.buffer).setUint32(value.length, sum, true);
  return stored;
}

/** What a partition's term row says besides the term: work that a crash may have cut short. */
export type TermState = "live" | "dropping" | "moving-aside";

export function encodeTerm(term: Term, state: TermState): Uint8Array {
  const bytes = new Uint8Array(TERM_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, TERM_STATES.indexOf(state));
  view.setUint32(1, term.history);
  view.setUint32(5, term.generation);
  view.setUint32(9, term.opens);
  return bytes;
}

export function decodeTerm(bytes: Uint8Array): { readonly term: Term; readonly state: TermState } | undefined {
  if (bytes.length !== TERM_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const state = TERM_STATES[view.getUint8(0)];
  if (state === undefined) return undefined;
  return { state, term: { history: view.getUint32(1), generation: view.getUint32(5), opens: view.getUint32(9) } };
}

/** What the database says of its journal. */
export interface Known {
  /** The newest segment whose changes it holds. */
  readonly applied: number;
  /** Of the segment after it, synced by then: the database counts on them (W6 of `journal.ts`). u32. */
  readonly batchesAfter: number;
  /** u32; see `journal-file.ts`. */
  readonly secret: number;
}

export function encodeKnown(known: Known): Uint8Array {
  const bytes = new Uint8Array(KNOWN_BYTES);
  const view = new DataView(bytes.buffer);
  view.setFloat64(0, known.applied);
  view.setUint32(8, known.secret);
  view.setUint32(12, known.batchesAfter);
  return bytes;
}

/** As it is stored under `KNOWN_ROW`; undefined in a new database. Throws `STORE_BROKEN`. */
export function knownOf(stored: Uint8Array | undefined): Known | undefined {
  if (stored === undefined) return undefined;
  const value = openValue(KNOWN_ROW, stored);
  if (value?.length !== KNOWN_BYTES && value?.length !== KNOWN_BYTES_BEFORE)
    throw new RingError("STORE_BROKEN", "the row that says how far the database is behind its journal is damaged");
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const batchesAfter = value.length === KNOWN_BYTES ? view.getUint32(12) : 0;
  return { applied: view.getFloat64(0), secret: view.getUint32(8), batchesAfter };
}

/** Key of a partition's term inside `TERMS`. */
export function termKey(partition: Partition): Uint8Array {
  return Uint8Array.of(partition >>> 8, partition & 255);
}

const NO_BYTES = new Uint8Array();
export const SPACE_BYTES = 2;
export const CHECKSUM_BYTES = 4;
const TERM_BYTES = 13;
const KNOWN_BYTES = 16;
/** Written by a version that did not say `batchesAfter`. */
const KNOWN_BYTES_BEFORE = 12;
const TERM_STATES: readonly TermState[] = ["live", "dropping", "moving-aside"];

/** Holds the environment's format row. */
export const FORMAT: Space = 0xfff0;
/** One row per partition: its term. Apart from the partitions, so that one short scan finds all of them. */
export const TERMS: Space = 0xfff1;
/** Quarantine: `[batch u32]` says why, `[batch u32][original key]` keeps the original value with its checksum. */
export const ASIDE: Space = 0xfff2;
/** The one row that says `Known`, its space in front. Written by the journal alone. */
export const KNOWN_ROW: Uint8Array = keyOf(0xfff3, Uint8Array.of(0));
