/**
 * Calls that wait for a task to end, or to change; answered when the task's end is durable, at its next start or retry if they wait
 * for that too, at their timeout, or when the partition goes. They are bounded: of what the others leave those for tasks of one app
 * take all but a part (promise P4).
 */

import type { Instant } from "../machine.ts";
import { stateOfKnown } from "./admission.ts";
import type { Core } from "./core.ts";
import type { TaskRequest } from "./engine-contract.ts";
import type { AppRun, Dead, Done, Task, Vnode, Wake, Wakes } from "./model.ts";
import { statusOf } from "./status.ts";
import type { Timer } from "./timers.ts";

interface Waiter extends Wakes {
  readonly requestId: number;
  readonly vnode: Vnode;
  readonly app: AppRun;
  readonly id: string;
  readonly idHash: number;
  readonly since: Since | undefined;
  timer: Timer<Wake> | undefined;
}

export class Waiters {
  readonly #core: Core;
  readonly #byId: Map<string, Waiter[]> = new Map();
  /** How many of these ids have a hash: most tasks that end are waited for by nobody, and need no look at their ids. */
  readonly #hashes: Map<number, number> = new Map();
  readonly #byApp: Map<AppRun, number> = new Map();
  #count = 0;

  constructor(core: Core) {
    this.#core = core;
  }

  get size(): number {
    return this.#count;
  }

  /** False: too many wait already. */
  add(
    now: Instant,
    task: Task,
    requestId: number,
    { timeoutMs, since }: Pick<Extract<TaskRequest, { type: "wait" }>, "timeoutMs" | "since">,
  ): boolean {
    const { app, id, idHash } = task;
    const free = this.#core.limits.waiters - this.#count;
    if (free < 1 || (this.#byApp.get(app) ?? 0) + 1 > free * SHARE) return false;
    const waiter: Waiter = {
      requestId,
      vnode: task.vnode,
      app,
      id,
      idHash,
      since,
      timer: undefined,
      wake: (at): void => {
        waiter.timer = undefined;
        const known = waiter.vnode.known.get(id);
        this.#remove(waiter);
        if (known !== undefined) this.#answer(at, waiter, known);
      },
    };
    if (since !== undefined && isOther(task, since)) {
      this.#answer(now, waiter, task);
      return true;
    }
    if (since !== undefined) this.#core.watched.add(id);
    waiter.timer = this.#core.timers.set(now + Math.max(0, Math.min(timeoutMs, MOST_WAIT_MS)), {
      type: "subject",
      subject: waiter,
    });
    this.#counted(app, 1);
    const others = this.#byId.get(id);
    if (others !== undefined) others.push(waiter);
    else {
      this.#byId.set(id, [waiter]);
      this.#hashes.set(idHash, (this.#hashes.get(idHash) ?? 0) + 1);
    }
    return true;
  }

  /** False: nobody waits for the task. */
  mayAwait({ idHash }: Task): boolean {
    return this.#count > 0 && this.#hashes.has(idHash);
  }

  ended(now: Instant, { id, idHash }: Task, known: Task | Done | Dead | undefined): void {
    if (known === undefined) return;
    for (const waiter of this.#byId.get(id) ?? []) {
      this.#core.timers.remove(waiter.timer);
      this.#counted(waiter.app, -1);
      this.#answer(now, waiter, known);
    }
    if (this.#byId.delete(id)) this.#forgetHash(idHash);
    this.#core.watched.delete(id);
  }

  /** It has started, or is to be tried again. */
  changed(now: Instant, task: Task): void {
    for (const waiter of [...(this.#byId.get(task.record.id) ?? [])]) {
      if (waiter.vnode !== task.vnode || waiter.since === undefined || !isOther(task, waiter.since)) continue;
      this.#core.timers.remove(waiter.timer);
      this.#remove(waiter);
      this.#answer(now, waiter, task);
    }
  }

  close(vnode: Vnode): void {
    for (const waiters of [...this.#byId.values()]) {
      for (const waiter of [...waiters]) {
        if (waiter.vnode !== vnode) continue;
        this.#core.timers.remove(waiter.timer);
        this.#remove(waiter);
        this.#core.output.answers.push({
          requestId: waiter.requestId,
          answer: { type: "refused", code: "NOT_OWNER", detail: `partition ${vnode.partition} has moved` },
        });
      }
    }
  }

  #answer(now: Instant, waiter: Waiter, known: Task | Done | Dead): void {
    this.#core.output.answers.push({
      requestId: waiter.requestId,
      answer: { type: "task", status: statusOf(this.#core, now, known) },
    });
  }

  #remove(waiter: Waiter): void {
    const rest = (this.#byId.get(waiter.id) ?? []).filter((each) => each !== waiter);
    this.#counted(waiter.app, -1);
    if (rest.length > 0) this.#byId.set(waiter.id, rest);
    else if (this.#byId.delete(waiter.id)) this.#forgetHash(waiter.idHash);
    if (!rest.some(({ since }) => since !== undefined)) this.#core.watched.delete(waiter.id);
  }

  #counted(app: AppRun, sign: 1 | -1): void {
    this.#count += sign;
    const left = (this.#byApp.get(app) ?? 0) + sign;
    if (left === 0) this.#byApp.delete(app);
    else this.#byApp.set(app, left);
  }

  #forgetHash(idHash: number): void {
    const others = (this.#hashes.get(idHash) ?? 1) - 1;
    if (others === 0) this.#hashes.delete(idHash);
    else this.#hashes.set(idHash, others);
  }
}

type Since = NonNullable<Extract<TaskRequest, { type: "wait" }>["since"]>;

function isOther(task: Task, since: Since): boolean {
  return stateOfKnown(task) !== since.state || task.attempts !== since.attempts;
}

/** As in `fullness.ts`. */
const SHARE = 4;
const MOST_WAIT_MS = 3_600_000;
