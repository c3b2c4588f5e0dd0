/**
 * Dead letters: tasks that were given up, kept with their error until an operator retries or drops them. Payloads stay in the store.
 *
 * G1  A task is dead or it is tried on: with no room for another dead letter it is never dropped.
 * G2  A retried one joins its lane at the end (rule 20), under the same id.
 */

import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import { Dead, type Task, type Vnode } from "./model.ts";
import { dedupeName } from "./results.ts";
import { deadValue, FLAG, KIND, keyedRow, type Position, positionKey } from "./rows.ts";
import type { TaskFailure, TaskRecord } from "./task.ts";
import { deadName, Undone } from "./undone.ts";

/** What a dead letter is made of; a child that was refused has no task here. */
export interface Deceased {
  readonly position: Position;
  readonly record: TaskRecord;
  readonly flags: number;
  readonly attempts: number;
  readonly acceptedAtMs: number;
  readonly failure: TaskFailure;
}

export class DeadLetters {
  readonly #core: Core;
  readonly #undone: Undone;
  readonly #leave: (now: Instant, task: Task) => void;

  constructor(core: Core, leave: (now: Instant, task: Task) => void) {
    this.#core = core;
    this.#undone = new Undone(core);
    this.#leave = leave;
  }

  /** Gives the task up, or calls `full` when no more dead letters fit (G1). Counts the attempt that just failed. */
  bury(now: Instant, task: Task, failure: TaskFailure, full: () => void): void {
    const core = this.#core;
    if (task.phase === "running") task.attempts = Math.min(task.attempts + 1, 65_535);
    task.failure = failure;
    if (task.app.dead >= core.limits.deadPerApp || core.dead >= core.limits.deadPerNode) {
      full();
      return;
    }
    task.endState = "dead";
    core.eraseTask(task);
    this.#write(now, task.vnode, {
      position: task,
      record: task.record,
      flags: task.flags & FLAG.deduped,
      attempts: task.attempts,
      acceptedAtMs: task.acceptedAtMs,
      failure,
    });
    task.app.dead++;
    task.vnode.dead++;
    core.dead++;
    this.#leave(now, task);
  }

  /** The end of a buried task is durable. */
  buried(task: Task): void {
    const { record } = task;
    task.vnode.known.set(
      new Dead(task.vnode, task.app, {
        id: record.id,
        type: record.type,
        key: record.key,
        idempotencyKey: record.idempotencyKey,
        generation: task.generation,
        opens: task.opens,
        sequence: task.sequence,
        flags: task.flags & FLAG.deduped,
        attempts: task.attempts,
        acceptedAtMs: task.acceptedAtMs,
        diedAtMs: this.#core.wallMs(task.endedAt),
        failure: task.failure as TaskFailure,
      }),
    );
  }

  /** A child that its owner refused for good: kept here, at its parent's partition. False: no room. */
  keepChild(now: Instant, vnode: Vnode, record: TaskRecord, failure: TaskFailure): boolean {
    const core = this.#core;
    const app = core.appOf(record.app);
    if (vnode.known.get(record.id) instanceof Dead) return true; // as an older directory says as well
    if (app.dead >= core.limits.deadPerApp || core.dead >= core.limits.deadPerNode) return false;
    const position = { generation: vnode.term.generation, opens: vnode.term.opens, sequence: vnode.sequence++ };
    const acceptedAtMs = core.wallMs(now);
    this.#undone.remove(vnode, deadName(record.id)); // it was sent again, in vain
    this.#write(now, vnode, { position, record, flags: FLAG.child, attempts: 0, acceptedAtMs, failure });
    this.add(
      new Dead(
        vnode,
        app,
        {
          id: record.id,
          type: record.type,
          key: record.key,
          idempotencyKey: record.idempotencyKey,
          ...position,
          flags: FLAG.child,
          attempts: 0,
          acceptedAtMs,
          diedAtMs: acceptedAtMs,
          failure,
        },
        core.group,
      ),
    );
    return true;
  }

  /** One that is in the store already. */
  add(dead: Dead): void {
    dead.vnode.known.set(dead);
    dead.vnode.dead++;
    dead.app.dead++;
    this.#core.dead++;
  }

  /** Removes its row and forgets it. */
  remove(dead: Dead): void {
    this.#core.erase(dead.vnode, positionKey(KIND.dead, dead));
    dead.vnode.known.delete(dead);
    dead.vnode.dead--;
    dead.app.dead--;
    this.#core.dead--;
  }

  /** For an operator: the same submit may come again as a new task. */
  drop(dead: Dead): void {
    this.remove(dead);
    if (dead.idempotencyKey === undefined) return;
    const { vnode, app, key, idempotencyKey } = dead;
    const name = dedupeName(app.name, key, idempotencyKey);
    if (vnode.dedupe.get(name) !== dead.id) return;
    vnode.dedupe.delete(name);
    this.#core.erase(vnode, keyedRow(KIND.dedupe, app.name, key, idempotencyKey));
  }

  #write(now: Instant, vnode: Vnode, from: Deceased): void {
    const value = deadValue(
      {
        flags: from.flags,
        attempts: from.attempts,
        acceptedAtMs: from.acceptedAtMs,
        diedAtMs: this.#core.wallMs(now),
        failure: from.failure,
      },
      from.record.wire,
    );
    this.#core.write(vnode, positionKey(KIND.dead, from.position), value);
  }
}
