/**
 * State of one partition from several directories, which come in any order: an owner that died while older state was elsewhere leaves
 * a directory of its own.
 *
 * M1  Of state of a key the newest mark wins (states.ts, S3): what a directory says to have written while there was older state, over
 *     that of directories that say nothing or less.
 * M2  A directory's marks come before its state (rows.ts, W2), and count from then on; they are written when all of it has come:
 *     on a disk a mark speaks only for state that is there.
 * M3  It wins as a whole: values of the older state that it does not name go, whichever directory came first.
 * M4  What gives way to state that was written without it is kept aside, for the operator (ownership rule 17).
 */

import { hashKey } from "../hash.ts";
import { keyText, type Row } from "../store.ts";
import type { Core } from "./core.ts";
import type { Elsewhere } from "./engine-contract.ts";
import { laneName, readLaneName } from "./lane-name.ts";
import type { Vnode } from "./model.ts";
import { KIND, keyedRow, readKeyed, stateKey } from "./rows.ts";
import { asideKey, readStateMark, type StateMark, stateMarkValue } from "./state-rows.ts";
import type { States } from "./states.ts";
import { Undone } from "./undone.ts";

/** What is here of a key is looked up, to give way to what a directory brings meanwhile (M3). */
export interface Replacing {
  readonly mark: StateMark;
  readonly rows: Row[];
  readonly origin: string;
  /** All of the directory has come: the mark is written with what it speaks for (M2). */
  isWhole: boolean;
}

export class OlderState {
  readonly #core: Core;
  readonly #states: States;
  readonly #undone: Undone;
  /** How many keys have given way without that being durable yet. */
  readonly #givingWay: WeakMap<Vnode, number> = new WeakMap();

  constructor(core: Core, states: States) {
    this.#core = core;
    this.#states = states;
    this.#undone = new Undone(core);
  }

  /** Keys of which it is not durable yet what wins. */
  replacing(vnode: Vnode): number {
    return vnode.replacing.size + (this.#givingWay.get(vnode) ?? 0);
  }

  /** A mark of the vnode's own directory. */
  load(vnode: Vnode, row: Row): void {
    const { app, key } = readKeyed(row.key);
    vnode.stateHere.set(laneName(app, key), readStateMark(row.value));
  }

  /** A mark of another directory. */
  mark(vnode: Vnode, row: Row, { marks, generation }: Elsewhere): void {
    const { app, key } = readKeyed(row.key);
    const name = laneName(app, key);
    const mark = readStateMark(row.value);
    marks.set(name, mark.generation);
    if (mark.generation <= (vnode.stateHere.get(name)?.generation ?? 0)) return; // M1
    vnode.stateHere.set(name, mark);
    if (!this.#states.mayHave(vnode, hashKey(app, key))) return;
    const replacing: Replacing = { mark, rows: [], origin: String(generation), isWhole: false };
    vnode.replacing.set(name, replacing);
    this.#states.read(vnode, stateKey(app, key, ""), -1, (_now, found) => {
      const isLast = vnode.replacing.get(name) === replacing;
      if (isLast) vnode.replacing.delete(name);
      if (found === undefined || !this.#replace(vnode, { app, key }, { ...replacing, found, isLast })) return;
      // What was written is not durable yet: until then it counts as under way (incoming.ts, I11).
      this.#givingWay.set(vnode, (this.#givingWay.get(vnode) ?? 0) + 1);
      this.#core.afterwards(vnode, () => void this.#givingWay.set(vnode, (this.#givingWay.get(vnode) ?? 0) - 1));
    });
    this.#reread(vnode, app, key); // behind that
  }

  /** A value of another directory. */
  take(vnode: Vnode, row: Row, { marks, generation }: Elsewhere): void {
    const { app, key } = readKeyed(row.key);
    const name = laneName(app, key);
    const mark = marks.get(name) ?? 0;
    const replacing = vnode.replacing.get(name);
    if (replacing?.mark.generation === mark) {
      replacing.rows.push(row);
      return;
    }
    const here = vnode.stateHere.get(name);
    if ((here?.generation ?? 0) > mark) return this.#giveWay(vnode, here, row, String(generation)); // M1
    this.#core.write(vnode, row.key, row.value);
    vnode.stateHashes.add(hashKey(app, key) | 0);
    this.#reread(vnode, app, key);
  }

  /** All of that directory has come (M2). */
  keep(vnode: Vnode, marks: ReadonlyMap<string, number>): void {
    for (const [name, generation] of marks) {
      const mark = vnode.stateHere.get(name);
      if (mark?.generation !== generation) continue;
      const replacing = vnode.replacing.get(name);
      if (replacing?.mark === mark) replacing.isWhole = true;
      else this.#core.write(vnode, markKey(name), stateMarkValue(mark));
    }
  }

  /** Nothing older is left: from now on nothing wins over anything. */
  end(vnode: Vnode): void {
    for (const name of vnode.stateHere.keys()) this.#core.erase(vnode, markKey(name));
    vnode.stateHere.clear();
  }

  /** M3. Unless the key was written here meanwhile, or newer state came: then that wins over both. True: it has written. */
  #replace(
    vnode: Vnode,
    { app, key }: { readonly app: string; readonly key: string },
    {
      mark,
      rows,
      origin,
      isWhole,
      found,
      isLast,
    }: Replacing & { readonly found: readonly Row[]; readonly isLast: boolean },
  ): boolean {
    const here = vnode.stateHere.get(laneName(app, key));
    if (!isLast || here !== mark) {
      for (const row of rows) this.#giveWay(vnode, here, row, origin);
      return here?.fresh === true && rows.length > 0;
    }
    const brought = new Map(rows.map((row) => [keyText(row.key), row]));
    const { generation, opens } = vnode.term;
    for (const row of found) {
      const other = brought.get(keyText(row.key));
      if (other !== undefined && isSame(other.value, row.value)) continue;
      this.#giveWay(vnode, mark, row, `${generation}.${opens}`);
      if (other === undefined) this.#core.erase(vnode, new Uint8Array(row.key));
    }
    for (const { key: at, value } of rows) this.#core.write(vnode, at, value);
    if (isWhole) this.#core.write(vnode, markKey(laneName(app, key)), stateMarkValue(mark));
    vnode.readsFromGroup = this.#core.group;
    this.#reread(vnode, app, key);
    return isWhole || rows.length + found.length > 0;
  }

  /** M4 */
  #giveWay(vnode: Vnode, winner: StateMark | undefined, { key: at, value }: Row, origin: string): void {
    if (winner?.fresh !== true) return;
    const { app, key, name } = readKeyed(at);
    const aside = asideKey(app, key, { origin, name });
    if (this.#undone.has(vnode, aside)) return; // the operator has dropped it
    this.#core.write(vnode, aside, new Uint8Array(value));
    if (noteAside(vnode, laneName(app, key))) this.#core.output.events.push({ type: "state-aside", app, key });
  }

  #reread(vnode: Vnode, app: string, key: string): void {
    const lane = this.#core.apps.get(app)?.lanes.get(key);
    if (lane !== undefined && lane.vnode === vnode) this.#states.changed(lane);
  }
}

/** True if it is new. Only so many are kept in mind. */
export function noteAside(vnode: Vnode, name: string): boolean {
  if (vnode.aside.has(name) || vnode.aside.size >= ASIDE_KEYS) return false;
  vnode.aside.add(name);
  return true;
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

function markKey(name: string): Uint8Array {
  const { app, key } = readLaneName(name);
  return keyedRow(KIND.stateHere, app, key, "");
}

/** Of one partition. */
const ASIDE_KEYS = 1_000;
