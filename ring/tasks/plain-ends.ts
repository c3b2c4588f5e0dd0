/**
 * Ends of tasks that left nothing but the fact: no result, no row. Most tasks end so, and each is remembered for a while; so they
 * are columns of a table rather than objects, which the garbage collector would copy twice each.
 *
 * V1  Rows of one app form a list, oldest first, so that each app's share is bounded on its own.
 */

import type { Instant } from "../machine.ts";
import { type AppRun, Done, type Task, type Vnode } from "./model.ts";
import { type IdBits, idOfBits } from "./task-id.ts";

export class PlainEnds {
  #capacity = 0;
  #size = 0;
  /** First free row, then along `#next`; -1 for none. */
  #free = -1;
  /** Four numbers an id. */
  #ids: Int32Array = new Int32Array(0);
  #keys: string[] = [];
  #types: string[] = [];
  #apps: AppRun[] = [];
  #vnodes: (Vnode | undefined)[] = [];
  #hashes: Int32Array = new Int32Array(0);
  #next: Int32Array = new Int32Array(0);
  #attempts: Uint16Array = new Uint16Array(0);
  #cancelled: Uint8Array = new Uint8Array(0);
  #times: Float64Array = new Float64Array(0);
  /** Open addressing: row + 1, 0 for none. */
  #table: Int32Array = new Int32Array(0);

  get size(): number {
    return this.#size;
  }

  add(task: Task, endedAtMs: number): void {
    if (this.#free < 0) this.#grow();
    const row = this.#free;
    this.#free = this.#next[row] as number;
    const { app, record } = task;
    const ids = this.#ids;
    ids[row * 4] = record.id0;
    ids[row * 4 + 1] = record.id1;
    ids[row * 4 + 2] = record.id2;
    ids[row * 4 + 3] = record.id3;
    this.#keys[row] = record.key;
    this.#types[row] = record.type;
    this.#apps[row] = app;
    this.#vnodes[row] = task.vnode;
    this.#hashes[row] = task.idHash;
    this.#next[row] = -1;
    this.#attempts[row] = task.attempts;
    this.#cancelled[row] = task.endState === "cancelled" ? 1 : 0;
    this.#times[row * 3] = task.acceptedAtMs;
    this.#times[row * 3 + 1] = endedAtMs;
    this.#times[row * 3 + 2] = task.endedAt;
    if (app.lastEnd < 0) app.firstEnd = row;
    else this.#next[app.lastEnd] = row;
    app.lastEnd = row;
    app.plainEnds++;
    this.#size++;
    this.#enter(row);
  }

  /** The row of an id in a vnode, or -1. */
  find(vnode: Vnode, { id0, id1, id2, id3 }: IdBits, hash: number): number {
    const table = this.#table;
    const mask = table.length - 1;
    if (mask < 0) return -1;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const row = (table[at] as number) - 1;
      if (row < 0) return -1;
      if (this.#hashes[row] !== hash || this.#vnodes[row] !== vnode) continue;
      const ids = this.#ids;
      const first = row * 4;
      if (ids[first] !== id0 || ids[first + 1] !== id1) continue;
      if (ids[first + 2] === id2 && ids[first + 3] === id3) return row;
    }
  }

  stateAt(row: number): "done" | "cancelled" {
    return this.#cancelled[row] === 1 ? "cancelled" : "done";
  }

  doneAt(row: number): Done {
    const done = new Done(
      this.#vnodes[row] as Vnode,
      this.#apps[row] as AppRun,
      this.#idAt(row),
      this.#hashes[row] as number,
    );
    done.type = this.#types[row] as string;
    done.key = this.#keys[row] as string;
    done.state = this.stateAt(row);
    done.attempts = this.#attempts[row] as number;
    done.acceptedAtMs = this.#times[row * 3] as number;
    done.endedAtMs = this.#times[row * 3 + 1] as number;
    done.endedAt = this.#times[row * 3 + 2] as number;
    return done;
  }

  /** Rows of an app in a vnode, oldest first. */
  *rowsOf(vnode: Vnode, app: AppRun): Generator<number> {
    for (let row = app.firstEnd; row >= 0; row = this.#next[row] as number) if (this.#vnodes[row] === vnode) yield row;
  }

  oldestEndedAt(app: AppRun): Instant | undefined {
    return app.firstEnd < 0 ? undefined : this.#times[app.firstEnd * 3 + 2];
  }

  /** Drops the app's oldest. */
  evict(app: AppRun): void {
    if (app.firstEnd >= 0) this.#drop(app, app.firstEnd, -1);
  }

  /** Drops those of a vnode, which they would keep in memory. */
  close(vnode: Vnode, app: AppRun): void {
    for (let before = -1, row = app.firstEnd; row >= 0; ) {
      const next = this.#next[row] as number;
      if (this.#vnodes[row] === vnode) this.#drop(app, row, before);
      else before = row;
      row = next;
    }
  }

  /** `before`: the row of the app that is older by one, or -1. */
  #drop(app: AppRun, row: number, before: number): void {
    this.#leave(row);
    const next = this.#next[row] as number;
    if (before < 0) app.firstEnd = next;
    else this.#next[before] = next;
    if (next < 0) app.lastEnd = before;
    app.plainEnds--;
    this.#size--;
    this.#vnodes[row] = undefined;
    this.#next[row] = this.#free;
    this.#free = row;
  }

  #idAt(row: number): string {
    const [id0, id1, id2, id3] = this.#ids.subarray(row * 4, row * 4 + 4) as unknown as [
      number,
      number,
      number,
      number,
    ];
    return idOfBits({ id0, id1, id2, id3 });
  }

  #enter(row: number): void {
    const mask = this.#table.length - 1;
    let at = (this.#hashes[row] as number) & mask;
    while (this.#table[at] !== 0) at = (at + 1) & mask;
    this.#table[at] = row + 1;
  }

  #leave(row: number): void {
    const table = this.#table;
    const mask = table.length - 1;
    let at = (this.#hashes[row] as number) & mask;
    while (table[at] !== row + 1) at = (at + 1) & mask;
    // Rows behind the gap move up, so that no search stops short of them.
    for (let next = (at + 1) & mask; table[next] !== 0; next = (next + 1) & mask) {
      const home = (this.#hashes[(table[next] as number) - 1] as number) & mask;
      if (((next - home) & mask) < ((next - at) & mask)) continue;
      table[at] = table[next] as number;
      at = next;
    }
    table[at] = 0;
  }

  #grow(): void {
    const before = this.#capacity;
    const capacity = Math.max(FIRST_CAPACITY, before * 2);
    this.#capacity = capacity;
    this.#ids = grown(this.#ids, new Int32Array(capacity * 4));
    this.#hashes = grown(this.#hashes, new Int32Array(capacity));
    this.#next = grown(this.#next, new Int32Array(capacity));
    this.#attempts = grown(this.#attempts, new Uint16Array(capacity));
    this.#cancelled = grown(this.#cancelled, new Uint8Array(capacity));
    this.#times = grown(this.#times, new Float64Array(capacity * 3));
    this.#table = new Int32Array(capacity * 4);
    for (let row = 0; row < before; row++) if (this.#vnodes[row] !== undefined) this.#enter(row);
    for (let row = capacity - 1; row >= before; row--) {
      this.#next[row] = this.#free;
      this.#free = row;
    }
  }
}

function grown<T extends Int32Array | Uint16Array | Uint8Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Rows at first; a power of two. */
const FIRST_CAPACITY = 1_024;
