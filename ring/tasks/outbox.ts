/**
 * Children on their way: stored with their parent's ack, sent when that is durable, sent again until their owner has them.
 *
 * O1  A child's row goes only when its owner says accepted or duplicate, or when it has become a dead letter here.
 * O2  At most `outboxInFlight` are under way; a refusal that may pass backs off, so a full or absent owner is not hammered.
 */

import { ERRORS } from "../errors.ts";
import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import type { DeadLetters } from "./dead.ts";
import { Fifo } from "./fifo.ts";
import type { Vnode, Wake, Wakes } from "./model.ts";
import { isRefused, parseRecord } from "./record.ts";
import { KIND, outboxValue, type Position, positionKey } from "./rows.ts";
import type { Child, SubmitOutcome, TaskRecord } from "./task.ts";
import type { Timer } from "./timers.ts";

interface Entry extends Wakes {
  readonly outboxId: number;
  readonly vnode: Vnode;
  readonly position: Position;
  readonly record: TaskRecord;
  tries: number;
  timer: Timer<Wake> | undefined;
}

export class Outbox {
  readonly #core: Core;
  readonly #dead: DeadLetters;
  readonly #ready: Fifo<Entry> = new Fifo();
  readonly #entries: Map<number, Entry> = new Map();
  readonly #sent: Set<number> = new Set();
  /** Entries of held vnodes. */
  readonly #held: Map<Vnode, Entry[]> = new Map();
  #outboxId = 0;

  constructor(core: Core, dead: DeadLetters) {
    this.#core = core;
    this.#dead = dead;
  }

  get size(): number {
    return this.#entries.size;
  }

  full(): boolean {
    return this.#entries.size >= this.#core.limits.outboxTasks;
  }

  /** Stores the children with what else is written now. Why not, if they may not be; then nothing is written. */
  add(vnode: Vnode, children: readonly Child[]): string | undefined {
    if (children.length > this.#core.limits.childrenPerAttempt)
      return `more than ${this.#core.limits.childrenPerAttempt} children`;
    const records: TaskRecord[] = [];
    for (const child of children) {
      const record = parseRecord(child.wire, 0, child.wire.length);
      if (isRefused(record)) return `child: ${record.detail}`;
      if (record.id !== child.id) return "child: task_id is not the child's id";
      records.push(record);
    }
    const entries = records.map((record) => this.#write(vnode, record));
    this.#core.afterwards(vnode, (closed) => {
      if (closed) for (const entry of entries) this.#entries.delete(entry.outboxId);
      else for (const entry of entries) this.#ready.push(entry);
    });
    return undefined;
  }

  /** A dead letter of a child is sent again. */
  resend(vnode: Vnode, record: TaskRecord): void {
    const entry = this.#write(vnode, record);
    this.#core.afterwards(vnode, (closed) => {
      if (closed) this.#entries.delete(entry.outboxId);
      else this.#ready.push(entry);
    });
  }

  /** A row that was here before. */
  load(vnode: Vnode, position: Position, record: TaskRecord): void {
    this.#ready.push(this.#enter(vnode, position, record));
  }

  /** Sends what may be sent. */
  flush(): void {
    while (this.#sent.size < this.#core.limits.outboxInFlight) {
      const entry = this.#ready.shift();
      if (entry === undefined) return;
      if (!this.#entries.has(entry.outboxId)) continue;
      const { vnode } = entry;
      if (vnode.phase !== "open") {
        const held = this.#held.get(vnode);
        if (held === undefined) this.#held.set(vnode, [entry]);
        else held.push(entry);
        continue;
      }
      this.#sent.add(entry.outboxId); // O2
      this.#core.output.outbox.push({ partition: vnode.partition, outboxId: entry.outboxId, record: entry.record });
    }
  }

  sent(now: Instant, outboxId: number, outcome: SubmitOutcome): void {
    const entry = this.#entries.get(outboxId);
    if (entry === undefined || !this.#sent.delete(outboxId)) return;
    switch (outcome.type) {
      case "accepted":
      case "duplicate":
        this.#settle(entry);
        return; // O1
      case "refused":
        if (!ERRORS[outcome.code].retryable) {
          const failure = { name: outcome.code, message: outcome.detail.slice(0, 1_024) };
          if (this.#dead.keepChild(now, entry.vnode, entry.record, failure)) {
            this.#settle(entry);
            return;
          } // O1
        }
        entry.tries++;
        entry.timer = this.#core.timers.set(now + this.#backoffMs(entry, outcome.retryAfterMs ?? 0), {
          type: "subject",
          subject: entry,
        });
    }
  }

  release(vnode: Vnode): void {
    for (const entry of this.#held.get(vnode) ?? []) this.#ready.push(entry);
    this.#held.delete(vnode);
  }

  close(vnode: Vnode): void {
    this.#held.delete(vnode);
    for (const entry of this.#entries.values()) {
      if (entry.vnode !== vnode) continue;
      this.#core.timers.remove(entry.timer);
      this.#entries.delete(entry.outboxId);
      this.#sent.delete(entry.outboxId);
    }
  }

  #settle(entry: Entry): void {
    this.#entries.delete(entry.outboxId);
    this.#core.erase(entry.vnode, positionKey(KIND.outbox, entry.position));
  }

  #write(vnode: Vnode, record: TaskRecord): Entry {
    const position = { generation: vnode.term.generation, opens: vnode.term.opens, sequence: vnode.sequence++ };
    this.#core.write(vnode, positionKey(KIND.outbox, position), outboxValue(record.wire));
    return this.#enter(vnode, position, record);
  }

  #enter(vnode: Vnode, position: Position, record: TaskRecord): Entry {
    const entry: Entry = {
      outboxId: ++this.#outboxId,
      vnode,
      position,
      record,
      tries: 0,
      timer: undefined,
      wake: (): void => {
        entry.timer = undefined;
        this.#ready.push(entry);
      },
    };
    this.#entries.set(entry.outboxId, entry);
    return entry;
  }

  #backoffMs(entry: Entry, atLeastMs: number): number {
    const whole = Math.min(MOST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(20, entry.tries - 1));
    return Math.max(Math.round(atLeastMs), Math.round(whole * (0.5 + this.#core.random() / 2)));
  }
}

const FIRST_BACKOFF_MS = 100;
const MOST_BACKOFF_MS = 10_000;
