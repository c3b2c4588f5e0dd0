/**
 * Ids of tasks that ended and left nothing else, on disk: so that a submit which is repeated because its answer was lost is known
 * again after a restart, a handoff or an adoption (ownership rule 18), and does not run twice.
 *
 * One row per partition and commit holds all ids of that commit, 17 bytes each instead of a row each; and of some commits one row is
 * made then, so that the database is told of few. The oldest rows give way.
 *
 * W1  An id's row is written in the same commit as the end of its task.
 * W2  The row of some commits lies where the row of the first of them lay. So none seems to have ended later than it did: its id may
 *     have been accepted again since, once this end was forgotten, and that task is not over (older-tasks.ts).
 * W3  So two directories may have rows in one place that are not the same: a copy that came before some rows were put together, and
 *     that of the owner who went on. Here the row has the ids of both, whichever comes first.
 */

import type { Core } from "./core.ts";
import { type EndedId, EndedWriter } from "./ended-row.ts";
import { Fifo } from "./fifo.ts";
import type { Vnode } from "./model.ts";
import type { EndedRow } from "./read-row.ts";
import { erasedAt, KIND, type Position } from "./rows.ts";
import { bitsOfId, type IdBits } from "./task-id.ts";

interface KeptRow {
  /** Its key is made again when it is erased: a view of it would keep the slab that it was cut from. */
  readonly position: Position;
  count: number;
  /** Of rows that were read; of those written here the tables know (plain-ends.ts, old-ends.ts). */
  readonly ids: string[] | undefined;
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
    const { pending } = this.#of(vnode);
    if (pending.fresh === 0) this.#open.add(vnode);
    pending.add(bits, state);
  }

  /** Before the commit that holds the ends is closed (W1). */
  pack(): void {
    for (const vnode of this.#open) if (vnode.phase !== "closed") this.#write(vnode, this.#of(vnode));
    this.#open.clear();
  }

  #write(vnode: Vnode, ends: VnodeEnds): void {
    const { pending, small } = ends;
    const { generation, opens } = vnode.term;
    const placeOf = (sequence: number): Position => ({ generation, opens, sequence });
    ends.count += pending.fresh;
    const isWhole = pending.count >= Math.min(IDS_OF_A_ROW, this.#most() >>> 4);
    if (!isWhole || (small.length > 0 && vnode.phase === "held")) {
      const sequence = vnode.sequence++;
      small.push(sequence);
      this.#core.change(vnode, pending.put(placeOf(sequence)));
      return;
    }
    const position = placeOf(small[0] ?? vnode.sequence++); // W2
    ends.rows.push({ position, count: pending.count, ids: undefined });
    this.#core.change(vnode, pending.putAll(position, small.length === 0));
    for (let later = 1; later < small.length; later++)
      this.#core.change(vnode, erasedAt(KIND.ended, placeOf(small[later] as number)));
    small.length = 0;
    this.#bound(vnode, ends);
  }

  /** A row that was on disk, or came from elsewhere. False: one lies in its place already, with all of its ids (W3). */
  read(vnode: Vnode, { position, ended }: EndedRow): boolean {
    const { generation, opens } = vnode.term;
    if (position.generation === generation && position.opens === opens)
      vnode.sequence = Math.max(vnode.sequence, position.sequence + 1);
    const ends = this.#of(vnode);
    const name = nameOf(position);
    const before = ends.read.get(name);
    const ids = before?.ids ?? [];
    const had = new Set(ids);
    for (const { id, state } of ended) {
      if (had.has(id)) continue;
      ends.known.set(id, state);
      ids.push(id);
    }
    ends.count += ids.length - had.size;
    if (before === undefined) {
      const row = { position, count: ids.length, ids };
      ends.rows.push(row);
      ends.read.set(name, row);
    } else if (ids.length > had.size) {
      before.count = ids.length;
      this.#rewrite(vnode, ends, before);
    }
    this.#bound(vnode, ends);
    return before === undefined;
  }

  /** W3 */
  #rewrite(vnode: Vnode, { known }: VnodeEnds, { position, ids }: KeptRow): void {
    const row = new EndedWriter();
    for (const id of ids ?? []) row.add(bitsOfId(id), known.get(id) ?? "done");
    this.#core.change(vnode, row.putAll(position, false));
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
    const most = this.#most();
    // Many at a time: neighbours share a page, and a page costs a write whether one row leaves it or all.
    if (ends.count <= most + (most >>> 4)) return;
    while (ends.count > most && ends.rows.size > 1 && vnode.phase !== "held") {
      const oldest = ends.rows.shift() as KeptRow;
      ends.count -= oldest.count;
      for (const id of oldest.ids ?? []) ends.known.delete(id);
      if (oldest.ids !== undefined) ends.read.delete(nameOf(oldest.position));
      this.#core.change(vnode, erasedAt(KIND.ended, oldest.position));
    }
  }

  /** Ids of a partition on disk. */
  #most(): number {
    const { endedIdsPerNode, endedIdsPerPartition } = this.#core.limits;
    return Math.min(endedIdsPerPartition, Math.ceil(endedIdsPerNode / Math.max(1, this.#vnodes.size)));
  }

  #of(vnode: Vnode): VnodeEnds {
    let ends = this.#vnodes.get(vnode);
    if (ends === undefined) {
      ends = { pending: new EndedWriter(), small: [], rows: new Fifo(), read: new Map(), known: new Map(), count: 0 };
      this.#vnodes.set(vnode, ends);
    }
    return ends;
  }
}

interface VnodeEnds {
  /** That have no row yet, or a small one. */
  readonly pending: EndedWriter;
  /** Sequences of the rows of one commit each, until one row holds their ids. */
  readonly small: number[];
  /** Whole ones and those that were read, oldest first. */
  readonly rows: Fifo<KeptRow>;
  /** Those that were read, by position. */
  readonly read: Map<string, KeptRow>;
  /** From rows that were read. */
  readonly known: Map<string, EndedId["state"]>;
  count: number;
}

function nameOf({ generation, opens, sequence }: Position): string {
  return `${generation} ${opens} ${sequence}`;
}

/** Few pages of the database, and each row fits into a part of one. */
const IDS_OF_A_ROW = 64;
