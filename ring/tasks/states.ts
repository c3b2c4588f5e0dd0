/**
 * `ctx.state` at the owner: read once when a key has something to do, kept while memory allows, written with the ack.
 *
 * S1  A lane that runs is never evicted, nor one whose last write is not durable: the store would answer with older state.
 * S3  What is written while there is older state elsewhere is marked, and by which owner: of several directories that come the
 *     newest mark wins, in whatever order they come, and of the key that it speaks for as a whole (older-state.ts).
 * S4  Rows that come from elsewhere make what is cached, and what is being read, void: it is read again.
 * S5  What lanes hold that are about to run is let go only when all hold half of what they may: most run before that matters.
 * S2  A key without rows of state is known to have none without a read (`stateHashes`; too many hashes: every key may have some).
 */

import type { Instant } from "../machine.ts";
import type { Row } from "../store.ts";
import type { Core } from "./core.ts";
import { Fifo } from "./fifo.ts";
import { laneName } from "./lane-name.ts";
import type { Lane, Vnode } from "./model.ts";
import { isLonger } from "./row-writer.ts";
import { KIND, keyedRow, readKeyed, stateChange, stateKey } from "./rows.ts";
import { stateMarkValue } from "./state-rows.ts";
import type { AttemptEnd } from "./task.ts";

/** Rows under the prefix, or `undefined` when the vnode closed first. */
export type ReadThen = (now: Instant, rows: readonly Row[] | undefined) => void;

interface Read {
  readonly vnode: Vnode;
  readonly prefix: Uint8Array;
  readonly fromGroup: number;
  readonly then: ReadThen;
}

export class States {
  readonly #core: Core;
  readonly #waiting: Fifo<Read> = new Fifo();
  readonly #reads: Map<number, Read> = new Map();
  #readId = 0;
  #bytes = 0;
  /** Ends of the list of idle lanes that keep their state. */
  #oldest: Lane | undefined;
  #newest: Lane | undefined;

  constructor(core: Core) {
    this.#core = core;
  }

  /** S5 */
  get isCrowded(): boolean {
    return this.#bytes * 2 > this.#core.limits.stateCacheBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The lane has nothing left to do. */
  rest(lane: Lane): void {
    if (lane.cached) return;
    if (lane.state === undefined) this.#forget(lane);
    else this.spare(lane);
  }

  /** The lane does not run: its state may give way, and is read again when its turn comes. */
  spare(lane: Lane): void {
    if (lane.cached) return;
    lane.cached = true;
    lane.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = lane;
    else this.#newest.newer = lane;
    this.#newest = lane;
    while (this.#bytes > this.#core.limits.stateCacheBytes) {
      const victim: Lane | undefined = this.#oldest;
      if (victim === undefined || victim.stateGroup > this.#core.durableGroup) return; // S1
      this.rouse(victim);
      this.drop(victim);
      if (victim.phase === "idle") this.#forget(victim);
    }
  }

  /** The lane is in use again. */
  rouse(lane: Lane): void {
    if (!lane.cached) return;
    lane.cached = false;
    if (lane.older === undefined) this.#oldest = lane.newer;
    else lane.older.newer = lane.newer;
    if (lane.newer === undefined) this.#newest = lane.older;
    else lane.newer.older = lane.older;
    lane.older = undefined;
    lane.newer = undefined;
  }

  /** Known without a read? Then `lane.state` is set. */
  known(lane: Lane): boolean {
    if (lane.state !== undefined) return true;
    if (this.mayHave(lane.vnode, lane.hash)) return false;
    this.#set(lane, EMPTY, 0);
    return true;
  }

  /** S2 */
  mayHave({ stateHashes }: Vnode, hash: number): boolean {
    return stateHashes.has(hash | 0) || stateHashes.size >= HASHES;
  }

  /** Reads the lane's state, then calls back; the lane waits meanwhile. False: it is gone. */
  readLane(lane: Lane, then: (now: Instant, isHere: boolean) => void): void {
    const { stateChanged } = lane;
    this.read(lane.vnode, stateKey(lane.app.name, lane.key, ""), lane.stateGroup, (now, rows) => {
      if (rows === undefined || lane.phase === "gone") return then(now, false);
      if (lane.stateChanged !== stateChanged) return this.readLane(lane, then); // S4
      const state = new Map<string, Uint8Array>();
      let bytes = 0;
      for (const [name, value] of stateOf(rows)) {
        state.set(name, value);
        bytes += name.length + value.length;
      }
      if (lane.state === undefined) this.#set(lane, state, bytes);
      then(now, true);
    });
  }

  /** Rows under a prefix, as of the durable writes up to `fromGroup` at least. */
  read(vnode: Vnode, prefix: Uint8Array, fromGroup: number, then: ReadThen): void {
    this.#waiting.push({ vnode, prefix, fromGroup: Math.max(fromGroup, vnode.readsFromGroup), then });
    this.flush();
  }

  /** Asks for reads that may be asked now. */
  flush(): void {
    let turns = this.#waiting.size;
    while (turns-- > 0 && this.#reads.size < this.#core.limits.stateReads) {
      const read = this.#waiting.shift() as Read;
      if (read.fromGroup > this.#core.durableGroup) {
        this.#waiting.push(read);
        continue;
      }
      const readId = ++this.#readId;
      this.#reads.set(readId, read);
      this.#core.output.stateReads.push({ partition: read.vnode.partition, prefix: read.prefix, readId });
    }
  }

  loaded(now: Instant, readId: number, rows: readonly Row[]): void {
    const read = this.#reads.get(readId);
    if (read === undefined) return;
    this.#reads.delete(readId);
    read.then(now, read.vnode.phase === "closed" ? undefined : rows);
    this.flush();
  }

  /** Why the changes of an attempt may not be applied, or `undefined`. */
  refusal(lane: Lane, changes: AttemptEnd["stateChanges"]): string | undefined {
    const { limits } = this.#core;
    let bytes = lane.stateBytes;
    for (const { name, value } of changes) {
      if (name === "" || isLonger(name, NAME_BYTES)) return `state name is empty or longer than ${NAME_BYTES} bytes`;
      if (value !== undefined && value.length > limits.stateValueBytes)
        return `state value ${name} is longer than ${limits.stateValueBytes} bytes`;
      const before = lane.state?.get(name);
      bytes +=
        (value === undefined ? 0 : name.length + value.length) -
        (before === undefined ? 0 : name.length + before.length);
    }
    return bytes > limits.stateKeyBytes ? `state of the key is larger than ${limits.stateKeyBytes} bytes` : undefined;
  }

  /** Writes the changes of a done attempt. */
  apply(lane: Lane, changes: AttemptEnd["stateChanges"]): void {
    const { vnode } = lane;
    let { state } = lane;
    if (state === EMPTY) {
      state = new Map();
      lane.state = state;
    }
    let grown = 0;
    for (let index = 0; index < changes.length; index++) {
      const { name, value } = changes[index] as { readonly name: string; readonly value: Uint8Array | undefined };
      const before = state?.get(name);
      if (before !== undefined) grown -= name.length + before.length;
      if (value === undefined) state?.delete(name);
      else {
        grown += name.length + value.length;
        state?.set(name, value);
      }
      this.#core.change(vnode, stateChange(lane.app.name, lane.key, name, value));
    }
    if (state !== undefined) {
      lane.stateBytes += grown;
      this.#bytes += grown;
    }
    lane.stateGroup = this.#core.group;
    if (state === undefined) vnode.readsFromGroup = this.#core.group; // nothing keeps the lane in memory until then
    if (!lane.hashKnown) {
      lane.hashKnown = true;
      if (vnode.stateHashes.size < HASHES) vnode.stateHashes.add(lane.hash | 0);
    }
    if (vnode.older !== "none") this.#mark(lane);
  }

  /** S3 */
  #mark({ vnode, app, key }: Lane): void {
    const name = laneName(app.name, key);
    const { generation } = vnode.term;
    if (vnode.stateHere.get(name)?.generation === generation) return;
    const mark = { generation, fresh: !vnode.olderHere };
    vnode.stateHere.set(name, mark);
    this.#core.write(vnode, keyedRow(KIND.stateHere, app.name, key, ""), stateMarkValue(mark));
  }

  /** Forgets what is cached of a lane; it is read again when needed. */
  drop(lane: Lane): void {
    if (lane.state === undefined) return;
    this.#bytes -= lane.stateBytes + LANE_BYTES;
    lane.state = undefined;
    lane.stateBytes = 0;
  }

  /** S4: also while a read or an attempt is under way. */
  changed(lane: Lane): void {
    lane.stateChanged++;
    this.drop(lane);
  }

  /** Forgets a closed vnode's lane. */
  close(lane: Lane): void {
    this.rouse(lane);
    this.drop(lane);
    this.#forget(lane);
  }

  closeReads(now: Instant, vnode: Vnode): void {
    for (const [readId, read] of this.#reads) {
      if (read.vnode !== vnode) continue;
      this.#reads.delete(readId);
      read.then(now, undefined);
    }
    const all = this.#waiting.toArray();
    this.#waiting.replace(all.filter((read) => read.vnode !== vnode));
    for (const read of all) if (read.vnode === vnode) read.then(now, undefined);
    for (let lane = this.#oldest; lane !== undefined; ) {
      const next: Lane | undefined = lane.newer;
      if (lane.vnode === vnode) this.close(lane);
      lane = next;
    }
  }

  #set(lane: Lane, state: Map<string, Uint8Array>, bytes: number): void {
    lane.state = state;
    lane.stateBytes = bytes;
    this.#bytes += bytes + LANE_BYTES;
  }

  #forget(lane: Lane): void {
    lane.phase = "gone";
    if (lane.app.lanes.get(lane.key) === lane) lane.app.lanes.delete(lane.key);
  }
}

/** Names and values of state rows; rows that cannot be read are left out. Values are copies. */
export function stateOf(rows: readonly Row[]): Map<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  for (const row of rows) {
    try {
      values.set(readKeyed(row.key).name, new Uint8Array(row.value));
    } catch {}
  }
  return values;
}

/** Shared by all lanes known to have no state; `apply` makes a lane its own map before it writes. */
const EMPTY: Map<string, Uint8Array> = new Map();
/** What an idle lane costs beside its values. */
const LANE_BYTES = 400;
const NAME_BYTES = 256;
/** Hashes kept per partition; above it every key may have state. */
const HASHES = 100_000;
