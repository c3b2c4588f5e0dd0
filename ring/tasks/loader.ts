/**
 * From rows to a vnode: what this directory held (`load`), and what another held (`absorb`: adoption, return).
 *
 * B1  A row that cannot be read is set aside and the rest goes on: it neither stops nor silently shortens a load.
 * B2  What is here wins over what comes: ids, state written here, dedupe records, schedules (rules 15 and 17).
 * B5  Rows of one directory may come again, whole or in part, until the ring has taken it off its list.
 * B3  Older tasks go before newer ones by their position, or behind everything, marked, when their machine was away.
 * B4  What can be made of a task before its partition is in service is made as its row comes: then keys wait. It counts nowhere yet.
 */

import { hashKey } from "../hash.ts";
import { isAppName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { keyText, type Row, type RowChange } from "../store.ts";
import { ArrivingRows } from "./arriving.ts";
import type { Completion } from "./completion.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import type { Elsewhere, Taken } from "./engine-contract.ts";
import { laneName } from "./lane-name.ts";
import type { Lanes } from "./lanes.ts";
import { type AppRun, Dead, Done, Task, type Vnode } from "./model.ts";
import { noteAside, OlderState } from "./older-state.ts";
import { OlderTasks } from "./older-tasks.ts";
import { OlderUndone } from "./older-undone.ts";
import type { Outbox } from "./outbox.ts";
import { isPaused, type ReadRow, readRow, type TaskRow, unreadKey, unreadRow } from "./read-row.ts";
import { isRefused, parseRecord } from "./record.ts";
import { dedupeName, type Results, readDedupeName } from "./results.ts";
import { KIND, keyedRow, readDead, readId, readKeyed, readOutbox, readPosition, readResult } from "./rows.ts";
import { readSchedule } from "./schedule-row.ts";
import type { Schedules } from "./schedules.ts";
import type { States } from "./states.ts";
import { bitsOfId } from "./task-id.ts";
import { goBehind, placeTask, taskOfRow } from "./task-of-row.ts";
import { deadName, Undone } from "./undone.ts";

export interface LoaderOptions {
  readonly core: Core;
  readonly lanes: Lanes;
  readonly states: States;
  readonly results: Results;
  readonly dead: DeadLetters;
  readonly outbox: Outbox;
  readonly schedules: Schedules;
  readonly completion: Completion;
}

/** Where rows come from: this directory (nothing is written), or another one. */
type Source = { readonly type: "here" } | ({ readonly type: "elsewhere" } & Elsewhere);

/** What is known of a vnode that is loading. */
interface Pages {
  /** In the order of their positions; in `vnode.known` already. */
  readonly tasks: Task[];
  /** Of everything else: applied at `loaded`, when the time is known. */
  readonly rows: Row[];
}

export class Loader {
  readonly #options: LoaderOptions;
  readonly #core: Core;
  readonly #pages: Map<Vnode, Pages> = new Map();
  readonly #olderState: OlderState;
  readonly #olderTasks: OlderTasks;
  readonly #olderUndone: OlderUndone;
  readonly #undone: Undone;
  readonly #arriving: Map<Vnode, ArrivingRows> = new Map();

  constructor(options: LoaderOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#olderState = new OlderState(options.core, options.states);
    this.#olderTasks = new OlderTasks(options);
    this.#olderUndone = new OlderUndone(options);
    this.#undone = new Undone(options.core);
  }

  /** Keeps the rows; gives back those that cannot be read (B1). */
  load(vnode: Vnode, rows: readonly Row[]): readonly Row[] {
    const pages = this.#pagesOf(vnode);
    const unreadable: Row[] = [];
    for (const row of rows) {
      if (row.key[0] === KIND.state || row.key[0] === KIND.stateAside) this.#hashState(vnode, row, unreadable);
      else if (row.key[0] === KIND.outbox) {
        if (!this.#child(vnode, row, HERE)) unreadable.push(row);
      } else {
        const read = readRow(row);
        if (read === undefined) unreadable.push(row);
        else if ("record" in read) this.#prepare(vnode, read, pages);
        else pages.rows.push(read);
      }
    }
    return unreadable;
  }

  /** Rows of a vnode that another owner still writes. False: they are too many to be kept. */
  arrive(vnode: Vnode, changes: readonly RowChange[]): boolean {
    const rows = this.#arriving.get(vnode) ?? new ArrivingRows();
    this.#arriving.set(vnode, rows);
    for (const change of changes) rows.add(change);
    return rows.bytes <= ARRIVING_BYTES;
  }

  /** That was all of them: up to `most` are taken as if they had been loaded. */
  arrived(vnode: Vnode, most: number): Taken {
    const some = this.#arriving.get(vnode)?.take(most);
    if (some === undefined) return NOTHING_LEFT;
    if (some.isAll) this.#arriving.delete(vnode);
    const pages = this.#pagesOf(vnode);
    for (const task of some.tasks) this.#prepare(vnode, task, pages);
    return { unreadable: this.load(vnode, some.rows), isAll: some.isAll };
  }

  loaded(now: Instant, vnode: Vnode): void {
    const { tasks, rows } = this.#pagesOf(vnode);
    this.#pages.delete(vnode);
    // Tasks look at paused keys as they enter.
    for (const row of rows) if (isPaused(row)) this.#apply(now, vnode, row, HERE);
    for (const task of tasks) {
      task.app.loading--;
      this.#core.countQueued(task, 1);
      this.#options.lanes.enter(now, task);
    }
    for (const row of rows) if (!isPaused(row)) this.#apply(now, vnode, row, HERE);
    this.#options.lanes.flushOlder(now);
    if (vnode.older !== "none") return;
    this.#endOlder(vnode);
    for (const [name, id] of vnode.dedupe) {
      if (vnode.known.has(id)) continue;
      const { app, key, idempotencyKey } = readDedupeName(name);
      vnode.dedupe.delete(name);
      this.#core.erase(vnode, keyedRow(KIND.dedupe, app, key, idempotencyKey));
    }
  }

  /** Gives back those that cannot be read, which are kept as they came (B1). */
  absorb(now: Instant, vnode: Vnode, rows: readonly Row[], from: Elsewhere): readonly Row[] {
    const source = { type: "elsewhere", ...from } as const;
    const unreadable: Row[] = [];
    for (const row of rows) {
      if (this.#take(now, vnode, row, source)) continue;
      unreadable.push(row);
      this.#core.write(vnode, unreadKey(from.generation, row.key), row.value);
    }
    if (from.isLast === true) this.#olderState.keep(vnode, from.marks);
    vnode.readsFromGroup = this.#core.group;
    return unreadable;
  }

  replacing(vnode: Vnode): number {
    return this.#olderState.replacing(vnode);
  }

  /** Older tasks are here: from now on nothing wins over anything. */
  olderDone(vnode: Vnode): void {
    vnode.older = "none";
    this.#endOlder(vnode);
  }

  close(vnode: Vnode): void {
    for (const task of this.#pages.get(vnode)?.tasks ?? []) task.app.loading--;
    this.#pages.delete(vnode);
    this.#arriving.delete(vnode);
  }

  #pagesOf(vnode: Vnode): Pages {
    let pages = this.#pages.get(vnode);
    if (pages === undefined) {
      pages = { tasks: [], rows: [] };
      this.#pages.set(vnode, pages);
    }
    return pages;
  }

  /** B4 */
  #prepare(vnode: Vnode, row: TaskRow, { tasks }: Pages): void {
    if (vnode.known.has(row.record.id)) return; // B2
    const task = taskOfRow(this.#core, this.#core.newest, vnode, row);
    placeTask(task, row.position);
    vnode.known.set(task);
    vnode.arrivals.push(task);
    task.app.loading++;
    tasks.push(task);
  }

  #endOlder(vnode: Vnode): void {
    this.#olderState.end(vnode);
    this.#undone.end(vnode);
    vnode.childrenHere.clear();
  }

  /** A row of another directory. False: it cannot be read. */
  #take(now: Instant, vnode: Vnode, row: Row, source: Source): boolean {
    if (row.key[0] === KIND.outbox) return this.#child(vnode, row, source);
    const read = KINDS.has(row.key[0]) ? readRow(row) : undefined;
    if (read !== undefined && source.type === "elsewhere" && this.#olderUndone.isUndone(vnode, row, source))
      return true;
    if (read !== undefined) this.#apply(now, vnode, read, source);
    return read !== undefined;
  }

  #apply(now: Instant, vnode: Vnode, row: ReadRow, source: Source): void {
    if ("record" in row)
      return source.type === "elsewhere" ? this.#olderTasks.absorb(now, vnode, row, source.behind) : undefined;
    if ("ended" in row) {
      if (this.#options.results.readEnded(vnode, row)) this.#copy(vnode, row, source);
      const at = source.type === "here" ? row.position : undefined;
      for (const ended of row.ended) this.#olderTasks.endedBefore(now, vnode, ended, at);
      return;
    }
    const { key, value } = row;
    switch (key[0]) {
      case KIND.dead: {
        const dead = readDead(value);
        const record = parseRecord(dead.wire, 0, dead.wire.length);
        if (isRefused(record)) return;
        const known = vnode.known.get(record.id);
        if (known instanceof Task && source.type === "elsewhere")
          this.#olderTasks.diedBefore(now, known, readPosition(key), dead);
        if (known !== undefined) return;
        if (this.#undone.has(vnode, deadName(record.id), readPosition(key).generation)) return;
        if (this.#options.results.isPlain(vnode, record.id)) return;
        this.#options.dead.add(
          new Dead(
            vnode,
            this.#core.appOf(record.app),
            {
              ...readPosition(key),
              id: record.id,
              type: record.type,
              key: record.key,
              idempotencyKey: record.idempotencyKey,
              flags: dead.flags,
              attempts: dead.attempts,
              acceptedAtMs: dead.acceptedAtMs,
              diedAtMs: dead.diedAtMs,
              failure: dead.failure,
            },
            source.type === "here" ? -1 : this.#core.group,
          ),
        );
        this.#copy(vnode, row, source);
        return;
      }
      case KIND.state:
        if (source.type === "elsewhere") this.#olderState.take(vnode, row, source);
        return;
      case KIND.stateAside: {
        const { app, key: laneKey } = readKeyed(key);
        noteAside(vnode, laneName(app, laneKey));
        this.#copy(vnode, row, source);
        return;
      }
      case KIND.dedupe: {
        const { app, key: laneKey, name } = readKeyed(key);
        const known = dedupeName(app, laneKey, name);
        if (
          vnode.dedupe.has(known) ||
          (source.type === "elsewhere" && this.#olderUndone.isDropped(vnode, readId(value)))
        )
          return;
        vnode.dedupe.set(known, readId(value));
        this.#copy(vnode, row, source);
        return;
      }
      case KIND.result:
        this.#result(now, vnode, row, source);
        return;
      case KIND.schedule: {
        const { app, key: laneKey, name } = readKeyed(key);
        const run = this.#appNamed(app);
        if (run === undefined) return;
        if (
          source.type === "elsewhere" &&
          this.#options.schedules.find(vnode, { app, key: laneKey, name }) === undefined
        )
          this.#copy(vnode, row, source);
        const read = readSchedule(value);
        const origin = read.origin ?? (source.type === "here" ? vnode.term : source).generation;
        this.#options.schedules.load(now, vnode, { app: run, key: laneKey, name }, { ...read, origin });
        return;
      }
      case KIND.outbox:
        this.#child(vnode, row, source);
        return;
      case KIND.paused:
        this.#olderUndone.paused(now, vnode, row, source.type === "here" ? undefined : source);
        return;
      case KIND.undone:
        this.#olderUndone.heard(now, vnode, row, source.type === "here" ? undefined : source);
        return;
      case KIND.unread: {
        const unread = unreadRow(row);
        if (unread === undefined) return;
        const from = { behind: true, marks: new Map<string, number>(), generation: unread.generation };
        if (this.#take(now, vnode, unread.row, { type: "elsewhere", ...from })) this.#core.erase(vnode, key);
        else this.#copy(vnode, row, source);
        return;
      }
      case KIND.stateHere: {
        if (source.type === "here") this.#olderState.load(vnode, row);
        else if (vnode.older !== "none") this.#olderState.mark(vnode, row, source);
        return;
      }
      default:
        return;
    }
  }

  #result(now: Instant, vnode: Vnode, row: Row, source: Source): void {
    const id = decoder.decode(row.key.subarray(1));
    const result = readResult(row.value);
    const app = this.#appNamed(result.app);
    if (app === undefined) return;
    if (result.state === "done" || result.state === "cancelled") {
      const here = vnode.known.get(id);
      if (here instanceof Task && here.phase !== "ending" && here.phase !== "ended") {
        here.result = result.result;
        here.attempts = result.attempts;
      }
      this.#olderTasks.endedBefore(now, vnode, { id, state: result.state });
    }
    const known = vnode.known.get(id);
    if (known instanceof Task && known.phase === "running") this.#copy(vnode, row, source);
    if (known !== undefined) return;
    this.#copy(vnode, row, source);
    const endedAt = now - Math.max(0, this.#core.wallMs(now) - result.endedAtMs);
    const done = new Done(vnode, app, id, vnode.known.hash(bitsOfId(id)));
    Object.assign(done, result, { app, endedAt, hasRow: true });
    this.#options.results.add(now, done);
    if (source.type === "elsewhere") this.#olderTasks.dedupe(vnode, { ...result, id });
  }

  /** Entered as its page comes, so that the outbox decides what is kept of it, and no page is. False: it cannot be read. */
  #child(vnode: Vnode, row: Row, source: Source): boolean {
    try {
      const position = readPosition(row.key);
      const wire = readOutbox(row.value);
      const record = parseRecord(wire, 0, wire.length);
      if (isRefused(record)) return false;
      if (vnode.older !== "none") {
        if (vnode.childrenHere.has(keyText(row.key))) return true; // B5
        vnode.childrenHere.add(keyText(row.key));
        if (source.type === "elsewhere" && this.#olderUndone.isRefused(vnode, position, record.id, source)) return true;
      }
      this.#copy(vnode, row, source);
      goBehind(vnode, position);
      this.#options.outbox.load(vnode, position, record);
      return true;
    } catch {
      return false;
    }
  }

  #hashState(vnode: Vnode, row: Row, unreadable: Row[]): void {
    try {
      const { app, key } = readKeyed(row.key);
      if (row.key[0] === KIND.stateAside) noteAside(vnode, laneName(app, key));
      else vnode.stateHashes.add(hashKey(app, key) | 0);
    } catch {
      unreadable.push(row);
    }
  }

  #copy(vnode: Vnode, row: Row, source: Source): void {
    if (source.type === "elsewhere") this.#core.write(vnode, row.key, row.value);
  }

  #appNamed(name: string): AppRun | undefined {
    return isAppName(name) ? this.#core.appOf(name) : undefined;
  }
}

/** Of one partition, apart from its tasks. */
const ARRIVING_BYTES = 16 * 1024 * 1024;
const KINDS: ReadonlySet<number | undefined> = new Set(Object.values(KIND));
const HERE: Source = { type: "here" };
const NOTHING_LEFT: Taken = { unreadable: [], isAll: true };
const decoder = new TextDecoder();
