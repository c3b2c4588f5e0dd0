/**
 * Submits: refused, recognised as submitted before, or written and, once durable, acknowledged and put into their lane.
 *
 * A1  Exactly one outcome per token; `accepted` only when the row is durable, `duplicate` only when the first one's is (E1).
 * A2  What is admitted is bounded: per app (its share of the partitions), per node in tasks and bytes. A child gets twice its app's
 *     share: it is already promised, and refusing it would only keep it waiting at its parent's owner.
 * A3  While older tasks are awaited, one with an idempotency key waits for them: the first one with that key may be among them.
 */

import type { ErrorCode } from "../errors.ts";
import type { Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import { Detaching } from "./detaching.ts";
import { fullBound } from "./fullness.ts";
import type { Lanes } from "./lanes.ts";
import { type AppRun, Dead, Done, Task, type Vnode } from "./model.ts";
import { type Parked, ParkedSubmits } from "./parked.ts";
import { bytesOf, detachRecord } from "./record.ts";
import { dedupeName, type Results } from "./results.ts";
import { FLAG, idValue, KIND, keyedRow } from "./rows.ts";
import type { SubmitOutcome, TaskRecord, TaskState } from "./task.ts";
import { deadName, Undone } from "./undone.ts";

export class Admission {
  readonly #core: Core;
  readonly #lanes: Lanes;
  readonly #results: Results;
  readonly #parked: ParkedSubmits;
  readonly #detaching: Detaching;
  readonly #undone: Undone;
  /** Apps with acceptances that no event has told of yet. */
  readonly #accepted: AppRun[] = [];

  constructor(core: Core, lanes: Lanes, results: Results) {
    this.#core = core;
    this.#parked = new ParkedSubmits(core);
    this.#detaching = new Detaching(core);
    this.#undone = new Undone(core);
    this.#lanes = lanes;
    this.#results = results;
  }

  submit(now: Instant, partition: Partition, record: TaskRecord, token: number, origin: "client" | "child"): void {
    const core = this.#core;
    const vnode = core.vnodeAt(partition);
    if (vnode === undefined) {
      this.#refuse(token, "NOT_OWNER", `partition ${partition} is not served here`);
      return;
    }
    if (vnode.phase === "loading") {
      this.#park(vnode, { record, token, origin });
      return;
    }
    const idHash = vnode.known.hash(record);
    const known = vnode.known.find(record.id, idHash);
    if (known !== undefined) {
      this.#duplicate(vnode, known, token);
      return;
    }
    const ended = this.#results.plainState(vnode, record, idHash);
    if (ended !== undefined) {
      this.#outcome(token, { type: "duplicate", id: record.id, state: ended });
      return;
    }
    if (record.idempotencyKey !== undefined) {
      const first = vnode.dedupe.get(dedupeName(record.app, record.key, record.idempotencyKey));
      if (first !== undefined) {
        this.#duplicateOf(vnode, first, token);
        return;
      }
    }
    if (this.#mayBeAwaited(vnode, record)) {
      this.#park(vnode, { record, token, origin });
      return;
    }
    let app = core.appNamed(record.app);
    if (app === undefined) {
      if (core.catalogue.find(record.app) === undefined) {
        this.#refuse(
          token,
          origin === "client" ? "APP_UNKNOWN" : "APP_NOT_HERE",
          `app ${record.app} is not loaded here`,
        );
        return;
      }
      app = core.appOf(record.app);
    }
    if (app.definition === undefined) {
      this.#refuse(token, origin === "client" ? "APP_UNKNOWN" : "APP_NOT_HERE", `app ${record.app} is not loaded here`);
      return;
    }
    if (app.typeOf(record.type) === undefined) {
      this.#refuse(token, "TASK_TYPE_UNKNOWN", `app ${record.app} has no task type ${JSON.stringify(record.type)}`);
      return;
    }
    const full = this.fullness(app, record, origin);
    if (full !== undefined) {
      this.#refuse(
        token,
        full.code,
        full.detail,
        full.code === "QUEUE_FULL" ? RETRY_MS + Math.round(core.random() * RETRY_MS) : undefined,
      );
      return;
    }
    this.admit(now, vnode, app, record, origin === "child" ? FLAG.deduped : 0, token);
  }

  /** Whether a task of this id is here, or has ended and is remembered. */
  knows(vnode: Vnode, id: string): boolean {
    return vnode.known.has(id) || this.#results.isPlain(vnode, id);
  }

  /** Why there is no room, or `undefined` (A2). */
  fullness(
    app: AppRun,
    record: TaskRecord,
    origin: "client" | "child",
  ): { readonly code: ErrorCode; readonly detail: string } | undefined {
    const { limits, queuedTasks, queuedBytes } = this.#core;
    if (record.payloadBytes > limits.payloadBytes)
      return {
        code: "PAYLOAD_TOO_LARGE",
        detail: `payload of ${record.payloadBytes} bytes is longer than ${limits.payloadBytes}`,
      };
    const most = origin === "child" ? app.childrenLimit : app.queuedLimit;
    switch (fullBound(this.#core, app, { most, bytes: bytesOf(record) })) {
      case "app":
        return {
          code: "QUEUE_FULL",
          detail: `app ${app.name} has ${app.queued} tasks queued on this node, its limit is ${most}`,
        };
      case "tasks":
        return {
          code: "QUEUE_FULL",
          detail: `the node has ${queuedTasks} tasks queued, its limit is ${limits.queuedTasks}`,
        };
      case "bytes":
        return {
          code: "QUEUE_FULL",
          detail: `the node has ${queuedBytes} bytes of tasks queued, its limit is ${limits.queuedBytes}`,
        };
      default:
        return undefined;
    }
  }

  /** Writes the task; it enters its lane when that is durable. */
  admit(now: Instant, vnode: Vnode, app: AppRun, record: TaskRecord, flags: number, token: number): Task {
    const core = this.#core;
    const task = new Task(vnode, app, record, flags, core.moment(now), token, core.group);
    if (record.delayMs > 0) {
      task.flags |= FLAG.delayed;
      task.dueAt = now + record.delayMs;
      task.record = detachRecord(record);
    }
    vnode.known.set(task);
    if (vnode.undone.size > 0) this.#undone.remove(vnode, deadName(record.id)); // it was dropped, and is submitted again
    vnode.arrivals.push(task);
    this.#detaching.accepted(now);
    core.countQueued(task, 1);
    core.writeTask(now, task, true);
    if (record.idempotencyKey !== undefined) {
      vnode.dedupe.set(dedupeName(record.app, record.key, record.idempotencyKey), record.id);
      core.write(vnode, keyedRow(KIND.dedupe, record.app, record.key, record.idempotencyKey), idValue(record.id));
    }
    core.accepting.push(task);
    return task;
  }

  /** Acknowledges what became durable, in order of acceptance. */
  durable(now: Instant): void {
    const core = this.#core;
    for (;;) {
      const task = core.accepting.peek();
      if (task === undefined || task.group > core.durableGroup) break;
      core.accepting.shift();
      if (task.vnode.phase === "closed") continue;
      if (task.phase === "queued") {
        this.#lanes.push(now, task); // it was delayed (lanes.ts, L3)
        continue;
      }
      const { app } = task;
      if (task.token >= 0) core.output.outcomes.push({ token: task.token, outcome: { type: "accepted", id: task.id } });
      if (app.accepted++ === 0) this.#accepted.push(app);
      if (task.phase === "accepting") this.#lanes.enter(now, task);
    }
    this.#lanes.flushOlder(now);
    for (const app of this.#accepted) {
      core.output.events.push({ type: "accepted", app: app.name, count: app.accepted });
      app.accepted = 0;
    }
    this.#accepted.length = 0;
  }

  /** The partition's rows, or its older tasks, are all here: decides the submits that came meanwhile. */
  loaded(now: Instant, vnode: Vnode): void {
    for (const { record, token, origin } of this.#parked.take(vnode))
      this.submit(now, vnode.partition, record, token, origin);
  }

  /** Answers everything that waits for the closing vnode (A1). */
  close(vnode: Vnode): void {
    for (const { token } of this.#parked.take(vnode))
      this.#refuse(token, "NOT_OWNER", `partition ${vnode.partition} has moved`);
    for (let index = 0; index < this.#core.accepting.size; index++) {
      const task = this.#core.accepting.at(index) as Task;
      if (task.vnode === vnode) this.#refuse(task.token, "NO_OWNER", movedMeanwhile(vnode));
    }
  }

  /** A3. Those of the same key that come behind one that waits keep their order. */
  #mayBeAwaited(vnode: Vnode, record: TaskRecord): boolean {
    if (vnode.older !== "awaited" || vnode.olderHere) return false;
    return record.idempotencyKey !== undefined || this.#parked.holds(vnode, record);
  }

  #park(vnode: Vnode, submit: Parked): void {
    if (!this.#parked.add(vnode, submit))
      this.#refuse(submit.token, "QUEUE_FULL", `partition ${vnode.partition} waits for its tasks`, RETRY_MS);
  }

  #duplicateOf(vnode: Vnode, id: string, token: number): void {
    const first = this.#results.find(vnode, id);
    if (first !== undefined) this.#duplicate(vnode, first, token);
    else this.#outcome(token, { type: "duplicate", id, state: "done" });
  }

  #duplicate(vnode: Vnode, known: Task | Done | Dead, token: number): void {
    if (known instanceof Task && known.phase === "accepting") {
      const { id } = known.record;
      this.#core.afterwards(
        vnode,
        (closed) => {
          if (closed) this.#refuse(token, "NO_OWNER", movedMeanwhile(vnode));
          else this.#outcome(token, { type: "duplicate", id, state: "queued" });
        },
        known.group,
      );
      return;
    }
    this.#outcome(token, {
      type: "duplicate",
      id: known instanceof Task ? known.record.id : known.id,
      state: stateOfKnown(known),
    });
  }

  #refuse(token: number, code: ErrorCode, detail: string, retryAfterMs?: number): void {
    this.#outcome(
      token,
      retryAfterMs === undefined ? { type: "refused", code, detail } : { type: "refused", code, detail, retryAfterMs },
    );
  }

  #outcome(token: number, outcome: SubmitOutcome): void {
    if (token >= 0) this.#core.output.outcomes.push({ token, outcome });
  }
}

/** Its row was given to the store, and may be found there: NOT_OWNER would say that it is not. */
function movedMeanwhile({ partition }: Vnode): string {
  return `partition ${partition} has moved before the task was known to be stored`;
}

/** What is told of a task: nothing of its end before that is durable. */
export function stateOfKnown(known: Task | Done | Dead): TaskState {
  if (known instanceof Done) return known.state;
  if (known instanceof Dead) return "dead";
  switch (known.phase) {
    case "accepting":
    case "queued":
      return "queued";
    case "ending":
      return known.startedAt > 0 ? "running" : "queued";
    case "ended":
      return known.endState;
    default:
      return known.phase;
  }
}

/** A full queue is asked again after this to twice this. */
const RETRY_MS = 200;
