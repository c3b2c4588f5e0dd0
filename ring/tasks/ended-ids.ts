/**
 * Ids of tasks that ended and left nothing else, on disk: so that a submit which is repeated because its answer was lost is known
 * again after a restart, a handoff or an adoption (ownership rule 18), and does not run twice.
 *
 * One row per partition and commit holds all ids of that commit: 17 bytes each instead of a row each. The oldest rows give way.
 *
 * W1  An id's row is written in the same commit as the end of its task.
 */

import type { Core } from "./core.ts";
import { type EndedId, EndedWriter } from "./ended-row.ts";
import { Fifo } from "./fifo.ts";
import type { Vnode } from "./model.ts";
import type { EndedRow } from "./read-row.ts";
import { endedKey, type Position } from "./rows.ts";
import type { IdBits } from "./task-id.ts";

interface KeptRow {
  /** Its key is made again when it is erased: a view of it would keep the slab that it was cut from. */
  readonly position: Position;
  readonly count: number;
  /** Of rows that were read; of those written here the tables know (plain-ends.ts, old-ends.ts). */
  readonly ids: readonly string[] | undefined;
}

export class EndedIds {
  readonly #core: Core;
  readonly #vnodes = new Map<Vnode, VnodeEnds>();
  /** With ends that have no row yet. */
  readonly #open = new Set<Vnode>();

  constructor(core: Core) {
    this.#core = core;
  }

  add(vnode: Vnode, bits: IdBits, state: EndedId["state"]): void {
    const ends = this.#of(vnode);
    if (ends.pending.count === 0) this.#open.add(vnode);
    ends.pending.add(bits, state);
  }

  /** Before the commit that holds the ends is closed (W1). */
  pack(): void {
    for (const vnode of this.#open) {
      if (vnode.phase === "closed") continue;
      const ends = this.#of(vnode);
      const { generation, opens } = vnode.term;
      const position = { generation, opens, sequence: vnode.sequence++ };
      const { count } = ends.pending;
      this.#core.write(vnode, endedKey(position), ends.pending.take());
      ends.rows.push({ position, count, ids: undefined });
      ends.count += count;
      this.#bound(vnode, ends);
    }
    this.#open.clear();
  }

  /** A row that was on disk, or came from elsewhere. */
  read(vnode: Vnode, { position, ended }: EndedRow): void {
    const { generation, opens } = vnode.term;
    if (position.generation === generation && position.opens === opens)
      vnode.sequence = Math.max(vnode.sequence, position.sequence + 1);
    const ends = this.#of(vnode);
    if (ends.read.has(nameOf(position))) return; // it comes again
    ends.read.add(nameOf(position));
    const ids: string[] = [];
    for (const { id, state } of ended) {
      ends.known.set(id, state);
      ids.push(id);
    }
    ends.rows.push({ position, count: ids.length, ids });
    ends.count += ids.length;
    this.#bound(vnode, ends);
  }

  stateOf(vnode: Vnode, id: string): EndedId["state"] | undefined {
    const known = this.#vnodes.get(vnode)?.known;
    // Most often none were read, and even an empty map would hash the id of each submit.
    return known === undefined || known.size === 0 ? undefined : known.get(id);
  }

  close(vnode: Vnode): void {
    this.#vnodes.delete(vnode);
    this.#open.delete(vnode);
  }

  #bound(vnode: Vnode, ends: VnodeEnds): void {
    const { endedIdsPerNode, endedIdsPerPartition } = this.#core.limits;
    const most = Math.min(endedIdsPerPartition, Math.ceil(endedIdsPerNode / Math.max(1, this.#vnodes.size)));
    // Many at a time: neighbours share a page, and a page costs a write whether one row leaves it or all.
    if (ends.count <= most + (most >>> 4)) return;
    while (ends.count > most && ends.rows.size > 1 && vnode.phase !== "held") {
      const oldest = ends.rows.shift() as KeptRow;
      ends.count -= oldest.count;
      for (const id of oldest.ids ?? []) ends.known.delete(id);
      if (oldest.ids !== undefined) ends.read.delete(nameOf(oldest.position));
      this.#core.erase(vnode, endedKey(oldest.position));
    }
  }

  #of(vnode: Vnode): VnodeEnds {
    let ends = this.#vnodes.get(vnode);
    if (ends === undefined) {
      ends = { pending: new EndedWriter(), rows: new Fifo(), read: new Set(), known: new Map(), count: 0 };
      this.#vnodes.set(vnode, ends);
    }
    return ends;
  }
}

interface VnodeEnds {
  /** That have no row yet. */
  readonly pending: EndedWriter;
  /** Oldest first. */
  readonly rows: Fifo<KeptRow>;
  /** Positions of those that were read. */
  readonly read: Set<string>;
  /** From rows that were read. */
  readonly known: Map<string, EndedId["state"]>;
  count: number;
}

function nameOf({ generation, opens, sequence }: Position): string {
  return `${generation} ${opens} ${sequence}`;
}
