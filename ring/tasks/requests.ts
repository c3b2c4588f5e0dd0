/**
 * What may be asked of one partition: get, wait, cancel, lists, dead letters, keys, schedules, state.
 *
 * Q1  Exactly one answer per request. What changes rows is answered when they are durable.
 * Q2  What reads rows before it changes them changes none once the partition is held: its remainder may have left already, so
 *     that its next owner would not know. It is refused as moved, and asked again.
 */

import type { ErrorCode } from "../errors.ts";
import type { AppName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Admission } from "./admission.ts";
import { stateOfKnown } from "./admission.ts";
import type { Completion } from "./completion.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import type { KeyView, TaskAnswer, TaskRequest } from "./engine-contract.ts";
import { laneName } from "./lane-name.ts";
import { headOf, type Lanes } from "./lanes.ts";
import { Dead, Task, type Vnode } from "./model.ts";
import type { Outbox } from "./outbox.ts";
import { isRefused, parseRecord, undelayedRecord } from "./record.ts";
import type { Results } from "./results.ts";
import { FLAG, KIND, keyedRow, positionKey, readDead } from "./rows.ts";
import type { Refusal } from "./schedule.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Schedules } from "./schedules.ts";
import { StateRequests } from "./state-requests.ts";
import type { States } from "./states.ts";
import { statusOf, waitsOf } from "./status.ts";
import type { TaskStatus } from "./task.ts";
import { deadName, pausedValue, Undone } from "./undone.ts";
import type { Waiters } from "./waiters.ts";

export interface RequestsOptions {
  readonly core: Core;
  readonly admission: Admission;
  readonly completion: Completion;
  readonly dead: DeadLetters;
  readonly lanes: Lanes;
  readonly outbox: Outbox;
  readonly results: Results;
  readonly scheduler: Scheduler;
  readonly schedules: Schedules;
  readonly states: States;
  readonly waiters: Waiters;
}

export class Requests {
  readonly #options: RequestsOptions;
  readonly #core: Core;
  readonly #undone: Undone;
  readonly #stateRequests: StateRequests;

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#undone = new Undone(options.core);
    this.#stateRequests = new StateRequests(options.core, options.states);
  }

  request(now: Instant, vnode: Vnode, request: TaskRequest, requestId: number): void {
    switch (request.type) {
      case "get": {
        const known = this.#options.results.find(vnode, request.id);
        if (known === undefined) {
          this.#notFound(requestId, request.id);
          return;
        }
        this.#answer(requestId, { type: "task", status: statusOf(this.#core, now, known) });
        return;
      }
      case "wait":
        this.#wait(now, vnode, request, requestId);
        return;
      case "cancel":
        this.#cancel(now, vnode, request.id, requestId);
        return;
      case "list":
        this.#answer(requestId, { type: "tasks", statuses: this.#list(now, vnode, request) });
        return;
      case "list-dead":
        this.#listDead(now, vnode, request, requestId);
        return;
      case "retry-dead":
        this.#retryDead(vnode, request.ids, requestId);
        return;
      case "drop-dead":
        this.#dropDead(vnode, request.ids, requestId);
        return;
      case "key":
        this.#key(now, vnode, request, requestId);
        return;
      case "put-schedule":
      case "schedule":
        this.#schedule(now, vnode, request, requestId);
        return;
      case "list-schedules":
        this.#answer(requestId, {
          type: "schedules",
          schedules: this.#options.schedules.views(now, vnode, { ...request, limit: bound(request.limit) }),
        });
        return;
      case "read-state":
        this.#stateRequests.read(vnode, request, (answer) => this.#answerOf(requestId, vnode, answer));
        return;
      case "read-aside":
        this.#stateRequests.aside(vnode, request, (answer) => this.#answerOf(requestId, vnode, answer));
        return;
    }
  }

  #wait(now: Instant, vnode: Vnode, request: Extract<TaskRequest, { type: "wait" }>, requestId: number): void {
    const known = this.#options.results.find(vnode, request.id);
    if (known === undefined) {
      this.#notFound(requestId, request.id);
      return;
    }
    if (!(known instanceof Task)) {
      this.#answer(requestId, { type: "task", status: statusOf(this.#core, now, known) });
      return;
    }
    if (!this.#options.waiters.add(now, known, requestId, request))
      this.#refuse(requestId, "QUEUE_FULL", "too many calls wait for tasks on this node");
  }

  #cancel(now: Instant, vnode: Vnode, id: string, requestId: number): void {
    const known = this.#options.results.find(vnode, id);
    if (known === undefined) {
      this.#notFound(requestId, id);
      return;
    }
    if (!(known instanceof Task) || known.phase === "ending") {
      this.#answer(requestId, { type: "task", status: statusOf(this.#core, now, known) });
      return;
    }
    const attempt = known.lane?.attempt;
    if (known.phase === "running" && attempt !== undefined) {
      this.#options.scheduler.abort(attempt, "cancelled");
      known.waits = "CANCELLING";
      known.cancelling = true;
      this.#answer(requestId, { type: "task", status: statusOf(this.#core, now, known) });
      return;
    }
    this.#options.completion.cancelled(now, known);
    this.#core.afterwards(vnode, (closed) => {
      if (closed) return this.#moved(requestId, vnode);
      // The end is told just before, in the same turn.
      const status = {
        ...statusOf(this.#core, now, this.#options.results.find(vnode, id) ?? known),
        state: "cancelled" as const,
      };
      this.#answer(requestId, { type: "task", status });
    });
  }

  #list(
    now: Instant,
    vnode: Vnode,
    request: { readonly app?: string; readonly key?: string; readonly state?: string; readonly limit: number },
  ): TaskStatus[] {
    const limit = bound(request.limit);
    const statuses: TaskStatus[] = [];
    for (const known of this.#options.results.known(vnode, request.app)) {
      if (statuses.length >= limit) break;
      if (request.app !== undefined && known.app.name !== request.app) continue;
      if (request.key !== undefined && (known instanceof Task ? known.record.key : known.key) !== request.key) continue;
      if (request.state !== undefined && stateOfKnown(known) !== request.state) continue;
      statuses.push(statusOf(this.#core, now, known));
    }
    return statuses;
  }

  #listDead(
    now: Instant,
    vnode: Vnode,
    request: { readonly app?: string; readonly after?: string; readonly limit: number },
    requestId: number,
  ): void {
    const limit = bound(request.limit);
    const dead: Dead[] = [];
    for (const known of vnode.known.values()) {
      if (!(known instanceof Dead) || (request.app !== undefined && known.app.name !== request.app)) continue;
      if (request.after === undefined || known.id > request.after) dead.push(known);
    }
    dead.sort((a, b) => (a.id < b.id ? -1 : 1));
    const page = dead.slice(0, limit);
    const last = page.at(-1);
    this.#answer(requestId, {
      type: "tasks",
      statuses: page.map((each) => statusOf(this.#core, now, each)),
      ...(dead.length > limit && last !== undefined ? { next: last.id } : {}),
    });
  }

  /** Reads each payload back, then admits the task anew, at the end of its lane (rule 20). */
  #retryDead(vnode: Vnode, ids: readonly string[], requestId: number): void {
    let open = 1;
    let count = 0;
    let wrote = false;
    let isLeft = false;
    const finished = (): void => {
      if (--open > 0) return;
      if (isLeft || vnode.phase === "closed") {
        this.#moved(requestId, vnode);
        return;
      }
      this.#counted(vnode, requestId, count, wrote);
    };
    for (const id of ids.slice(0, MOST_LISTED)) {
      const dead = vnode.known.get(id);
      if (!(dead instanceof Dead) || dead.retrying) continue;
      dead.retrying = true;
      open++;
      this.#options.states.read(vnode, positionKey(KIND.dead, dead), dead.group, (at, rows) => {
        dead.retrying = false;
        const value = rows?.[0]?.value;
        if (vnode.phase === "held")
          isLeft = true; // Q2
        else if (value !== undefined && vnode.known.get(id) === dead && this.#revive(at, dead, value)) {
          count++;
          wrote = true;
        }
        finished();
      });
    }
    finished();
  }

  #revive(now: Instant, dead: Dead, value: Uint8Array): boolean {
    const { admission, outbox } = this.#options;
    try {
      const wire = new Uint8Array(readDead(value).wire);
      const record = parseRecord(wire, 0, wire.length);
      if (isRefused(record) || record.id !== dead.id) return false;
      if ((dead.flags & FLAG.child) !== 0) {
        this.#options.dead.remove(dead);
        this.#undone.add(dead.vnode, deadName(dead.id)); // its owner knows what comes of it
        outbox.resend(dead.vnode, dead.app, record);
        return true;
      }
      if (admission.fullness(dead.app, record, "child") !== undefined) return false;
      this.#options.dead.remove(dead);
      // Its delay is over; were it kept, a retry would wait again.
      const flags = dead.vnode.older === "none" ? dead.flags & FLAG.deduped : FLAG.deduped; // it may come again
      admission.admit(now, dead.vnode, dead.app, undelayedRecord(record), flags, -1);
      this.#undone.redo(dead.vnode, deadName(dead.id));
      return true;
    } catch {
      return false;
    }
  }

  #dropDead(vnode: Vnode, ids: readonly string[], requestId: number): void {
    let count = 0;
    for (const id of ids.slice(0, MOST_LISTED)) {
      const dead = vnode.known.get(id);
      if (!(dead instanceof Dead) || dead.retrying) continue;
      this.#options.dead.drop(dead);
      count++;
      this.#undone.add(vnode, deadName(dead.id));
    }
    this.#counted(vnode, requestId, count, count > 0);
  }

  #key(
    now: Instant,
    vnode: Vnode,
    request: { readonly app: AppName; readonly key: string; readonly action: "describe" | "pause" | "resume" },
    requestId: number,
  ): void {
    const name = laneName(request.app, request.key);
    const lane = this.#core.apps.get(request.app)?.lanes.get(request.key);
    const describe = (): TaskAnswer => ({ type: "key", key: this.#keyView(now, vnode, request.app, request.key) });
    const paused = request.action === "pause";
    const isPaused = vnode.pausedKeys.has(name);
    const isKnown = paused === isPaused && vnode.older === "none";
    // What is paused, or may be by rows that are still to come, can be resumed when its app is no longer loaded.
    const isThere = isPaused || (!paused && vnode.older !== "none") || this.#core.appNamed(request.app) !== undefined;
    if (request.action !== "describe" && !isThere && this.#core.catalogue.find(request.app) === undefined) {
      this.#refuse(requestId, "APP_UNKNOWN", `app ${request.app} is not loaded here, and has no tasks`);
      return;
    }
    if (request.action === "describe" || isKnown) {
      this.#answer(requestId, describe());
      return;
    }
    if (paused && !isPaused && vnode.pausedKeys.size >= this.#core.limits.pausedKeys) {
      this.#refuse(requestId, "QUEUE_FULL", "too many keys are paused in this partition");
      return;
    }
    const row = keyedRow(KIND.paused, request.app, request.key, "");
    if (paused) {
      const { generation } = vnode.term;
      vnode.pausedKeys.set(name, generation);
      this.#core.write(vnode, row, pausedValue(generation));
      this.#undone.redo(vnode, row);
    } else {
      vnode.pausedKeys.delete(name);
      this.#core.erase(vnode, row);
      this.#undone.add(vnode, row);
    }
    if (lane !== undefined && lane.vnode === vnode) this.#options.lanes.setPaused(now, lane, paused);
    this.#core.afterwards(vnode, (closed) =>
      closed ? this.#moved(requestId, vnode) : this.#answer(requestId, describe()),
    );
  }

  #keyView(now: Instant, vnode: Vnode, app: AppName, key: string): KeyView {
    const lane = this.#core.apps.get(app)?.lanes.get(key);
    const paused = vnode.pausedKeys.has(laneName(app, key));
    if (lane === undefined || lane.vnode !== vnode)
      return { app, key, partition: vnode.partition, paused, queued: 0, running: false };
    const head = headOf(lane);
    const waits = head === undefined ? undefined : waitsOf(this.#core, head);
    return {
      app,
      key,
      partition: vnode.partition,
      paused,
      queued: lane.tasks.size - lane.ended,
      running: lane.attempt !== undefined,
      ...(head === undefined ? {} : { head: statusOf(this.#core, now, head) }),
      ...(waits === undefined ? {} : { waits }),
    };
  }

  #schedule(
    now: Instant,
    vnode: Vnode,
    request: Extract<TaskRequest, { readonly type: "put-schedule" | "schedule" }>,
    requestId: number,
  ): void {
    const { schedules } = this.#options;
    let refusal: Refusal | undefined;
    if (request.type === "put-schedule") {
      if (this.#core.catalogue.find(request.app) === undefined) {
        this.#refuse(requestId, "APP_UNKNOWN", `app ${request.app} is not loaded here`);
        return;
      }
      refusal = schedules.put(now, vnode, this.#core.appOf(request.app), request.spec);
    } else {
      const schedule = schedules.find(vnode, request);
      if (schedule === undefined) {
        this.#refuse(requestId, "NOT_FOUND", `no schedule ${request.name} of key ${request.key}`);
        return;
      }
      refusal = schedules.act(now, schedule, request);
    }
    if (refusal !== undefined) {
      this.#refuse(requestId, refusal.code, refusal.detail);
      return;
    }
    this.#core.afterwards(vnode, (closed) =>
      closed ? this.#moved(requestId, vnode) : this.#answer(requestId, { type: "ok" }),
    );
  }

  #counted(vnode: Vnode, requestId: number, count: number, wrote: boolean): void {
    if (!wrote) {
      this.#answer(requestId, { type: "count", count });
      return;
    }
    this.#core.afterwards(vnode, (closed) =>
      closed ? this.#moved(requestId, vnode) : this.#answer(requestId, { type: "count", count }),
    );
  }

  #answerOf(requestId: number, vnode: Vnode, answer: TaskAnswer | undefined): void {
    if (answer === undefined) this.#moved(requestId, vnode);
    else this.#answer(requestId, answer);
  }

  #moved(requestId: number, vnode: Vnode): void {
    this.#refuse(requestId, "NOT_OWNER", `partition ${vnode.partition} has moved`);
  }

  #notFound(requestId: number, id: string): void {
    this.#refuse(requestId, "TASK_NOT_FOUND", `no task ${id}, or its result is no longer kept`);
  }

  #refuse(requestId: number, code: ErrorCode, detail: string): void {
    this.#answer(requestId, { type: "refused", code, detail });
  }

  #answer(requestId: number, answer: TaskAnswer): void {
    this.#core.output.answers.push({ requestId, answer });
  }
}

function bound(limit: number): number {
  return Math.max(1, Math.min(MOST_LISTED, Math.floor(limit) || DEFAULT_LISTED));
}

const MOST_LISTED = 1_000;
const DEFAULT_LISTED = 100;
