/** The bytes of an overlay's changes: `[kind u8][value bytes u32][key bytes u16][space u16][key …][value …]`. */

import { randomBytes } from "node:crypto";

export function keyBytesAt(bytes: Uint8Array, at: number): number {
  return (bytes[at + 5]! << 8) | bytes[at + 6]!;
}

export function copyBytes(to: Uint8Array, toAt: number, from: Uint8Array, start: number, end: number): void {
  if (end - start < SHORT_BYTES) for (let at = start, next = toAt; at < end; ) to[next++] = from[at++]!;
  else to.set(start === 0 && end === from.length ? from : from.subarray(start, end), toAt);
}

/**
 * FNV-1a from a secret beginning, its high bits folded onto the low ones at every byte: without that, keys of one hash could be found
 * without knowing the beginning. Keys are the apps' own words, and rows of one hash are looked through one by one.
 */
export function hashOf(bytes: Uint8Array, from: number, to: number, seed: number = SEED): number {
  let hash = seed;
  for (let at = from; at < to; at++) {
    hash = Math.imul(hash ^ bytes[at]!, PRIME);
    hash ^= hash >>> 15;
  }
  return hash;
}

export function sameBytes(
  left: Uint8Array,
  leftAt: number,
  right: Uint8Array,
  rightAt: number,
  length: number,
): boolean {
  // From the end: keys of one partition differ there.
  for (let index = length - 1; index >= 0; index--) if (left[leftAt + index] !== right[rightAt + index]) return false;
  return true;
}

/** Kind and lengths. */
export const HEADER_BYTES = 7;
/** Fewer are copied faster byte by byte than by a call. */
const SHORT_BYTES = 64;
const PRIME = 0x01000193;
/** Another in each process. */
const SEED: number = randomBytes(4).readInt32LE();
