/** Arithmetic of a transfer's stream: sizes, and the hash that both ends compare. */

import type { RowChange } from "../store.ts";

export function changesBytes(change: RowChange): number {
  return change.key.length + (change.value?.length ?? 0);
}

/** Folds changes into the hash of everything before them; order matters. Start with 0. */
export function hashChanges(start: number, changes: readonly RowChange[]): number {
  let hash = start;
  for (const { key, value } of changes) {
    hash = mix(hash, key);
    hash = value === undefined ? Math.imul(hash ^ 0x9e3779b9, 0x85ebca6b) : mix(hash, value);
  }
  return hash >>> 0;
}

function mix(start: number, bytes: Uint8Array): number {
  let hash = start ^ bytes.length;
  for (let index = 0; index < bytes.length; index++) hash = Math.imul(hash ^ bytes[index]!, 0x01000193);
  return hash ^ (hash >>> 15);
}
