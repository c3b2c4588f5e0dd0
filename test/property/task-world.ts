/**
 * One node's task engine in virtual time over rows in memory: what some calls wrote is one group, as in one commit of a node;
 * groups become durable when the test says so, and a crash loses those that did not. Checks as it goes; it knows nothing of the engine's insides, only outputs and durable rows.
 */

import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { AppName, Partition } from "../../ring/ids.ts";
import type { Row, RowChange } from "../../ring/store.ts";
import type {
  AppCatalogue,
  AppDefinition,
  AppLimits,
  AppOverride,
  ScheduleSpec,
  TaskType,
} from "../../ring/tasks/definition.ts";
import { TaskEngine } from "../../ring/tasks/engine.ts";
import type { TaskAnswer, TaskEvent, TaskRequest } from "../../ring/tasks/engine-contract.ts";
import type { EngineLimits } from "../../ring/tasks/limits.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord, type RecordFields } from "../../ring/tasks/record-encode.ts";
import type { Attempt, AttemptEnd, SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";

export const RING_SIZE = 8;
export const WALL_MS = 1_700_000_000_000;

export interface WorldOptions {
  readonly seed: number;
  readonly apps?: AppCatalogue;
  readonly limits?: Partial<EngineLimits>;
  /** That write into one group, unless it is made durable sooner. Default 1. */
  readonly callsPerGroup?: number;
}

export class World {
  readonly random: () => number;
  readonly options: WorldOptions;
  engine: TaskEngine;
  now = 1_000;
  wallMs: number = WALL_MS;
  group = 0;
  synced = 0;
  opens = 0;
  generation = 1;
  /** Durable rows, by partition, by key in latin1. */
  readonly rows: Map<number, Map<string, Row>> = new Map();
  unsynced: { readonly group: number; readonly partition: number; readonly change: RowChange }[] = [];
  readonly running: Map<number, Attempt> = new Map();
  readonly started: Attempt[] = [];
  readonly aborted: { readonly attemptId: number; readonly reason: string }[] = [];
  readonly outcomes: Map<number, SubmitOutcome> = new Map();
  readonly answers: Map<number, TaskAnswer> = new Map();
  /** Keys of which it was said that state of them was set aside. */
  readonly toldAside: string[] = [];
  readonly events: Extract<TaskEvent, { readonly type: "ended" }>[] = [];
  readonly outbox: { readonly partition: Partition; readonly outboxId: number; readonly record: TaskRecord }[] = [];
  reads: { readonly partition: number; readonly prefix: Uint8Array; readonly readId: number }[] = [];
  onStart: (attempt: Attempt) => void = () => {};
  /** Before everything written so far becomes durable. */
  onSync: () => void = () => {};
  #token = 0;
  /** Calls that have written into the group. */
  #calls = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = seeded(options.seed);
    this.engine = this.#boot("none");
  }

  /** What the next call writes is durable with this group. */
  get nextGroup(): number {
    return this.#calls === 0 ? this.group + 1 : this.group;
  }

  record(fields: RecordFields): TaskRecord {
    const { app, key, idempotencyKey } = fields;
    const id =
      fields.id ??
      mintId({
        wallMs: this.wallMs,
        random: this.random,
        app,
        ...(key === undefined ? {} : { key }),
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      });
    const wire = encodeRecord({ ...fields, id });
    const record = parseRecord(wire, 0, wire.length);
    if (isRefused(record)) throw new Error(record.detail);
    return record;
  }

  submit(record: TaskRecord, origin: "client" | "child" = "client"): number {
    const token = this.#token++;
    this.call((engine) => engine.submit(this.now, partitionOf(record.hash), record, token, origin));
    return token;
  }

  end(attempt: Attempt, outcome: AttemptEnd["outcome"], more: Partial<AttemptEnd> = {}): void {
    this.running.delete(attempt.attemptId);
    this.call((engine) =>
      engine.ended(this.now, [{ attemptId: attempt.attemptId, outcome, stateChanges: [], children: [], ...more }]),
    );
  }

  done(attempt: Attempt, more: Partial<AttemptEnd> = {}): void {
    this.end(attempt, { type: "done", result: undefined }, more);
  }

  fail(attempt: Attempt, message = "no"): void {
    this.end(attempt, { type: "failed", error: { name: "Error", message }, permanent: false });
  }

  request(app: string, key: string, request: TaskRequest): TaskAnswer | undefined {
    const token = this.#token++;
    this.call((engine) => engine.request(this.now, partitionOf(hashKey(app, key)), request, token));
    return this.answers.get(token);
  }

  /** As `request`, and everything it needs to be durable is made so. */
  ask(app: string, key: string, request: TaskRequest): TaskAnswer {
    const token = this.#token++;
    this.call((engine) => engine.request(this.now, partitionOf(hashKey(app, key)), request, token));
    for (let turn = 0; turn < 4 && !this.answers.has(token); turn++) this.sync();
    const answer = this.answers.get(token);
    if (answer === undefined) throw new Error(`no answer to ${request.type}`);
    return answer;
  }

  advance(ms: number): void {
    this.now += ms;
    this.wallMs += ms;
    this.call((engine) => engine.tick(this.now));
  }

  /** Moves time from deadline to deadline, syncing, for `ms`. */
  run(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      this.sync();
      const next = this.engine.nextDeadline();
      if (next === undefined || next > until) break;
      this.advance(Math.max(0, next - this.now));
    }
    this.advance(until - this.now);
    this.sync();
  }

  /** Makes everything written so far durable, answers reads, until nothing moves. */
  sync(): void {
    do {
      this.closeGroup();
      this.onSync();
      for (const { partition, change } of this.unsynced) this.#write(partition, change);
      this.unsynced = [];
      this.synced = this.group;
      this.call((engine) => engine.durable(this.now, this.synced));
      this.answerReads();
    } while (this.unsynced.length > 0 || this.reads.length > 0);
  }

  /** Reads see what is durable now. */
  answerReads(): void {
    const { reads } = this;
    this.reads = [];
    for (const read of reads) {
      const rows = this.#under(read.partition, read.prefix);
      this.call((engine) => engine.stateLoaded(this.now, read.readId, rows));
    }
  }

  /** Makes durable what was written up to a group that is closed, as a commit does while more is written. */
  syncUpTo(group: number): void {
    for (const each of this.unsynced) if (each.group <= group) this.#write(each.partition, each.change);
    this.unsynced = this.unsynced.filter((each) => each.group > group);
    this.synced = Math.max(this.synced, group);
    this.call((engine) => engine.durable(this.now, this.synced));
  }

  /** The process dies: what was not synced is gone, what ran is gone. */
  crash(older: "none" | "awaited" | "away" = "none"): void {
    this.unsynced = [];
    this.#calls = 0;
    this.running.clear();
    this.reads = [];
    this.outbox.length = 0;
    this.engine = this.#boot(older);
  }

  call(work: (engine: TaskEngine) => void): void {
    if (this.#calls++ === 0) this.group++;
    this.engine.group = this.group;
    work(this.engine);
    const most = this.options.callsPerGroup ?? 1;
    if (this.#calls < most) this.drain();
    else this.closeGroup();
  }

  /** As a node does before each commit. */
  closeGroup(): void {
    if (this.#calls === 0) return;
    this.#calls = 0;
    this.engine.beforeCommit();
    this.drain();
  }

  drain(): void {
    const { output } = this.engine;
    for (const written of output.changes)
      for (const change of written.take())
        this.unsynced.push({
          group: this.group,
          partition: written.partition,
          change: { key: change.key.slice(), ...(change.value === undefined ? {} : { value: change.value.slice() }) },
        });
    for (const { attemptId, reason } of output.aborts) this.aborted.push({ attemptId, reason });
    for (const { token, outcome } of output.outcomes) {
      if (this.outcomes.has(token)) throw new Error(`token ${token} has two outcomes`);
      this.outcomes.set(token, outcome);
    }
    for (const { requestId, answer } of output.answers) {
      if (this.answers.has(requestId)) throw new Error(`request ${requestId} has two answers`);
      this.answers.set(requestId, answer);
    }
    for (const event of output.events)
      if (event.type === "ended") this.events.push(event);
      else if (event.type === "state-aside") this.toldAside.push(event.key);
    for (const task of output.outbox) this.outbox.push(task);
    for (const read of output.stateReads) this.reads.push(read);
    const starts = [...output.starts];
    for (const list of Object.values(output) as unknown[][]) list.length = 0;
    for (const attempt of starts) {
      this.running.set(attempt.attemptId, attempt);
      this.started.push(attempt);
      this.onStart(attempt);
    }
  }

  partitionRows(partition: number): Row[] {
    return [...(this.rows.get(partition)?.entries() ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  }

  #boot(older: "none" | "awaited" | "away"): TaskEngine {
    this.opens++;
    const engine = new TaskEngine({
      apps: this.options.apps ?? catalogue(),
      random: this.random,
      wallOffsetMs: this.wallMs - this.now,
      ...(this.options.limits === undefined ? {} : { limits: this.options.limits }),
    });
    this.engine = engine;
    this.synced = this.group;
    this.call((each) => each.setShare(RING_SIZE, RING_SIZE));
    this.call((each) => each.allowStarts(this.now, true));
    for (let partition = 0; partition < RING_SIZE; partition++) {
      this.call((each) =>
        each.open(
          this.now,
          partition as Partition,
          { history: 1, generation: this.generation, opens: this.opens },
          older,
        ),
      );
      const bad = engine.load(partition as Partition, this.partitionRows(partition));
      if (bad.length > 0) throw new Error(`rows of partition ${partition} cannot be read`);
      this.call((each) => each.loaded(this.now, partition as Partition));
    }
    return engine;
  }

  #write(partition: number, change: RowChange): void {
    const rows = this.rows.get(partition) ?? new Map<string, Row>();
    this.rows.set(partition, rows);
    const name = latin1(change.key);
    if (change.value === undefined) rows.delete(name);
    else rows.set(name, { key: change.key, value: change.value });
  }

  #under(partition: number, prefix: Uint8Array): Row[] {
    const start = latin1(prefix);
    return this.partitionRows(partition).filter((row) => latin1(row.key).startsWith(start));
  }
}

export function partitionOf(hash: number): Partition {
  return partitionOfHash(hash, RING_SIZE);
}

export function taskType(name: string, more: Partial<TaskType> = {}): TaskType {
  return {
    name,
    concurrency: 64,
    attempts: 5,
    backoff: { baseMs: 100, maxMs: 2_000 },
    timeoutMs: 30_000,
    order: "strict",
    state: "detect",
    onAway: "wait",
    ...more,
  };
}

export interface CatalogueOptions {
  readonly types?: readonly TaskType[];
  readonly limits?: Partial<AppLimits>;
  readonly schedules?: readonly ScheduleSpec[];
  readonly residents?: readonly string[];
  readonly overrides?: Map<string, Partial<AppOverride>>;
  readonly appLimits?: ReadonlyMap<string, Partial<AppLimits>>;
  readonly names?: readonly string[];
}

/** Apps `a`, `b`, `c` (or `names`) of one definition each. */
export function catalogue(options: CatalogueOptions = {}): AppCatalogue {
  const names = options.names ?? ["a", "b", "c"];
  const types = options.types ?? [
    taskType("work"),
    taskType("loose", { order: "relaxed" }),
    taskType("plain", { state: "none" }),
  ];
  const definitions = new Map<string, AppDefinition>(
    names.map((name) => [
      name,
      {
        match: name,
        version: "1",
        types: new Map(types.map((type) => [type.name, type])),
        residents: new Map(
          (options.residents ?? []).map((resident) => [
            resident,
            { name: resident, backoff: { baseMs: 100, maxMs: 10_000 } },
          ]),
        ),
        schedules: new Map((options.schedules ?? []).map((schedule) => [schedule.name, schedule])),
        limits: {
          queued: 100_000,
          running: 64,
          perSecond: 0,
          weight: 1,
          ...options.limits,
          ...options.appLimits?.get(name),
        },
      },
    ]),
  );
  return {
    find: (app: AppName) => {
      const definition = definitions.get(app);
      const override = options.overrides?.get(app);
      if (definition === undefined || override?.existence === "deleted") return undefined;
      return {
        definition,
        override:
          override === undefined
            ? undefined
            : { app, version: 1, existence: "implied", paused: false, limits: {}, ...override },
      };
    },
    active: () => names as AppName[],
  };
}

/** mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
