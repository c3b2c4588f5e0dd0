/** Which of the bounds on what is queued has no room for one more task: its app's, or one of the node's (admission, A2). */

import type { Core } from "./core.ts";
import type { AppRun } from "./model.ts";

/** `most`: tasks of the app; `bytes`: of the task. */
export function fullBound(
  core: Core,
  app: AppRun,
  { most, bytes }: { readonly most: number; readonly bytes: number },
): "app" | "tasks" | "bytes" | undefined {
  const { limits } = core;
  if (app.queued >= most) return "app";
  if (core.queuedTasks >= limits.queuedTasks) return "tasks";
  // Of what the others leave an app may fill all but a part, so that there is always room for one that has little (promise P4).
  const free = limits.queuedBytes - core.queuedBytes;
  return bytes > free || app.queuedBytes + bytes > free * SHARE ? "bytes" : undefined;
}

/** An app alone fills four fifths, two a bit less than a half each, and so on. */
const SHARE = 4;
