/** Rows that say which of several copies of a key's state wins, and that keep what gave way (ownership rule 17). */

import type { Row } from "../store.ts";
import { RowReader, RowWriter } from "./row-writer.ts";
import { KIND, keyedRow, readKeyed } from "./rows.ts";

/** State of a key was written while the ring listed older state of it elsewhere, over which it wins. */
export interface StateMark {
  /** Of the owner that wrote it last: of several marks the newest wins. */
  readonly generation: number;
  /** Written without the older state, which had not come (`onAway: "fresh"`): what gives way to it is kept aside. */
  readonly fresh: boolean;
}

export function stateMarkValue({ generation, fresh }: StateMark): Uint8Array {
  return writer
    .begin(6)
    .u8(1)
    .u32(generation)
    .u8(fresh ? 1 : 0)
    .end();
}

/** Throws a `RangeError` for what it did not write. */
export function readStateMark(value: Uint8Array): StateMark {
  const reader = new RowReader(value);
  if (reader.u8() !== 1) throw new RangeError("a mark of state of another version");
  return { generation: reader.u32(), fresh: reader.u8() === 1 };
}

/** A value that gave way; as state rows have it, with the version byte. */
export interface AsideValue {
  /** Tells copies of one name apart: the generation of the ownership that left it, or `G.O` where only its heir is known. */
  readonly origin: string;
  readonly name: string;
  readonly value: Uint8Array;
}

export function asideKey(app: string, key: string, { origin, name }: Omit<AsideValue, "value">): Uint8Array {
  return keyedRow(KIND.stateAside, app, key, `${origin} ${name}`);
}

/** Throws a `RangeError` for what it did not write. */
export function readAside({ key, value }: Row): AsideValue {
  const { name } = readKeyed(key);
  const space = name.indexOf(" ");
  if (space <= 0) throw new RangeError("a value that was kept aside has an origin");
  return { origin: name.slice(0, space), name: name.slice(space + 1), value };
}

export function asidePrefix(app: string, key: string): Uint8Array {
  return keyedRow(KIND.stateAside, app, key, "");
}

/** Rows that cannot be read are left out. Values are copies. */
export function asideOf(rows: readonly Row[]): AsideValue[] {
  const values: AsideValue[] = [];
  for (const row of rows) {
    try {
      const { value, ...rest } = readAside(row);
      values.push({ ...rest, value: new Uint8Array(value) });
    } catch {}
  }
  return values;
}

const writer = new RowWriter();
