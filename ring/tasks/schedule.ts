/** One recurring task, its row, and its firings. */

import type { AppName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { ScheduleSpec } from "./definition.ts";
import type { ScheduleView } from "./engine-contract.ts";
import { type AppRun, Task, type Vnode, type Wake, type Wakes } from "./model.ts";
import { headersOf, parseRecord, type RefusedRecord } from "./record.ts";
import { encodeRecord } from "./record-encode.ts";
import { KIND, keyedRow } from "./rows.ts";
import type { ScheduleRow } from "./schedule-row.ts";
import type { TaskRecord } from "./task.ts";
import { deriveId } from "./task-id.ts";
import type { Ticks } from "./ticks.ts";
import type { Timer } from "./timers.ts";

export interface Schedule extends Wakes {
  readonly vnode: Vnode;
  readonly app: AppRun;
  readonly spec: ScheduleSpec;
  readonly declared: boolean;
  readonly ticks: Ticks;
  paused: boolean;
  lastTickMs: number;
  /** Made here without a row: where it stood elsewhere may still come. */
  isNew: boolean;
  /** H5: of the owner that was told so; 0: none was. */
  origin: number;
  /** When it was resumed behind its last tick, in whole wall ms: its ticks from then on are others than those that a wrong clock brought. */
  resumedAtMs: number | undefined;
  firedAtMs: number | undefined;
  firing: string | undefined;
  /** Nothing but `firing` can be a firing that waits or runs. */
  isSure: boolean;
  /** How often its firing was refused, one time after the other, and until when it is not tried again. */
  refusals: number;
  heldUntil: Instant;
  timer: Timer<Wake> | undefined;
}

/** Names it in its partition. */
export interface ScheduleAddress {
  readonly app: string;
  readonly key: string;
  readonly name: string;
}

/** What is known of a schedule that begins here; without `lastTickMs` it begins now. */
export interface ScheduleStart {
  readonly declared: boolean;
  readonly paused: boolean;
  readonly lastTickMs: number | undefined;
  readonly firing: string | undefined;
  readonly isNew?: boolean;
  readonly firedAtMs?: number | undefined;
  readonly origin?: number | undefined;
  readonly resumedAtMs?: number | undefined;
  /** It was due at other times until now. */
  readonly isOther?: boolean;
}

/** H1: the same on every owner. A run by hand is another task than the firing of that instant. */
export function firingId(
  app: string,
  spec: ScheduleSpec,
  tick: { readonly tickMs: number; readonly byHand: boolean; readonly resumedAtMs: number | undefined },
): string {
  const which = tick.byHand ? "\0run" : tick.resumedAtMs === undefined ? "" : `\0${tick.resumedAtMs}`;
  const seed = `schedule\0${app}\0${spec.key}\0${spec.name}\0${tick.tickMs}${which}`;
  return deriveId({ app, key: spec.key, seed, wallMs: tick.tickMs });
}

export function firingRecord(
  app: AppName,
  { name, key, taskType, payload }: ScheduleSpec,
  { id, tickMs }: { readonly id: string; readonly tickMs: number },
): TaskRecord | RefusedRecord {
  const headers = new Map([
    [NAME_HEADER, name],
    ["taskring-tick", String(tickMs)],
  ]);
  const wire = encodeRecord({ app, type: taskType, key, payload, headers, id });
  return parseRecord(wire, 0, wire.length);
}

/** Why a schedule was not put, or did not do what it was told: as a task would be refused. */
export type Refusal = Pick<RefusedRecord, "code" | "detail">;

export function invalid(detail: string): Refusal {
  return { code: "INVALID_ARGUMENT", detail };
}

export function withoutType({ app, spec }: Schedule): Refusal {
  if (app.definition === undefined) return { code: "APP_UNKNOWN", detail: `app ${app.name} is not loaded here` };
  return { code: "TASK_TYPE_UNKNOWN", detail: `app ${app.name} has no task type ${spec.taskType} here` };
}

/** What it starts is a type that its app has here. */
export function hasType({ app, spec }: Schedule): boolean {
  return app.definition !== undefined && app.types.has(spec.taskType);
}

/** One waits or runs. A row names the newest tick, which may have been passed over while an older one ran: that is looked for once. */
export function hasFiring(schedule: Schedule): boolean {
  const { vnode, app, spec } = schedule;
  const isTask = (id: string): boolean => vnode.known.get(id) instanceof Task;
  if (schedule.firing !== undefined && isTask(schedule.firing)) return true;
  const type = app.types.get(spec.taskType);
  if (schedule.isSure || type === undefined) return false; // of a type that is not here nothing fires
  schedule.isSure = true;
  // From a relaxed lane it steps out while it is backing off; else the lane has it, and is shorter.
  const tasks = type.type.order === "relaxed" ? vnode.arrivals : app.lanes.get(spec.key)?.tasks;
  for (let index = 0, left = LOOKED_AT; tasks !== undefined && index < tasks.size && left > 0; index++) {
    const { id, record, app: itsApp } = tasks.at(index) as Task;
    if (itsApp !== app || record.key !== spec.key || record.type !== spec.taskType) continue;
    left--;
    if (headersOf(record).get(NAME_HEADER) !== spec.name || !isTask(id)) continue;
    schedule.firing = id;
    return true;
  }
  return false;
}

export function rowOf(schedule: Schedule): ScheduleRow {
  const { vnode, declared, spec, paused, lastTickMs, isNew, firedAtMs, origin, resumedAtMs } = schedule;
  const mayCome = vnode.older !== "none";
  const made = {
    ...(mayCome && isNew ? { isNew, hasFired: firedAtMs !== undefined } : {}),
    ...(mayCome ? { origin } : {}),
    ...(resumedAtMs === undefined ? {} : { resumedAtMs }),
  };
  return { paused, lastTickMs, ...made, ...(declared ? { times: timesOf(spec), spec: undefined } : { spec }) };
}

export function madeAt(
  row: ScheduleRow | undefined,
): Pick<ScheduleRow, "isNew" | "origin" | "resumedAtMs"> & { readonly firedAtMs?: number } {
  if (row === undefined) return {};
  const { isNew, hasFired, origin, resumedAtMs, lastTickMs } = row;
  return {
    ...(isNew === true ? { isNew } : {}),
    ...(isNew === true && hasFired === true ? { firedAtMs: lastTickMs } : {}),
    ...(origin === undefined ? {} : { origin }),
    ...(resumedAtMs === undefined ? {} : { resumedAtMs }),
  };
}

/** One that an app declares, which stood so when it was seen last. */
export function declaredAt(
  wallMs: number,
  spec: ScheduleSpec,
  known: ScheduleRow | undefined,
): Omit<ScheduleStart, "firing"> {
  if (known === undefined) return { declared: true, paused: false, lastTickMs: undefined };
  const isOther = hasOtherTimes(known, spec); // H6
  const lastTickMs = isOther ? Math.max(known.lastTickMs, wallMs) : known.lastTickMs;
  return { declared: true, paused: known.paused, lastTickMs, isOther, ...madeAt(known) };
}

/** Takes over what a row of it says that came from elsewhere. Whether its owner was told later than this one was. */
export function learn(known: Schedule, row: ScheduleRow): boolean {
  const isNewer = row.origin !== undefined && row.origin > known.origin; // H5
  // One that has not fired here goes on from where it stood elsewhere, so that missed ticks are seen.
  const goesOn = known.declared
    ? !hasOtherTimes(row, known.spec)
    : isNewer || row.spec === undefined || sameTicks(row.spec, known.spec); // H6
  const laterMs = (row.resumedAtMs ?? 0) - (known.resumedAtMs ?? 0); // the other one may be ahead
  const isBehind = known.firedAtMs === undefined && goesOn && (known.isNew || laterMs > 0);
  if (laterMs >= 0) known.lastTickMs = isBehind ? row.lastTickMs : Math.max(known.lastTickMs, row.lastTickMs);
  if (laterMs > 0) known.resumedAtMs = row.resumedAtMs;
  if (known.isNew && row.hasFired === true) known.firedAtMs ??= row.lastTickMs;
  if (isNewer) [known.paused, known.origin] = [row.paused, row.origin];
  const { lastTickMs: tickMs, resumedAtMs } = known;
  if (tickMs === row.lastTickMs)
    known.firing ??= firingId(known.app.name, known.spec, { tickMs, byHand: false, resumedAtMs });
  known.isNew &&= row.isNew === true;
  return isNewer;
}

/** H7. `untilTickMs`: to the next tick, which is tried in any case. */
export function refused(now: Instant, schedule: Schedule, untilTickMs: number): void {
  const backOffMs = Math.min(RETRY_MOST_MS, RETRY_MS * 2 ** Math.min(30, schedule.refusals++));
  schedule.heldUntil = now + Math.min(backOffMs, Math.max(RETRY_MS, untilTickMs));
}

/** When it is due, in words that tell it from any that is due at other times. */
function timesOf({ every }: Pick<ScheduleSpec, "every">): string {
  return every.type === "interval" ? `${every.everyMs}` : `${every.expression}\0${every.timeZone ?? ""}`;
}

/** The row of a declared one says that it went on by other times than these. */
function hasOtherTimes({ times }: Pick<ScheduleRow, "times">, spec: Pick<ScheduleSpec, "every">): boolean {
  return times !== undefined && times !== timesOf(spec);
}

/** They are due at the same times. */
export function sameTicks(
  { every: a }: Pick<ScheduleSpec, "every">,
  { every: b }: Pick<ScheduleSpec, "every">,
): boolean {
  return timesOf({ every: a }) === timesOf({ every: b });
}

/** Of two rows of one schedule that the app declares, which came of several directories. */
export function newestOf(known: ScheduleRow, row: ScheduleRow): ScheduleRow {
  const { paused, origin } = (row.origin ?? 0) > (known.origin ?? 0) ? row : known;
  const { resumedAtMs } = (row.resumedAtMs ?? 0) > (known.resumedAtMs ?? 0) ? row : known;
  const right = [known, row].filter((each) => each.resumedAtMs === resumedAtMs); // another may be ahead
  const stands = right.filter(({ isNew, hasFired }) => isNew !== true || hasFired === true);
  const lastTickMs = Math.max(...(stands.length > 0 ? stands : right).map((each) => each.lastTickMs));
  const isNew = known.isNew === true && row.isNew === true;
  const { times } = row.lastTickMs > known.lastTickMs ? row : known;
  return {
    paused,
    lastTickMs,
    ...(times === undefined ? {} : { times }),
    ...(isNew ? { isNew, hasFired: stands.length > 0 } : {}),
    ...(origin === undefined ? {} : { origin }),
    ...(resumedAtMs === undefined ? {} : { resumedAtMs }),
    spec: undefined,
  };
}

export function viewOf(schedule: Schedule, wallMs: number): ScheduleView {
  const { app, spec, declared, paused, lastTickMs, firedAtMs, ticks } = schedule;
  const { every } = spec;
  const next = paused ? undefined : nextOf(ticks, lastTickMs, wallMs);
  const waits = waitsOf(schedule, wallMs);
  return {
    app: app.name,
    key: spec.key,
    name: spec.name,
    taskType: spec.taskType,
    spec: every.type === "cron" ? every.expression : `every ${every.everyMs} ms`,
    paused,
    declared,
    ...(firedAtMs === undefined ? {} : { lastFireAtMs: firedAtMs }),
    ...(next === undefined ? {} : { nextFireAtMs: next }),
    ...(waits === undefined ? {} : { waits }),
  };
}

/** Most often the tick that it waits for, which has been looked for already. */
function nextOf(ticks: Ticks, lastTickMs: number, wallMs: number): number | undefined {
  const due = ticks.next(lastTickMs);
  return due === undefined || due > wallMs ? due : ticks.next(wallMs);
}

/** Why it does not fire though its ticks pass; the words are those of a task that waits. */
function waitsOf({ app, spec, paused, lastTickMs }: Schedule, wallMs: number): string | undefined {
  if (paused) return undefined;
  if (app.definition === undefined) return "APP_NOT_HERE";
  if (!app.types.has(spec.taskType)) return "TASK_TYPE_UNKNOWN";
  return isAhead(lastTickMs, wallMs) ? "CLOCK_BEHIND" : undefined;
}

/** By more than clocks that are looked after differ: this one or the one that told the tick is wrong. */
export function isAhead(tickMs: number, wallMs: number): boolean {
  return tickMs > wallMs + CLOCKS_DIFFER_MS;
}

export function nameOf(schedule: Schedule): string {
  return scheduleName({ app: schedule.app.name, key: schedule.spec.key, name: schedule.spec.name });
}

/** Keys may hold any character, so their length tells where one ends. */
export function scheduleName(address: ScheduleAddress): string {
  return `${address.app}\0${address.key.length}\0${address.key}${address.name}`;
}

export function rowKey(schedule: Schedule): Uint8Array {
  return keyedRow(KIND.schedule, schedule.app.name, schedule.spec.key, schedule.spec.name);
}

const CLOCKS_DIFFER_MS = 60_000;
/** Of a firing: the schedule's name. */
const NAME_HEADER = "taskring-schedule";
/** Tasks of its key and type among which a firing is looked for. */
const LOOKED_AT = 1_000;
/** A firing that found no room is tried again after this, and each further time after twice as long. */
const RETRY_MS = 1_000;
const RETRY_MOST_MS = 60_000;
