/**
 * Children on their way: stored with their parent's ack, sent when that is durable, sent again until their owner has them.
 *
 * How many may wait is in `hold-back.ts`. An entry counts for its parent's app; after a restart, which does not know the parent,
 * for the child's own.
 *
 * O1  A child's row goes only when its owner says accepted or duplicate, or when it has become a dead letter here.
 * O2  At most `outboxInFlight` are under way, of all apps in turn, and of what the others leave an app has all but a part: an owner
 *     may be long in answering (promise P4). A refusal that may pass backs off, so a full or absent owner is not hammered.
 * O3  Records in memory have at most `outboxKeptBytes`, those under way included. An entry whose record is not kept is read back
 *     from its row when its turn comes. What is new, loaded or refused may use half of that room, so reading back always has the other.
 */

import { ERRORS } from "../errors.ts";
import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import { Fifo } from "./fifo.ts";
import type { AppRun, Vnode, Wake } from "./model.ts";
import { bytesOf, detachRecord, isRefused, parseRecord } from "./record.ts";
import { KIND, outboxValue, type Position, positionKey, readOutbox } from "./rows.ts";
import type { States } from "./states.ts";
import type { Child, SubmitOutcome, TaskRecord } from "./task.ts";
import type { Timer } from "./timers.ts";

interface Entry {
  readonly outboxId: number;
  readonly vnode: Vnode;
  readonly app: AppRun;
  readonly position: Position;
  /** Of its wire. */
  readonly bytes: number;
  /** `undefined`: in its row only (O3). */
  record: TaskRecord | undefined;
  tries: number;
  timer: Timer<Wake> | undefined;
}

/** Of one app, oldest first. */
interface Line {
  readonly app: AppRun;
  readonly entries: Fifo<Entry>;
}

export class Outbox {
  readonly #core: Core;
  readonly #dead: DeadLetters;
  readonly #states: States;
  readonly #entries: Map<number, Entry> = new Map();
  readonly #sent: Set<number> = new Set();
  /** Apps with entries that may be sent, in turn, and their lines. */
  readonly #turns: Fifo<Line> = new Fifo();
  readonly #lines: Map<AppRun, Line> = new Map();
  /** Lines of apps that have their part under way. */
  readonly #aside: Fifo<Line> = new Fifo();
  /** Its turn has come; it waits for room to be read back. */
  #next: Entry | undefined;
  /** Entries of vnodes that are loading or held. */
  readonly #held: Map<Vnode, Entry[]> = new Map();
  #outboxId = 0;
  #keptBytes = 0;
  #reading = 0;

  constructor(core: Core, dead: DeadLetters, states: States) {
    this.#core = core;
    this.#dead = dead;
    this.#states = states;
  }

  /** Of records in memory. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Stores the children with what else is written now. Why not, if they may not be; then nothing is written. */
  add(vnode: Vnode, app: AppRun, children: readonly Child[]): string | undefined {
    if (children.length > this.#core.limits.childrenPerAttempt)
      return `more than ${this.#core.limits.childrenPerAttempt} children`;
    const records: TaskRecord[] = [];
    for (const child of children) {
      const record = parseRecord(child.wire, 0, child.wire.length);
      if (isRefused(record)) return `child: ${record.detail}`;
      if (record.id !== child.id) return "child: task_id is not the child's id";
      records.push(record);
    }
    const entries = records.map((record) => this.#write(vnode, app, record));
    this.#core.afterwards(vnode, (closed) => {
      for (const entry of entries) {
        if (closed) this.#forget(entry);
        else this.#ready(entry);
      }
    });
    return undefined;
  }

  /** A dead letter of a child is sent again. */
  resend(vnode: Vnode, app: AppRun, record: TaskRecord): void {
    const entry = this.#write(vnode, app, record);
    this.#core.afterwards(vnode, (closed) => {
      if (closed) this.#forget(entry);
      else this.#ready(entry);
    });
  }

  /** A row that was here before, or came from elsewhere; its vnode may still be loading. */
  load(vnode: Vnode, position: Position, record: TaskRecord): void {
    this.#ready(this.#enter(vnode, this.#core.appOf(record.app), position, record));
  }

  /** Sends what may be sent. */
  flush(): void {
    const { outboxInFlight, outboxKeptBytes } = this.#core.limits;
    while (this.#sent.size + this.#reading < outboxInFlight) {
      const entry = this.#next ?? this.#turn();
      this.#next = undefined;
      if (entry === undefined) return;
      if (!this.#entries.has(entry.outboxId)) continue;
      if (entry.vnode.phase !== "open") this.#hold(entry);
      else if (entry.record !== undefined) this.#send(entry, entry.record);
      else {
        const alone = this.#sent.size + this.#reading === 0;
        if (!alone && (this.#reading >= READS || this.#keptBytes + cost(entry) > outboxKeptBytes)) {
          this.#next = entry; // O3
          return;
        }
        this.#read(entry);
      }
    }
  }

  sent(now: Instant, outboxId: number, outcome: SubmitOutcome): void {
    const entry = this.#entries.get(outboxId);
    if (entry === undefined || !this.#sent.delete(outboxId)) return;
    this.#landed(entry);
    switch (outcome.type) {
      case "accepted":
      case "duplicate":
        this.#settle(entry);
        return; // O1
      case "refused":
        if (!ERRORS[outcome.code].retryable && entry.record !== undefined) {
          const failure = { name: outcome.code, message: outcome.detail.slice(0, 1_024) };
          if (this.#dead.keepChild(now, entry.vnode, entry.record, failure)) {
            this.#settle(entry);
            return;
          } // O1
        }
        entry.tries++;
        if (this.#keptBytes > this.#core.limits.outboxKeptBytes / 2) this.#drop(entry); // O3
        entry.timer = this.#core.timers.set(now + this.#backoffMs(entry, outcome.retryAfterMs ?? 0), {
          type: "subject",
          subject: {
            wake: (): void => {
              entry.timer = undefined;
              this.#ready(entry);
            },
          },
        });
    }
  }

  release(vnode: Vnode): void {
    for (const entry of this.#held.get(vnode) ?? []) this.#ready(entry);
    this.#held.delete(vnode);
  }

  close(vnode: Vnode): void {
    this.#held.delete(vnode);
    for (const entry of this.#entries.values()) if (entry.vnode === vnode) this.#forget(entry);
  }

  /** The next in turn: one of each app (O2). */
  #turn(): Entry | undefined {
    if (this.#sent.size + this.#reading === 0) this.#lookAgain(this.#aside.size);
    let line = this.#turns.shift();
    for (; line !== undefined && this.#hasPart(line.app); line = this.#turns.shift()) this.#aside.push(line);
    if (line === undefined) return undefined;
    const entry = line.entries.shift();
    if (line.entries.size > 0) this.#turns.push(line);
    else this.#lines.delete(line.app);
    return entry;
  }

  /** As many are under way as it may have of what the others leave. */
  #hasPart({ outboxSent }: AppRun): boolean {
    const free = this.#core.limits.outboxInFlight - this.#sent.size - this.#reading;
    return outboxSent + 1 > free * SHARE;
  }

  #landed({ app }: Entry): void {
    app.outboxSent--;
    this.#lookAgain(LOOKED_AT);
  }

  #lookAgain(most: number): void {
    for (let left = Math.min(most, this.#aside.size); left > 0; left--) this.#turns.push(this.#aside.shift() as Line);
  }

  #ready(entry: Entry): void {
    const line = this.#lines.get(entry.app);
    if (line !== undefined) {
      line.entries.push(entry);
      return;
    }
    const first = { app: entry.app, entries: new Fifo<Entry>() };
    first.entries.push(entry);
    this.#lines.set(entry.app, first);
    this.#turns.push(first);
  }

  #hold(entry: Entry): void {
    const held = this.#held.get(entry.vnode);
    if (held === undefined) this.#held.set(entry.vnode, [entry]);
    else held.push(entry);
  }

  #send(entry: Entry, record: TaskRecord): void {
    this.#sent.add(entry.outboxId);
    entry.app.outboxSent++;
    this.#core.output.outbox.push({ partition: entry.vnode.partition, outboxId: entry.outboxId, record });
  }

  #read(entry: Entry): void {
    this.#reading++;
    entry.app.outboxSent++;
    this.#keptBytes += cost(entry);
    this.#states.read(entry.vnode, positionKey(KIND.outbox, entry.position), -1, (_now, rows) => {
      this.#reading--;
      this.#landed(entry);
      this.#keptBytes -= cost(entry);
      if (!this.#entries.has(entry.outboxId)) return;
      const value = rows?.[0]?.value;
      const wire = value === undefined ? NO_BYTES : readOutbox(value).slice();
      const record = parseRecord(wire, 0, wire.length);
      if (isRefused(record)) {
        this.#forget(entry); // closed, or no longer in the store: there is nothing to send
        return;
      }
      this.#keep(entry, record);
      if (entry.vnode.phase === "open") this.#send(entry, record);
      else this.#hold(entry);
    });
  }

  #settle(entry: Entry): void {
    entry.app.outboxLeft++;
    this.#forget(entry);
    this.#core.erase(entry.vnode, positionKey(KIND.outbox, entry.position));
  }

  #write(vnode: Vnode, app: AppRun, record: TaskRecord): Entry {
    const position = { generation: vnode.term.generation, opens: vnode.term.opens, sequence: vnode.sequence++ };
    this.#core.write(vnode, positionKey(KIND.outbox, position), outboxValue(record.wire));
    return this.#enter(vnode, app, position, record);
  }

  #enter(vnode: Vnode, app: AppRun, position: Position, record: TaskRecord): Entry {
    const core = this.#core;
    const entry: Entry = {
      outboxId: ++this.#outboxId,
      vnode,
      app,
      position,
      bytes: bytesOf(record),
      record: undefined,
      tries: 0,
      timer: undefined,
    };
    this.#entries.set(entry.outboxId, entry);
    if (app.outboxTasks++ === 0) core.outboxApps++;
    app.outboxBytes += entry.bytes;
    core.outboxTasks++;
    core.outboxBytes += entry.bytes;
    if (this.#keptBytes + cost(entry) <= core.limits.outboxKeptBytes / 2) this.#keep(entry, detachRecord(record)); // O3
    return entry;
  }

  #forget(entry: Entry): void {
    const core = this.#core;
    const { app } = entry;
    if (!this.#entries.delete(entry.outboxId)) return;
    if (this.#sent.delete(entry.outboxId)) this.#landed(entry);
    core.timers.remove(entry.timer);
    this.#drop(entry);
    if (--app.outboxTasks === 0) core.outboxApps--;
    app.outboxBytes -= entry.bytes;
    core.outboxTasks--;
    core.outboxBytes -= entry.bytes;
  }

  #keep(entry: Entry, record: TaskRecord): void {
    entry.record = record;
    this.#keptBytes += cost(entry);
  }

  #drop(entry: Entry): void {
    if (entry.record === undefined) return;
    entry.record = undefined;
    this.#keptBytes -= cost(entry);
  }

  #backoffMs(entry: Entry, atLeastMs: number): number {
    const whole = Math.min(MOST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(20, entry.tries - 1));
    return Math.max(Math.round(atLeastMs), Math.round(whole * (0.5 + this.#core.random() / 2)));
  }
}

/** What its record costs in memory. */
function cost(entry: Entry): number {
  return entry.bytes + RECORD_BYTES;
}

/** As in `fullness.ts`. */
const SHARE = 4;
/** Lines looked at again when one of the children has landed. */
const LOOKED_AT = 16;
const FIRST_BACKOFF_MS = 100;
const MOST_BACKOFF_MS = 10_000;
/** Beside the wire: the fields, an id, a key. */
const RECORD_BYTES = 400;
/** Rows read back at once, so that attempts get their state in between. */
const READS = 64;
const NO_BYTES: Uint8Array = new Uint8Array(0);
