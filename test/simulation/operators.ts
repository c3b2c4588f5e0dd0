/**
 * What operators and services do besides plain submits, while a simulated cluster fails: delayed tasks, cancels, dead letters, paused
 * keys, idempotency keys, schedules. Only what was answered counts; what was asked and not answered may have happened or not.
 *
 * V7   A task whose cancel or drop was acknowledged does not start any more (P1: it has ended).
 * V8   A key whose pause was acknowledged starts nothing until somebody resumes it, and both last (P1).
 * V9   Submits of one key with one idempotency key are one task.
 * V10  In the end `get` says of each task what became of it: done with its result, dead, or cancelled (P1).
 * V11  A schedule that was put fires; one that was paused or deleted does not, and both last (P1).
 */

import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { Partition } from "../../ring/ids.ts";
import type { NodeAnswer, NodeRequest } from "../../ring/node/requests.ts";
import type { ScheduleSpec } from "../../ring/tasks/definition.ts";
import type { TaskAnswer, TaskRequest } from "../../ring/tasks/engine-contract.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Attempt, AttemptEnd, SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import type { Agenda } from "../../services/testing/agenda.ts";
import type { SeededRandom } from "../../services/testing/random.ts";
import { OPERATED_APP } from "./apps.ts";
import { childOf, type Item, type Switch } from "./operated.ts";

export interface OperatorsWorld {
  readonly agenda: Agenda;
  readonly random: SeededRandom;
  readonly ringSize: number;
  /** To any node; not every question is answered. */
  ask(request: NodeRequest, answered: (answer: NodeAnswer) => void): void;
  /** Again until it is accepted, or known. */
  submit(record: TaskRecord, settled: (outcome: SubmitOutcome) => void): void;
  /** When rows of the partition were last left on a machine that is away: what was said there before may be unknown until it returns. */
  awaySince(partition: number): number;
  trace(line: string): void;
  fail(what: string): void;
}

export class Operators {
  readonly #world: OperatorsWorld;
  readonly #items = new Map<string, Item>();
  readonly #parents = new Set<string>();
  readonly #paused = new Map<string, Switch>();
  readonly #schedules = new Map<string, { readonly exists: Switch; readonly runs: Switch }>();
  /** By key and idempotency key: the task that was accepted, or those that were while an earlier one was away, and when the last. */
  readonly #once = new Map<string, { readonly ids: Set<string>; at: number }>();
  readonly #onceBusy = new Set<string>();
  /** By key: when an attempt last started. */
  readonly #started = new Map<string, number>();
  #going = true;
  /** Acknowledged, by kind. */
  readonly counts: Record<string, number> = Object.fromEntries(ACTIONS.map((kind) => [kind, 0]));

  constructor(world: OperatorsWorld) {
    this.#world = world;
    const told = (state: "on" | "off"): Switch => ({ state, at: 0, notBefore: 0 });
    for (let index = 0; index < KEYS; index++) this.#paused.set(`k${index}`, told("off"));
    for (let index = 0; index < SCHEDULES; index++)
      this.#schedules.set(`s${index}`, { exists: told("off"), runs: told("on") });
  }

  begin(): void {
    this.#world.agenda.after(this.#world.random.between(100, 600), () => {
      if (!this.#going) return;
      this.begin();
      this.#act();
    });
  }

  stop(): void {
    this.#going = false;
  }

  /** Every attempt that starts. */
  started({ record }: Attempt): void {
    const { now } = this.#world.agenda;
    if (record.app !== OPERATED_APP) return;
    this.#started.set(record.key, now);
    const item = this.#items.get(record.id);
    if (item !== undefined && [item.cancel, item.drop].includes("done") && !this.#unknownSince(item))
      this.#world.fail(`V7: ${JSON.stringify(item)} starts`);
    const paused = this.#paused.get(record.key);
    if (paused?.state === "on" && paused.at >= this.#away(record.key))
      this.#world.fail(`V8: ${record.id} of ${record.key} starts although the key was paused at ${paused.at}`);
  }

  /** What the handler of an attempt comes to. */
  end({ attemptId, record }: Attempt): AttemptEnd {
    const item = this.#items.get(record.id);
    const error = { name: "Error", message: "simulated" };
    const failed = { type: "failed", error, permanent: true } as const;
    const done = { type: "done", result: new TextEncoder().encode(record.id) } as const;
    const outcome = item?.failing === true && !item.healed ? failed : done;
    const children = record.type === "spawn" && outcome === done ? [childOf(record)] : [];
    return { attemptId, outcome, stateChanges: [], children };
  }

  #act(): void {
    const { random } = this.#world;
    const kind = random.pick(ACTIONS);
    switch (kind) {
      case "work":
        return this.#submit({ failing: false, delayMs: random.chance(0.5) ? random.between(1_000, 30_000) : 0 });
      case "fail":
        return this.#submit({ failing: true, delayMs: 0 });
      case "spawn":
        return this.#spawn();
      case "once":
        return this.#submitOnce();
      case "cancel":
        return this.#cancel();
      case "retry":
      case "drop":
        return this.#letter(kind);
      case "pause":
      case "resume":
        return this.#key(`k${random.below(KEYS)}`, kind);
      case "put":
      case "delete":
      case "pause-schedule":
      case "resume-schedule":
        return this.#schedule(`s${random.below(SCHEDULES)}`, kind);
    }
  }

  #submit({ failing, delayMs }: { readonly failing: boolean; readonly delayMs: number }): void {
    const record = this.#record({ type: failing ? "fail" : "work", delayMs: Math.floor(delayMs) });
    const item = this.#item(record, failing);
    this.#world.submit(record, () => {
      item.accepted = true;
      this.#acknowledged(failing ? "fail" : "work", record.id);
    });
  }

  #spawn(): void {
    const record = this.#record({ type: "spawn" });
    this.#parents.add(record.id);
    const items = [this.#item(record, false), this.#item(childOf(record), true, record.key)];
    this.#world.submit(record, () => {
      for (const item of items) item.accepted = true;
      this.#acknowledged("spawn", record.id);
    });
  }

  #submitOnce(): void {
    const { random, agenda } = this.#world;
    const key = `k${random.below(KEYS)}`;
    const idempotencyKey = `once-${random.below(ONCE_KEYS)}`;
    const name = `${key} ${idempotencyKey}`;
    if (this.#onceBusy.has(name)) return;
    this.#onceBusy.add(name);
    const record = this.#record({ type: "work", key, idempotencyKey });
    const item = this.#item(record, false);
    this.#world.submit(record, (outcome) => {
      this.#onceBusy.delete(name);
      const id = outcome.type === "refused" ? "" : outcome.id;
      item.accepted = id === item.id;
      this.#acknowledged("once", `${name}: ${id}`);
      const known = this.#once.get(name) ?? { ids: new Set(), at: Number.NEGATIVE_INFINITY };
      this.#once.set(name, known);
      if (known.ids.has(id)) return;
      if (known.at >= this.#away(key)) this.#world.fail(`V9: ${name} is ${id} now, was ${[...known.ids].join(" or ")}`);
      known.ids.add(id);
      known.at = agenda.now;
    });
  }

  #cancel(): void {
    const item = this.#pick((each) => each.cancel === "no" && !each.failing && !this.#parents.has(each.id));
    if (item === undefined) return;
    item.cancel = "asked";
    this.#ask(item.at, { type: "cancel", id: item.id }, (answer) => {
      if (answer.type === "task" && answer.status.state === "cancelled") this.#ended(item, "cancel");
    });
  }

  #letter(kind: "retry" | "drop"): void {
    const item = this.#pick((each) => each.failing && each.retry === "no" && each.drop === "no");
    if (item === undefined || (kind === "retry" && item.at !== item.key)) return;
    item[kind] = "asked";
    if (kind === "retry") item.healed = true;
    const type = kind === "retry" ? "retry-dead" : "drop-dead";
    this.#ask(item.at, { type, ids: [item.id] }, (answer) => {
      if (answer.type !== "count") return;
      if (answer.count === 0) item[kind] = "no";
      else if (kind === "drop") this.#ended(item, "drop");
      else {
        item.retry = "done";
        this.#acknowledged("retry", item.id);
      }
    });
  }

  #ended(item: Item, how: "cancel" | "drop"): void {
    item[how] = "done";
    item.endedAt = this.#world.agenda.now;
    this.#acknowledged(how, item.id);
  }

  #key(key: string, action: KeyAction): void {
    this.#turn(this.#paused.get(key)!, action === "pause", (answered) =>
      this.#ask(key, { type: "key", app: OPERATED_APP, key, action }, (answer) => {
        if (answer.type !== "key") return;
        this.#acknowledged(action, key);
        answered();
      }),
    );
  }

  #schedule(key: string, kind: ScheduleAction): void {
    const { exists, runs } = this.#schedules.get(key)!;
    const turn = (target: Switch, on: boolean, request: TaskRequest): void =>
      this.#turn(target, on, (answered) =>
        this.#ask(key, request, (answer) => {
          if (answer.type !== "ok") return;
          this.#acknowledged(kind, key);
          answered();
        }),
      );
    const at = { app: OPERATED_APP, key, name: "tick" } as const;
    if (kind === "put") {
      const every = { type: "interval", everyMs: TICK_MS } as const;
      const spec: ScheduleSpec = { name: "tick", every, taskType: "work", key, payload: NOTHING, misfire: "once" };
      // It runs from then on, whatever was said of one of that name before.
      if (exists.state !== "on" && runs.state === "on")
        turn(exists, true, { type: "put-schedule", app: OPERATED_APP, spec });
    } else if (kind === "delete") {
      if (runs.state === "on") turn(exists, false, { type: "schedule", ...at, action: "delete" });
    } else if (exists.state === "on")
      turn(runs, kind === "resume-schedule", {
        type: "schedule",
        ...at,
        action: kind === "resume-schedule" ? "resume" : "pause",
      });
  }

  #turn(target: Switch, on: boolean, ask: (answered: () => void) => void): void {
    const { agenda } = this.#world;
    if (agenda.now < target.notBefore) return;
    target.state = "unknown";
    target.notBefore = agenda.now + UNDER_WAY_MS;
    ask(() => {
      target.state = on ? "on" : "off";
      target.at = agenda.now;
      target.notBefore = 0;
    });
  }

  #acknowledged(kind: Action, of: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    this.#world.trace(`operator: ${kind} ${of} is acknowledged`);
  }

  // In the end, at rest.

  /** Everything is as it was acknowledged, and what waited ends. */
  check(): void {
    const keys = [...this.#paused].filter(([, { state }]) => state !== "unknown");
    const describe = (key: string): TaskRequest => ({ type: "key", app: OPERATED_APP, key, action: "describe" });
    this.#askAll(
      keys.map(([key, { state }]) => ({ key, request: describe(key), expected: state })),
      (answer, { key, expected }) => {
        const paused = answer.type === "key" ? (answer.key.paused ? "on" : "off") : answer.type;
        if (paused !== expected) this.#world.fail(`V8: pause of ${key} is ${paused}, acknowledged was ${expected}`);
      },
    );
    for (const paused of this.#paused.values()) paused.state = "off";
    const resume = (key: string): TaskRequest => ({ type: "key", app: OPERATED_APP, key, action: "resume" });
    this.#askAll(
      [...this.#paused.keys()].map((key) => ({ key, request: resume(key) })),
      () => undefined,
    );
    this.#world.agenda.runUntil(this.#world.agenda.now + END_MS);
    this.#checkSchedules();
    const tasks = [...this.#items.values()].filter(({ accepted }) => accepted);
    this.#askAll(
      tasks.map((item) => ({ key: item.at, request: { type: "get", id: item.id } as const, item })),
      (answer, { item }) => this.#checkItem(item, answer),
    );
  }

  #checkItem(item: Item, answer: TaskAnswer): void {
    const found = answer.type === "task" ? answer.status.state : answer.type === "refused" ? answer.code : answer.type;
    const expected = new Set<string>();
    const isUnknown = this.#unknownSince(item);
    if (item.cancel !== "no") for (const each of ["cancelled", "TASK_NOT_FOUND"]) expected.add(each);
    if (item.drop !== "no") expected.add("TASK_NOT_FOUND");
    if (item.failing && item.drop !== "done" && item.retry !== "done") expected.add("dead");
    if (item.drop !== "done" && (item.healed || !item.failing) && (item.cancel !== "done" || isUnknown))
      expected.add("done");
    if (!expected.has(found))
      this.#world.fail(`V10: ${item.id} is ${found}, expected ${[...expected].join(" or ")}: ${JSON.stringify(item)}`);
    if (found !== "done" || answer.type !== "task") return;
    const result = new TextDecoder().decode(answer.status.result);
    if (result !== item.id) this.#world.fail(`V10: the result of ${item.id} is "${result}"`);
  }

  #checkSchedules(): void {
    const { agenda } = this.#world;
    for (const [key, { exists, runs }] of this.#schedules) {
      if (exists.state === "unknown" || runs.state === "unknown") continue;
      const fires = agenda.now - (this.#started.get(key) ?? Number.NEGATIVE_INFINITY) < 3 * TICK_MS;
      const shall = exists.state === "on" && runs.state === "on";
      if (fires !== shall)
        this.#world.fail(
          `V11: the schedule of ${key} ${fires ? "fires" : "does not fire"}, exists ${exists.state}, runs ${runs.state}`,
        );
    }
  }

  #askAll<Asked extends { readonly key: string; readonly request: TaskRequest }>(
    list: readonly Asked[],
    answered: (answer: TaskAnswer, asked: Asked) => void,
  ): void {
    const open = new Set(list);
    for (let round = 0; round < ROUNDS && open.size > 0; round++) {
      for (const asked of open)
        this.#ask(asked.key, asked.request, (answer) => {
          if (answer.type === "refused" && answer.code !== "TASK_NOT_FOUND") return;
          if (open.delete(asked)) answered(answer, asked);
        });
      this.#world.agenda.runUntil(this.#world.agenda.now + DEADLINE_MS + 500);
    }
    for (const { request } of open) this.#world.fail(`nobody answers ${JSON.stringify(request)}`);
  }

  // Parts.

  #ask(key: string, request: TaskRequest, answered: (answer: TaskAnswer) => void): void {
    const partition = this.#partitionOf(key) as Partition;
    this.#world.ask({ type: "task", partition, request }, (answer) => {
      if (answer.type === "task") answered(answer.answer);
      else if (answer.type === "refused") answered(answer);
    });
  }

  #record(fields: { type: string; key?: string; delayMs?: number; idempotencyKey?: string }): TaskRecord {
    const { random, agenda } = this.#world;
    const key = fields.key ?? `k${random.below(KEYS)}`;
    const id = mintId({ wallMs: 1_700_000_000_000 + agenda.now, random, app: OPERATED_APP, key });
    const wire = encodeRecord({ app: OPERATED_APP, ...fields, key, id });
    const record = parseRecord(wire, 0, wire.length);
    if (isRefused(record)) throw new Error(record.detail);
    return record;
  }

  #item({ id, key }: Pick<Item, "id" | "key">, failing: boolean, at: string = key): Item {
    const none = { cancel: "no", drop: "no", retry: "no" } as const;
    const item: Item = { id, key, failing, at, accepted: false, healed: false, ...none, endedAt: 0 };
    this.#items.set(id, item);
    return item;
  }

  /** Of the newest accepted ones. */
  #pick(fits: (item: Item) => boolean): Item | undefined {
    const list = [...this.#items.values()].slice(-RECENT).filter((item) => item.accepted && fits(item));
    return list.length === 0 ? undefined : this.#world.random.pick(list);
  }

  /** Its end was acknowledged by an owner whose disk went away since. */
  #unknownSince(item: Item): boolean {
    return item.endedAt < this.#away(item.at);
  }

  #away(key: string): number {
    return this.#world.awaySince(this.#partitionOf(key));
  }

  #partitionOf(key: string): number {
    return partitionOfHash(hashKey(OPERATED_APP, key), this.#world.ringSize);
  }
}

const NOTHING = new Uint8Array();
const KEYS = 12;
const SCHEDULES = 5;
const ONCE_KEYS = 6;
const RECENT = 60;
const TICK_MS = 4_000;
const DEADLINE_MS = 5_000;
/** An unanswered question is answered or forgotten by then. */
const UNDER_WAY_MS = 60_000;
/** Tasks that waited for a paused key, and delays, are over by then. */
const END_MS = 60_000;
const ROUNDS = 4;
type Action = "work" | "fail" | "spawn" | "once" | "cancel" | "retry" | "drop" | KeyAction | ScheduleAction;
type KeyAction = "pause" | "resume";
type ScheduleAction = "put" | "delete" | "pause-schedule" | "resume-schedule";
/** As often as they stand here. */
const ACTIONS: readonly Action[] = [
  ...(["work", "work", "work", "fail", "fail", "spawn", "once", "once", "cancel", "cancel", "retry", "drop"] as const),
  ...(["pause", "resume", "resume", "put", "put", "delete", "pause-schedule", "resume-schedule"] as const),
];
