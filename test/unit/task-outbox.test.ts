/** Children that do not reach their owners: who is held back by them, what they cost in memory, and that it goes on. */

import { describe, expect, test } from "vitest";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import type { EngineLimits } from "../../ring/tasks/limits.ts";
import type { Attempt, Child, TaskRecord, TaskStatus } from "../../ring/tasks/task.ts";
import { deriveId } from "../../ring/tasks/task-id.ts";
import { catalogue, partitionOf, taskType, World, type WorldOptions } from "../property/task-world.ts";

/** The children of a world's tasks go to itself, as on a ring of one node. */
class Alone {
  readonly world: World;
  readonly #tokens: Map<number, { readonly partition: number; readonly outboxId: number }> = new Map();

  constructor(options: Omit<WorldOptions, "seed">) {
    this.world = new World({ seed: 1, ...options });
  }

  submit(app: string, key: string): TaskRecord {
    const record = this.world.record({ app, type: "work", key });
    this.world.submit(record);
    this.carry();
    return record;
  }

  /** Until nothing moves at this instant. */
  carry(): void {
    const { world } = this;
    do {
      world.sync();
      for (const child of world.outbox.splice(0)) this.#tokens.set(world.submit(child.record, "child"), child);
      world.sync();
      for (const [token, { partition, outboxId }] of this.#tokens) {
        const outcome = world.outcomes.get(token);
        if (outcome === undefined) continue;
        this.#tokens.delete(token);
        world.call((engine) => engine.childSent(world.now, partition as never, outboxId, outcome));
      }
    } while (world.outbox.length > 0 || world.unsynced.length > 0 || world.reads.length > 0);
  }

  /** Ends what runs, again and again, while time passes from deadline to deadline. */
  work(ms: number, end: (attempt: Attempt) => void): void {
    const { world } = this;
    for (const until = world.now + ms; world.now < until; ) {
      for (const attempt of [...world.running.values()]) end(attempt);
      this.carry();
      if (world.running.size > 0) continue;
      const next = world.engine.nextDeadline() ?? until;
      world.advance(Math.max(1, Math.min(next, until) - world.now));
      this.carry();
    }
  }

  statusOf(record: TaskRecord): TaskStatus {
    const answer = this.world.request(record.app, record.key, { type: "get", id: record.id });
    if (answer?.type !== "task") throw new Error(`no status but ${JSON.stringify(answer)}`);
    return answer.status;
  }
}

function children(
  world: World,
  of: Attempt,
  count: number,
  fields: { app?: string; payloadBytes?: number } = {},
): Child[] {
  return Array.from({ length: count }, (_, index) => {
    const { app = of.record.app } = fields;
    const key = `${of.record.key}-${index}`;
    const id = deriveId({ app, key, seed: `${of.record.id} ${index}` });
    const payload = new Uint8Array(fields.payloadBytes ?? 0);
    return { id, wire: world.record({ app, type: "work", key, id, payload }).wire };
  });
}

/** A tree: each task has `fan` children, down to `depth` below the first. */
function branch(world: World, fan: number, depth: number): (attempt: Attempt) => void {
  return (attempt) => {
    const deep = attempt.record.app === "a" && attempt.record.key.split("-").length - 1 < depth;
    world.done(attempt, deep ? { children: children(world, attempt, fan) } : {});
  };
}

const SMALL: Partial<EngineLimits> = { outboxPerApp: 20, outboxTasks: 100 };

test("P8: children that wait to reach their owners are counted, also when nothing else of their app is left", () => {
  const world = new World({ seed: 1, apps: catalogue() });
  world.submit(world.record({ app: "a", type: "work", key: "parent" }));
  world.sync();
  const [parent] = world.running.values();
  world.done(parent!, { children: children(world, parent!, 2) });
  world.sync();
  expect(world.engine.appViews(9)).toMatchObject([{ app: "a", queued: 0, running: 0, children: 2 }]);
  expect(world.engine.stats().outbox).toBe(2);
  for (const child of world.outbox.splice(0)) {
    const accepted = { type: "accepted", id: child.record.id } as const;
    world.call((engine) => engine.childSent(world.now, child.partition as never, child.outboxId, accepted));
  }
  expect(world.engine.appViews(9)).toEqual([]);
  expect(world.engine.stats().outbox).toBe(0);
});

describe("an app whose children fill its own queue", () => {
  test("P4: goes on, while another app does not notice", () => {
    const of = new Alone({ apps: catalogue({ limits: { queued: 10 } }), limits: { ...SMALL, outboxPerApp: 200 } });
    for (let seed = 0; seed < 8; seed++) of.submit("a", `s${seed}`);
    of.work(60_000, branch(of.world, 5, 2)); // 8 + 40 + 200, through a queue of 20
    expect(of.world.events.filter(({ outcome }) => outcome === "done")).toHaveLength(248);
    expect(of.world.engine.stats()).toMatchObject({ queuedTasks: 0, outbox: 0, outboxKeptBytes: 0 });
  });

  test("P5: and that branch faster than they are worked off end in dead letters that say why, and what waits stays bounded", () => {
    const of = new Alone({ apps: catalogue({ limits: { queued: 10 } }), limits: SMALL });
    for (let seed = 0; seed < 8; seed++) of.submit("a", `s${seed}`);
    let most = 0;
    const grow = branch(of.world, 5, 4); // 6,248 in the whole tree, with room for 20 and 40
    of.work(3_600_000, (attempt) => {
      grow(attempt);
      most = Math.max(most, of.world.engine.stats().outbox);
    });
    expect(most).toBe(40);
    const late = of.submit("b", "late");
    expect(of.world.started.some((attempt) => attempt.record.id === late.id)).toBe(true);
    of.work(36_000_000, grow);
    expect(of.world.engine.stats()).toMatchObject({ queuedTasks: 0, outbox: 0 });
    const dead = of.world.ask("a", "s0", { type: "list-dead", limit: 1_000 });
    const all = [...of.world.events].filter(({ outcome }) => outcome === "dead").length;
    expect(all).toBeGreaterThan(0);
    expect(dead.type === "tasks" && dead.statuses.every(({ error }) => error?.name === "OUTBOX_FULL")).toBe(true);
  });
});

describe("an app whose children another does not take", () => {
  const overrides = new Map<string, Partial<AppOverride>>([["c", { paused: true }]]);

  function stuck(limits: Partial<EngineLimits> = SMALL): Alone {
    const apps = catalogue({ overrides, appLimits: new Map([["c", { queued: 5 }]]), types: [taskType("work")] });
    const of = new Alone({ apps, limits });
    for (let parent = 0; parent < 6; parent++) {
      of.submit("a", `p${parent}`);
      for (const attempt of [...of.world.running.values()])
        of.world.done(attempt, { children: children(of.world, attempt, 5, { app: "c" }) });
      of.carry();
    }
    return of;
  }

  test("P4: is held back alone; P8: and says so", () => {
    const of = stuck();
    const held = of.submit("a", "held");
    const other = of.submit("b", "other");
    expect(of.statusOf(held)).toMatchObject({ state: "queued", waits: "OUTBOX_FULL" });
    expect(of.statusOf(other)).toMatchObject({ state: "running" });
    expect(of.world.engine.view(partitionOf(held.hash))?.runnable).toBe(
      partitionOf(other.hash) === partitionOf(held.hash),
    );
    overrides.set("c", { paused: false });
    of.world.call((engine) => engine.appChanged(of.world.now, undefined));
    of.work(60_000, (attempt) => of.world.done(attempt));
    expect(of.statusOf(held)).toMatchObject({ state: "done" });
    overrides.set("c", { paused: true });
  });

  test("P4: a total at its limit holds back who has most, never who has few or none", () => {
    const of = stuck({ outboxPerApp: 1_000, outboxTasks: 20 });
    const few = of.submit("b", "few");
    of.world.done([...of.world.running.values()].at(-1)!, {
      children: children(of.world, of.world.started.at(-1)!, 2, { app: "c" }),
    });
    of.carry();
    expect(of.statusOf(few)).toMatchObject({ state: "done" });
    expect(of.statusOf(of.submit("b", "again"))).toMatchObject({ state: "running" });
    expect(of.statusOf(of.submit("a", "held"))).toMatchObject({ waits: "OUTBOX_FULL" });
  });
});

test("P4: all apps that the last child to leave held back go on in that step, however many they are", () => {
  const names = Array.from({ length: 40 }, (_, index) => `app-${index}`);
  const of = new Alone({ apps: catalogue({ names }), limits: { outboxTasks: names.length } });
  const { world } = of;
  for (const app of names) world.submit(world.record({ app, type: "work", key: "parent" }));
  world.sync();
  for (const attempt of [...world.running.values()])
    world.done(attempt, { children: children(world, attempt, 1, { app: "app-0" }) });
  world.sync(); // none of the children arrives
  for (const app of names) world.submit(world.record({ app, type: "work", key: "next" }));
  world.sync();
  expect(world.running.size).toBe(0);
  const [child] = world.outbox;
  world.call((engine) =>
    engine.childSent(world.now, child!.partition, child!.outboxId, { type: "accepted", id: child!.record.id }),
  );
  expect(new Set([...world.running.values()].map(({ record }) => record.app))).toEqual(new Set(names));
});

describe("children with large payloads", () => {
  const KEPT = 256 * 1024;

  /** 60 tasks of app a, each with ten children of 16 KiB for app c, which takes `queued` of them. */
  function large(queued: number, limits: Partial<EngineLimits>): Alone {
    const of = new Alone({
      apps: catalogue({ appLimits: new Map([["c", { queued, running: 4 }]]) }),
      limits: { outboxKeptBytes: KEPT, ...limits },
    });
    for (let parent = 0; parent < 60; parent++) of.submit("a", `p${parent}`);
    return of;
  }

  test("P5: are in memory only as far as there is room, those under way included, and each arrives once", () => {
    const of = large(5, {});
    let most = 0;
    const kept = (): void => {
      most = Math.max(most, of.world.engine.stats().outboxKeptBytes);
    };
    const seen = new Map<string, number>();
    of.world.onStart = ({ record }) => {
      kept();
      if (record.app === "c") seen.set(record.id, record.payloadBytes);
    };
    of.world.onSync = kept;
    of.work(3_600_000, (attempt) => {
      if (attempt.record.app === "c") of.world.done(attempt);
      else of.world.done(attempt, { children: children(of.world, attempt, 10, { app: "c", payloadBytes: 16 * 1024 }) });
    });
    expect(seen.size).toBe(600);
    expect(new Set(seen.values())).toEqual(new Set([16 * 1024]));
    expect(of.world.engine.stats()).toMatchObject({ outbox: 0, outboxKeptBytes: 0, queuedTasks: 0 });
    expect(most).toBeGreaterThan(KEPT / 4);
    expect(most).toBeLessThanOrEqual(KEPT);
  });

  test("P5: are bounded in bytes by app, and are not copied back to memory by a restart", () => {
    const of = large(5, { outboxBytesPerApp: 1024 * 1024 });
    of.work(10_000, (attempt) => {
      if (attempt.record.app !== "c")
        of.world.done(attempt, { children: children(of.world, attempt, 10, { app: "c", payloadBytes: 16 * 1024 }) });
      else of.world.done(attempt);
      if (of.world.engine.stats().outbox > 50) of.world.running.clear();
    });
    const { outbox } = of.world.engine.stats();
    expect(outbox).toBeGreaterThan(50);
    expect(outbox).toBeLessThanOrEqual(128);
    of.world.crash();
    expect(of.world.engine.stats().outbox).toBe(outbox);
    expect(of.world.engine.stats().outboxKeptBytes).toBeLessThanOrEqual(KEPT);
    of.world.crash("none");
    for (let partition = 0; partition < 8; partition++)
      of.world.call((engine) => engine.close(of.world.now, partition as never));
    expect(of.world.engine.stats()).toMatchObject({ outbox: 0, outboxKeptBytes: 0 });
  });
});

test("P4: children of all apps are sent in turn, so that one with many does not keep another's", () => {
  const world = new World({ seed: 1, limits: { outboxInFlight: 10 } });
  for (const app of ["a", "b"]) world.submit(world.record({ app, type: "work", key: app }));
  world.sync();
  for (const attempt of [...world.started])
    world.done(attempt, { children: children(world, attempt, attempt.record.app === "a" ? 100 : 10) });
  world.sync();
  expect(world.outbox.map(({ record }) => record.app).join("")).toBe("ababababa");
});
