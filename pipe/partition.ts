/**
 * Partitioners: which partition of the ring an output goes to.
 *
 * A value's partition is the same on every node and in every run of the pipeline, so that equal keys meet in one worker.
 */

import { hashKey, partitionOfHash } from "../ring/hash.ts";
import { atOnce } from "./at-once.ts";

export type Partitioner =
  | { readonly type: "key"; readonly keyOf: (value: never) => unknown }
  | { readonly type: "hash"; readonly hashOf: (value: never) => number }
  | { readonly type: "constant"; readonly partition: number }
  | { readonly type: "follow" }
  | { readonly type: "spread" }
  | { readonly type: "broadcast" };

/** Equal keys (strings, numbers, or anything by its string form) go to the same worker. */
export function byKey<In>(keyOf: (value: In) => string | number): Partitioner {
  return { type: "key", keyOf: keyOf as (value: never) => unknown };
}

/** `hashOf` gives an unsigned 32-bit number, of which the top bits are the partition. */
export function byHash<In>(hashOf: (value: In) => number): Partitioner {
  return { type: "hash", hashOf: hashOf as (value: never) => number };
}

/** Everything to one worker. `partition` is taken modulo the ring's size. */
export function constant(partition = 0): Partitioner {
  return { type: "constant", partition };
}

/** Stays on the partition it came from. */
export const follow: Partitioner = { type: "follow" };

/** To one of two partitions in turn, the less loaded one: for stages without state. */
export const spread: Partitioner = { type: "spread" };

/** A copy to every partition of the ring. */
export const broadcast: Partitioner = { type: "broadcast" };

/** The unsigned 32-bit hash of a key: murmur3 over its text as of a task's key; small whole numbers are mixed directly. Throws for a promise. */
export function hashOfKey(key: unknown): number {
  if (typeof key === "number" && (key | 0) === key) return mixed(key);
  return hashKey("", typeof key === "string" ? key : String(atOnce(key)));
}

/** What `hashOf` gave. Throws for a promise. */
export function hashOfGiven(hash: unknown): number {
  return (typeof hash === "number" ? hash : Number(atOnce(hash))) >>> 0;
}

export function partitionOfKey(key: unknown, ringSize: number): number {
  return partitionOfHash(hashOfKey(key), ringSize);
}

/** The finaliser of murmur3. */
function mixed(value: number): number {
  let h = value ^ GOLDEN;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** So that 0 does not stay 0. */
const GOLDEN = 0x9e3779b9;
