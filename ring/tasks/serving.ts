/**
 * Which partitions are served, and how that begins, pauses and ends: open, load, hold, absorb, close; and what of the apps'
 * declarations (residents, schedules) belongs to them.
 *
 * G1  A closed vnode is gone at once: what waits for it is answered, what runs for it is told to stop, its ends find nothing.
 */

import type { AppName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Row, RowChange, Term } from "../store.ts";
import type { Admission } from "./admission.ts";
import type { AppRing } from "./app-ring.ts";
import type { Completion } from "./completion.ts";
import type { Core } from "./core.ts";
import type { Declarations, Declared } from "./declared.ts";
import type { Elsewhere, Taken } from "./engine-contract.ts";
import type { Lanes } from "./lanes.ts";
import type { Loader } from "./loader.ts";
import { type AppRun, type Lane, Task, Vnode } from "./model.ts";
import type { Outbox } from "./outbox.ts";
import type { Residents } from "./residents.ts";
import type { Results } from "./results.ts";
import type { RunningAttempt } from "./running-attempt.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Schedules } from "./schedules.ts";
import type { States } from "./states.ts";
import type { Waiters } from "./waiters.ts";

export interface ServingParts {
  readonly core: Core;
  readonly ring: AppRing;
  readonly states: States;
  readonly lanes: Lanes;
  readonly admission: Admission;
  readonly outbox: Outbox;
  readonly completion: Completion;
  readonly scheduler: Scheduler;
  readonly schedules: Schedules;
  readonly residents: Residents;
  readonly declarations: Declarations;
  readonly waiters: Waiters;
  readonly loader: Loader;
  readonly results: Results;
}

export class Serving {
  readonly #parts: ServingParts;

  constructor(parts: ServingParts) {
    this.#parts = parts;
  }

  open(now: Instant, partition: Partition, term: Term, older: "none" | "awaited" | "away"): void {
    if (this.#parts.core.vnodeAt(partition) !== undefined) this.close(now, partition);
    this.#parts.core.vnodes[partition] = new Vnode(
      now,
      partition,
      term,
      older,
      Math.floor(this.#parts.core.random() * 2 ** 32),
    );
  }

  load(partition: Partition, rows: readonly Row[]): readonly Row[] {
    const vnode = this.#loading(partition);
    return vnode === undefined ? [] : this.#parts.loader.load(vnode, rows);
  }

  arrive(partition: Partition, changes: readonly RowChange[]): boolean {
    const vnode = this.#loading(partition);
    return vnode !== undefined && this.#parts.loader.arrive(vnode, changes);
  }

  arrived(partition: Partition, most: number): Taken {
    const vnode = this.#loading(partition);
    return vnode === undefined ? { unreadable: [], isAll: true } : this.#parts.loader.arrived(vnode, most);
  }

  loaded(now: Instant, partition: Partition): void {
    const vnode = this.#loading(partition);
    if (vnode === undefined) return;
    vnode.phase = vnode.heldFromStart ? "held" : "open";
    this.#parts.loader.loaded(now, vnode);
    this.#parts.outbox.release(vnode);
    for (const declared of this.#parts.declarations.ofPartition(partition)) this.#declare(now, vnode, declared);
    this.#parts.admission.loaded(now, vnode);
  }

  hold(partition: Partition): void {
    const vnode = this.#parts.core.vnodeAt(partition);
    if (vnode?.phase === "loading") vnode.heldFromStart = true;
    if (vnode === undefined || vnode.phase !== "open") return;
    vnode.phase = "held";
    this.#parts.residents.hold(vnode);
  }

  release(now: Instant, partition: Partition): void {
    const vnode = this.#parts.core.vnodeAt(partition);
    if (vnode?.phase === "loading") vnode.heldFromStart = false;
    if (vnode === undefined || vnode.phase !== "held") return;
    vnode.phase = "open";
    this.#resume(now, vnode);
  }

  absorb(now: Instant, partition: Partition, rows: readonly Row[], from: Elsewhere): readonly Row[] {
    const vnode = this.#parts.core.vnodeAt(partition);
    if (vnode === undefined || vnode.phase === "loading" || vnode.olderHere) return [];
    return this.#parts.loader.absorb(now, vnode, rows, from);
  }

  replacing(partition: Partition): number {
    const vnode = this.#parts.core.vnodeAt(partition);
    return vnode === undefined ? 0 : this.#parts.loader.replacing(vnode);
  }

  olderDone(now: Instant, partition: Partition, mayComeAgain: boolean): void {
    const vnode = this.#parts.core.vnodeAt(partition);
    if (vnode === undefined || vnode.older === "none") return;
    vnode.olderHere = mayComeAgain;
    if (!mayComeAgain) this.#parts.loader.olderDone(vnode);
    this.#resume(now, vnode);
    if (vnode.phase !== "loading") this.#parts.admission.loaded(now, vnode);
  }

  close(now: Instant, partition: Partition): void {
    const { core } = this.#parts;
    const vnode = core.vnodeAt(partition);
    if (vnode === undefined) return;
    this.#parts.admission.close(vnode);
    this.#parts.residents.close(now, vnode);
    this.#parts.results.close(vnode);
    const isLoading = vnode.phase === "loading";
    vnode.phase = "closed";
    core.vnodes[partition] = undefined;
    for (const attempt of core.running.values()) if (attempt.vnode === vnode) this.#orphan(attempt);
    for (const known of vnode.known.values()) {
      if (known instanceof Task) {
        if (known.phase === "ending" && known.endState === "dead") {
          known.app.dead--;
          core.dead--;
        }
        if (!isLoading) this.#forget(known); // the loader does
      } else if ("retrying" in known) {
        known.app.dead--;
        core.dead--;
      }
    }
    this.#parts.states.closeReads(now, vnode);
    this.#parts.outbox.close(vnode);
    this.#parts.schedules.close(vnode);
    this.#parts.waiters.close(vnode);
    this.#parts.loader.close(vnode);
    core.closeAfterwards(vnode);
  }

  appChanged(now: Instant, app: AppName | undefined): void {
    const before =
      app === undefined
        ? [...this.#parts.declarations.apps()].flatMap((name) => this.#parts.declarations.ofApp(name))
        : this.#parts.declarations.ofApp(app);
    if (app === undefined) this.#parts.declarations.rebuild(this.#parts.core.ringSize);
    else this.#parts.declarations.update(app);
    const after =
      app === undefined
        ? [...this.#parts.declarations.apps()].flatMap((name) => this.#parts.declarations.ofApp(name))
        : this.#parts.declarations.ofApp(app);
    const runs = app === undefined ? [...this.#parts.core.apps.values()] : [this.#parts.core.apps.get(app)];
    for (const run of runs) if (run !== undefined) this.#resolve(now, run);
    const kept = new Set(after);
    for (const declared of before) if (!kept.has(declared)) this.#undeclare(declared);
    const known = new Set(before);
    for (const declared of after) {
      const vnode = this.#parts.core.vnodeOfHash(declared.hash);
      if (!known.has(declared) && vnode !== undefined && vnode.phase !== "loading") this.#declare(now, vnode, declared);
    }
    this.#parts.residents.appChanged(now, app);
  }

  #loading(partition: Partition): Vnode | undefined {
    const vnode = this.#parts.core.vnodeAt(partition);
    return vnode?.phase === "loading" ? vnode : undefined;
  }

  #resume(now: Instant, vnode: Vnode): void {
    this.#parts.lanes.release(now, vnode);
    this.#parts.outbox.release(vnode);
    this.#parts.schedules.rearm(now, vnode);
    this.#parts.residents.startAll(now);
  }

  #declare(now: Instant, vnode: Vnode, declared: Declared): void {
    if (declared.type === "resident") this.#parts.residents.add(now, declared, vnode);
    else this.#parts.schedules.declare(now, vnode, this.#parts.core.appOf(declared.app), declared.spec);
  }

  #undeclare(declared: Declared): void {
    if (declared.type === "resident") {
      this.#parts.residents.remove(declared);
      return;
    }
    const vnode = this.#parts.core.vnodeOfHash(declared.hash);
    const app = this.#parts.core.apps.get(declared.app);
    if (vnode !== undefined && app !== undefined) this.#parts.schedules.undeclare(vnode, app, declared.spec);
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
    this.#parts.core.resolve(app);
    app.rateTimer = this.#parts.core.timers.remove(app.rateTimer); // of the rate that was
    this.#parts.lanes.appChanged(now, waiting);
    this.#parts.schedules.appChanged(now, app);
    this.#parts.ring.enlist(app);
  }

  /** An attempt whose partition goes: told to stop, its end will be ignored. */
  #orphan(attempt: RunningAttempt): void {
    this.#parts.core.running.delete(attempt);
    this.#parts.scheduler.abort(attempt, "handoff");
    const { task, type } = attempt;
    if (task === undefined || type === undefined) return;
    this.#parts.completion.countEnded(attempt);
    if (type.waiting.size > 0) this.#parts.ring.wakeType(task.app, type);
    this.#parts.ring.enlist(task.app);
  }

  #forget(task: Task): void {
    const { timers } = this.#parts.core;
    timers.remove(task.timer);
    timers.remove(task.deadlineTimer);
    if (task.lane !== undefined && task.lane.phase !== "gone") {
      timers.remove(task.lane.timer);
      this.#parts.states.close(task.lane);
    }
    this.#parts.core.countQueued(task, -1);
  }
}
