/** What operators undid at a newer owner, and what older directories brought of it before that was heard, or bring after. */

import type { Instant } from "../machine.ts";
import type { Row } from "../store.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import type { Elsewhere } from "./engine-contract.ts";
import { laneName } from "./lane-name.ts";
import type { Lanes } from "./lanes.ts";
import { Dead, type Vnode } from "./model.ts";
import { comparePositions, FLAG, KIND, type Position, readKeyed } from "./rows.ts";
import { readSchedule } from "./schedule-row.ts";
import type { Schedules } from "./schedules.ts";
import { deadName, pausedValue, readPaused, Undone } from "./undone.ts";

export interface OlderUndoneParts {
  readonly core: Core;
  readonly dead: DeadLetters;
  readonly lanes: Lanes;
  readonly schedules: Schedules;
}

export class OlderUndone {
  readonly #parts: OlderUndoneParts;
  readonly #undone: Undone;

  constructor(parts: OlderUndoneParts) {
    this.#parts = parts;
    this.#undone = new Undone(parts.core);
  }

  /** What a newer owner, or this one in its own directory, says. */
  heard(now: Instant, vnode: Vnode, row: Row, from: Elsewhere | undefined): void {
    if (from !== undefined && vnode.older === "none") return;
    const mark = this.#undone.load(vnode, row, (from ?? vnode.term).generation);
    if (mark === undefined || from === undefined) return;
    const key = row.key.subarray(1);
    this.#undone.write(vnode, key, mark);
    if (mark.isUndone) this.#undo(now, vnode, key, mark.generation);
  }

  /** By an owner that came after the one that was told what the row says, which may have reached its directory from an older one. */
  isUndone(vnode: Vnode, { key, value }: Row, { generation }: Elsewhere): boolean {
    if (vnode.undone.size === 0) return false;
    switch (key[0]) {
      case KIND.paused:
        return this.#undone.has(vnode, key, readPaused(value) ?? generation);
      case KIND.schedule:
        return this.#undone.has(vnode, key, readSchedule(value).origin ?? generation);
      default:
        return this.#undone.has(vnode, key); // others do not come into being twice
    }
  }

  /** Told to this owner, or to one whose directory comes. */
  paused(now: Instant, vnode: Vnode, { key, value }: Row, from: Elsewhere | undefined): void {
    const { core, lanes } = this.#parts;
    const { app, key: laneKey } = readKeyed(key);
    const name = laneName(app, laneKey);
    const origin = readPaused(value) ?? (from ?? vnode.term).generation;
    if ((vnode.pausedKeys.get(name) ?? -1) >= origin) return;
    vnode.pausedKeys.set(name, origin);
    const lane = core.apps.get(app)?.lanes.get(laneKey);
    if (lane !== undefined && lane.vnode === vnode) lanes.setPaused(now, lane, true);
    if (from !== undefined) core.write(vnode, key, pausedValue(origin));
  }

  /** What an older directory has brought before it was heard that a newer owner was told to undo it. */
  #undo(now: Instant, vnode: Vnode, key: Uint8Array, generation: number): void {
    let named: ReturnType<typeof readKeyed>;
    try {
      named = readKeyed(key);
    } catch {
      return;
    }
    const { app, key: laneKey, name } = named;
    switch (key[0]) {
      case KIND.paused: {
        const pausedAt = vnode.pausedKeys.get(laneName(app, laneKey));
        if (pausedAt === undefined || pausedAt > generation) return;
        vnode.pausedKeys.delete(laneName(app, laneKey));
        this.#parts.core.erase(vnode, new Uint8Array(key));
        const lane = this.#parts.core.apps.get(app)?.lanes.get(laneKey);
        if (lane !== undefined && lane.vnode === vnode) this.#parts.lanes.setPaused(now, lane, false);
        return;
      }
      case KIND.dead: {
        const dead = vnode.known.get(app); // its id (undone.ts)
        if (dead instanceof Dead && dead.generation <= generation) this.#parts.dead.drop(dead);
        return;
      }
      case KIND.schedule:
        this.#parts.schedules.undo(vnode, { app, key: laneKey, name }, generation);
        return;
      case KIND.stateAside:
        this.#parts.core.erase(vnode, new Uint8Array(key));
    }
  }

  /** Dropped since by an operator, so that the same submit may come again; its rows come before that of its idempotency key. */
  isDropped(vnode: Vnode, id: string): boolean {
    return this.#undone.has(vnode, deadName(id)) && !vnode.known.has(id);
  }

  /** The child is a dead letter since, or was one that an operator has dropped, or sent again, since. */
  isRefused(vnode: Vnode, position: Position, id: string, { generation }: Elsewhere): boolean {
    const known = vnode.known.get(id);
    if (!(known instanceof Dead) || (known.flags & FLAG.child) === 0)
      return this.#undone.has(vnode, deadName(id), generation);
    if (comparePositions(known, position) > 0) return true;
    this.#parts.dead.remove(known); // it has been sent again since
    return false;
  }
}
