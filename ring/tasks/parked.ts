/**
 * Submits that wait for their partition: for its rows, or for the older tasks among which the first one of their idempotency key may be.
 *
 * They may wait long (an adoption), so they are bounded as queued tasks are, by tasks and bytes, and of what the others leave an app
 * may take all but a part (promise P4).
 */

import type { Core } from "./core.ts";
import { laneName } from "./lane-name.ts";
import type { Vnode } from "./model.ts";
import { bytesOf, detachRecord } from "./record.ts";
import type { TaskRecord } from "./task.ts";

export interface Parked {
  readonly record: TaskRecord;
  readonly token: number;
  readonly origin: "client" | "child";
}

interface Load {
  tasks: number;
  bytes: number;
}

export class ParkedSubmits {
  readonly #core: Core;
  readonly #vnodes: Map<Vnode, { readonly submits: Parked[]; readonly lanes: Set<string> }> = new Map();
  readonly #apps: Map<string, Load> = new Map();
  readonly #all: Load = { tasks: 0, bytes: 0 };

  constructor(core: Core) {
    this.#core = core;
  }

  /** One of the same key waits. */
  holds(vnode: Vnode, { app, key }: TaskRecord): boolean {
    return this.#vnodes.get(vnode)?.lanes.has(laneName(app, key)) === true;
  }

  /** False: there is no room. */
  add(vnode: Vnode, { record, token, origin }: Parked): boolean {
    const { limits, queuedBytes } = this.#core;
    const bytes = bytesOf(record);
    const ofApp = this.#apps.get(record.app) ?? { tasks: 0, bytes: 0 };
    const freeTasks = limits.parkedSubmits - this.#all.tasks;
    const freeBytes = limits.queuedBytes - queuedBytes - this.#all.bytes;
    if (freeTasks < 1 || ofApp.tasks + 1 > freeTasks * SHARE) return false;
    if (bytes > freeBytes || ofApp.bytes + bytes > freeBytes * SHARE) return false;
    this.#apps.set(record.app, ofApp);
    count(ofApp, 1, bytes);
    count(this.#all, 1, bytes);
    let there = this.#vnodes.get(vnode);
    if (there === undefined) {
      there = { submits: [], lanes: new Set() };
      this.#vnodes.set(vnode, there);
    }
    there.submits.push({ record: detachRecord(record), token, origin });
    there.lanes.add(laneName(record.app, record.key));
    return true;
  }

  /** They wait no longer. */
  take(vnode: Vnode): readonly Parked[] {
    const submits = this.#vnodes.get(vnode)?.submits ?? [];
    this.#vnodes.delete(vnode);
    for (const { record } of submits) {
      const ofApp = this.#apps.get(record.app) as Load;
      count(ofApp, -1, -bytesOf(record));
      count(this.#all, -1, -bytesOf(record));
      if (ofApp.tasks === 0) this.#apps.delete(record.app);
    }
    return submits;
  }
}

function count(load: Load, tasks: number, bytes: number): void {
  load.tasks += tasks;
  load.bytes += bytes;
}

/** As in `fullness.ts`. */
const SHARE = 4;
