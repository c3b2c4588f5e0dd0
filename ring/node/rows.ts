/** Rows that the node machine itself keeps beside a module's, in the same partition: kinds below 0x08. */

import type { Row, RowChange } from "../store.ts";

const SEAL = 0x02;
const ARRIVED = 0x03;
/** First row kind that belongs to vnode modules. */
const FIRST_MODULE_KIND = 0x08;

/** Consent to give the partition up in ring epoch `epoch` and no other (ownership rule 13). */
export function sealChange(epoch: number): RowChange {
  return { key: Uint8Array.of(SEAL), value: number48(epoch) };
}

/** The partition was not given up after all, and nobody was told that it would be. */
export function unsealChange(): RowChange {
  return { key: Uint8Array.of(SEAL) };
}

/** All rows of a handoff are here; the copy is good for this generation (ownership rule 15). */
export function arrivedChange(generation: number): RowChange {
  return { key: Uint8Array.of(ARRIVED), value: number48(generation) };
}

export interface NodeRows {
  readonly sealedFor: number | undefined;
  readonly arrivedFor: number | undefined;
}

/** Splits a page into the node's own rows and the module's. */
export function splitRows(rows: readonly Row[]): { readonly node: NodeRows; readonly module: readonly Row[] } {
  let sealedFor: number | undefined;
  let arrivedFor: number | undefined;
  let first = 0;
  for (const row of rows) {
    const kind = row.key[0] ?? 0;
    if (kind >= FIRST_MODULE_KIND) break;
    if (kind === SEAL) sealedFor = numberOf48(row.value);
    if (kind === ARRIVED) arrivedFor = numberOf48(row.value);
    first++;
  }
  return { node: { sealedFor, arrivedFor }, module: first === 0 ? rows : rows.slice(first) };
}

export function isModuleKey(key: Uint8Array): boolean {
  return (key[0] ?? 0) >= FIRST_MODULE_KIND;
}

function number48(value: number): Uint8Array {
  const bytes = new Uint8Array(6);
  for (let index = 5, rest = value; index >= 0; index--) {
    bytes[index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return bytes;
}

function numberOf48(bytes: Uint8Array): number {
  let value = 0;
  for (const byte of bytes) value = value * 256 + byte;
  return value;
}
