/** `taskring.v1.Tasks`, all but the stream: each call is a question to the key's or the task's owner. */

import type * as messages from "../../proto/messages.ts";
import type * as schedules from "../../proto/schedule-messages.ts";
import type { ReadAsideRequest } from "../../proto/state-messages.ts";
import { RingError } from "../../ring/errors.ts";
import { type NodeName, type Partition, parseAppName } from "../../ring/ids.ts";
import { pageLength } from "../../ring/node/gathering.ts";
import type { RingNode } from "../../ring/node/port.ts";
import type { TaskStatus } from "../../ring/tasks/task.ts";
import { isTaskId } from "../../ring/tasks/task-id.ts";
import { askTask, documentOf, expectTask, gather, limitOf, placeOfKey, placeOfTask } from "./asking.ts";
import type { Handlers, StreamContext } from "./calls.ts";
import type { ApiLimits } from "./limits.ts";
import { nextToken, parseToken } from "./page-token.ts";
import { submitBatch, submitOne } from "./submit-calls.ts";
import { keyMessage, scheduleMessage, scheduleSpecOf, stateOf, taskMessage } from "./task-views.ts";
import { waitForEnd, waitForTask } from "./waiting.ts";

export interface TasksOptions {
  readonly node: RingNode;
  readonly limits: ApiLimits;
  /** Throws DRAINING while the node is stopping. */
  readonly admit: () => void;
}

export function tasksHandlers({ node, limits, admit }: TasksOptions): Handlers {
  const ends = { DONE: true, DEAD: true, CANCELLED: true } as Readonly<Record<string, boolean>>;

  async function get(taskId: string, deadlineMs: number): Promise<TaskStatus> {
    const partition = placeOfTask(node, taskId);
    return (await askTask(node, { partition, request: { type: "get", id: taskId } }, "task", { deadlineMs })).status;
  }

  async function* watch(
    request: messages.TaskIdRequest,
    { signal, deadlineMs }: StreamContext,
  ): AsyncIterable<messages.Task> {
    let status = await get(request.taskId, deadlineMs);
    let shown = taskMessage(status);
    yield shown;
    while (!signal.aborted && ends[shown.state] !== true) {
      const since = { state: status.state, attempts: status.attempts };
      status = await waitForTask(node, { taskId: request.taskId, timeoutMs: WATCH_MS, since });
      const next = taskMessage(status);
      if (next.state === shown.state && next.attempts === shown.attempts && next.waits === shown.waits) continue;
      shown = next;
      yield shown;
    }
  }

  async function byPartition(
    request: messages.TaskIdsRequest,
    type: "retry-dead" | "drop-dead",
    deadlineMs: number,
  ): Promise<{ count: number }> {
    if (request.taskIds.length > IDS_MOST) throw new RingError("INVALID_ARGUMENT", `at most ${IDS_MOST} task_ids`);
    const groups = new Map<Partition, string[]>();
    for (const id of request.taskIds) {
      const partition = placeOfTask(node, id);
      const group = groups.get(partition);
      if (group === undefined) groups.set(partition, [id]);
      else group.push(id);
    }
    const counts = await Promise.all(
      [...groups].map(async ([partition, ids]) => {
        const { count } = await askTask(node, { partition, request: { type, ids } }, "count", { deadlineMs });
        return { count, left: count < ids.length ? ids : [] };
      }),
    );
    const count = counts.reduce((sum, group) => sum + group.count, 0);
    const left = counts.flatMap((group) => group.left);
    return { count: left.length === 0 ? count : await ofChildren({ type, ids: left }, count, deadlineMs) };
  }

  /** A child that its owner refused is a dead letter of its parent's partition, which its id does not tell: all are asked. */
  async function ofChildren(
    request: { readonly type: "retry-dead" | "drop-dead"; readonly ids: readonly string[] },
    before: number,
    deadlineMs: number,
  ): Promise<number> {
    const { answers, unreachable } = await gather(node, () => ({ type: "local-tasks", request }), "task", {
      deadlineMs,
    });
    const count = answers.reduce((sum, { answer }) => sum + expectTask(answer.answer, "count").count, before);
    const [first] = unreachable;
    if (count === 0 && first !== undefined) throw first.error;
    return count;
  }

  async function list(request: messages.ListTasksRequest, deadlineMs: number): Promise<messages.ListTasksReply> {
    const limit = limitOf(request.limit, { fallback: 100, most: LIST_MOST });
    const state = stateOf(request.state);
    const query = {
      type: "list",
      limit,
      ...(request.app === "" ? {} : { app: parseAppName(request.app) as string }),
      ...(request.key === "" ? {} : { key: request.key }),
      ...(state === undefined ? {} : { state }),
    } as const;
    const { answers, unreachable } = await gather(node, () => ({ type: "local-tasks", request: query }), "task", {
      deadlineMs,
    });
    const statuses = answers.flatMap(({ answer }) => expectTask(answer.answer, "tasks").statuses);
    statuses.sort((left, right) => (left.id < right.id ? -1 : 1));
    return {
      tasks: statuses.slice(0, limit).map(taskMessage),
      nextPageToken: "",
      unreachable: unreachable.map(({ name }) => name),
    };
  }

  async function listDead(request: messages.ListDeadRequest, deadlineMs: number): Promise<messages.ListTasksReply> {
    const limit = limitOf(request.limit, { fallback: 100, most: LIST_MOST });
    const app = request.app === "" ? {} : { app: parseAppName(request.app) as string };
    const cursors = parseToken(request.pageToken);
    const queryOf = (name: NodeName) => {
      const after = cursors?.get(name);
      return {
        type: "local-tasks",
        request: { type: "list-dead", limit, ...app, ...(after === undefined || after === "" ? {} : { after }) },
      } as const;
    };
    const names = cursors === undefined ? {} : { names: [...cursors.keys()] };
    const { answers, unreachable } = await gather(node, queryOf, "task", { deadlineMs, ...names });
    const pages = answers.map(({ name, answer }) => ({ name, ...expectTask(answer.answer, "tasks") }));
    const all = pages.flatMap(({ statuses }) => statuses);
    const shown = all.slice(0, Math.min(limit, pageLength(all)));
    let room = shown.length;
    const places = pages.map(({ name, statuses, next }) => {
      const fitting = statuses.slice(0, room);
      room -= fitting.length;
      const isWhole = fitting.length === statuses.length;
      return { name, next: isWhole ? next : (fitting.at(-1)?.id ?? cursors?.get(name) ?? "") };
    });
    return {
      tasks: shown.map(taskMessage),
      nextPageToken: nextToken(places),
      unreachable: unreachable.map(({ name }) => name),
    };
  }

  return {
    bytes: {
      Submit: async (bytes, context) => {
        admit();
        return submitOne(node, bytes, context);
      },
      SubmitBatch: async (bytes, context) => {
        admit();
        return submitBatch(node, bytes, { ...context, taskLimit: limits.batchTasks });
      },
    },
    unary: {
      Get: async (request: messages.TaskIdRequest, { deadlineMs }) =>
        taskMessage(await get(request.taskId, deadlineMs)),
      Wait: (request: messages.WaitRequest, { onGone }) => {
        let gone = false;
        onGone(() => {
          gone = true;
        });
        return waitForEnd(node, request, { mostMs: limits.waitMs, gone: () => gone });
      },
      Cancel: async (request: messages.TaskIdRequest, { deadlineMs }) => {
        const partition = placeOfTask(node, request.taskId);
        const { answer } = await askTaskRaw(node, partition, { type: "cancel", id: request.taskId }, deadlineMs);
        if (answer.type === "task") return taskMessage(answer.status);
        expectTask(answer, "ok");
        return taskMessage(await get(request.taskId, deadlineMs));
      },
      List: (request: messages.ListTasksRequest, { deadlineMs }) => list(request, deadlineMs),
      ListDead: (request: messages.ListDeadRequest, { deadlineMs }) => listDead(request, deadlineMs),
      RetryDead: (request: messages.TaskIdsRequest, { deadlineMs }) => byPartition(request, "retry-dead", deadlineMs),
      DropDead: (request: messages.TaskIdsRequest, { deadlineMs }) => byPartition(request, "drop-dead", deadlineMs),
      PutSchedule: async (request: schedules.PutScheduleRequest, { deadlineMs }) => {
        const spec = scheduleSpecOf(request.spec);
        const { app, partition } = placeOfKey(node, { app: request.app, key: spec.key });
        await askTask(node, { partition, request: { type: "put-schedule", app, spec } }, "ok", { deadlineMs });
        return {};
      },
      ListSchedules: async (request: schedules.ListSchedulesRequest, { deadlineMs }) => {
        const limit = limitOf(request.limit, { fallback: 100, most: LIST_MOST });
        const { app, name } = request;
        const named = { ...(app === "" ? {} : { app }), ...(name === "" ? {} : { name }) };
        const query = { type: "list-schedules", limit, ...named } as const;
        const { answers, unreachable } = await gather(node, () => ({ type: "local-tasks", request: query }), "task", {
          deadlineMs,
        });
        const schedules = answers.flatMap(({ answer }) => expectTask(answer.answer, "schedules").schedules);
        return {
          schedules: schedules.slice(0, limit).map(scheduleMessage),
          unreachable: unreachable.map(({ name }) => name),
        };
      },
      ControlSchedule: async (request: schedules.ControlScheduleRequest, { deadlineMs }) => {
        const { app, key, partition } = placeOfKey(node, request);
        const action = scheduleAction(request.action);
        const { name, taskId = "" } = request;
        if (taskId !== "" && !isTaskId(taskId))
          throw new RingError("INVALID_ARGUMENT", "task_id must be 32 hex digits, lower case");
        const named = taskId === "" ? {} : { taskId };
        await askTask(node, { partition, request: { type: "schedule", app, key, name, action, ...named } }, "ok", {
          deadlineMs,
        });
        return {};
      },
      DescribeKey: async (request: messages.KeyRequest, { deadlineMs }) => {
        const { app, key, partition } = placeOfKey(node, request);
        const answer = await askTask(
          node,
          { partition, request: { type: "key", app, key, action: "describe" } },
          "key",
          { deadlineMs },
        );
        return keyMessage(answer.key, documentOf(node).owners[partition] ?? "");
      },
      ReadState: async (request: messages.KeyRequest, { deadlineMs }) => {
        const { app, key, partition } = placeOfKey(node, request);
        const { values } = await askTask(node, { partition, request: { type: "read-state", app, key } }, "state", {
          deadlineMs,
        });
        return { values: Object.fromEntries(values) };
      },
      ReadAside: async (request: ReadAsideRequest, { deadlineMs }) => {
        const { app, key, partition } = placeOfKey(node, request);
        const asked = { type: "read-aside", app, key, drop: request.drop === true } as const;
        const { values } = await askTask(node, { partition, request: asked }, "aside", { deadlineMs });
        return { values };
      },
    },
    streaming: { Watch: watch },
  };
}

async function askTaskRaw(
  node: RingNode,
  partition: Partition,
  request: { readonly type: "cancel"; readonly id: string },
  deadlineMs: number,
) {
  const answer = await node.ask({ type: "task", partition, request }, { deadlineMs });
  if (answer.type === "task") return answer;
  if (answer.type === "refused")
    throw new RingError(
      answer.code,
      answer.detail,
      answer.retryAfterMs === undefined ? {} : { retryAfterMs: answer.retryAfterMs },
    );
  throw new RingError("INTERNAL", `the node answered cancel with ${answer.type}`);
}

function scheduleAction(action: string): "pause" | "resume" | "run" | "delete" {
  if (action === "pause" || action === "resume" || action === "run" || action === "delete") return action;
  throw new RingError("INVALID_ARGUMENT", 'action must be "pause", "resume", "run" or "delete"');
}

const IDS_MOST = 1_000;
const LIST_MOST = 1_000;
/** Starts, retries and the end are told as they happen; the reason why a task waits is looked at this often. */
const WATCH_MS = 5_000;
