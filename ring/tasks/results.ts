/**
 * How ended tasks ended, for as long as that is worth remembering: for `Get` and `Wait`, and to recognise a task submitted again.
 *
 * Two windows: results (1 h, 10,000 per app), and dedupe (24 h) for children and tasks with an idempotency key. Only ends with a
 * result, an idempotency key or durable deduplication have a row; of the others a restart knows nothing, and a submit that is
 * repeated after it runs again, which at-least-once allows.
 *
 * K1  Whatever leaves memory leaves the store in the same step, unless the partition is being handed over.
 */

import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import type { Fifo } from "./fifo.ts";
import { type AppRun, Done, type Task } from "./model.ts";
import { FLAG, KIND, keyedRow, resultKey, resultValue } from "./rows.ts";

export class Results {
  readonly #core: Core;
  #results = 0;
  #deduped = 0;
  #bytes = 0;
  /** Where the search for an app that gives way goes on. */
  #victims: Iterator<AppRun> | undefined;

  constructor(core: Core) {
    this.#core = core;
  }

  /** The row that says how a task ended, if it needs one; in the same step as the row of the task goes. */
  write(now: Instant, task: Task): void {
    if (!needsRow(task)) return;
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
    };
    this.#core.write(task.vnode, resultKey(record.id), resultValue(row));
  }

  /** The end of the task is durable: from here on its id answers with it. */
  remember(now: Instant, task: Task): Done {
    const { record } = task;
    const done = new Done(task.vnode, task.app, {
      id: record.id,
      type: record.type,
      key: record.key,
      state: task.endState,
      attempts: task.attempts,
      acceptedAtMs: task.acceptedAtMs,
      endedAtMs: this.#core.wallMs(now),
      endedAt: task.endedAt,
      failure: task.failure,
      result: task.result,
      idempotencyKey: record.idempotencyKey,
      hasRow: needsRow(task),
      deduped: isDeduped(task),
    });
    this.add(now, done);
    return done;
  }

  add(now: Instant, done: Done): void {
    const { app } = done;
    const { limits } = this.#core;
    done.vnode.known.set(done.id, done);
    this.#bytes += bytesOf(done);
    if (done.deduped) {
      this.#deduped++;
      app.deduped.push(done);
      while (app.deduped.size > limits.dedupePerApp) this.#evict(app.deduped);
      while (this.#deduped > limits.dedupePerNode) this.#evict(this.#victim("deduped"));
    } else {
      this.#results++;
      app.results.push(done);
      const most = Math.ceil(limits.resultsPerApp * this.#core.share);
      while (app.results.size > most) this.#evict(app.results);
      while (this.#results > limits.resultsPerNode) this.#evict(this.#victim("results"));
    }
    while (this.#bytes > limits.resultsBytes && this.#results + this.#deduped > 1) {
      const before = this.#bytes;
      this.#evict(app.results.size > 0 ? app.results : app.deduped);
      if (this.#bytes === before) return;
    }
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

  #expire(now: Instant, app: AppRun, most: number): number {
    const { limits } = this.#core;
    let dropped = 0;
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
    this.#bytes -= bytesOf(done);
    if (done.deduped) this.#deduped--;
    else this.#results--;
    const { vnode } = done;
    if (vnode.phase === "closed" || vnode.known.get(done.id) !== done) return;
    vnode.known.delete(done.id);
    if (done.idempotencyKey !== undefined)
      vnode.dedupe.delete(dedupeName(done.app.name, done.key, done.idempotencyKey));
    if (!done.hasRow || vnode.phase === "held") return; // K1
    this.#core.erase(vnode, resultKey(done.id));
    if (done.idempotencyKey !== undefined)
      this.#core.erase(vnode, keyedRow(KIND.dedupe, done.app.name, done.key, done.idempotencyKey));
  }

  /** The queue of an app that holds more than most, found by looking at a few in turn. */
  #victim(which: "results" | "deduped"): Fifo<Done> {
    let best: Fifo<Done> | undefined;
    for (let looked = 0; looked < 8 || best === undefined || best.size === 0; looked++) {
      this.#victims ??= this.#core.apps.values();
      const next = this.#victims.next();
      if (next.done === true) this.#victims = undefined;
      else if (best === undefined || next.value[which].size > best.size) best = next.value[which];
    }
    return best;
  }
}

export function dedupeName(app: string, key: string, idempotencyKey: string): string {
  return `${app}\0${key}\0${idempotencyKey}`;
}

function isDeduped(task: Task): boolean {
  return (task.flags & FLAG.deduped) !== 0 || task.record.idempotencyKey !== undefined;
}

function needsRow(task: Task): boolean {
  return task.result !== undefined || isDeduped(task);
}

function bytesOf(done: Done): number {
  return (
    (done.result?.length ?? 0) +
    (done.failure === undefined ? 0 : done.failure.message.length + (done.failure.stack?.length ?? 0))
  );
}

/** Ends dropped in one sweep. */
const SWEEP = 2_000;
