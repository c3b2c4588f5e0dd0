/**
 * What an operator undid while rows of older owners may still come, so that these do not bring it back: a key resumed, a dead letter
 * dropped, a run-time schedule deleted. Each is named by the key of the row that is gone, a dead letter by its id.
 *
 * U1  Of what several owners say of one thing the newest counts, in whatever order their directories come: so it is kept as well that
 *     something was done again.
 */

import { keyText, type Row } from "../store.ts";
import type { Core } from "./core.ts";
import type { Vnode } from "./model.ts";
import { RowReader, RowWriter } from "./row-writer.ts";
import { KIND, keyedRow } from "./rows.ts";

export interface UndoneMark {
  /** Of the owner that was told so. */
  readonly generation: number;
  /** False: it was done again. */
  readonly isUndone: boolean;
}

export class Undone {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Nothing to be remembered where nothing can come. */
  add(vnode: Vnode, key: Uint8Array): void {
    this.#mark(vnode, key, true);
  }

  /** It was done again, here. */
  redo(vnode: Vnode, key: Uint8Array): void {
    this.#mark(vnode, key, false);
  }

  /** As `redo`, of what nobody undoes before it was here. */
  remove(vnode: Vnode, key: Uint8Array): void {
    if (vnode.undone.size > 0 && this.has(vnode, key)) this.redo(vnode, key);
  }

  /** Since it was so in that ownership. */
  has(vnode: Vnode, key: Uint8Array, generation = 0): boolean {
    if (vnode.undone.size === 0) return false;
    const mark = vnode.undone.get(keyText(key));
    return mark?.isUndone === true && mark.generation >= generation;
  }

  /** As `has`, that it was done again. */
  isRedone(vnode: Vnode, key: Uint8Array, generation: number): boolean {
    if (vnode.undone.size === 0) return false;
    const mark = vnode.undone.get(keyText(key));
    return mark?.isUndone === false && mark.generation >= generation;
  }

  /** A row of it, of the vnode's own directory or of another, which that generation left. Undefined: something newer is known. */
  load(vnode: Vnode, row: Row, generation: number): UndoneMark | undefined {
    const name = keyText(row.key.subarray(1));
    const mark = readMark(row.value, generation);
    const known = vnode.undone.get(name);
    if (known === undefined ? vnode.undone.size >= MOST : known.generation >= mark.generation) return undefined;
    vnode.undone.set(name, mark);
    return mark;
  }

  write(vnode: Vnode, key: Uint8Array, { generation, isUndone }: UndoneMark): void {
    const value = writer.begin(6).u8(1).u32(generation);
    this.#core.write(vnode, rowKey(key), value.u8(isUndone ? 1 : 0).end());
  }

  /** Nothing older can come any more. */
  end(vnode: Vnode): void {
    for (const name of vnode.undone.keys())
      this.#core.erase(vnode, rowKey(Uint8Array.from(name, (sign) => sign.charCodeAt(0))));
    vnode.undone.clear();
  }

  #mark(vnode: Vnode, key: Uint8Array, isUndone: boolean): void {
    const name = keyText(key);
    if (vnode.older === "none" || (vnode.undone.size >= MOST && !vnode.undone.has(name))) return;
    const { generation } = vnode.term;
    const mark = { generation, isUndone };
    vnode.undone.set(name, mark);
    this.write(vnode, key, mark);
  }
}

/** In place of a key: the letter may lie elsewhere as a task that is queued. */
export function deadName(id: string): Uint8Array {
  return keyedRow(KIND.dead, id, "", "");
}

export function pausedValue(generation: number): Uint8Array {
  return writer.begin(5).u8(1).u32(generation).end();
}

/** Of the owner that was told so; undefined in rows of older versions: whoever left the row. */
export function readPaused(value: Uint8Array): number | undefined {
  return value.length < 5 ? undefined : new RowReader(value, 1).u32();
}

function rowKey(key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + key.length);
  bytes[0] = KIND.undone;
  bytes.set(key, 1);
  return bytes;
}

/** Older versions wrote of what was undone alone, and not by whom. */
function readMark(value: Uint8Array, generation: number): UndoneMark {
  if (value.length < 6) return { generation, isUndone: true };
  return { generation: new DataView(value.buffer, value.byteOffset).getUint32(1), isUndone: value[5] === 1 };
}

const writer = new RowWriter();
/** Of one partition. */
const MOST = 100_000;
