/**
 * What all parts of the engine share: output, clocks, counters, and the queues of what waits for a commit.
 *
 * C1  The three queues are in group order, because groups only rise; so one look at their heads finds what became durable.
 */

import type { ChangePlace } from "../changes.ts";
import { partitionOfHash } from "../hash.ts";
import type { AppName, Partition } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import { AttemptTable } from "./attempt-table.ts";
import type { AppCatalogue } from "./definition.ts";
import type { EngineOutput } from "./engine-contract.ts";
import { Fifo } from "./fifo.ts";
import type { EngineLimits } from "./limits.ts";
import { AppRun, type Task, type Vnode, type Wake } from "./model.ts";
import { Moment } from "./moment.ts";
import { ReadyQueue } from "./ready-queue.ts";
import { erasedAt, FLAG, KIND, taskChange } from "./rows.ts";
import { TimerHeap } from "./timers.ts";

export interface CoreOptions {
  readonly apps: AppCatalogue;
  readonly limits: EngineLimits;
  readonly random: Random;
  readonly wallOffsetMs: number;
}

export class Core {
  readonly catalogue: AppCatalogue;
  readonly limits: EngineLimits;
  readonly random: Random;
  readonly output: EngineOutput = {
    changes: [],
    starts: [],
    aborts: [],
    outbox: [],
    outcomes: [],
    answers: [],
    stateReads: [],
    events: [],
  };
  readonly timers: TimerHeap<Wake> = new TimerHeap();
  readonly vnodes: (Vnode | undefined)[] = [];
  readonly apps: Map<string, AppRun> = new Map();
  #recentApp: AppRun | undefined = undefined;
  readonly running: AttemptTable;
  /** Tasks whose acceptance, and tasks whose end, waits for its commit. */
  readonly accepting: Fifo<Task> = new Fifo();
  readonly ending: Fifo<Task> = new Fifo();
  /** Ids of tasks whose next change somebody waits for, and those of them that changed in this step. */
  readonly watched: Set<string> = new Set();
  readonly changed: Task[] = [];
  readonly #afterwards: Fifo<{
    readonly group: number;
    readonly vnode: Vnode;
    readonly then: (closed: boolean) => void;
  }> = new Fifo();
  #moment = new Moment(-1, -1);
  wallOffsetMs: number;
  group = 0;
  durableGroup = -1;
  startsAllowed = false;
  ownedPartitions = 64;
  ringSize = 64;
  queuedTasks = 0;
  queuedBytes = 0;
  runningTasks = 0;
  /** Children on their way, their bytes, and the apps that have any. */
  outboxTasks = 0;
  outboxBytes = 0;
  outboxApps = 0;
  dead = 0;
  /** When a task of another directory was taken last. */
  absorbedAt: Instant = Number.NEGATIVE_INFINITY;
  /** The newest instant told; for views, which are not told one. */
  newest: Instant = 0;

  constructor(options: CoreOptions) {
    this.catalogue = options.apps;
    this.limits = options.limits;
    this.running = new AttemptTable(options.limits.running + options.limits.residents);
    this.random = options.random;
    this.wallOffsetMs = options.wallOffsetMs;
  }

  get share(): number {
    return Math.min(1, this.ownedPartitions / this.ringSize);
  }

  wallMs(now: Instant): number {
    return Math.max(0, Math.round(now + this.wallOffsetMs));
  }

  /** The same one for the same instant. */
  moment(now: Instant): Moment {
    const wallMs = this.wallMs(now);
    if (this.#moment.at !== now || this.#moment.wallMs !== wallMs) this.#moment = new Moment(now, wallMs);
    return this.#moment;
  }

  vnodeAt(partition: Partition): Vnode | undefined {
    return this.vnodes[partition];
  }

  /** The vnode that serves a key hash, if it is here. */
  vnodeOfHash(hash: number): Vnode | undefined {
    return this.vnodes[partitionOfHash(hash, this.ringSize)];
  }

  /** As `apps.get`: tasks of one app come in runs. */
  appNamed(name: AppName): AppRun | undefined {
    if (this.#recentApp?.name !== name) this.#recentApp = this.apps.get(name);
    return this.#recentApp;
  }

  appOf(name: AppName): AppRun {
    const known = this.apps.get(name);
    if (known !== undefined) return known;
    const app = new AppRun(name);
    this.apps.set(name, app);
    this.resolve(app);
    return app;
  }

  /** Takes over what the catalogue says of an app now. Limits lower than what runs take effect as attempts end. */
  resolve(app: AppRun): void {
    const found = this.catalogue.find(app.name);
    app.definition = found?.definition;
    app.override = found?.override;
    if (found === undefined) return;
    app.limits = { ...found.definition.limits, ...found.override?.limits };
    this.shareLimits(app);
    app.typesChanged();
    for (const [name, type] of found.definition.types) {
      const known = app.types.get(name);
      if (known !== undefined) known.type = type;
      else app.types.set(name, { type, running: 0, promised: 0, waiting: new ReadyQueue(), usesState: false });
    }
    for (const name of app.types.keys())
      if (!found.definition.types.has(name) && app.types.get(name)?.running === 0) app.types.delete(name);
  }

  /** An app of a template costs nothing once nothing of it is left. */
  forgetIdleApps(): void {
    for (const app of this.apps.values()) {
      const kept =
        app.queued +
        app.loading +
        app.running +
        app.dead +
        app.schedules +
        app.outboxTasks +
        app.lanes.size +
        app.plainEnds +
        app.results.size +
        app.deduped.size;
      if (kept === 0 && !app.listed && app.rateTimer === undefined) {
        this.apps.delete(app.name);
        if (this.#recentApp === app) this.#recentApp = undefined;
      }
    }
  }

  /** Rounded up: of a limit below the number of nodes each still takes one. */
  shareLimits(app: AppRun): void {
    app.queuedLimit = Math.ceil(app.limits.queued * this.share);
  }

  write(vnode: Vnode, key: Uint8Array, value: Uint8Array): void {
    if (vnode.written.add({ key, value })) this.output.changes.push(vnode.written);
  }

  erase(vnode: Vnode, key: Uint8Array): void {
    if (vnode.written.add({ key })) this.output.changes.push(vnode.written);
  }

  change(vnode: Vnode, at: ChangePlace): void {
    if (vnode.written.enter(at)) this.output.changes.push(vnode.written);
  }

  eraseTask(task: Task): void {
    this.change(task.vnode, erasedAt(KIND.task, task));
  }

  /** `isNew`: it has had no row under its position. */
  writeTask(now: Instant, task: Task, isNew = false): void {
    const waits = task.dueAt > now || (task.flags & FLAG.delayed) !== 0;
    const dueAtMs = waits ? Math.max(0, this.wallMs(now) + Math.round(task.dueAt - now)) : 0;
    const { flags, attempts, acceptedAtMs } = task;
    this.change(task.vnode, taskChange(task, { flags, attempts, acceptedAtMs, dueAtMs }, task.record, isNew));
  }

  /**
   * Calls back when the group is durable (default: what is written in this step), or when the vnode closes. The group must hold
   * some change, or nobody will commit it. Not for the hot path.
   */
  afterwards(vnode: Vnode, then: (closed: boolean) => void, group: number = this.group): void {
    this.#afterwards.push({ group, vnode, then });
  }

  flushAfterwards(): void {
    for (;;) {
      const first = this.#afterwards.peek();
      if (first === undefined || first.group > this.durableGroup) return;
      this.#afterwards.shift();
      if (first.vnode.phase !== "closed") first.then(false);
    }
  }

  closeAfterwards(vnode: Vnode): void {
    const all = this.#afterwards.toArray();
    this.#afterwards.replace(all.filter((entry) => entry.vnode !== vnode));
    for (const entry of all) if (entry.vnode === vnode) entry.then(true);
  }

  /** Counts a task that came in, or one that is gone. */
  countQueued(task: Task, sign: 1 | -1): void {
    task.vnode.queued += sign;
    task.app.queued += sign;
    task.app.queuedBytes += sign * task.bytes;
    this.queuedTasks += sign;
    this.queuedBytes += sign * task.bytes;
  }
}
