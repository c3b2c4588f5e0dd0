/**
 * Random runs of the task engine against a model: submits, ends, failures, retries, cancels, pauses, holds, time, and crashes
 * that lose what was not synced. The faults that each check was seen to catch are in `test/mutants/tasks.json`.
 */

import { describe, expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import { KIND, readKeyed } from "../../ring/tasks/rows.ts";
import type { Attempt, TaskRecord } from "../../ring/tasks/task.ts";
import { deriveId } from "../../ring/tasks/task-id.ts";
import { partitionOf, World } from "./task-world.ts";

interface Modelled {
  readonly id: string;
  readonly lane: string;
  readonly type: string;
  readonly order: number;
  readonly delayed: boolean;
  readonly token: number;
  readonly record: TaskRecord;
  /** The group its submit was written in. */
  readonly group: number;
  accepted: boolean;
  /** Ended in memory, durable from this group on. */
  finalGroup: number | undefined;
  final: "done" | "dead" | "cancelled" | undefined;
  durable: boolean;
  starts: number;
}

const SEEDS = 120;
/** `SEED=N` begins elsewhere, `SEED=random` anywhere; a failure names its seed. */
const FROM: number =
  process.env.SEED === "random" ? Math.floor(Math.random() * 2 ** 31) : Number(process.env.SEED ?? 1);
const STEPS = 250;

describe("the task engine under crashes", () => {
  test("P1: no acknowledged task is lost, P2: fences rise, P3: order per key and no overlap", () => {
    const seen = {
      crashes: 0,
      reruns: 0,
      dead: 0,
      cancelled: 0,
      done: 0,
      holds: 0,
      children: 0,
      retries: 0,
      delayed: 0,
      repeats: 0,
    };
    for (let seed = FROM; seed < FROM + SEEDS; seed++) {
      try {
        runSeed(seed, seen);
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
    }
    for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(10);
  });
});

function runSeed(seed: number, seen: Record<string, number>): void {
  const world = new World({
    seed,
    callsPerGroup: [1, 1, 2, 5, 20][seed % 5] as number,
    limits: { stateCacheBytes: seed % 3 === 0 ? 1_500 : 1_000_000, running: seed % 4 === 0 ? 3 : 1_024 },
  });
  const pick = (count: number): number => Math.floor(world.random() * count);
  const tasks = new Map<string, Modelled>();
  const lanes = new Map<string, Modelled[]>();
  const busy = new Map<string, number>();
  const fences = new Map<string, bigint>();
  let order = 0;

  const model = (record: TaskRecord, token: number): Modelled => {
    const lane = `${record.app}/${record.key}`;
    const task: Modelled = {
      id: record.id,
      lane,
      type: record.type,
      order: order++,
      delayed: record.delayMs > 0,
      token,
      record,
      group: world.group,
      accepted: false,
      finalGroup: undefined,
      final: undefined,
      durable: false,
      starts: 0,
    };
    tasks.set(record.id, task);
    lanes.set(lane, [...(lanes.get(lane) ?? []), task]);
    return task;
  };

  world.onStart = (attempt: Attempt): void => {
    const { record } = attempt;
    const task = tasks.get(record.id) ?? fail(`started ${record.id}, which nobody submitted`);
    const lane = `${record.app}/${record.key}`;
    if (!task.durable) fail(`E1: ${record.id} started before it was durable`);
    if (task.final !== undefined) fail(`${record.id} started after it was ${task.final}`);
    if (task.starts++ > 0) seen.reruns = (seen.reruns ?? 0) + 1;
    if (busy.has(lane)) fail(`E2: two attempts of ${lane} at once`);
    busy.set(lane, attempt.attemptId);
    const fence = fences.get(lane) ?? -1n;
    if (attempt.fence <= fence) fail(`P2: fence ${attempt.fence} after ${fence}`);
    fences.set(lane, attempt.fence);
    if (task.type === "loose" || task.delayed) return;
    for (const earlier of lanes.get(lane) ?? []) {
      if (earlier.order >= task.order) break;
      if (earlier.type === "loose" || earlier.delayed) continue;
      if (earlier.final === undefined)
        fail(`P3: ${task.order} of ${lane} started before ${earlier.order}, which has not ended`);
    }
  };

  const settle = (attempt: Attempt, final: Modelled["final"]): void => {
    busy.delete(`${attempt.record.app}/${attempt.record.key}`);
    const task = tasks.get(attempt.record.id);
    if (task === undefined || final === undefined) return;
    task.final = final;
    task.finalGroup = world.nextGroup;
  };

  const submit = (): void => {
    const app = ["a", "b", "c"][pick(3)] as string;
    const type = ["work", "work", "plain", "loose"][pick(4)] as string;
    const delayMs = pick(6) === 0 ? 1 + pick(3_000) : 0;
    const record = world.record({
      app,
      type,
      key: `k${pick(5)}`,
      payload: new Uint8Array(pick(40)),
      delayMs,
      priority: pick(3) - 1,
      maxAttempts: pick(3),
    });
    const token = world.submit(record);
    if (delayMs > 0) seen.delayed = (seen.delayed ?? 0) + 1;
    model(record, token);
  };

  /** A client whose answer was lost submits again, perhaps much later. */
  const again = (): void => {
    const task = [...tasks.values()][pick(tasks.size)];
    if (task === undefined) return;
    seen.repeats = (seen.repeats ?? 0) + 1;
    const token = world.submit(task.record);
    if (!world.outcomes.has(token)) sync();
    const outcome = world.outcomes.get(token);
    if (outcome?.type !== "duplicate")
      fail(`18: ${task.id} (${task.final ?? "not ended"}) was submitted again and is ${outcome?.type ?? "unanswered"}`);
    if (task.finalGroup === -1 && outcome.state !== task.final)
      fail(`18: ${task.id} is ${task.final}, and ${outcome.state} when it is submitted again`);
  };

  const end = (attempt: Attempt, healthy: boolean): void => {
    const luck = healthy ? 0 : pick(10);
    if (luck >= 8) {
      const most = attempt.record.maxAttempts || 5;
      settle(attempt, attempt.attempt >= most ? "dead" : undefined);
      if (attempt.attempt >= most) seen.dead = (seen.dead ?? 0) + 1;
      else seen.retries = (seen.retries ?? 0) + 1;
      world.fail(attempt);
      return;
    }
    settle(attempt, "done");
    seen.done = (seen.done ?? 0) + 1;
    const { record } = attempt;
    const count = (attempt.state.get("count")?.[0] ?? 0) + 1;
    const stateChanges = record.type === "work" ? [{ name: "count", value: Uint8Array.of(count & 0xff) }] : [];
    const children = [];
    if (!healthy && pick(12) === 0) {
      const key = `k${pick(5)}`;
      const id = deriveId({ app: record.app, key, seed: `${record.id}/0` });
      children.push({ id, wire: world.record({ app: record.app, type: "plain", key, id }).wire });
    }
    world.done(attempt, { stateChanges, children });
  };

  const deliver = (): void => {
    for (const child of world.outbox.splice(0)) {
      const known = tasks.get(child.record.id);
      const token = world.submit(child.record, "child");
      if (known === undefined) {
        seen.children = (seen.children ?? 0) + 1;
        model(child.record, token);
      }
      sync();
      const outcome = world.outcomes.get(token) ?? fail("a child has no outcome though all is durable");
      if (known?.durable === true && outcome.type !== "duplicate") fail("a child was accepted twice");
      world.call((engine) => engine.childSent(world.now, child.partition, child.outboxId, outcome));
    }
  };

  const durableUpTo = (group: number): void => {
    for (const task of tasks.values()) {
      if (task.group <= group) task.durable = true;
      if (task.finalGroup !== undefined && task.finalGroup <= group) task.finalGroup = -1;
    }
  };
  world.onSync = (): void => durableUpTo(world.group);
  const sync = (): void => {
    world.sync();
    for (const task of tasks.values()) if (world.outcomes.get(task.token)?.type === "accepted") task.accepted = true;
  };

  const crash = (): void => {
    seen.crashes = (seen.crashes ?? 0) + 1;
    busy.clear();
    for (const [id, task] of tasks) {
      if (!task.durable) {
        if (world.outcomes.has(task.token)) fail(`E1: ${id} was acknowledged before it was durable`);
        tasks.delete(id);
        lanes.set(
          task.lane,
          (lanes.get(task.lane) ?? []).filter((each) => each !== task),
        );
      } else if (task.final !== undefined && task.finalGroup !== -1) {
        task.final = undefined; // its end was not synced: it runs again
        task.finalGroup = undefined;
      }
    }
    if (world.random() < 0.3) world.generation++;
    world.crash();
  };

  for (let step = 0; step < STEPS; step++) {
    const dice = pick(100);
    const running = [...world.running.values()];
    if (dice < 3) again();
    else if (dice < 35) submit();
    else if (dice < 65 && running.length > 0) end(running[pick(running.length)] as Attempt, false);
    else if (dice < 74) sync();
    else if (dice < 82) {
      const group = world.synced + pick(Math.max(1, world.group - world.synced));
      durableUpTo(group);
      world.syncUpTo(group);
    } else if (dice < 85) world.answerReads();
    else if (dice < 90) world.advance(pick(400));
    else if (dice < 92) deliver();
    else if (dice < 94) cancel(world, tasks, pick, seen);
    else if (dice < 96) {
      seen.holds = (seen.holds ?? 0) + 1;
      const partition = partitionOf(pick(2 ** 32));
      world.call((engine) => engine.hold(world.now, partition));
      const before = world.started.length;
      submit();
      sync();
      for (const attempt of world.started.slice(before))
        if (attempt.partition === partition) fail("E3: a held partition started a task");
      world.call((engine) => engine.release(world.now, partition));
    } else if (dice < 98) {
      const app = ["a", "b", "c"][pick(3)] as AppName;
      world.request(app, "k1", { type: "key", app, key: "k1", action: pick(2) === 0 ? "pause" : "resume" });
    } else crash();
    for (const event of world.events.splice(0)) {
      const task = tasks.get(event.id);
      if (event.outcome !== "retry" && task?.finalGroup !== -1)
        fail(`E1: the end of ${event.id} was told before it was durable`);
    }
  }

  // Faults stop: everything acknowledged must come to an end.
  for (const app of ["a", "b", "c"] as AppName[])
    world.ask(app, "k1", { type: "key", app, key: "k1", action: "resume" });
  for (let turn = 0; turn < 5_000; turn++) {
    sync();
    deliver();
    const running = [...world.running.values()];
    for (const attempt of running) end(attempt, true);
    if (running.length > 0) continue;
    const next = world.engine.nextDeadline();
    const left = [...tasks.values()].some((task) => task.final === undefined);
    if (!left && world.outbox.length === 0) break;
    world.advance(Math.max(0, (next ?? world.now + 100) - world.now));
  }
  sync();
  const doneWork = new Map<string, number>();
  for (const task of tasks.values()) {
    if (task.final === undefined)
      fail(`P1: ${task.accepted ? "acknowledged" : "durable"} task ${task.id} (${task.type}) never ended`);
    if (task.final === "done" && task.type === "work") doneWork.set(task.lane, (doneWork.get(task.lane) ?? 0) + 1);
  }
  for (let partition = 0; partition < 8; partition++) {
    for (const row of world.partitionRows(partition)) {
      if (row.key[0] === KIND.task || row.key[0] === KIND.outbox) fail("a task's row outlived its task");
      if (row.key[0] !== KIND.state) continue;
      const { app, key } = readKeyed(row.key);
      const count = (doneWork.get(`${app}/${key}`) ?? 0) & 0xff;
      if (row.value[0] !== count) fail(`the state of ${app}/${key} counts ${row.value[0]}, ${count} tasks are done`);
      doneWork.delete(`${app}/${key}`);
    }
    const view = world.engine.view(partition as never);
    if (view?.queued !== 0 || view.running !== 0 || view.delayed !== 0)
      fail(`partition ${partition} still counts ${JSON.stringify(view)}`);
  }
  if (doneWork.size > 0) fail(`state was lost of ${[...doneWork.keys()].join(" ")}`);
}

function cancel(
  world: World,
  tasks: Map<string, Modelled>,
  pick: (count: number) => number,
  seen: Record<string, number>,
): void {
  const waiting = [...tasks.values()].filter(
    (task) => task.final === undefined && ![...world.running.values()].some((attempt) => attempt.record.id === task.id),
  );
  const task = waiting[pick(Math.max(1, waiting.length))];
  if (task === undefined) return;
  const [app, key] = task.lane.split("/") as [string, string];
  seen.cancelled = (seen.cancelled ?? 0) + 1;
  task.final = "cancelled";
  task.finalGroup = world.nextGroup;
  world.request(app, key, { type: "cancel", id: task.id });
}

function fail(message: string): never {
  throw new Error(message);
}
