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
import type { Row, Term } from "../store.ts";
import { Admission } from "./admission.ts";
import { AppRing } from "./app-ring.ts";
import { Completion } from "./completion.ts";
import { Core } from "./core.ts";
import { DeadLetters } from "./dead.ts";
import { Declarations, type Declared } from "./declared.ts";
import type { AppCatalogue } from "./definition.ts";
import type { EngineOutput, PartitionView, TaskEngineContract, TaskRequest } from "./engine-contract.ts";
import { expireTask } from "./expiry.ts";
import { Lanes } from "./lanes.ts";
import { ENGINE_LIMITS, type EngineLimits } from "./limits.ts";
import { Loader } from "./loader.ts";
import { type AppRun, type Lane, type RunningAttempt, Task, Vnode } from "./model.ts";
import { Outbox } from "./outbox.ts";
import { Requests } from "./requests.ts";
import { Residents } from "./residents.ts";
import { Results } from "./results.ts";
import { Scheduler } from "./scheduler.ts";
import { Schedules } from "./schedules.ts";
import { States } from "./states.ts";
import type { AbortReason, AttemptEnd, SubmitOutcome, TaskRecord } from "./task.ts";
import { type AppView, appView, partitionView } from "./views.ts";
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
    this.#outbox = new Outbox(core, this.#dead);
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
      outboxFull: () => this.#outbox.full(),
    });
    this.#loader = new Loader({
      core,
      lanes: this.#lanes,
      states: this.#states,
      results: this.#results,
      dead: this.#dead,
      outbox: this.#outbox,
      schedules: this.#schedules,
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
          if (wake.task.vnode.phase === "held") wake.task.timer = this.#core.timers.set(now + HELD_MS, wake);
          else this.#lanes.due(now, wake.task);
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
    const timer = this.#schedules.moved ? this.#core.newest : this.#core.timers.next();
    const expiry = this.#scheduler.nextExpiry();
    if (timer === undefined) return expiry;
    return expiry === undefined ? timer : Math.min(timer, expiry);
  }

  open(now: Instant, partition: Partition, term: Term, older: "none" | "awaited" | "away"): void {
    if (this.#core.vnodeAt(partition) !== undefined) this.close(now, partition);
    this.#core.vnodes[partition] = new Vnode(now, partition, term, older, Math.floor(this.#core.random() * 2 ** 32));
    if (!this.#sweeping) this.#sweep(now);
  }

  load(partition: Partition, rows: readonly Row[]): readonly Row[] {
    const vnode = this.#core.vnodeAt(partition);
    return vnode === undefined || vnode.phase !== "loading" ? [] : this.#loader.load(vnode, rows);
  }

  loaded(now: Instant, partition: Partition): void {
    const vnode = this.#core.vnodeAt(partition);
    if (vnode === undefined || vnode.phase !== "loading") return;
    vnode.phase = "open";
    this.#loader.loaded(now, vnode);
    for (const declared of this.#declarations.ofPartition(partition)) this.#declare(now, vnode, declared);
    this.#admission.loaded(now, vnode);
    this.#proceed(now);
  }

  hold(now: Instant, partition: Partition): void {
    const vnode = this.#core.vnodeAt(partition);
    if (vnode === undefined || vnode.phase !== "open") return;
    vnode.phase = "held";
    this.#residents.hold(vnode);
    this.#proceed(now);
  }

  release(now: Instant, partition: Partition): void {
    const vnode = this.#core.vnodeAt(partition);
    if (vnode === undefined || vnode.phase !== "held") return;
    vnode.phase = "open";
    this.#resume(now, vnode);
  }

  inFlight(
    partition: Partition,
  ): readonly {
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

  absorb(now: Instant, partition: Partition, rows: readonly Row[], options: { readonly behind: boolean }): void {
    const vnode = this.#core.vnodeAt(partition);
    if (vnode === undefined || vnode.phase === "loading") return;
    this.#loader.absorb(now, vnode, rows, options);
    this.#proceed(now);
  }

  olderDone(now: Instant, partition: Partition): void {
    const vnode = this.#core.vnodeAt(partition);
    if (vnode === undefined || vnode.older === "none") return;
    this.#loader.olderDone(vnode);
    this.#resume(now, vnode);
  }

  close(now: Instant, partition: Partition): void {
    const core = this.#core;
    const vnode = core.vnodeAt(partition);
    if (vnode === undefined) return;
    this.#admission.close(vnode);
    this.#residents.close(vnode);
    vnode.phase = "closed";
    core.vnodes[partition] = undefined;
    for (const attempt of core.running.values()) if (attempt.vnode === vnode) this.#orphan(attempt);
    for (const known of vnode.known.values()) {
      if (known instanceof Task) this.#forget(known);
      else if ("retrying" in known) {
        known.app.dead--;
        core.dead--;
      }
    }
    this.#states.closeReads(now, vnode);
    this.#outbox.close(vnode);
    this.#schedules.close(vnode);
    this.#waiters.close(vnode);
    this.#loader.close(vnode);
    core.closeAfterwards(vnode);
    this.#proceed(now);
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

  appChanged(now: Instant, app: AppName | undefined): void {
    const before =
      app === undefined
        ? [...this.#declarations.apps()].flatMap((name) => this.#declarations.ofApp(name))
        : this.#declarations.ofApp(app);
    if (app === undefined) this.#declarations.rebuild(this.#core.ringSize);
    else this.#declarations.update(app);
    const after =
      app === undefined
        ? [...this.#declarations.apps()].flatMap((name) => this.#declarations.ofApp(name))
        : this.#declarations.ofApp(app);
    const runs = app === undefined ? [...this.#core.apps.values()] : [this.#core.apps.get(app)];
    for (const run of runs) if (run !== undefined) this.#resolve(now, run);
    const kept = new Set(after);
    for (const declared of before) if (!kept.has(declared)) this.#undeclare(declared);
    const known = new Set(before);
    for (const declared of after) {
      const vnode = this.#core.vnodeOfHash(declared.hash);
      if (!known.has(declared) && vnode !== undefined && vnode.phase !== "loading") this.#declare(now, vnode, declared);
    }
    this.#residents.appChanged(now);
    this.#proceed(now);
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
    const apps = [...this.#core.apps.values()].filter((app) => app.queued + app.dead > 0);
    apps.sort((a, b) => b.queued - a.queued || (a.name < b.name ? -1 : 1));
    return apps.slice(0, limit).map((app) => appView(this.#core, app));
  }

  /** Starts and sends what may be started and sent. */
  #proceed(now: Instant): void {
    if (now > this.#core.newest) this.#core.newest = now;
    this.#scheduler.expire(now);
    this.#scheduler.dispatch(now);
    this.#outbox.flush();
  }

  #resume(now: Instant, vnode: Vnode): void {
    this.#lanes.release(now, vnode);
    this.#outbox.release(vnode);
    this.#schedules.rearm(now, vnode);
    this.#residents.startAll(now);
    this.#proceed(now);
  }

  #declare(now: Instant, vnode: Vnode, declared: Declared): void {
    if (declared.type === "resident") this.#residents.add(now, declared, vnode);
    else this.#schedules.declare(now, vnode, this.#core.appOf(declared.app), declared.spec);
  }

  #undeclare(declared: Declared): void {
    if (declared.type === "resident") return this.#residents.remove(declared);
    const vnode = this.#core.vnodeOfHash(declared.hash);
    const app = this.#core.apps.get(declared.app);
    if (vnode !== undefined && app !== undefined) this.#schedules.undeclare(vnode, app, declared.spec);
  }

  #resolve(now: Instant, app: AppRun): void {
    const waiting: Lane[] = app.unknown;
    app.unknown = [];
    for (const type of app.types.values()) {
      for (let lane = type.waiting.shift(); lane !== undefined; lane = type.waiting.shift()) {
        if (lane.phase !== "type-full") continue;
        lane.phase = "unknown";
        waiting.push(lane);
      }
    }
    this.#core.resolve(app);
    this.#lanes.appChanged(now, waiting);
    this.#ring.enlist(app);
  }

  #onEnded(now: Instant, task: Task): void {
    const { id } = task.record;
    if (this.#waiters.size > 0) this.#waiters.ended(now, id, this.#results.find(task.vnode, id));
    this.#schedules.ended(now, id);
  }

  /** An attempt whose partition goes: told to stop, its end will be ignored. */
  #orphan(attempt: RunningAttempt): void {
    this.#core.running.delete(attempt);
    this.#scheduler.abort(attempt, "handoff");
    const { task, type } = attempt;
    if (task === undefined || type === undefined) return;
    this.#completion.countEnded(attempt);
    if (type.waiting.size > 0) this.#ring.wakeType(task.app, type);
    this.#ring.enlist(task.app);
  }

  #forget(task: Task): void {
    const { timers } = this.#core;
    timers.remove(task.timer);
    timers.remove(task.deadlineTimer);
    if (task.lane !== undefined && task.lane.phase !== "gone") {
      timers.remove(task.lane.timer);
      this.#states.close(task.lane);
    }
    this.#core.countQueued(task, -1);
  }

  /** Drops results past their window, each minute; sooner when there was more than one sweep's worth. */
  #sweep(now: Instant): void {
    this.#sweeping = true;
    const more = this.#results.sweep(now);
    this.#core.timers.set(now + (more ? 100 : 60_000), { type: "subject", subject: { wake: (at) => this.#sweep(at) } });
  }
}

/** A held partition writes nothing of its own accord, its remainder may have left already: timers look again after this. */
const HELD_MS = 100;
/** Timers fired in one step; the rest is due at once. */
const TIMERS_PER_TICK = 10_000;
