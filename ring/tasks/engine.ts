/**
 * The task engine: all task vnodes of one node behind one contract (`engine-contract.ts`, where E1 to E3 stand).
 *
 * This file is the composition: who does what, and in which order. Each call does its part and then lets the scheduler and the
 * outbox go as far as they can (`#proceed`), so that no caller has to think of a "poll".
 *
 * The right to start is off until `allowStarts(now, true)`; a new engine has the share of a whole ring until `setShare`.
 */

import type { AppName, Partition } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { Row, RowChange, Term } from "../store.ts";
import { Admission } from "./admission.ts";
import { AppRing } from "./app-ring.ts";
import { Completion } from "./completion.ts";
import { Core } from "./core.ts";
import { DeadLetters } from "./dead.ts";
import { Declarations } from "./declared.ts";
import type { AppCatalogue } from "./definition.ts";
import type {
  Elsewhere,
  EngineOutput,
  EngineStats,
  PartitionView,
  Taken,
  TaskEngineContract,
  TaskRequest,
} from "./engine-contract.ts";
import { expireTask } from "./expiry.ts";
import { Lanes } from "./lanes.ts";
import { ENGINE_LIMITS, type EngineLimits } from "./limits.ts";
import { Loader } from "./loader.ts";
import type { Task } from "./model.ts";
import { Outbox } from "./outbox.ts";
import { Requests } from "./requests.ts";
import { Residents } from "./residents.ts";
import { Results } from "./results.ts";
import { Scheduler } from "./scheduler.ts";
import { Schedules } from "./schedules.ts";
import { Serving } from "./serving.ts";
import { States } from "./states.ts";
import type { AbortReason, AttemptEnd, SubmitOutcome, TaskRecord } from "./task.ts";
import { type AppView, appViews, asideKeys, partitionView } from "./views.ts";
import { Waiters } from "./waiters.ts";

export interface TaskEngineOptions {
  readonly apps: AppCatalogue;
  readonly limits?: Partial<EngineLimits>;
  readonly random: Random;
  readonly wallOffsetMs?: number;
}

export class TaskEngine implements TaskEngineContract {
  readonly #core: Core;
  readonly #ring: AppRing;
  readonly #states: States;
  readonly #lanes: Lanes;
  readonly #admission: Admission;
  readonly #dead: DeadLetters;
  readonly #outbox: Outbox;
  readonly #results: Results;
  readonly #completion: Completion;
  readonly #scheduler: Scheduler;
  readonly #schedules: Schedules;
  readonly #residents: Residents;
  readonly #declarations: Declarations;
  readonly #waiters: Waiters;
  readonly #loader: Loader;
  readonly #requests: Requests;
  readonly #serving: Serving;
  #sweeping = false;

  constructor(options: TaskEngineOptions) {
    const core = new Core({
      apps: options.apps,
      limits: { ...ENGINE_LIMITS, ...options.limits },
      random: options.random,
      wallOffsetMs: options.wallOffsetMs ?? 0,
    });
    this.#core = core;
    this.#ring = new AppRing(core);
    this.#states = new States(core);
    this.#lanes = new Lanes(core, this.#ring, this.#states);
    this.#results = new Results(core);
    this.#admission = new Admission(core, this.#lanes, this.#results);
    this.#dead = new DeadLetters(core, (now, task) => this.#completion.leave(now, task));
    this.#outbox = new Outbox(core, this.#dead, this.#states);
    this.#schedules = new Schedules(core, this.#admission);
    this.#residents = new Residents(core);
    this.#declarations = new Declarations(options.apps, core.ringSize);
    this.#declarations.rebuild(core.ringSize);
    this.#waiters = new Waiters(core);
    this.#completion = new Completion({
      core,
      ring: this.#ring,
      lanes: this.#lanes,
      states: this.#states,
      outbox: this.#outbox,
      results: this.#results,
      dead: this.#dead,
      onEnded: (now, task) => this.#onEnded(now, task),
    });
    this.#scheduler = new Scheduler({
      core,
      ring: this.#ring,
      lanes: this.#lanes,
      states: this.#states,
    });
    this.#loader = new Loader({
      core,
      lanes: this.#lanes,
      states: this.#states,
      results: this.#results,
      dead: this.#dead,
      outbox: this.#outbox,
      schedules: this.#schedules,
      completion: this.#completion,
    });
    this.#serving = new Serving({
      core,
      ring: this.#ring,
      states: this.#states,
      lanes: this.#lanes,
      admission: this.#admission,
      outbox: this.#outbox,
      completion: this.#completion,
      scheduler: this.#scheduler,
      schedules: this.#schedules,
      residents: this.#residents,
      declarations: this.#declarations,
      waiters: this.#waiters,
      loader: this.#loader,
      results: this.#results,
    });
    this.#requests = new Requests({
      core,
      admission: this.#admission,
      completion: this.#completion,
      dead: this.#dead,
      lanes: this.#lanes,
      outbox: this.#outbox,
      results: this.#results,
      scheduler: this.#scheduler,
      schedules: this.#schedules,
      states: this.#states,
      waiters: this.#waiters,
    });
  }

  get output(): EngineOutput {
    return this.#core.output;
  }

  get group(): number {
    return this.#core.group;
  }

  set group(group: number) {
    this.#core.group = group;
  }

  setWallOffset(offsetMs: number): void {
    if (offsetMs === this.#core.wallOffsetMs) return;
    this.#core.wallOffsetMs = offsetMs;
    this.#schedules.wallMoved();
  }

  tick(now: Instant): void {
    this.#schedules.rearmMoved(now);
    for (let fired = 0; fired < TIMERS_PER_TICK; fired++) {
      const timer = this.#core.timers.take(now);
      if (timer === undefined) break;
      const { wake } = timer;
      switch (wake.type) {
        case "task-due":
          this.#lanes.due(now, wake.task);
          break;
        case "task-deadline":
          if (wake.task.vnode.phase === "held") wake.task.deadlineTimer = this.#core.timers.set(now + HELD_MS, wake);
          else expireTask(now, wake.task, { dead: this.#dead, scheduler: this.#scheduler, core: this.#core });
          break;
        case "lane-due":
          this.#lanes.settle(now, wake.lane);
          break;
        case "rate":
          this.#ring.rateDue(wake.app);
          break;
        case "subject":
          wake.subject.wake(now);
      }
    }
    this.#proceed(now);
  }

  nextDeadline(): Instant | undefined {
    const { newest, timers } = this.#core;
    const timer = this.#schedules.moved ? newest : timers.next();
    const expiry = this.#scheduler.nextExpiry();
    if (timer === undefined) return expiry;
    return Math.min(Math.max(timer, newest), expiry ?? Number.POSITIVE_INFINITY); // what was due before it came is due now
  }

  open(now: Instant, partition: Partition, term: Term, older: "none" | "awaited" | "away"): void {
    this.#serving.open(now, partition, term, older);
    if (!this.#sweeping) this.#sweep(now);
    this.#proceed(now);
  }

  load(partition: Partition, rows: readonly Row[]): readonly Row[] {
    return this.#serving.load(partition, rows);
  }

  arrive(partition: Partition, changes: readonly RowChange[]): boolean {
    return this.#serving.arrive(partition, changes);
  }

  arrived(partition: Partition, most: number): Taken {
    return this.#serving.arrived(partition, most);
  }

  loaded(now: Instant, partition: Partition): void {
    this.#serving.loaded(now, partition);
    this.tick(now); // what came due while nobody served it goes before what is submitted from now on
  }

  hold(now: Instant, partition: Partition): void {
    this.#serving.hold(partition);
    this.#proceed(now);
  }

  release(now: Instant, partition: Partition): void {
    this.#serving.release(now, partition);
    this.#proceed(now);
  }

  absorb(now: Instant, partition: Partition, rows: readonly Row[], from: Elsewhere): readonly Row[] {
    const unreadable = this.#serving.absorb(now, partition, rows, from);
    this.#proceed(now);
    return unreadable;
  }

  replacing(partition: Partition): number {
    return this.#serving.replacing(partition);
  }

  olderDone(now: Instant, partition: Partition, mayComeAgain = false): void {
    this.#serving.olderDone(now, partition, mayComeAgain);
    this.#proceed(now);
  }

  close(now: Instant, partition: Partition): void {
    this.#serving.close(now, partition);
    this.#proceed(now);
  }

  appChanged(now: Instant, app: AppName | undefined): void {
    this.#serving.appChanged(now, app);
    this.#proceed(now);
  }

  inFlight(partition: Partition): readonly {
    readonly attemptId: number;
    readonly taskType: string;
    readonly app: string;
    readonly sinceMs: Instant;
  }[] {
    const inFlight = [];
    for (const attempt of this.#core.running.values()) {
      if (attempt.vnode.partition !== partition) continue;
      inFlight.push({
        attemptId: attempt.attemptId,
        taskType: attempt.record.type,
        app: attempt.record.app,
        sinceMs: attempt.startedAt,
      });
    }
    return inFlight;
  }

  allowStarts(now: Instant, allowed: boolean): void {
    this.#core.startsAllowed = allowed;
    if (!allowed) return;
    this.#residents.startAll(now);
    this.#proceed(now);
  }

  abortAll(_now: Instant, reason: AbortReason): void {
    for (const attempt of this.#core.running.values()) this.#scheduler.abort(attempt, reason);
  }

  setShare(ownedPartitions: number, ringSize: number): void {
    const core = this.#core;
    const resized = ringSize !== core.ringSize;
    core.ownedPartitions = ownedPartitions;
    core.ringSize = ringSize;
    for (const app of core.apps.values()) core.shareLimits(app);
    if (resized) this.#declarations.rebuild(ringSize);
  }

  submit(now: Instant, partition: Partition, record: TaskRecord, token: number, origin: "client" | "child"): void {
    this.#admission.submit(now, partition, record, token, origin);
  }

  ended(now: Instant, ends: readonly AttemptEnd[]): void {
    const { running } = this.#core;
    for (let index = 0; index < ends.length; index++) {
      const end = ends[index] as AttemptEnd;
      const attempt = running.get(end.attemptId);
      if (attempt === undefined) continue; // stale: its partition has moved, or it was told twice
      running.delete(attempt);
      if (attempt.task === undefined) this.#residents.ended(now, attempt);
      else this.#completion.ended(now, attempt, end);
    }
    this.#proceed(now);
  }

  keep(_now: Instant, attemptId: number, changes: AttemptEnd["stateChanges"]): void {
    const attempt = this.#core.running.get(attemptId);
    const lane = attempt?.task?.lane;
    if (attempt === undefined || lane === undefined || attempt.aborted !== undefined || attempt.stateAway) return;
    if (attempt.type !== undefined) attempt.type.usesState = true;
    if (this.#states.refusal(lane, changes) === undefined) this.#states.apply(lane, changes);
  }

  beforeCommit(): void {
    this.#results.pack();
  }

  childSent(now: Instant, _partition: Partition, outboxId: number, outcome: SubmitOutcome): void {
    this.#outbox.sent(now, outboxId, outcome);
    this.#proceed(now);
  }

  stateLoaded(now: Instant, readId: number, rows: readonly Row[]): void {
    this.#states.loaded(now, readId, rows);
    this.#proceed(now);
  }

  request(now: Instant, partition: Partition, request: TaskRequest, requestId: number): void {
    const vnode = this.#core.vnodeAt(partition);
    if (vnode === undefined || vnode.phase === "loading") {
      this.#core.output.answers.push({
        requestId,
        answer: {
          type: "refused",
          code: "NOT_OWNER",
          detail: `partition ${partition} is not served here${vnode === undefined ? "" : " yet"}`,
        },
      });
      return;
    }
    this.#requests.request(now, vnode, request, requestId);
    this.#proceed(now);
  }

  durable(now: Instant, group: number): void {
    const core = this.#core;
    if (group <= core.durableGroup) return;
    core.durableGroup = group;
    this.#admission.durable(now);
    this.#completion.durable(now);
    core.flushAfterwards();
    this.#states.flush();
    this.#proceed(now);
  }

  view(partition: Partition): PartitionView | undefined {
    const vnode = this.#core.vnodeAt(partition);
    return vnode === undefined ? undefined : partitionView(this.#core, vnode, this.#schedules.count(vnode));
  }

  queuedOf(app: AppName): number {
    return this.#core.apps.get(app)?.queued ?? 0;
  }

  appViews(limit: number): readonly AppView[] {
    return appViews(this.#core, limit);
  }

  asideKeys(): ReturnType<TaskEngineContract["asideKeys"]> {
    return asideKeys(this.#core);
  }

  /** Totals of the node, for metrics and for the checks that memory stays flat. */
  stats(): EngineStats {
    const core = this.#core;
    return {
      apps: core.apps.size,
      queuedTasks: core.queuedTasks,
      queuedBytes: core.queuedBytes,
      running: core.runningTasks,
      residents: this.#residents.running,
      dead: core.dead,
      outbox: core.outboxTasks,
      outboxKeptBytes: this.#outbox.keptBytes,
      stateBytes: this.#states.bytes,
      timers: core.timers.size,
    };
  }

  /** Starts and sends what may be started and sent. */
  #proceed(now: Instant): void {
    if (now > this.#core.newest) this.#core.newest = now;
    this.#scheduler.expire(now);
    this.#scheduler.dispatch(now);
    this.#outbox.flush();
    if (this.#core.changed.length > 0)
      for (const task of this.#core.changed.splice(0)) this.#waiters.changed(now, task);
  }

  #onEnded(now: Instant, task: Task): void {
    const { id, vnode } = task;
    if (this.#waiters.mayAwait(task)) this.#waiters.ended(now, task, this.#results.find(vnode, id));
    this.#schedules.ended(now, id);
  }

  /** Drops results past their window, each minute; sooner when there was more than one sweep's worth. */
  #sweep(now: Instant): void {
    this.#sweeping = true;
    const more = this.#results.sweep(now);
    this.#core.forgetIdleApps();
    this.#core.timers.set(now + (more ? 100 : 60_000), { type: "subject", subject: { wake: (at) => this.#sweep(at) } });
  }
}

/** A held partition writes nothing of its own accord, its remainder may have left already: deadlines are looked at again after this. */
const HELD_MS = 100;
/** Timers fired in one step; the rest is due at once. */
const TIMERS_PER_TICK = 10_000;
