/** Following and repairing tasks: `Tasks` without the submits. */

import type * as messages from "../../proto/messages.ts";
import { TASK_STATES, type TaskStateName } from "../../proto/messages.ts";
import type * as schedules from "../../proto/schedule-messages.ts";
import type { AsideValue, ReadAsideReply, ReadAsideRequest } from "../../proto/state-messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { TaskState } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import type { Caller, CallOptions } from "./caller.ts";

const TASKS = "taskring.v1.Tasks";

export interface ListTasksQuery {
  readonly app?: string;
  readonly key?: string;
  readonly state?: TaskState;
  readonly limit?: number;
}

export class TaskCalls {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** Throws `INVALID_ARGUMENT` for a state that there is not. */
  async list(query: ListTasksQuery = {}, options?: CallOptions): Promise<messages.ListTasksReply> {
    const { app = "", key = "", state, limit = 0 } = query;
    const request = { app, key, limit, state: state === undefined ? 0 : stateNumber(state) };
    return this.#caller.unary(TASKS, "List", request, options);
  }

  listDead(
    query: { readonly app?: string; readonly pageToken?: string; readonly limit?: number } = {},
    options?: CallOptions,
  ): Promise<messages.ListTasksReply> {
    return this.#caller.unary(TASKS, "ListDead", query, options);
  }

  /** How many there were. */
  async retryDead(taskIds: readonly string[], options?: CallOptions): Promise<number> {
    return (await this.#caller.unary<{ readonly count: number }>(TASKS, "RetryDead", { taskIds }, options)).count;
  }

  async dropDead(taskIds: readonly string[], options?: CallOptions): Promise<number> {
    return (await this.#caller.unary<{ readonly count: number }>(TASKS, "DropDead", { taskIds }, options)).count;
  }

  async putSchedule(app: string, spec: Partial<schedules.ScheduleSpec>, options?: CallOptions): Promise<void> {
    await this.#caller.unary(TASKS, "PutSchedule", { app, spec }, options);
  }

  listSchedules(
    query: { readonly app?: string; readonly name?: string; readonly limit?: number } = {},
    options?: CallOptions,
  ): Promise<schedules.ListSchedulesReply> {
    return this.#caller.unary(TASKS, "ListSchedules", query, options);
  }

  /** `run` fires once, however often the call has to be repeated: its task's id is minted here, unless `request` has one. */
  async controlSchedule(request: schedules.ControlScheduleRequest, options?: CallOptions): Promise<void> {
    const { app, key, taskId } = request;
    const minted =
      request.action === "run" && taskId === undefined
        ? { taskId: mintId({ wallMs: Date.now(), random: Math.random, app, key }) }
        : {};
    await this.#caller.unary(TASKS, "ControlSchedule", { ...request, ...minted }, options);
  }

  describeKey(at: messages.KeyRequest, options?: CallOptions): Promise<messages.KeyReply> {
    return this.#caller.unary(TASKS, "DescribeKey", at, options);
  }

  /** By name; `decodeResult` reads each. */
  async readState(at: messages.KeyRequest, options?: CallOptions): Promise<ReadonlyMap<string, Uint8Array>> {
    const { values } = await this.#caller.unary<{ readonly values: Readonly<Record<string, Uint8Array>> }>(
      TASKS,
      "ReadState",
      at,
      options,
    );
    return new Map(Object.entries(values));
  }

  /** What gave way to newer state of the key; with `drop` it is gone afterwards. `decodeResult` reads each value. */
  async readAside(at: ReadAsideRequest, options?: CallOptions): Promise<readonly AsideValue[]> {
    const { values } = await this.#caller.unary<ReadAsideReply>(TASKS, "ReadAside", at, options);
    return values;
  }
}

/** A result or state value as the handler gave it: JSON, or bytes. `undefined` where there is none, as in a task that has not ended. */
export function decodeResult(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined || bytes.length === 0) return undefined;
  const body = bytes.subarray(1);
  return bytes[0] === 1 ? body : JSON.parse(Buffer.from(body).toString());
}

/** Protobuf takes a name that it does not know for 0, which is no filter. */
function stateNumber(state: TaskState): number {
  const number = TASK_STATES.indexOf(String(state).toUpperCase() as TaskStateName);
  if (number > 0) return number;
  const states = TASK_STATES.slice(1).join(", ").toLowerCase();
  throw new RingError("INVALID_ARGUMENT", `state must be one of ${states}, not ${String(state).slice(0, 40)}`);
}
