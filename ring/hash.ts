/**
 * Where a key lives: murmur3_x86_32 over `utf8(app) 0x00 utf8(key)`, whose top bits are the partition.
 *
 * The rule is public (`docs/hash.md`): a client in any language computes the owner with it, so it can never change.
 * Source: Austin Appleby, MurmurHash3 (public domain), variant x86_32, seed 0.
 * H1  All entrances (strings, bytes) give the same unsigned 32-bit hash for the same app and key.
 * H2  ASCII strings and byte slices are hashed in place, without an allocation: the submit path calls this per task.
 */

import type { Partition } from "./ids.ts";

export interface KeyAddress {
  readonly app: string;
  readonly key: string;
}

/** `ringSize` is a power of two from 8 to 4096. A lone surrogate counts as U+FFFD, as in every UTF-8 encoder. */
export function partitionOf(address: KeyAddress, ringSize: number): Partition {
  return partitionOfHash(hashKey(address.app, address.key), ringSize);
}

/** The top log2(ringSize) bits of an unsigned 32-bit hash. */
export function partitionOfHash(hash: number, ringSize: number): Partition {
  return (hash >>> (1 + Math.clz32(ringSize))) as Partition;
}

/** The unsigned 32-bit hash of a key of an app. */
export function hashKey(app: string, key: string): number {
  let hash = 0;
  let pending = 0; // bytes not yet mixed in, in the low `shift` bits
  let shift = 0;
  const appLength = app.length;
  for (let at = 0; at < appLength; at++) {
    const code = app.charCodeAt(at);
    if (code > LAST_ASCII) return hashEncoded(app, key);
    pending |= code << shift;
    if (shift === 24) {
      hash = mix(hash, pending);
      pending = 0;
      shift = 0;
    } else shift += 8;
  }
  // The separator is a zero byte: it only takes its place.
  if (shift === 24) {
    hash = mix(hash, pending);
    pending = 0;
    shift = 0;
  } else shift += 8;
  const keyLength = key.length;
  const wholeBlocks = keyLength & ~3;
  let at = 0;
  for (; at < wholeBlocks; at += 4) {
    const a = key.charCodeAt(at);
    const b = key.charCodeAt(at + 1);
    const c = key.charCodeAt(at + 2);
    const d = key.charCodeAt(at + 3);
    if ((a | b | c | d) > LAST_ASCII) return hashEncoded(app, key);
    const block = a | (b << 8) | (c << 16) | (d << 24);
    hash = mix(hash, pending | (block << shift));
    pending = shift === 0 ? 0 : block >>> (32 - shift);
  }
  for (; at < keyLength; at++) {
    const code = key.charCodeAt(at);
    if (code > LAST_ASCII) return hashEncoded(app, key);
    pending |= code << shift;
    if (shift === 24) {
      hash = mix(hash, pending);
      pending = 0;
      shift = 0;
    } else shift += 8;
  }
  return finish(hash, pending, appLength + 1 + keyLength);
}

/**
 * The same hash over slices of UTF-8 bytes, as they stand in a message (H1). Slices lie inside their arrays. Six positional
 * arguments are the price of H2.
 */
export function hashBytes(
  app: Uint8Array,
  appStart: number,
  appEnd: number,
  key: Uint8Array,
  keyStart: number,
  keyEnd: number,
): number {
  let hash = 0;
  let pending = 0;
  let shift = 0;
  for (let at = appStart; at < appEnd; at++) {
    pending |= (app[at] as number) << shift;
    if (shift === 24) {
      hash = mix(hash, pending);
      pending = 0;
      shift = 0;
    } else shift += 8;
  }
  if (shift === 24) {
    hash = mix(hash, pending);
    pending = 0;
    shift = 0;
  } else shift += 8;
  const blocksEnd = keyStart + ((keyEnd - keyStart) & ~3);
  let at = keyStart;
  for (; at < blocksEnd; at += 4) {
    const block =
      (key[at] as number) |
      ((key[at + 1] as number) << 8) |
      ((key[at + 2] as number) << 16) |
      ((key[at + 3] as number) << 24);
    hash = mix(hash, pending | (block << shift));
    pending = shift === 0 ? 0 : block >>> (32 - shift);
  }
  for (; at < keyEnd; at++) {
    pending |= (key[at] as number) << shift;
    if (shift === 24) {
      hash = mix(hash, pending);
      pending = 0;
      shift = 0;
    } else shift += 8;
  }
  return finish(hash, pending, appEnd - appStart + 1 + (keyEnd - keyStart));
}

/** Plain murmur3_x86_32 of some bytes; unsigned. */
export function murmur3(bytes: Uint8Array, seed = 0): number {
  let hash = seed | 0;
  const blocksEnd = bytes.length & ~3;
  let at = 0;
  for (; at < blocksEnd; at += 4) {
    hash = mix(
      hash,
      (bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24),
    );
  }
  let pending = 0;
  for (let shift = 0; at < bytes.length; at++, shift += 8) pending |= (bytes[at] as number) << shift;
  return finish(hash, pending, bytes.length);
}

function hashEncoded(app: string, key: string): number {
  const appBytes = encoder.encode(app);
  const keyBytes = encoder.encode(key);
  return hashBytes(appBytes, 0, appBytes.length, keyBytes, 0, keyBytes.length);
}

function mix(hash: number, block: number): number {
  const mixed = hash ^ scramble(block);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function scramble(block: number): number {
  const k = Math.imul(block, C1);
  return Math.imul((k << 15) | (k >>> 17), C2);
}

/** A tail of zero bytes scrambles to 0, so an empty tail needs no case of its own. */
function finish(hash: number, tail: number, lengthBytes: number): number {
  let h = hash ^ scramble(tail) ^ lengthBytes;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const encoder = new TextEncoder();
const LAST_ASCII = 0x7f;
const C1 = 0xcc9e2d51;
const C2 = 0x1b873593;
