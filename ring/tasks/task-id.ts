/**
 * Task ids and derived keys: 32 hex digits, of which 12 are wall ms (k-ordered), 16 random and the last 4 the top
 * 16 bits of the (app, key) hash, so that an id names its partition (ring sizes go to 4096).
 *
 * The rules are public: a client in any language mints ids and derives keys with them.
 */

import { hashKey, murmur3, partitionOfHash } from "../hash.ts";
import type { Partition } from "../ids.ts";
import type { Random } from "../machine.ts";

/** The 128 bits of an id, its first digits first, as signed numbers of 32 bits: what tables keep, where its text would be an object. */
export interface IdBits {
  readonly id0: number;
  readonly id1: number;
  readonly id2: number;
  readonly id3: number;
}

/** Of 32 hex digits; of anything else some number or other. */
export function bitsOfId(id: string): IdBits {
  return { id0: bitsAt(id, 0), id1: bitsAt(id, 8), id2: bitsAt(id, 16), id3: bitsAt(id, 24) };
}

export function idOfBits({ id0, id1, id2, id3 }: IdBits): string {
  return hex(id0 >>> 0, 8) + hex(id1 >>> 0, 8) + hex(id2 >>> 0, 8) + hex(id3 >>> 0, 8);
}

export interface MintRequest {
  readonly wallMs: number;
  readonly random: Random;
  readonly app: string;
  /** As submitted; empty or absent: derived. */
  readonly key?: string;
  readonly idempotencyKey?: string;
}

/** A fresh id for a task that is about to be submitted. */
export function mintId(request: MintRequest): string {
  const time = Math.floor(request.wallMs).toString(16).padStart(12, "0").slice(-12);
  const first28 =
    time + hex(Math.floor(request.random() * 2 ** 32), 8) + hex(Math.floor(request.random() * 2 ** 32), 8);
  return (
    first28 + suffixOf(request.app, derivedKey({ key: request.key, idempotencyKey: request.idempotencyKey, first28 }))
  );
}

export interface DerivedIdRequest {
  readonly app: string;
  readonly key: string;
  /** What the id is a function of, e.g. the parent's id and an ordinal. */
  readonly seed: string;
  /** First 12 digits; for ids that should sort by time. Default: from the seed. */
  readonly wallMs?: number;
}

/** The same id for the same seed: children of an attempt, firings of a schedule. */
export function deriveId(request: DerivedIdRequest): string {
  const bytes = encoder.encode(request.seed);
  const time =
    request.wallMs === undefined
      ? hex(murmur3(bytes, 3), 8) + hex(murmur3(bytes, 4) >>> 16, 4)
      : Math.floor(request.wallMs).toString(16).padStart(12, "0").slice(-12);
  const first28 = time + hex(murmur3(bytes, 5), 8) + hex(murmur3(bytes, 6), 8);
  return first28 + suffixOf(request.app, request.key === "" ? first28 : request.key);
}

/** The lane key of a task (ownership rule 18): its own, else the idempotency key's hash, else the id without its suffix. */
export function derivedKey(task: {
  readonly key: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly first28: string;
}): string {
  if (task.key !== undefined && task.key !== "") return task.key;
  if (task.idempotencyKey !== undefined && task.idempotencyKey !== "") return hashText(task.idempotencyKey);
  return task.first28;
}

/** 16 hex digits: murmur3_x86_32 of the UTF-8 text with seed 0, then with seed 1. */
export function hashText(text: string): string {
  const bytes = encoder.encode(text);
  return hex(murmur3(bytes, 0), 8) + hex(murmur3(bytes, 1), 8);
}

/** Which partition an id names; `undefined` when it is not an id. */
export function partitionOfId(id: string, ringSize: number): Partition | undefined {
  if (!isTaskId(id)) return undefined;
  return partitionOfHash((Number.parseInt(id.slice(28), 16) << 16) >>> 0, ringSize);
}

export function isTaskId(text: string): boolean {
  return TASK_ID.test(text);
}

function bitsAt(id: string, from: number): number {
  let bits = 0;
  for (let at = from; at < from + 8; at++) {
    const code = id.charCodeAt(at);
    bits = (bits << 4) | (code <= 57 ? code - 48 : code - 87);
  }
  return bits;
}

function suffixOf(app: string, key: string): string {
  return hex(hashKey(app, key) >>> 16, 4);
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

const TASK_ID = /^[0-9a-f]{32}$/;
const encoder = new TextEncoder();
