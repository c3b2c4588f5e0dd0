/**
 * What an operator undid while rows of older owners may still come, so that these do not bring it back: a key resumed, a dead letter
 * dropped, a run-time schedule deleted. Each is named by the key of the row that is gone, a dead letter by its id.
 */

import { keyText, type Row } from "../store.ts";
import type { Core } from "./core.ts";
import type { Vnode } from "./model.ts";
import { KIND, keyedRow } from "./rows.ts";

export class Undone {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Nothing to be remembered where nothing can come.. */
  add(vnode: Vnode, key: Uint8Array): void {
    if (vnode.older === "none" || vnode.undone.size >= MOST) return;
    vnode.undone.add(keyText(key));
    this.#core.write(vnode, rowKey(key), VERSION);
  }

  /** It was done again. */
  remove(vnode: Vnode, key: Uint8Array): void {
    if (vnode.undone.size > 0 && vnode.undone.delete(keyText(key))) this.#core.erase(vnode, rowKey(key));
  }

  has(vnode: Vnode, key: Uint8Array): boolean {
    return vnode.undone.size > 0 && vnode.undone.has(keyText(key));
  }

  /** A row of it, of the vnode's own directory or of another. */
  load(vnode: Vnode, row: Row): void {
    if (vnode.undone.size < MOST) vnode.undone.add(keyText(row.key.subarray(1)));
  }

  /** Nothing older can come any more. */
  end(vnode: Vnode): void {
    for (const name of vnode.undone)
      this.#core.erase(vnode, rowKey(Uint8Array.from(name, (sign) => sign.charCodeAt(0))));
    vnode.undone.clear();
  }
}

/** In place of a key: the letter may lie elsewhere as a task that is queued. */
export function deadName(id: string): Uint8Array {
  return keyedRow(KIND.dead, id, "", "");
}

function rowKey(key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + key.length);
  bytes[0] = KIND.undone;
  bytes.set(key, 1);
  return bytes;
}

const VERSION = Uint8Array.of(1);
/** Of one partition. */
const MOST = 100_000;
