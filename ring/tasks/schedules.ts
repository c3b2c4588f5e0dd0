/**
 * Recurring tasks, owned by the partition of (app, key): one firing per tick for the whole ring.
 *
 * H1  A firing is a task whose id is a function of (schedule, tick); the tick is stored with it in the same changes (rule 19).
 * H2  The wall clock only decides when: a clock behind the last tick waits, one that jumps ahead fires once. Which of two clocks is
 *     wrong no node can tell: only one who resumes the schedule, or puts it with other times, makes it go on from a time before its
 *     last tick. Ticks that the wrong clock brought come again then, and fire: as other tasks.
 * H3  Firings coalesce: while one waits or runs, ticks that pass make one firing after it (`once`) or none (`skip`).
 * H4  A run by hand has the id that its asker minted: asked twice, because the answer was lost, it fires once.
 * H5  Of rows of several directories that of the owner that was told last counts, in whatever order they come.
 * H6  Put or declared again it goes on from its last tick. With other times it starts anew, from when that was.
 * H7  A firing that finds no room is tried again ever later, but no later than the next tick: what looks at it meanwhile, as when
 *     the wall clock is adjusted each second, leaves it at that.
 */

import type { Instant } from "../machine.ts";
import type { Admission } from "./admission.ts";
import type { Core } from "./core.ts";
import type { ScheduleSpec } from "./definition.ts";
import type { ScheduleView, TaskRequest } from "./engine-contract.ts";
import type { AppRun, Vnode } from "./model.ts";
import { isRefused } from "./record.ts";
import { KIND, keyedRow } from "./rows.ts";
import {
  declaredAt,
  firingId,
  firingRecord,
  hasFiring,
  hasType,
  invalid,
  isAhead,
  learn,
  madeAt,
  nameOf,
  newestOf,
  type Refusal,
  refused,
  rowKey,
  rowOf,
  type Schedule,
  type ScheduleAddress,
  type ScheduleStart,
  sameTicks,
  scheduleName,
  viewOf,
  withoutType,
} from "./schedule.ts";
import { ScheduleRoom } from "./schedule-room.ts";
import { type ScheduleRow, scheduleValue } from "./schedule-row.ts";
import { ticksOf } from "./ticks.ts";
import { Undone } from "./undone.ts";

type ScheduleRequest = Extract<TaskRequest, { readonly type: "schedule" }>;
type ListRequest = Extract<TaskRequest, { readonly type: "list-schedules" }>;

export class Schedules {
  readonly #core: Core;
  readonly #undone: Undone;
  readonly #admission: Admission;
  readonly #room: ScheduleRoom;
  readonly #byVnode: Map<Vnode, Map<string, Schedule>> = new Map();
  /** By the id of the firing that a schedule waits for (H3). */
  readonly #waiting: Map<string, Schedule> = new Map();
  /** Those whose app or task type is not here: nothing but a change of the app makes them fire. */
  readonly #typeless: Map<AppRun, Set<Schedule>> = new Map();
  /** Rows of declared schedules whose app is not loaded here, or not yet. */
  readonly #unclaimed: Map<Vnode, Map<string, ScheduleRow>> = new Map();

  #moved = false;

  constructor(core: Core, admission: Admission) {
    this.#core = core;
    this.#undone = new Undone(core);
    this.#admission = admission;
    this.#room = new ScheduleRoom(core.limits);
  }

  /** The wall clock was set: ticks are looked at again at the next `tick`, which is due at once. */
  get moved(): boolean {
    return this.#moved;
  }

  wallMoved(): void {
    this.#moved = this.#byVnode.size > 0;
  }

  rearmMoved(now: Instant): void {
    if (this.#moved) this.rearm(now);
    this.#moved = false;
  }

  count(vnode: Vnode): number {
    return this.#byVnode.get(vnode)?.size ?? 0;
  }

  find(vnode: Vnode, address: ScheduleAddress): Schedule | undefined {
    return this.#byVnode.get(vnode)?.get(scheduleName(address));
  }

  /** A schedule that an app declares; it goes on from its row's last tick. */
  declare(now: Instant, vnode: Vnode, app: AppRun, spec: ScheduleSpec): void {
    const name = scheduleName({ app: app.name, key: spec.key, name: spec.name });
    const before = this.#byVnode.get(vnode)?.get(name);
    const row = this.#unclaimed.get(vnode)?.get(name);
    this.#unclaimed.get(vnode)?.delete(name);
    if (before !== undefined) this.#forget(before);
    const known = before === undefined ? row : rowOf(before);
    this.#enter(now, vnode, app, spec, { ...declaredAt(this.#core.wallMs(now), spec, known), firing: before?.firing });
  }

  /** Declared no more; its row stays, so that a version that declares it again goes on from there. */
  undeclare(vnode: Vnode, app: AppRun, spec: ScheduleSpec): void {
    const schedule = this.find(vnode, { app: app.name, key: spec.key, name: spec.name });
    if (schedule === undefined || !schedule.declared) return;
    this.#forget(schedule);
    this.#keepRow(vnode, scheduleName({ app: app.name, key: spec.key, name: spec.name }), {
      ...rowOf(schedule),
      spec: undefined,
    });
  }

  /** A run-time schedule; replaces one of the same name. Why not, if it may not be. */
  put(now: Instant, vnode: Vnode, app: AppRun, spec: ScheduleSpec): Refusal | undefined {
    const before = this.find(vnode, { app: app.name, key: spec.key, name: spec.name });
    const refusal = this.#room.refusal(app, spec, before);
    if (refusal !== undefined) return refusal;
    if (before !== undefined) this.#forget(before);
    this.#undone.redo(vnode, keyedRow(KIND.schedule, app.name, spec.key, spec.name));
    const goesOn = before !== undefined && sameTicks(before.spec, spec); // H6
    const wallMs = this.#core.wallMs(now);
    const isResumed = before !== undefined && !goesOn && isAhead(before.lastTickMs, wallMs); // H2
    this.#enter(now, vnode, app, spec, {
      declared: false,
      paused: before?.paused ?? false,
      lastTickMs: goesOn ? before.lastTickMs : undefined,
      firing: before?.firing,
      ...(goesOn ? { isNew: before.isNew, firedAtMs: before.firedAtMs } : {}),
      origin: vnode.term.generation,
      resumedAtMs: isResumed ? Math.floor(wallMs) : before?.resumedAtMs,
    });
    const entered = this.find(vnode, { app: app.name, key: spec.key, name: spec.name });
    if (goesOn && entered !== undefined) this.#write(entered);
    return undefined;
  }

  /** A row that was here before, or came from elsewhere; what is here already wins, the newer tick holds. */
  load(
    now: Instant,
    vnode: Vnode,
    address: { readonly app: AppRun; readonly key: string; readonly name: string },
    row: ScheduleRow,
  ): void {
    const name = scheduleName({ app: address.app.name, key: address.key, name: address.name });
    const known = this.#byVnode.get(vnode)?.get(name);
    if (known !== undefined) {
      const isNewer = learn(known, row); // H5
      if (isNewer && !known.declared && row.spec !== undefined) {
        this.#forget(known);
        const spec = { ...row.spec, key: address.key, name: address.name };
        this.#enter(now, vnode, address.app, spec, known);
      }
      const entered = this.#byVnode.get(vnode)?.get(name);
      if (entered === undefined) return;
      this.#write(entered);
      this.#arm(now, entered);
    } else if (row.spec === undefined) {
      const before = this.#unclaimed.get(vnode)?.get(name);
      const kept = before === undefined ? row : newestOf(before, row); // H5
      this.#keepRow(vnode, name, kept);
      if (vnode.older === "none") return;
      const key = keyedRow(KIND.schedule, address.app.name, address.key, address.name);
      this.#core.write(vnode, key, scheduleValue(kept));
    } else {
      const spec: ScheduleSpec = { ...row.spec, key: address.key, name: address.name };
      this.#enter(now, vnode, address.app, spec, {
        declared: false,
        paused: row.paused,
        lastTickMs: row.lastTickMs,
        firing: undefined,
        ...madeAt(row),
      });
      const entered = this.#byVnode.get(vnode)?.get(name);
      if (entered !== undefined && vnode.older !== "none") this.#write(entered); // with its origin
    }
  }

  act(now: Instant, schedule: Schedule, { action, taskId }: ScheduleRequest): Refusal | undefined {
    switch (action) {
      case "pause":
        schedule.paused = true;
        schedule.origin = schedule.vnode.term.generation;
        schedule.timer = this.#core.timers.remove(schedule.timer);
        this.#write(schedule);
        return undefined;
      case "resume": {
        const wallMs = this.#core.wallMs(now);
        schedule.paused = false;
        schedule.origin = schedule.vnode.term.generation;
        if (isAhead(schedule.lastTickMs, wallMs))
          [schedule.lastTickMs, schedule.resumedAtMs] = [wallMs, Math.floor(wallMs)]; // H2
        else if (schedule.spec.misfire === "skip") schedule.lastTickMs = Math.max(schedule.lastTickMs, wallMs);
        this.#write(schedule);
        this.#arm(now, schedule);
        return undefined;
      }
      case "run":
        return this.#fire(now, schedule, { tickMs: this.#core.wallMs(now), byHand: true, taskId });
      case "delete":
        if (schedule.declared) return invalid("the app declares it; pause it instead");
        this.#forget(schedule);
        this.#core.erase(schedule.vnode, rowKey(schedule));
        this.#undone.add(schedule.vnode, rowKey(schedule));
        return undefined;
    }
  }

  /** A run-time schedule that an older directory has brought was deleted since. */
  undo(vnode: Vnode, address: ScheduleAddress, generation: number): void {
    const schedule = this.find(vnode, address);
    if (schedule === undefined || schedule.declared || schedule.origin > generation) return;
    this.#forget(schedule);
    this.#core.erase(vnode, rowKey(schedule));
  }

  /** The app was deleted, came back, or has other task types: what is due of those that waited for it fires now. */
  appChanged(now: Instant, app: AppRun): void {
    const waiting = this.#typeless.get(app);
    this.#typeless.delete(app);
    for (const schedule of waiting ?? []) this.#arm(now, schedule);
  }

  /** The wall clock was set, a partition may start: every schedule looks again. */
  rearm(now: Instant, vnode?: Vnode): void {
    for (const [each, schedules] of this.#byVnode) {
      if (vnode !== undefined && each !== vnode) continue;
      for (const schedule of schedules.values()) this.#arm(now, schedule);
    }
  }

  /** A task has ended: if it was a firing that ticks waited for, they fire now. */
  ended(now: Instant, id: string): void {
    if (this.#waiting.size === 0) return;
    const schedule = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (schedule !== undefined && this.#byVnode.get(schedule.vnode)?.get(nameOf(schedule)) === schedule)
      this.#arm(now, schedule);
  }

  close(vnode: Vnode): void {
    for (const schedule of this.#byVnode.get(vnode)?.values() ?? []) this.#forget(schedule);
    this.#byVnode.delete(vnode);
    this.#unclaimed.delete(vnode);
  }

  views(now: Instant, vnode: Vnode, { app, name, limit }: ListRequest): ScheduleView[] {
    const views: ScheduleView[] = [];
    for (const schedule of this.#byVnode.get(vnode)?.values() ?? []) {
      if (views.length >= limit) break;
      if (app !== undefined && schedule.app.name !== app) continue;
      if (name !== undefined && schedule.spec.name !== name) continue;
      views.push(viewOf(schedule, this.#core.wallMs(now)));
    }
    return views;
  }

  #enter(now: Instant, vnode: Vnode, app: AppRun, spec: ScheduleSpec, from: ScheduleStart): void {
    const ticks = ticksOf(app.name, spec);
    if ("refusal" in ticks) return;
    const schedule: Schedule = {
      vnode,
      app,
      spec,
      ticks,
      declared: from.declared,
      paused: from.paused,
      lastTickMs: from.lastTickMs ?? this.#core.wallMs(now),
      isNew: from.lastTickMs === undefined || from.isNew === true,
      origin: from.origin ?? (from.lastTickMs === undefined || from.isNew === true ? 0 : vnode.term.generation),
      resumedAtMs: from.resumedAtMs,
      firedAtMs: from.firedAtMs,
      timer: undefined,
      firing:
        from.firing ??
        (from.lastTickMs === undefined
          ? undefined
          : firingId(app.name, spec, { tickMs: from.lastTickMs, byHand: false, resumedAtMs: from.resumedAtMs })),
      isSure: false,
      refusals: 0,
      heldUntil: 0,
      wake: (at): void => {
        schedule.timer = undefined;
        this.#due(at, schedule);
      },
    };
    const all = this.#byVnode.get(vnode);
    if (all === undefined) this.#byVnode.set(vnode, new Map([[nameOf(schedule), schedule]]));
    else all.set(nameOf(schedule), schedule);
    this.#room.count(schedule, 1);
    if (from.lastTickMs === undefined || from.isOther === true) this.#write(schedule);
    this.#arm(now, schedule);
  }

  #arm(now: Instant, schedule: Schedule): void {
    schedule.timer = this.#core.timers.remove(schedule.timer);
    if (schedule.paused || !schedule.vnode.mayStart) return;
    if (!hasType(schedule)) {
      const waiting = this.#typeless.get(schedule.app);
      if (waiting === undefined) this.#typeless.set(schedule.app, new Set([schedule]));
      else waiting.add(schedule);
      return;
    }
    const next = schedule.ticks.next(schedule.lastTickMs);
    if (next === undefined) return;
    // A far tick is looked at again daily; so no timer depends on a wall clock of long ago.
    const inMs = Math.min(Math.max(0, next - this.#core.wallMs(now)), 86_400_000);
    const at = Math.max(now + inMs, schedule.heldUntil); // H7
    schedule.timer = this.#core.timers.set(at, { type: "subject", subject: schedule });
  }

  #due(now: Instant, schedule: Schedule): void {
    const wallMs = this.#core.wallMs(now);
    const dueMs = schedule.ticks.next(schedule.lastTickMs);
    if (dueMs === undefined || dueMs > wallMs || !hasType(schedule)) {
      this.#arm(now, schedule);
      return;
    } // H2
    if (schedule.paused || !schedule.vnode.mayStart) return;
    const tickMs = schedule.ticks.newest(dueMs, wallMs);
    const isAlive = hasFiring(schedule);
    const skips = schedule.spec.misfire === "skip";
    if (isAlive && !skips) {
      this.#waiting.set(schedule.firing as string, schedule); // H3
      return;
    }
    if (skips && (isAlive || wallMs - tickMs > LATE_MS)) {
      schedule.refusals = 0; // of this tick
      schedule.lastTickMs = tickMs;
      this.#write(schedule);
      this.#arm(now, schedule);
      return;
    }
    const refusal = this.#fire(now, schedule, { tickMs, byHand: false });
    if (refusal !== undefined)
      refused(now, schedule, (schedule.ticks.next(tickMs) ?? Number.POSITIVE_INFINITY) - wallMs);
    this.#arm(now, schedule);
  }

  #fire(
    now: Instant,
    schedule: Schedule,
    tick: { readonly tickMs: number; readonly byHand: boolean; readonly taskId?: string | undefined },
  ): Refusal | undefined {
    const { app, spec, vnode } = schedule;
    if (!hasType(schedule)) return withoutType(schedule);
    const id = tick.taskId ?? firingId(app.name, spec, { ...tick, resumedAtMs: schedule.resumedAtMs }); // H4
    if (!this.#admission.knows(vnode, id)) {
      const record = firingRecord(app.name, spec, { id, tickMs: tick.tickMs });
      if (isRefused(record)) return record;
      const full = this.#admission.fullness(app, record, "child");
      if (full !== undefined) return full;
      this.#admission.admit(now, vnode, app, record, 0, -1);
    }
    schedule.refusals = 0;
    schedule.firing = id;
    schedule.firedAtMs = tick.tickMs;
    if (!tick.byHand) schedule.lastTickMs = tick.tickMs;
    this.#write(schedule); // H1
    return undefined;
  }

  #write(schedule: Schedule): void {
    this.#core.write(schedule.vnode, rowKey(schedule), scheduleValue(rowOf(schedule)));
  }

  #forget(schedule: Schedule): void {
    this.#core.timers.remove(schedule.timer);
    if (schedule.firing !== undefined) this.#waiting.delete(schedule.firing);
    const waiting = this.#typeless.get(schedule.app);
    if (waiting?.delete(schedule) === true && waiting.size === 0) this.#typeless.delete(schedule.app);
    if (this.#byVnode.get(schedule.vnode)?.delete(nameOf(schedule)) === true) this.#room.count(schedule, -1);
  }

  #keepRow(vnode: Vnode, name: string, row: ScheduleRow): void {
    const rows = this.#unclaimed.get(vnode);
    if (rows === undefined) this.#unclaimed.set(vnode, new Map([[name, row]]));
    else if (rows.size < this.#core.limits.schedulesPerApp * 10) rows.set(name, row);
  }
}

/** With `skip`, a tick this late is passed over. */
const LATE_MS = 5_000;
