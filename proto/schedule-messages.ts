/** Messages about recurring tasks as they cross the wire (`proto/taskring/v1/tasks.proto`). */

export interface ScheduleSpec {
  readonly name: string;
  readonly everyMs?: number;
  readonly cron?: string;
  readonly timeZone: string;
  readonly taskType: string;
  readonly key: string;
  readonly payload: Uint8Array;
  readonly misfire: string;
}

export interface PutScheduleRequest {
  readonly app: string;
  readonly spec: ScheduleSpec | null;
}

export interface Schedule {
  readonly app: string;
  readonly key: string;
  readonly name: string;
  readonly spec: string;
  readonly taskType: string;
  readonly paused: boolean;
  readonly declared: boolean;
  readonly lastFireAtMs?: number;
  readonly nextFireAtMs?: number;
  /** Why it does not fire though its ticks pass; empty: it fires when it is due. */
  readonly waits: string;
}

export interface ListSchedulesRequest {
  readonly app: string;
  readonly limit: number;
  readonly name: string;
}

export interface ListSchedulesReply {
  readonly schedules: readonly Schedule[];
  readonly unreachable: readonly string[];
}

export interface ControlScheduleRequest {
  readonly app: string;
  readonly key: string;
  readonly name: string;
  readonly action: string;
  /** Of the task that "run" makes. */
  readonly taskId?: string;
}
