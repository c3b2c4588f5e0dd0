/**
 * The things the engine keeps and how they refer to each other: vnodes, apps with their types, lanes, tasks, attempts.
 *
 * Data with its own arithmetic only; what happens to it is in the files beside. They are in one file because each
 * refers to the others. Fields are all set in the constructor, in one order: these objects are the hot path.
 *
 * M1  A lane holds only tasks that are durable, due at some time, and in the order in which they became runnable.
 * M2  A task is in `vnode.known` from acceptance until its end is durable.
 */

import type { AppName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Term } from "../store.ts";
import type { AppDefinition, AppLimits, AppOverride, TaskType } from "./definition.ts";
import { Fifo } from "./fifo.ts";
import { IdTable } from "./id-table.ts";
import type { Moment } from "./moment.ts";
import type { Replacing } from "./older-state.ts";
import { ReadyQueue } from "./ready-queue.ts";
import type { Position } from "./rows.ts";
import type { RunningAttempt } from "./running-attempt.ts";
import type { StateMark } from "./state-rows.ts";
import type { TaskFailure, TaskRecord, TaskState } from "./task.ts";
import { bitsOfId } from "./task-id.ts";
import type { Timer } from "./timers.ts";
import type { UndoneMark } from "./undone.ts";
import { Written } from "./written.ts";

/** What a timer is for. */
export type Wake =
  | { readonly type: "task-due"; readonly task: Task }
  | { readonly type: "task-deadline"; readonly task: Task }
  | { readonly type: "lane-due"; readonly lane: Lane }
  | { readonly type: "rate"; readonly app: AppRun }
  | { readonly type: "subject"; readonly subject: Wakes };

export interface Wakes {
  wake(now: Instant): void;
}

export class Vnode {
  readonly partition: Partition;
  readonly term: Term;
  phase: "loading" | "open" | "held" | "closed" = "loading";
  /** Held while it was loading: nothing starts when it is loaded (ownership rule 13). */
  heldFromStart = false;
  older: "none" | "awaited" | "away";
  /** The older tasks that were awaited are here, but the ring still lists them: they may come again. */
  olderHere = false;
  /** Every id that is known here: tasks, how ended ones ended, dead letters. */
  readonly known: IdTable<Task | Done | Dead>;
  /** (app, key, idempotency key) to the first task's id. */
  readonly dedupe: Map<string, string> = new Map();
  /** Keys paused by an operator, as `laneName`, and the generation of the owner that was told so. */
  readonly pausedKeys: Map<string, number> = new Map();
  /** Key hashes (as int32) that have rows of state; a false positive costs a read. */
  readonly stateHashes: Set<number> = new Set();
  /** While older tasks are awaited or away: keys whose state here wins over what comes, by `laneName`. */
  readonly stateHere: Map<string, StateMark> = new Map();
  /** Of these what is here is being looked up, to give way. */
  readonly replacing: Map<string, Replacing> = new Map();
  /** Keys with state that gave way and is kept aside, some of them, by `laneName`. */
  readonly aside: Set<string> = new Set();
  /** What an operator undid meanwhile (undone.ts). */
  readonly undone: Map<string, UndoneMark> = new Map();
  /** Meanwhile: rows of children that were taken, which may come again. */
  readonly childrenHere: Set<string> = new Set();
  /** Lanes to look at again when the partition may start. */
  heldLanes: Lane[] = [];
  awayLanes: Lane[] = [];
  /** Oldest first; ended ones are dropped when they reach the head or are the majority. */
  readonly arrivals: Fifo<Task> = new Fifo();
  readonly written: Written;
  sequence = 0;
  attempts = 0;
  queued = 0;
  delayed = 0;
  running = 0;
  dead = 0;
  lastCompletion: Instant;
  /** State of this vnode is read from the store only when this group is durable (absorbed rows). */
  readsFromGroup = -1;

  constructor(now: Instant, partition: Partition, term: Term, older: Vnode["older"], seed: number) {
    this.known = new IdTable(seed);
    this.partition = partition;
    this.written = new Written(partition);
    this.term = term;
    this.older = older;
    this.lastCompletion = now;
  }

  get mayStart(): boolean {
    return this.phase === "open" && (this.older !== "awaited" || this.olderHere);
  }
}

export interface TypeRun {
  type: TaskType;
  running: number;
  /** Lanes that were woken for a slot and have not had their turn yet. */
  promised: number;
  /** Lanes whose head is of this type, which is at its concurrency. */
  readonly waiting: ReadyQueue<Lane>;
  /** Seen to touch `ctx.state` (ownership rule 17). */
  usesState: boolean;
}

export class AppRun {
  readonly name: AppName;
  /** `undefined`: not loaded here, or deleted. */
  definition: AppDefinition | undefined = undefined;
  override: AppOverride | undefined = undefined;
  limits: AppLimits = NO_LIMITS;
  readonly types: Map<string, TypeRun> = new Map();
  readonly lanes: Map<string, Lane> = new Map();
  readonly ready: ReadyQueue<Lane> = new ReadyQueue();
  /** Lanes whose head's type is not loaded here. */
  unknown: Lane[] = [];
  /** In the scheduler's ring. */
  listed = false;
  inTurn = false;
  deficit = 0;
  tokens = 0;
  tokensAt: Instant = 0;
  rateTimer: Timer<Wake> | undefined = undefined;
  queuedLimit = 0;
  queued = 0;
  /** Of partitions that are loading: not queued yet. */
  loading = 0;
  queuedBytes = 0;
  running = 0;
  dead = 0;
  schedules = 0;
  scheduleBytes = 0;
  /** Children of its tasks that have not reached their owners, their wire bytes, and how many ever did (`hold-back.ts`). */
  outboxTasks = 0;
  outboxBytes = 0;
  outboxLeft = 0;
  /** Of those children, how many are under way. */
  outboxSent = 0;
  /** Since the last `accepted` event. */
  accepted = 0;
  /** Ended tasks that are still known, oldest first: for the result window, and for the dedupe window. */
  readonly results: Fifo<Done> = new Fifo();
  readonly deduped: Fifo<Done> = new Fifo();
  /** Bytes of those two, and how many at the head of each are known to have none left. */
  resultBytes = 0;
  resultsLight = 0;
  dedupedLight = 0;
  /** Its list in `PlainEnds`. */
  plainEnds = 0;
  firstEnd = -1;
  lastEnd = -1;

  /** The last one asked for: tasks of one type come in runs. */
  #recentName: string | undefined = undefined;
  #recent: TypeRun | undefined = undefined;

  constructor(name: AppName) {
    this.name = name;
  }

  /** As `types.get`. */
  typeOf(name: string): TypeRun | undefined {
    if (this.#recentName === name) return this.#recent;
    this.#recent = this.types.get(name);
    this.#recentName = name;
    return this.#recent;
  }

  /** `types` has changed. */
  typesChanged(): void {
    this.#recentName = undefined;
    this.#recent = undefined;
  }

  get paused(): boolean {
    return this.override?.paused === true;
  }

  /** Queued tasks above which children are refused: twice its share, since they are already promised. */
  get childrenLimit(): number {
    return this.queuedLimit * 2;
  }
}

export type LanePhase =
  | "idle"
  | "ready"
  | "running"
  | "reading"
  | "backing-off"
  | "type-full"
  | "paused"
  | "held"
  | "away"
  | "unknown"
  | "gone";

export class Lane {
  readonly app: AppRun;
  readonly key: string;
  readonly hash: number;
  readonly vnode: Vnode;
  readonly tasks: Fifo<Task> = new Fifo();
  phase: LanePhase = "idle";
  paused: boolean;
  attempt: RunningAttempt | undefined = undefined;
  timer: Timer<Wake> | undefined = undefined;
  /** The type that it was woken for, until its turn comes. */
  slot: TypeRun | undefined = undefined;
  /** Ended tasks that still stand in `tasks`. */
  ended = 0;
  /** `undefined`: must be read from the store before it is used. */
  state: Map<string, Uint8Array> | undefined = undefined;
  stateBytes = 0;
  /** Its hash is among those of the vnode that have state. */
  hashKnown = false;
  /** The group of its last write: until that is durable the store would give older state. */
  stateGroup = -1;
  /** Rises when rows of it come from elsewhere: a read of before does not count. */
  stateChanged = 0;
  /** Neighbours in the list of lanes that do not run and keep their state. */
  older: Lane | undefined = undefined;
  newer: Lane | undefined = undefined;
  cached = false;

  constructor(app: AppRun, key: string, hash: number, vnode: Vnode, paused: boolean) {
    this.app = app;
    this.key = key;
    this.hash = hash;
    this.vnode = vnode;
    this.paused = paused;
  }
}

export type TaskPhase = "accepting" | "delayed" | "queued" | "running" | "retrying" | "ending" | "ended";

export class Task implements Position {
  readonly vnode: Vnode;
  readonly app: AppRun;
  readonly id: string;
  readonly idHash: number;
  record: TaskRecord;
  /** Of the record, so that its end need not look at it: wire bytes, and whether it has an idempotency key. */
  readonly bytes: number;
  readonly keyed: boolean;
  generation: number;
  opens: number;
  sequence: number;
  phase: TaskPhase = "accepting";
  flags: number;
  attempts = 0;
  readonly accepted: Moment;
  /** When a delayed or retrying task is due, or was; 0 for none. */
  dueAt: Instant = 0;
  /** The submit's token, -1 for none. */
  token: number;
  /** The group whose durability the present phase waits for. */
  group: number;
  lane: Lane | undefined = undefined;
  timer: Timer<Wake> | undefined = undefined;
  deadlineTimer: Timer<Wake> | undefined = undefined;
  /** Of the newest attempt. */
  started: Moment | undefined = undefined;
  ended: Moment | undefined = undefined;
  endState: "done" | "dead" | "cancelled" = "done";
  /** Asked for while it ran: it is done or cancelled, and not tried again. */
  cancelling = false;
  failure: TaskFailure | undefined = undefined;
  result: Uint8Array | undefined = undefined;
  waits: string | undefined = undefined;
  /** As rows of another directory say, which came while it ran (completion.ts, X5). */
  endedElsewhere: "done" | "cancelled" | undefined = undefined;

  constructor(
    vnode: Vnode,
    app: AppRun,
    record: TaskRecord,
    flags: number,
    accepted: Moment,
    token: number,
    group: number,
  ) {
    this.vnode = vnode;
    this.app = app;
    this.id = record.id;
    this.idHash = vnode.known.hash(record);
    this.record = record;
    this.bytes = record.end - record.start;
    this.keyed = record.idempotencyKey !== undefined;
    this.generation = vnode.term.generation;
    this.opens = vnode.term.opens;
    this.sequence = vnode.sequence++;
    this.flags = flags;
    this.accepted = accepted;
    this.token = token;
    this.group = group;
  }

  get acceptedAt(): Instant {
    return this.accepted.at;
  }

  get acceptedAtMs(): number {
    return this.accepted.wallMs;
  }

  /** 0: not yet. */
  get startedAt(): Instant {
    return this.started === undefined ? 0 : this.started.at;
  }

  /** 0: not yet. */
  get endedAt(): Instant {
    return this.ended === undefined ? 0 : this.ended.at;
  }
}

/** How a task ended, as long as that is remembered. */
export class Done {
  readonly vnode: Vnode;
  readonly app: AppRun;
  readonly id: string;
  readonly idHash: number;
  type = "";
  key = "";
  state: TaskState = "done";
  attempts = 0;
  acceptedAtMs = 0;
  endedAtMs = 0;
  endedAt: Instant = 0;
  failure: TaskFailure | undefined = undefined;
  result: Uint8Array | undefined = undefined;
  idempotencyKey: string | undefined = undefined;
  hasRow = false;
  /** Kept for the dedupe window. */
  deduped = false;
  /** It had a result or a failure, which gave way to newer ones. */
  dropped = false;

  /** The maker fills in the rest: one of these is made per task, and a bag of arguments would be another. */
  constructor(vnode: Vnode, app: AppRun, id: string, idHash: number) {
    this.vnode = vnode;
    this.app = app;
    this.id = id;
    this.idHash = idHash;
  }
}

/** A dead letter; its payload stays in the store. */
export class Dead implements Position {
  readonly vnode: Vnode;
  readonly app: AppRun;
  readonly id: string;
  readonly idHash: number;
  readonly type: string;
  readonly key: string;
  readonly idempotencyKey: string | undefined;
  readonly generation: number;
  readonly opens: number;
  readonly sequence: number;
  readonly flags: number;
  readonly attempts: number;
  readonly acceptedAtMs: number;
  readonly diedAtMs: number;
  readonly failure: TaskFailure;
  /** A retry of it is being read from the store. */
  retrying = false;
  /** The group that its row was written in, -1 when that is long durable. */
  readonly group: number;

  constructor(
    vnode: Vnode,
    app: AppRun,
    from: Omit<Dead, "vnode" | "app" | "idHash" | "retrying" | "group">,
    group = -1,
  ) {
    this.vnode = vnode;
    this.app = app;
    this.id = from.id;
    this.idHash = vnode.known.hash(bitsOfId(from.id));
    this.type = from.type;
    this.key = from.key;
    this.idempotencyKey = from.idempotencyKey;
    this.generation = from.generation;
    this.opens = from.opens;
    this.sequence = from.sequence;
    this.flags = from.flags;
    this.attempts = from.attempts;
    this.acceptedAtMs = from.acceptedAtMs;
    this.diedAtMs = from.diedAtMs;
    this.failure = from.failure;
    this.group = group;
  }
}

const NO_LIMITS: AppLimits = { queued: 0, running: 0, perSecond: 0, weight: 1 };
