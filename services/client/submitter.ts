/**
 * Every task from `submit` to its outcome: to its owner, in order, again where that is safe, within limits.
 *
 * Order is kept by bucket, the top 16 bits of a key's hash (so also its partition):
 * O1  Tasks of one bucket that are under way are all in one frame: the node sees them in one call, so it cannot refuse the
 *     first for want of the partition and accept the next.
 * O2  What is to be sent again goes before what came later, and nothing of the bucket is sent while it waits.
 * O3  Only outcomes that say "not here, not now" are tried again, with the same task id, until the task's deadline.
 * O4  Bounded: `room` is false at the limit of tasks or bytes; what is pushed beyond is still taken.
 * O5  While somebody waits for room, all who come later wait behind: tasks are taken in the order in which they came.
 */

import { MESSAGE_BYTES_MOST } from "../../proto/submit-stream.ts";
import { type ErrorCode, RingError } from "../../ring/errors.ts";
import type { SubmitOutcome } from "../../ring/tasks/task.ts";
import { detach, type Entry, type OutcomeTarget, unsureOf } from "./entry.ts";
import { frameBytes } from "./frame-builder.ts";
import type { NodeStream, NodeStreamOptions } from "./node-stream.ts";
import { RoomQueue } from "./room-queue.ts";
import type { SubmitTask } from "./submit-task.ts";
import { TaskEncoder } from "./submit-task.ts";

export interface SubmitterOptions {
  /** The stream to the owner of the hash, or to any node that may forward; undefined: no node can be reached now. */
  readonly streamFor: (hash: number) => NodeStream | undefined;
  /** Learns the ring again, if it is not too early for that; never rejects. */
  readonly refresh: () => Promise<void>;
  readonly tasksMost: number;
  readonly bytesMost: number;
}

/** Of a task: what its caller calls it, and when its caller stops waiting, by `performance.now()`. */
export interface TaskPlace {
  readonly index: number;
  readonly deadline: number;
  /** See `RoomWaiter`. */
  readonly bulk?: boolean;
}

export class Submitter {
  readonly #options: SubmitterOptions;
  readonly #encoder = new TaskEncoder();
  /** By bucket: tasks under way, and in which frame (O1). */
  readonly #underWay = new Int32Array(BUCKETS);
  readonly #frames = new Float64Array(BUCKETS);
  /** By bucket: tasks that must wait, in order. */
  readonly #waiting = new Map<number, Entry[]>();
  /** By bucket: when to try again. */
  readonly #retries = new Map<number, number>();
  #retryTimer: NodeJS.Timeout | undefined;
  /** When it fires; never while the ring is learnt again, after which all are looked at. */
  #retryAt = Number.POSITIVE_INFINITY;
  readonly #sweep: NodeJS.Timeout;
  /** Buckets that got free in this turn and have something waiting. */
  #freed: number[] = [];
  readonly #all = new Set<Entry>();
  /** No task that is to be told its deadline has an earlier one. */
  #earliest = Number.POSITIVE_INFINITY;
  #order = 0;
  /** `#order` at the sweep before last, and at the last one. */
  #swept: readonly [number, number] = [0, 0];
  #frameId = 0;
  #tasks = 0;
  #bytes = 0;
  readonly #queue = new RoomQueue();
  #closed = false;

  constructor(options: SubmitterOptions) {
    this.#options = options;
    this.#sweep = setInterval(() => this.#expire(), SWEEP_MS);
    this.#sweep.unref();
  }

  /** Whether the next task may be pushed. */
  get room(): boolean {
    return this.#queue.empty && this.#hasRoom();
  }

  /** Tasks without an outcome. */
  get pending(): number {
    return this.#tasks;
  }

  /** Resolves when there is room, or everything is over. */
  whenRoom(): Promise<void> {
    if (this.room || this.#closed) return Promise.resolve();
    return new Promise((resolve) =>
      this.#queue.add({ deadline: Number.POSITIVE_INFINITY, bulk: true, enter: resolve, refuse: () => resolve() }),
    );
  }

  /** Throws `INVALID_ARGUMENT` or `CANCELLED` (closed); everything else comes as an outcome, perhaps at once. */
  push(task: SubmitTask, target: OutcomeTarget, at: TaskPlace): void {
    const entry = this.#entry(task, target, at);
    if (this.#queue.empty) this.#take(entry);
    else
      this.#queue.add({
        deadline: at.deadline,
        bulk: false,
        enter: () => this.#take(entry),
        refuse: (outcome) => target.settled(entry, outcome),
      }); // O5
  }

  /** As `push`, as soon as there is room for this one (O5); resolves then. The task is encoded only then. */
  pushInTurn(task: SubmitTask, target: OutcomeTarget, at: TaskPlace): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (last: (entry: Entry) => void): void => {
        try {
          last(this.#entry(task, target, at));
          resolve();
        } catch (error) {
          reject(error);
        }
      };
      if (this.room || this.#closed) end((entry) => this.#take(entry));
      else
        this.#queue.add({
          deadline: at.deadline,
          bulk: at.bulk ?? false,
          enter: () => end((entry) => this.#take(entry)),
          refuse: (outcome) => end((entry) => target.settled(entry, outcome)),
        });
    });
  }

  /** What a node stream needs of this. */
  streamCallbacks(): Pick<NodeStreamOptions, "nextFrameId" | "onOutcome" | "onTurn"> {
    return {
      nextFrameId: () => ++this.#frameId,
      onOutcome: (entry, outcome) => this.#outcome(entry, outcome),
      onTurn: () => this.#turn(),
    };
  }

  /** A stream broke: its tasks are sent again, or fail with `fatal`. */
  streamDown(entries: readonly Entry[], fatal: RingError | undefined): void {
    const outcome: SubmitOutcome =
      fatal === undefined ? BROKEN : { type: "refused", code: fatal.code, detail: fatal.message };
    for (const entry of entries) this.#outcome(entry, outcome);
    this.#turn();
  }

  /** Everything without an outcome is told `CANCELLED`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#sweep);
    clearTimeout(this.#retryTimer);
    const outcome: SubmitOutcome = {
      type: "refused",
      code: "CANCELLED",
      detail: "the client was closed; the task may have been accepted",
    };
    for (const entries of this.#waiting.values()) for (const entry of entries) entry.target.settled(entry, outcome);
    this.#waiting.clear();
    for (const entry of this.#all) entry.target.settled(entry, outcome);
    this.#all.clear();
    for (let waiter = this.#queue.next(); waiter !== undefined; waiter = this.#queue.next()) waiter.refuse(outcome);
  }

  #hasRoom(): boolean {
    return this.#tasks < this.#options.tasksMost && this.#bytes < this.#options.bytesMost;
  }

  #hasHalf(): boolean {
    return this.#tasks <= this.#options.tasksMost / 2 && this.#bytes <= this.#options.bytesMost / 2;
  }

  #entry(task: SubmitTask, target: OutcomeTarget, at: TaskPlace): Entry {
    if (this.#closed) throw new RingError("CANCELLED", "the client is closed");
    const { buffer, start, end, hash } = this.#encoder.encode(task);
    this.#order += 1;
    return {
      buffer,
      start,
      end,
      hash,
      target,
      index: at.index,
      deadline: at.deadline,
      order: this.#order,
      attempts: 0,
      unsure: false,
    };
  }

  #take(entry: Entry): void {
    if (entry.end - entry.start > PLAIN_BYTES && frameBytes(entry) > MESSAGE_BYTES_MOST) {
      // The node would break the stream for it, and for all the tasks beside it.
      entry.target.settled(entry, TOO_LARGE);
      return;
    }
    this.#tasks += 1;
    this.#bytes += entry.end - entry.start;
    if (entry.deadline < this.#earliest) this.#earliest = entry.deadline;
    this.#enqueue(entry);
  }

  #enqueue(entry: Entry): void {
    const bucket = entry.hash >>> 16;
    const waiting = this.#waiting.get(bucket);
    if (waiting !== undefined) {
      waiting.push(entry); // O2
      return;
    }
    const stream = this.#options.streamFor(entry.hash);
    if (stream === undefined) {
      this.#postpone(bucket, entry, FIRST_RETRY_MS);
      return;
    }
    const underWay = this.#underWay[bucket] as number;
    if (underWay > 0 && !(this.#frames[bucket] === stream.openFrame && stream.fits(entry))) {
      this.#waiting.set(bucket, [entry]); // O1
      return;
    }
    this.#underWay[bucket] = underWay + 1;
    this.#all.add(entry);
    this.#frames[bucket] = stream.add(entry);
  }

  #outcome(entry: Entry, outcome: SubmitOutcome | undefined): void {
    if (this.#closed) return;
    // It was forwarded, perhaps, and then the link broke.
    if (outcome?.type === "refused" && outcome.code === "NO_OWNER" && outcome !== BROKEN) entry.unsure = true;
    const bucket = entry.hash >>> 16;
    const left = (this.#underWay[bucket] as number) - 1;
    this.#underWay[bucket] = left;
    this.#all.delete(entry);
    if (
      outcome !== undefined &&
      outcome.type === "refused" &&
      RETRIED.has(outcome.code) &&
      this.#again(bucket, entry, outcome)
    )
      return;
    this.#done(entry, outcome);
    if (left === 0 && this.#waiting.has(bucket) && !this.#retries.has(bucket)) this.#freed.push(bucket);
  }

  /** Puts the task back for another try (O2, O3); false when its time is over. */
  #again(bucket: number, entry: Entry, outcome: Extract<SubmitOutcome, { readonly type: "refused" }>): boolean {
    if (entry.target === NOBODY) return false;
    const delay =
      Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(entry.attempts, 10)) * (0.5 + Math.random() / 2);
    const wait = Math.max(delay, Math.min(outcome.retryAfterMs ?? 0, LAST_RETRY_MS));
    if (performance.now() + wait >= entry.deadline) return false;
    entry.attempts += 1;
    this.#postpone(bucket, entry, wait);
    return true;
  }

  #postpone(bucket: number, entry: Entry, waitMs: number): void {
    const waiting = this.#waiting.get(bucket);
    if (waiting === undefined) this.#waiting.set(bucket, [entry]);
    else insertInOrder(waiting, entry);
    const due = performance.now() + waitMs;
    this.#retries.set(bucket, Math.max(due, this.#retries.get(bucket) ?? 0));
    this.#retryBy(due);
  }

  #retryBy(due: number): void {
    if (due >= this.#retryAt) return;
    clearTimeout(this.#retryTimer);
    this.#retryAt = due;
    this.#retryTimer = setTimeout(() => void this.#retry(), Math.max(1, due - performance.now()));
  }

  async #retry(): Promise<void> {
    this.#retryAt = Number.NEGATIVE_INFINITY;
    await this.#options.refresh();
    this.#retryAt = Number.POSITIVE_INFINITY;
    if (this.#closed) return;
    const now = performance.now();
    for (const [bucket, due] of [...this.#retries]) {
      if (due > now + TOGETHER_MS) continue;
      this.#retries.delete(bucket);
      this.#release(bucket);
    }
    let next = Number.POSITIVE_INFINITY;
    for (const due of this.#retries.values()) next = Math.min(next, due);
    this.#retryBy(next);
  }

  /** Sends what waited, if nothing of the bucket is under way any more. */
  #release(bucket: number): void {
    if ((this.#underWay[bucket] as number) > 0 || this.#retries.has(bucket)) return;
    const waiting = this.#waiting.get(bucket);
    if (waiting === undefined) return;
    this.#waiting.delete(bucket);
    for (const entry of waiting) this.#enqueue(entry);
  }

  #turn(): void {
    const freed = this.#freed;
    if (freed.length > 0) {
      this.#freed = [];
      for (const bucket of freed) this.#release(bucket);
    }
    // O5
    for (let first = this.#queue.first; first !== undefined; first = this.#queue.first) {
      if (first.bulk ? !this.#hasHalf() : !this.#hasRoom()) break;
      this.#queue.next();
      first.enter();
    }
  }

  #done(entry: Entry, outcome: SubmitOutcome | undefined): void {
    this.#tasks -= 1;
    this.#bytes -= entry.end - entry.start;
    entry.target.settled(entry, outcome?.type === "refused" && entry.unsure === true ? unsureOf(outcome) : outcome);
  }

  /** Who has been here since the sweep before last keeps bytes of its own, not those of a whole slab (O4). */
  #detach(): void {
    const [from, to] = this.#swept;
    this.#swept = [to, this.#order];
    if (to === from) return;
    const late = (entry: Entry): boolean => entry.order > from && entry.order <= to;
    for (const entry of this.#all) if (late(entry)) detach(entry);
    for (const entries of this.#waiting.values()) for (const entry of entries) if (late(entry)) detach(entry);
  }

  /** Tells callers whose deadline is over. What is under way keeps its place until the node has said what became of it. */
  #expire(): void {
    const now = performance.now();
    this.#detach();
    for (const waiter of this.#queue.late(now)) waiter.refuse(NO_ROOM);
    if (this.#earliest > now) return; // so that all are looked at only when one is late
    let earliest = Number.POSITIVE_INFINITY;
    const told: { readonly entry: Entry; readonly target: OutcomeTarget }[] = [];
    for (const entry of this.#all) {
      if (entry.target === NOBODY) continue;
      if (entry.deadline <= now) {
        told.push({ entry, target: entry.target });
        entry.target = NOBODY;
      } else if (entry.deadline < earliest) earliest = entry.deadline;
    }
    const over: Entry[] = [];
    for (const [bucket, entries] of this.#waiting) {
      const before = over.length;
      const kept: Entry[] = [];
      for (const entry of entries) {
        if (entry.deadline <= now || entry.target === NOBODY) over.push(entry);
        else {
          kept.push(entry);
          if (entry.deadline < earliest) earliest = entry.deadline;
        }
      }
      if (over.length === before) continue;
      if (kept.length > 0) this.#waiting.set(bucket, kept);
      else this.#waiting.delete(bucket);
    }
    this.#earliest = earliest;
    // Only now: those who are told may submit again, or close the client.
    for (const { entry, target } of told) target.settled(entry, LATE);
    for (const entry of over) this.#done(entry, LATE);
    this.#turn();
  }
}

function insertInOrder(entries: Entry[], entry: Entry): void {
  let at = entries.length;
  while (at > 0 && (entries[at - 1] as Entry).order > entry.order) at -= 1;
  entries.splice(at, 0, entry);
}

const BROKEN: SubmitOutcome = { type: "refused", code: "NO_OWNER", detail: "the connection to the node broke" };
const NOBODY: OutcomeTarget = { settled: () => undefined };
const LATE: SubmitOutcome = {
  type: "refused",
  code: "DEADLINE",
  detail: "no outcome in time; submit again with the same taskId",
};
const NO_ROOM: SubmitOutcome = {
  type: "refused",
  code: "QUEUE_FULL",
  detail: "too many tasks of this client are without an outcome",
};
const TOO_LARGE: SubmitOutcome = {
  type: "refused",
  code: "PAYLOAD_TOO_LARGE",
  detail: `the task does not fit into a message of ${MESSAGE_BYTES_MOST} bytes`,
};
/** Up to here a task fits for certain. */
const PLAIN_BYTES = MESSAGE_BYTES_MOST / 2;
const BUCKETS = 65_536;
/** Refusals that say nothing against the task itself. */
const RETRIED: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["NOT_OWNER", "NO_OWNER", "NO_LEASE", "DRAINING"]);
const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 1_000;
/** Buckets whose time comes within this go with those whose time has come: each look at them costs as much as there are. */
const TOGETHER_MS = 5;
const SWEEP_MS = 250;
