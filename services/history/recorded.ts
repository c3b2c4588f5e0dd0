/**
 * Wraps task handlers so that each attempt is written to the history. Without `TASKRING_HISTORY_DIR` the handler is
 * given back untouched.
 */

import type { TaskContext, TaskHandler, TaskView } from "../app.ts";
import { HistoryWriter } from "./writer.ts";

/** What a payload says about the task's place in the history. */
export interface TaskPlace {
  /** Place among the submits of the same key. */
  readonly seq?: number;
  readonly parent?: string;
  readonly child?: string;
}

export interface RecordedOptions {
  readonly place?: (task: TaskView) => TaskPlace;
  /** The task type's `attempts`: an error in the last one is recorded as `dead`. Default 5, as in `task()`. */
  readonly attempts?: number;
  /** Keeps the fence of the newest write in the key's state, and notes which one each attempt finds (`state-writes.ts`). */
  readonly traced?: boolean;
}

export function recorded(handler: TaskHandler, options: RecordedOptions = {}): TaskHandler {
  const writer = processHistory();
  if (writer === undefined) return handler;
  return async (task, context) => {
    const { fence } = context.token;
    const { id, app, key, attempt } = task;
    const place = options.place?.(task) ?? {};
    const saw = options.traced === true ? { saw: context.state.get<string>(WRITTEN_BY) ?? "0" } : {};
    writer.started({ id, app, key, fence, attempt, ...place, ...saw });
    const children: string[] = [];
    try {
      const result = await handler(task, watched(context, children));
      if (options.traced === true) context.state.put(WRITTEN_BY, fence.toString());
      // A stale attempt's result is refused, however well it ended.
      const outcome = context.token.stale ? "aborted" : "ok";
      writer.ended({ id, fence, outcome, ...(children.length === 0 ? {} : { children: [...new Set(children)] }) });
      return result;
    } catch (error) {
      const last = attempt >= (options.attempts ?? DEFAULT_ATTEMPTS) || isPermanent(error);
      const failure = last ? "dead" : "error";
      writer.ended({ id, fence, outcome: context.token.stale ? "aborted" : failure });
      throw error;
    }
  };
}

/** This process's history, opened at first use; undefined when none is asked for. */
export function processHistory(): HistoryWriter | undefined {
  const directory = process.env.TASKRING_HISTORY_DIR;
  if (directory === undefined || directory === "") return undefined;
  const node = process.env.TASKRING_NAME;
  opened ??= new HistoryWriter({ directory, role: "node", ...(node === undefined || node === "" ? {} : { node }) });
  return opened;
}

/** The context, except that the ids of submitted children are noted. */
function watched(context: TaskContext, children: string[]): TaskContext {
  const submit: TaskContext["submit"] = (type, options) => {
    const id = context.submit(type, options);
    children.push(id);
    return id;
  };
  return new Proxy(context, {
    get: (target, name) => (name === "submit" ? submit : Reflect.get(target, name, target)),
  });
}

function isPermanent(error: unknown): boolean {
  return typeof error === "object" && error !== null && "permanent" in error && error.permanent === true;
}

let opened: HistoryWriter | undefined;
const DEFAULT_ATTEMPTS = 5;
const WRITTEN_BY = "written-by";
