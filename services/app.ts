/**
 * What an app's author writes: `defineApp`, `task`, `resident`.
 *
 * A definition is plain frozen data that carries a mark, so an app file may import its own copy of this package and
 * still be loaded by a node that was installed elsewhere. Everything is validated here, at definition, with the
 * failing field named; nothing downstream checks again.
 */

import { makeDefinition } from "./apps/definition.ts";
import type { Resident, ResidentHandler, Task, TaskHandler } from "./apps/shapes.ts";
import { APP_MARK, type App, type AppOptions, type ResidentOptions, type TaskOptions } from "./apps/shapes.ts";

export type {
  AttemptToken,
  Payload,
  Progress,
  ResidentContext,
  SubmitOptions,
  TaskContext,
  TaskLog,
  TaskState,
  TaskView,
} from "./apps/context.ts";
export { PermanentError, RetryLater } from "./apps/failure.ts";
export type {
  App,
  AppMatch,
  AppOptions,
  Resident,
  ResidentHandler,
  ResidentOptions,
  ScheduleOptions,
  Task,
  TaskHandler,
  TaskOptions,
} from "./apps/shapes.ts";

/**
 * An app by exact name, or a template such as `{ match: "event-*" }` that serves every name with that prefix (the
 * longest matching prefix wins; an exact name wins over all). Throws `INVALID_ARGUMENT` naming the field.
 */
export function defineApp(name: string | { readonly match: string }, options: AppOptions): App {
  const made = makeDefinition(name, options);
  return Object.freeze({ [APP_MARK]: true as const, ...made });
}

/** A task type. Defaults: 64 at once, 5 attempts, back-off 500 ms to 60 s, 30 s per attempt, strict order. */
export function task(handler: TaskHandler, options: TaskOptions = {}): Task {
  return Object.freeze({ kind: "task", handler, options });
}

/** A long-lived worker that runs on the owner of (app, its name) until `ctx.signal` aborts; restarted when it ends. */
export function resident(handler: ResidentHandler, options: ResidentOptions = {}): Resident {
  return Object.freeze({ kind: "resident", handler, options });
}
