/**
 * How ended tasks ended, for as long as that is worth remembering: for `Get` and `Wait`, and to recognise a task submitted again.
 *
 * Two windows: results (1 h, 10,000 per app and node: a node's share of the ring may fall to nothing before what it holds has moved,
 * and a single key may have them all), and dedupe (24 h) for children and tasks with an idempotency key. Ends with a result,
 * an idempotency key or durable deduplication have a row of their own; of the others only the ids are on disk (`ended-ids.ts`).
 *
 * Bytes are bounded apart from identities: with more than `resultsBytes` in memory, the app that holds most loses the bytes of its
 * oldest results, which then say `RESULT_DROPPED`; that the task ended, and its idempotency key, stay for their window.
 *
 * K1  Whatever leaves memory leaves the store in the same step, unless the partition is being handed over.
 * K2  What one app keeps never costs another anything while the other holds less (promise P4).
 */

import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import { EndedIds } from "./ended-ids.ts";
import type { Fifo } from "./fifo.ts";
import { Heaviest } from "./heaviest.ts";
import { type AppRun, type Dead, Done, type Task, type Vnode } from "./model.ts";
import { OldEnds } from "./old-ends.ts";
import { PlainEnds } from "./plain-ends.ts";
import type { EndedRow } from "./read-row.ts";
import { FLAG, KIND, keyedRow, resultKey, resultValue } from "./rows.ts";
import { bitsOfId, type IdBits } from "./task-id.ts";

export class Results {
  readonly #core: Core;
  readonly #plain: PlainEnds = new PlainEnds();
  readonly #old: OldEnds = new OldEnds();
  readonly #ids: EndedIds;
  #results = 0;
  #deduped = 0;
  #bytes = 0;
  readonly #mostBytes: Heaviest;
  readonly #mostDeduped: Heaviest;
  readonly #mostEnds: Heaviest;

  constructor(core: Core) {
    this.#core = core;
    this.#mostBytes = new Heaviest(core.apps, (app) => app.resultBytes);
    this.#mostDeduped = new Heaviest(core.apps, (app) => app.deduped.size);
    this.#mostEnds = new Heaviest(core.apps, endsOf);
    this.#ids = new EndedIds(core);
  }

  /** Before a commit is closed. */
  pack(): void {
    this.#ids.pack();
  }

  /** False: what it says is on this disk already. */
  readEnded(vnode: Vnode, row: EndedRow): boolean {
    return this.#ids.read(vnode, row);
  }

  /** What its ends took of their apps' windows is there for those of other partitions again. */
  close(vnode: Vnode): void {
    this.#ids.close(vnode);
    for (const app of this.#core.apps.values()) this.#plain.close(vnode, app);
    const apps = new Set<AppRun>();
    for (const known of vnode.known.values()) if (known instanceof Done) apps.add(known.app);
    for (const app of apps) {
      this.#results -= this.#forget(vnode, app, app.results);
      this.#deduped -= this.#forget(vnode, app, app.deduped);
      app.resultsLight = 0;
      app.dedupedLight = 0;
    }
  }

  #forget(vnode: Vnode, app: AppRun, ends: Fifo<Done>): number {
    const before = ends.toArray();
    const kept: Done[] = [];
    for (const done of before) {
      if (done.vnode !== vnode) kept.push(done);
      else this.#countBytes(app, -bytesOf(done));
    }
    if (kept.length < before.length) ends.replace(kept);
    return before.length - kept.length;
  }

  /** The row that says how a task ended, if it needs one; in the same step as the row of the task goes. */
  write(now: Instant, task: Task): void {
    if (!needsRow(task)) {
      this.#ids.add(task.vnode, task.record, task.endState === "cancelled" ? "cancelled" : "done");
      return;
    }
    const { record } = task;
    const row = {
      app: task.app.name,
      type: record.type,
      key: record.key,
      state: task.endState,
      deduped: isDeduped(task),
      attempts: task.attempts,
      acceptedAtMs: task.acceptedAtMs,
      endedAtMs: this.#core.wallMs(now),
      idempotencyKey: record.idempotencyKey,
      failure: task.failure,
      result: task.result,
      dropped: false,
    };
    this.#core.write(task.vnode, resultKey(record.id), resultValue(row));
  }

  /** The end of the task is durable: from here on its id answers with it. */
  remember(now: Instant, task: Task): void {
    const { record } = task;
    if (!needsRow(task) && task.failure === undefined) {
      task.vnode.known.delete(task);
      this.#plain.add(task, this.#core.wallMs(now));
      this.#old.add(task.record, task.idHash, task.endState === "cancelled" ? "cancelled" : "done");
      this.#bound(task.app);
      if (task.app.plainEnds % 64 === 0) this.#expire(now, task.app, 128);
      return;
    }
    const done = new Done(task.vnode, task.app, task.id, task.idHash);
    done.type = record.type;
    done.key = record.key;
    done.state = task.endState;
    done.attempts = task.attempts;
    done.acceptedAtMs = task.acceptedAtMs;
    done.endedAtMs = this.#core.wallMs(now);
    done.endedAt = task.endedAt;
    done.failure = task.failure;
    done.result = task.result;
    done.idempotencyKey = record.idempotencyKey;
    done.hasRow = needsRow(task);
    done.deduped = isDeduped(task);
    this.add(now, done);
  }

  /** Everything that is known of an id: a task, a dead letter, or an end. */
  find(vnode: Vnode, id: string): Task | Done | Dead | undefined {
    const bits = bitsOfId(id);
    const hash = vnode.known.hash(bits);
    const known = vnode.known.find(id, hash);
    if (known !== undefined) return known;
    const row = this.#plain.find(vnode, bits, hash);
    return row < 0 ? undefined : this.#plain.doneAt(row);
  }

  /** Whether an id that is not in `vnode.known` has ended, and how; for the submit path. */
  plainState(vnode: Vnode, bits: IdBits & { readonly id: string }, hash: number): "done" | "cancelled" | undefined {
    const row = this.#plain.find(vnode, bits, hash);
    return row >= 0 ? this.#plain.stateAt(row) : (this.#old.find(bits, hash) ?? this.#ids.stateOf(vnode, bits.id));
  }

  isPlain(vnode: Vnode, id: string): boolean {
    const bits = { id, ...bitsOfId(id) };
    return this.plainState(vnode, bits, vnode.known.hash(bits)) !== undefined;
  }

  /** All that is known in a vnode, of one app or of each, for lists: one by one, as most lists end soon. */
  *known(vnode: Vnode, app: string | undefined): Generator<Task | Done | Dead> {
    yield* vnode.known.values();
    const one = app === undefined ? undefined : this.#core.apps.get(app);
    const apps = app === undefined ? this.#core.apps.values() : one === undefined ? [] : [one];
    for (const each of apps) for (const row of this.#plain.rowsOf(vnode, each)) yield this.#plain.doneAt(row);
  }

  add(now: Instant, done: Done): void {
    const { app } = done;
    const { limits } = this.#core;
    done.vnode.known.set(done);
    this.#countBytes(app, bytesOf(done));
    if (done.deduped) {
      this.#deduped++;
      app.deduped.push(done);
      this.#mostDeduped.grew(app);
      while (app.deduped.size > limits.dedupePerApp) this.#evict(app.deduped);
      while (this.#deduped > limits.dedupePerNode) this.#evict((this.#mostDeduped.find() ?? app).deduped); // K2
    } else {
      this.#results++;
      app.results.push(done);
      this.#bound(app);
    }
    this.#mostBytes.grew(app);
    let more = true;
    while (more && this.#bytes > limits.resultsBytes) more = this.#lighten(this.#mostBytes.find() ?? app); // K2
    this.#expire(now, app, 4);
  }

  /** Drops what is past its window; a bounded number a call. True: there is more. */
  sweep(now: Instant): boolean {
    let budget = SWEEP;
    for (const app of this.#core.apps.values()) {
      budget -= this.#expire(now, app, budget);
      if (budget <= 0) return true;
    }
    return false;
  }

  #bound(app: AppRun): void {
    const { limits } = this.#core;
    this.#mostEnds.grew(app);
    while (endsOf(app) > limits.resultsPerApp) this.#evictOldest(app);
    while (this.#results + this.#plain.size > limits.resultsPerNode) this.#evictOldest(this.#mostEnds.find() ?? app); // K2
  }

  #evictOldest(app: AppRun): void {
    const rich = app.results.peek();
    const plain = this.#plain.oldestEndedAt(app);
    if (plain !== undefined && (rich === undefined || plain <= rich.endedAt)) this.#plain.evict(app);
    else this.#evict(app.results);
  }

  #expire(now: Instant, app: AppRun, most: number): number {
    const { limits } = this.#core;
    let dropped = 0;
    for (
      let endedAt = this.#plain.oldestEndedAt(app);
      endedAt !== undefined && dropped < most && endedAt + limits.resultsMs < now;
      endedAt = this.#plain.oldestEndedAt(app), dropped++
    )
      this.#plain.evict(app);
    for (
      let first = app.results.peek();
      first !== undefined && dropped < most && first.endedAt + limits.resultsMs < now;
      first = app.results.peek(), dropped++
    )
      this.#evict(app.results);
    for (
      let first = app.deduped.peek();
      first !== undefined && dropped < most && first.endedAt + limits.dedupeMs < now;
      first = app.deduped.peek(), dropped++
    )
      this.#evict(app.deduped);
    return dropped;
  }

  #evict(queue: Fifo<Done>): void {
    const done = queue.shift();
    if (done === undefined) return;
    const { vnode, app } = done;
    this.#countBytes(app, -bytesOf(done));
    if (done.deduped) {
      this.#deduped--;
      app.dedupedLight = Math.max(0, app.dedupedLight - 1);
    } else {
      this.#results--;
      app.resultsLight = Math.max(0, app.resultsLight - 1);
    }
    if (vnode.phase === "closed" || vnode.known.get(done.id) !== done) return;
    vnode.known.delete(done);
    this.#outlive(done);
    const name =
      done.idempotencyKey === undefined ? undefined : dedupeName(done.app.name, done.key, done.idempotencyKey);
    const isItsOwn = name !== undefined && vnode.dedupe.get(name) === done.id;
    if (isItsOwn) vnode.dedupe.delete(name);
    if (!done.hasRow || vnode.phase === "held") return; // K1
    this.#core.erase(vnode, resultKey(done.id));
    if (isItsOwn && done.idempotencyKey !== undefined)
      this.#core.erase(vnode, keyedRow(KIND.dedupe, done.app.name, done.key, done.idempotencyKey));
  }

  /** Its id is known for as long as those of tasks without a result. */
  #outlive({ vnode, id, idHash, state, deduped, hasRow }: Done): void {
    if (state !== "done" && state !== "cancelled") return;
    if (deduped && vnode.older === "none") return; // its rows may come again (ownership rule 15)
    const bits = bitsOfId(id);
    this.#old.add(bits, idHash, state);
    if (hasRow && vnode.phase !== "held") this.#ids.add(vnode, bits, state);
  }

  /** Drops the bytes of the app's oldest end that has any. False: none has. */
  #lighten(app: AppRun): boolean {
    app.resultsLight = lightOf(app.results, app.resultsLight);
    app.dedupedLight = lightOf(app.deduped, app.dedupedLight);
    const result = app.results.at(app.resultsLight);
    const deduped = app.deduped.at(app.dedupedLight);
    const done =
      deduped === undefined || (result !== undefined && result.endedAt <= deduped.endedAt) ? result : deduped;
    if (done === undefined) return false;
    this.#countBytes(app, -bytesOf(done));
    done.result = undefined;
    done.failure = undefined;
    done.dropped = true;
    const { vnode } = done;
    const isKept =
      done.hasRow && vnode.phase !== "closed" && vnode.phase !== "held" && vnode.known.get(done.id) === done; // K1
    if (isKept) this.#core.write(vnode, resultKey(done.id), resultValue({ ...done, app: app.name }));
    return true;
  }

  #countBytes(app: AppRun, bytes: number): void {
    this.#bytes += bytes;
    app.resultBytes += bytes;
  }
}

/** Keys may hold any character, so their length tells where one ends. */
export function dedupeName(app: string, key: string, idempotencyKey: string): string {
  return `${app}\0${key.length}\0${key}${idempotencyKey}`;
}

export function readDedupeName(name: string): { app: string; key: string; idempotencyKey: string } {
  const appEnd = name.indexOf("\0");
  const keyAt = name.indexOf("\0", appEnd + 1) + 1;
  const keyEnd = keyAt + Number(name.slice(appEnd + 1, keyAt - 1));
  return { app: name.slice(0, appEnd), key: name.slice(keyAt, keyEnd), idempotencyKey: name.slice(keyEnd) };
}

function isDeduped(task: Task): boolean {
  return (task.flags & FLAG.deduped) !== 0 || task.keyed;
}

function needsRow(task: Task): boolean {
  return task.result !== undefined || isDeduped(task);
}

function endsOf(app: AppRun): number {
  return app.results.size + app.plainEnds;
}

/** How many at the head have no bytes; `known` of them were seen before, so each is looked at once. */
function lightOf(ends: Fifo<Done>, known: number): number {
  let light = known;
  for (let done = ends.at(light); done !== undefined && bytesOf(done) === 0; done = ends.at(light)) light++;
  return light;
}

/** What may be dropped of an end: its result or its failure, not its identity. */
function bytesOf(done: Done): number {
  return (
    (done.result?.length ?? 0) +
    (done.failure === undefined ? 0 : done.failure.message.length + (done.failure.stack?.length ?? 0))
  );
}

/** Ends dropped in one sweep. */
const SWEEP = 2_000;
