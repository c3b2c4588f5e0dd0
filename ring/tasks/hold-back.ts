/**
 * When an app starts nothing more, because too many of its children have not reached their owners yet; and when children are not
 * even taken. The numbers are in `AppRun` and `Core`, so that both questions cost a few comparisons.
 *
 * Three facts make a bound that cannot stop for good. Children leave when their owner takes them, so an app that fills its own
 * queue waits for itself; no bounded memory holds a tree of tasks that grows faster than it is worked off; and only an
 * attempt that ends makes room in a queue. Hence:
 *
 * H1  An app is held back by its own children only: at its own limit, or, with all apps together at theirs, at an even share
 *     of it. An app that has none waiting is never held back.
 * H2  An app starts on at its limit while a child of it would find no room in its queue here: what it starts is what makes room. So
 *     no circle of apps and nodes waits for itself: whoever refuses a child for want of room may start what takes the room.
 * H3  Beyond `HARD` times a limit nothing is taken: the attempt whose children do not fit is turned down (`Completion`). What
 *     waits is so bounded, and H2 goes on: attempts without children, or with few, still end, and make room. The others are
 *     tried again, uncounted while anything of their app leaves; when nothing has left for a minute, the try counts. So each task
 *     ends or becomes a dead letter: a tree too wide for the node ends in dead letters that say why, not in silence.
 * H4  In memory a waiting child costs a few numbers; its bytes are on disk with its parent's end, and in memory only as `Outbox` says.
 */

import type { Core } from "./core.ts";
import { fullBound } from "./fullness.ts";
import type { AppRun } from "./model.ts";
import type { Child } from "./task.ts";

/** The app may start nothing now because of its outbox. */
export function holdsBack(core: Core, app: AppRun): boolean {
  return app.outboxTasks > 0 && isAtLimit(core, app) && hasRoomForChild(core, app);
}

/** The children of one attempt may be written (H3). Where nothing waits those of any one attempt may. */
export function takesChildren(core: Core, app: AppRun, children: readonly Child[]): boolean {
  const { limits } = core;
  let bytes = 0;
  for (const child of children) bytes += child.wire.length;
  const fitsApp =
    app.outboxTasks === 0 ||
    (app.outboxTasks + children.length <= limits.outboxPerApp * HARD &&
      app.outboxBytes + bytes <= limits.outboxBytesPerApp * HARD);
  const fitsNode =
    core.outboxTasks === 0 ||
    (core.outboxTasks + children.length <= limits.outboxTasks * HARD &&
      core.outboxBytes + bytes <= limits.outboxBytes * HARD);
  return fitsApp && fitsNode;
}

/** H1 */
function isAtLimit(core: Core, app: AppRun): boolean {
  const { limits, outboxApps } = core;
  return (
    app.outboxTasks >= limits.outboxPerApp ||
    app.outboxBytes >= limits.outboxBytesPerApp ||
    (core.outboxTasks >= limits.outboxTasks && app.outboxTasks * outboxApps >= limits.outboxTasks) ||
    (core.outboxBytes >= limits.outboxBytes && app.outboxBytes * outboxApps >= limits.outboxBytes)
  );
}

/** Any child of the app would be admitted here (H2). */
function hasRoomForChild(core: Core, app: AppRun): boolean {
  const largest = { most: app.childrenLimit, bytes: core.limits.payloadBytes + WIRE_BYTES };
  return fullBound(core, app, largest) === undefined;
}

/** Attempts that run when a limit is reached may still add as much again. */
const HARD = 2;
/** What a wire may hold beside its payload: names, headers, numbers. */
const WIRE_BYTES = 16 * 1024;
