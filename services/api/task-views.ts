/** Tasks, schedules and keys as the `.proto` messages show them. */

import { type KeyReply, TASK_STATES, type Task, type TaskStateName } from "../../proto/messages.ts";
import type * as schedules from "../../proto/schedule-messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { ScheduleSpec } from "../../ring/tasks/definition.ts";
import type { KeyView, ScheduleView } from "../../ring/tasks/engine-contract.ts";
import type { TaskState, TaskStatus } from "../../ring/tasks/task.ts";

export function stateName(state: TaskState): TaskStateName {
  return state.toUpperCase() as TaskStateName;
}

/** As in the hand-coded frames. */
export function stateNumber(state: TaskState): number {
  return TASK_STATES.indexOf(stateName(state));
}

/** `undefined` for the zero value: no filter. Throws `INVALID_ARGUMENT` for a number without a name. */
export function stateOf(name: TaskStateName): TaskState | undefined {
  if (!TASK_STATES.includes(name)) throw new RingError("INVALID_ARGUMENT", `there is no task state ${name}`);
  return name === "TASK_STATE_UNKNOWN" ? undefined : (name.toLowerCase() as TaskState);
}

export function taskMessage(status: TaskStatus): Task {
  return {
    taskId: status.id,
    app: status.app,
    type: status.type,
    key: status.key,
    state: stateName(status.state),
    attempts: status.attempts,
    partition: status.partition,
    acceptedAtMs: Math.round(status.acceptedAtMs),
    waits: status.waits ?? "",
    ...(status.dueAtMs === undefined ? {} : { dueAtMs: Math.round(status.dueAtMs) }),
    ...(status.endedAtMs === undefined ? {} : { endedAtMs: Math.round(status.endedAtMs) }),
    ...(status.error === undefined
      ? {}
      : { error: { name: status.error.name, message: status.error.message, stack: status.error.stack ?? "" } }),
    ...(status.result === undefined ? {} : { result: status.result }),
  };
}

export function keyMessage(key: KeyView, owner: string): KeyReply {
  return {
    app: key.app,
    key: key.key,
    partition: key.partition,
    owner,
    paused: key.paused,
    queued: key.queued,
    running: key.running,
    waits: key.waits ?? "",
    ...(key.head === undefined ? {} : { head: taskMessage(key.head) }),
  };
}

export function scheduleMessage(schedule: ScheduleView): schedules.Schedule {
  return {
    app: schedule.app,
    key: schedule.key,
    name: schedule.name,
    spec: schedule.spec,
    taskType: schedule.taskType,
    paused: schedule.paused,
    declared: schedule.declared,
    ...(schedule.lastFireAtMs === undefined ? {} : { lastFireAtMs: Math.round(schedule.lastFireAtMs) }),
    ...(schedule.nextFireAtMs === undefined ? {} : { nextFireAtMs: Math.round(schedule.nextFireAtMs) }),
    waits: schedule.waits ?? "",
  };
}

export function scheduleSpecOf(spec: schedules.ScheduleSpec | null): ScheduleSpec {
  if (spec === null) throw new RingError("INVALID_ARGUMENT", "spec is missing");
  if (spec.name === "" || spec.name.length > 128)
    throw new RingError("INVALID_ARGUMENT", "spec.name must have 1 to 128 characters");
  if (spec.taskType === "") throw new RingError("INVALID_ARGUMENT", "spec.task_type is missing");
  if (spec.misfire !== "" && spec.misfire !== "once" && spec.misfire !== "skip") {
    throw new RingError("INVALID_ARGUMENT", 'spec.misfire must be "once" or "skip"');
  }
  return {
    name: spec.name,
    every: everyOf(spec),
    taskType: spec.taskType,
    key: spec.key,
    payload: spec.payload,
    misfire: spec.misfire === "skip" ? "skip" : "once",
  };
}

function everyOf(spec: schedules.ScheduleSpec): ScheduleSpec["every"] {
  if (spec.cron !== undefined && spec.cron !== "") {
    return { type: "cron", expression: spec.cron, ...(spec.timeZone === "" ? {} : { timeZone: spec.timeZone }) };
  }
  if (spec.everyMs !== undefined && spec.everyMs > 0) return { type: "interval", everyMs: spec.everyMs };
  throw new RingError("INVALID_ARGUMENT", "spec needs every_ms above 0 or cron");
}
