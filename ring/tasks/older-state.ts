/**
 * State of one partition from several directories, which come in any order: an owner that died while older state was elsewhere leaves
 * a directory of its own.
 *
 * M1  Of state of a key the newest mark wins (states.ts, S3): what a directory says to have written while there was older state, over
 *     that of directories that say nothing or less.
 * M2  A directory's marks come before its state (rows.ts, W2), and count from then on; they are written when all of it has come:
 *     on a disk a mark speaks only for state that is there.
 * M3  What a mark says to be deleted goes, whichever directory it came from.
 */

import { hashKey } from "../hash.ts";
import type { Row } from "../store.ts";
import type { Core } from "./core.ts";
import { laneName, type Vnode } from "./model.ts";
import { KIND, keyedRow, readKeyed, readStateMark, stateKey, stateMarkValue } from "./rows.ts";
import type { States } from "./states.ts";

export class OlderState {
  readonly #core: Core;
  readonly #states: States;

  constructor(core: Core, states: States) {
    this.#core = core;
    this.#states = states;
  }

  /** A mark of the vnode's own directory. */
  load(vnode: Vnode, row: Row): void {
    const { app, key } = readKeyed(row.key);
    vnode.stateHere.set(laneName(app, key), readStateMark(row.value));
  }

  /** A mark of another directory, which has said `marks` so far. */
  mark(vnode: Vnode, row: Row, marks: Map<string, number>): void {
    const { app, key } = readKeyed(row.key);
    const name = laneName(app, key);
    const mark = readStateMark(row.value);
    marks.set(name, mark.generation);
    if (mark.generation <= (vnode.stateHere.get(name)?.generation ?? 0)) return; // M1
    vnode.stateHere.set(name, mark);
    for (const deleted of mark.deleted) this.#core.erase(vnode, stateKey(app, key, deleted)); // M3
    this.#reread(vnode, app, key);
  }

  /** A value of another directory. */
  take(vnode: Vnode, row: Row, marks: ReadonlyMap<string, number>): void {
    const { app, key } = readKeyed(row.key);
    const name = laneName(app, key);
    if ((vnode.stateHere.get(name)?.generation ?? 0) > (marks.get(name) ?? 0)) {
      this.#core.output.events.push({ type: "state-aside", app, key });
      return;
    } // M1
    this.#core.write(vnode, row.key, row.value);
    vnode.stateHashes.add(hashKey(app, key) | 0);
    this.#reread(vnode, app, key);
  }

  /** All of that directory has come (M2). */
  keep(vnode: Vnode, marks: ReadonlyMap<string, number>): void {
    for (const [name, generation] of marks) {
      const mark = vnode.stateHere.get(name);
      if (mark?.generation === generation) this.#core.write(vnode, markKey(name), stateMarkValue(mark));
    }
  }

  /** Nothing older is left: from now on nothing wins over anything. */
  end(vnode: Vnode): void {
    for (const name of vnode.stateHere.keys()) this.#core.erase(vnode, markKey(name));
    vnode.stateHere.clear();
  }

  #reread(vnode: Vnode, app: string, key: string): void {
    const lane = this.#core.apps.get(app)?.lanes.get(key);
    if (lane !== undefined && lane.vnode === vnode) this.#states.changed(lane);
  }
}

function markKey(name: string): Uint8Array {
  const [app = "", key = ""] = name.split("\0");
  return keyedRow(KIND.stateHere, app, key, "");
}
