/**
 * Tasks of other directories, beside those that were accepted here meanwhile: the same task may have been submitted to both owners.
 *
 * T1  An id that is known here is not taken a second time; one that waits here takes the place that it had there, before all that was
 *     accepted there after it (promise P3).
 * T2  What ended elsewhere does not run here, unless it runs already (completion.ts, X5).
 * T3  Its idempotency key counts with the task: the record's own row comes later.
 * T4  What died elsewhere since is a dead letter here, unless an operator has had it tried again, or it runs already.
 */

import type { Instant } from "../machine.ts";
import type { Completion } from "./completion.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import type { EndedId } from "./ended-row.ts";
import type { Lanes } from "./lanes.ts";
import { Dead, Task, type Vnode } from "./model.ts";
import type { TaskRow } from "./read-row.ts";
import { dedupeName, type Results } from "./results.ts";
import { comparePositions, type DeadHeader, FLAG, idValue, KIND, keyedRow, type Position } from "./rows.ts";
import type { TaskRecord } from "./task.ts";
import { placeTask, taskOfRow } from "./task-of-row.ts";
import { deadName, Undone } from "./undone.ts";

export interface OlderTasksOptions {
  readonly core: Core;
  readonly lanes: Lanes;
  readonly results: Results;
  readonly dead: DeadLetters;
  readonly completion: Completion;
}

type Keyed = Pick<TaskRecord, "key" | "id" | "idempotencyKey"> & { readonly app: string };

export class OlderTasks {
  readonly #options: OlderTasksOptions;
  readonly #core: Core;
  readonly #undone: Undone;

  constructor(options: OlderTasksOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#undone = new Undone(options.core);
  }

  /** A queued task. `isBehind`: it joins at the end, its machine was away. */
  absorb(now: Instant, vnode: Vnode, row: TaskRow, isBehind: boolean): void {
    const { record } = row;
    const known = vnode.known.get(record.id);
    if (known instanceof Dead && comparePositions(known, row.position) < 0)
      this.#options.dead.remove(known); // it has been retried since, which gave it a later place
    else if (known !== undefined) {
      if (known instanceof Task) this.#known(now, known, isBehind ? undefined : row); // T1
      return;
    }
    if (this.#undone.has(vnode, deadName(record.id), row.position.generation)) return; // dropped as a dead letter since
    // Submitted again elsewhere while its end lay here: it does not run twice.
    if (this.#options.results.isPlain(vnode, record.id)) return;
    const task = taskOfRow(this.#core, now, vnode, row);
    task.flags |= FLAG.deduped | (isBehind ? FLAG.stranded : 0);
    if (!isBehind) placeTask(task, row.position);
    vnode.known.set(task);
    vnode.arrivals.push(task);
    this.#core.absorbedAt = now;
    this.#core.countQueued(task, 1);
    this.#core.writeTask(now, task);
    this.dedupe(vnode, record);
    this.#core.accepting.push(task); // enters its lane when it is durable here
  }

  /** T2. `at`: where the vnode's own directory has it. */
  endedBefore(now: Instant, vnode: Vnode, { id, state }: EndedId, at?: Position): void {
    const known = vnode.known.get(id);
    if (!(known instanceof Task || known instanceof Dead)) return;
    // Accepted again by this very owner once its end was forgotten: that is another task.
    if (at?.generation === known.generation && comparePositions(at, known) < 0) return;
    if (known instanceof Dead) this.#options.dead.remove(known);
    // One whose acceptance is on its way to the disk as well: that it is told is all that is left to do for it.
    else if (known.phase === "running") known.endedElsewhere = state;
    else if (known.phase !== "ending") this.#options.completion.endedBefore(now, known, state);
  }

  /** T4: it waits here as an older directory has it. With no room for another dead letter it goes on. */
  diedBefore(now: Instant, known: Task, position: Position, { attempts, failure }: DeadHeader): void {
    const { phase } = known;
    if (phase === "running" || phase === "ending" || phase === "ended") return;
    if ((known.flags & FLAG.stranded) === 0 && comparePositions(known, position) > 0) return;
    if (this.#undone.isRedone(known.vnode, deadName(known.id), position.generation)) return;
    known.attempts = attempts;
    this.#options.dead.bury(now, known, failure, () => {});
  }

  /** Submitted here as well: what came of it has to be known for as long as its row may come again. */
  #known(now: Instant, known: Task, older: TaskRow | undefined): void {
    if (known.phase === "ending" || known.phase === "ended") return;
    const goesBefore = older !== undefined && wasBefore(known, older);
    if (!goesBefore && (known.flags & FLAG.deduped) !== 0) return;
    known.flags |= FLAG.deduped;
    if (goesBefore) {
      this.#core.eraseTask(known);
      placeTask(known, older.position);
    }
    this.#core.writeTask(now, known);
    if (goesBefore && known.lane !== undefined) this.#options.lanes.replaced(known.lane);
  }

  /** T3 */
  dedupe(vnode: Vnode, { app, key, id, idempotencyKey }: Keyed): void {
    if (idempotencyKey === undefined) return;
    const name = dedupeName(app, key, idempotencyKey);
    if (vnode.dedupe.has(name)) return;
    vnode.dedupe.set(name, id);
    this.#core.write(vnode, keyedRow(KIND.dedupe, app, key, idempotencyKey), idValue(id));
  }
}

/** T1. A delayed task takes its place when it is due, and one that came behind keeps that place. */
function wasBefore(known: Task, { position, header }: TaskRow): boolean {
  if (known.phase !== "accepting" && known.phase !== "queued") return false;
  if ((known.flags & FLAG.stranded) !== 0 || (header.flags & FLAG.delayed) !== 0) return false;
  return comparePositions(position, known) < 0;
}
