/** What the ring starts by itself: schedules and residents. */

import { Cron } from "croner";
import { describe, expect, test, vi } from "vitest";
import { hashKey } from "../../ring/hash.ts";
import type { ScheduleSpec } from "../../ring/tasks/definition.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import { type Ticks, ticksOf } from "../../ring/tasks/ticks.ts";
import { catalogue, partitionOf, taskType, WALL_MS, World } from "../property/task-world.ts";
import { A, newest } from "./task-looks.ts";

describe("schedules", () => {
  const every = (everyMs: number, misfire: "once" | "skip" = "once") => ({
    name: "poll",
    every: { type: "interval" as const, everyMs },
    taskType: "plain",
    key: "feed",
    payload: Uint8Array.of(1),
    misfire,
  });

  test("fire once per tick, go on after a restart without repeating, and make up one missed firing (rule 19)", () => {
    const apps = catalogue({ names: ["a"], schedules: [every(1_000)] });
    const world = new World({ seed: 1, apps, limits: { endedIdsPerPartition: 1 } });
    world.onStart = (attempt) => expect(attempt.record.key).toBe("feed");
    const finish = (): void => {
      for (const attempt of [...world.running.values()]) world.done(attempt);
      world.sync();
    };
    for (let second = 0; second < 5; second++) {
      world.run(1_000);
      finish();
    }
    expect(world.started).toHaveLength(5);
    expect(new Set(world.started.map((attempt) => attempt.record.id)).size).toBe(5);
    // The last tick is known of itself, not because the id of its firing is.
    for (let other = 0; other < 2; other++) {
      world.submit(world.record({ app: "a", type: "work", key: "feed" }));
      world.sync();
      finish();
    }
    world.crash();
    world.run(1);
    expect(world.started).toHaveLength(7);
    world.run(999);
    finish();
    expect(world.started).toHaveLength(8);
    world.now += 10_500;
    world.wallMs += 10_500;
    world.crash();
    world.run(1);
    finish();
    expect(world.started).toHaveLength(9);
  });

  test("declared with other times by another version of its app, it fires none that lies before that", () => {
    let declared = [every(60_000)];
    const find = (app: string) => catalogue({ names: ["a"], schedules: declared }).find(app as never);
    const world = new World({ seed: 1, apps: { find, active: () => [A] } });
    const restart = (afterMs: number): void => {
      world.now += afterMs;
      world.wallMs += afterMs;
      world.crash();
      world.run(1);
    };
    world.run(60_000);
    expect(world.started).toHaveLength(1);
    world.done(newest(world));
    world.sync();
    declared = [every(7_000)];
    restart(30_000);
    expect(world.started).toHaveLength(1); // four of the new ticks have passed since it fired
    restart(7_000);
    expect(world.started).toHaveLength(2); // one since it was declared so, while the node was away
    world.done(newest(world));
    world.sync();
    restart(21_000);
    expect(world.started).toHaveLength(3);
  });

  test("a schedule that could not be followed or stored is refused", () => {
    const cron = { type: "cron" as const, expression: "30 2 * * *" };
    for (const wrong of [
      { every: { ...cron, timeZone: "Nowhere/Else" } },
      { every: { ...cron, expression: "0 0 30 2 *" } },
      { every: { ...cron, timeZone: "x".repeat(300) } },
      { taskType: "x".repeat(70_000) },
      { payload: new Uint8Array(1024 * 1024 + 1) },
    ]) {
      const world = new World({ seed: 1, apps: catalogue({ names: ["a"] }) });
      const spec: ScheduleSpec = { ...every(1_000), key: "n", ...wrong };
      expect(world.ask("a", "n", { type: "put-schedule", app: A, spec })).toMatchObject({ code: "INVALID_ARGUMENT" });
      world.crash();
      expect(world.ask("a", "n", { type: "list-schedules", limit: 10 })).toMatchObject({ schedules: [] });
    }
  });

  test("what a schedule is refused is told as it is of a task: there is no room now, or no such type here", () => {
    const limits = { schedulesPerApp: 2, queuedTasks: 1 };
    const types = [taskType("plain"), taskType("other")];
    const world = new World({
      seed: 1,
      apps: { find: (app) => catalogue({ names: ["a"], types }).find(app), active: () => [A] },
      limits,
    });
    const put = (spec: ScheduleSpec) => world.ask("a", "n", { type: "put-schedule", app: A, spec });
    const hourly = { ...every(3_600_000), key: "n" };
    const act = (name: string) => ({ type: "schedule", app: A, key: "n", name, action: "run" }) as const;
    expect(put(hourly)).toEqual({ type: "ok" });
    expect(put({ ...hourly, name: "another", taskType: "other" })).toEqual({ type: "ok" });
    expect(put({ ...hourly, name: "third" })).toMatchObject({ code: "QUEUE_FULL" });
    expect(world.ask("a", "n", act("poll"))).toEqual({ type: "ok" });
    world.run(1);
    expect(world.ask("a", "n", act("poll"))).toMatchObject({ code: "QUEUE_FULL" });
    types.pop();
    world.call((engine) => engine.appChanged(world.now, A));
    expect(world.ask("a", "n", act("another"))).toMatchObject({ code: "TASK_TYPE_UNKNOWN" });
  });

  test("firings coalesce while one waits or runs", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    world.run(7_300);
    expect(world.started).toHaveLength(1);
    world.done(newest(world));
    world.run(1);
    expect(world.started).toHaveLength(2);
    world.done(newest(world));
    world.run(100);
    expect(world.started).toHaveLength(2);
  });

  test("ticks are passed over while an older firing runs, also once its owner has started again", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000, "skip")] }) });
    world.run(5_300);
    expect(world.started).toHaveLength(1);
    world.crash();
    world.run(3_000);
    expect(world.started).toHaveLength(2); // the attempt that the crash cut off, again
    expect(world.engine.stats().queuedTasks).toBe(1);
    world.done(newest(world));
    world.run(1_000);
    expect(world.started).toHaveLength(3);
    expect(new Set(world.started.map((attempt) => attempt.record.id)).size).toBe(2);
  });

  test("a firing that has stepped out of its relaxed lane is known once its owner has started again", () => {
    const types = [taskType("loose", { order: "relaxed", backoff: { baseMs: 60_000, maxMs: 60_000 } })];
    const schedules = [{ ...every(1_000, "skip"), taskType: "loose" }];
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], types, schedules }) });
    world.run(1_300);
    world.fail(newest(world));
    world.run(5_000);
    world.crash();
    world.run(5_000);
    expect(world.engine.stats().queuedTasks).toBe(1);
    world.run(60_000);
    expect(world.started.map(({ attempt }) => attempt)).toEqual([1, 2]);
    expect(new Set(world.started.map(({ record }) => record.id)).size).toBe(1);
  });

  test("a wall clock behind the last tick waits, and one far ahead fires once", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    world.run(3_000);
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    for (const attempt of [...world.running.values()]) world.done(attempt);
    world.sync();
    const before = world.started.length;
    world.wallMs -= 60_000;
    world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
    world.run(50_000);
    expect(world.started).toHaveLength(before);
    world.wallMs += 3_600_000;
    world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
    world.run(1);
    expect(world.started).toHaveLength(before + 1);
  });

  test("a clock far behind the last tick is told, and who resumes the schedule makes it go on from now", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    const list = () => world.ask("a", "feed", { type: "list-schedules", limit: 1 });
    const clock = (ms: number): void => {
      world.wallMs += ms;
      world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
      world.run(1);
    };
    clock(5 * 3_600_000);
    expect(world.started).toHaveLength(1);
    world.done(newest(world));
    expect(list()).not.toMatchObject({ schedules: [{ waits: expect.anything() }] });
    clock(-5 * 3_600_000);
    expect(list()).toMatchObject({ schedules: [{ waits: "CLOCK_BEHIND" }] });
    world.run(60_000);
    expect(world.started).toHaveLength(1);
    world.ask("a", "feed", { type: "schedule", app: A, key: "feed", name: "poll", action: "resume" });
    world.crash();
    expect(list()).not.toMatchObject({ schedules: [{ waits: expect.anything() }] });
    world.run(1_000);
    expect(world.started).toHaveLength(2);
  });

  test.each(["resumes the schedule", "puts it with other times"])(
    "ticks that a wrong clock brought come again for who %s, each once",
    (what) => {
      const world = new World({ seed: 1, apps: catalogue({ names: ["a"] }) });
      const put = (everyMs: number) =>
        world.ask("a", "feed", { type: "put-schedule", app: A, spec: { ...every(everyMs), key: "feed" } });
      put(5_000);
      const clock = (ms: number): void => {
        world.wallMs += ms;
        world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
        world.run(1);
      };
      const firings = (ticks: number): number => {
        const before = world.started.length;
        for (let tick = 0; tick < ticks; tick++) {
          world.run(10_000);
          for (const attempt of [...world.running.values()]) world.done(attempt);
          world.sync();
        }
        return world.started.length - before;
      };
      clock(120_000);
      firings(15);
      clock(-120_000);
      if (what === "puts it with other times") put(10_000);
      else world.ask("a", "feed", { type: "schedule", app: A, key: "feed", name: "poll", action: "resume" });
      expect(firings(8)).toBe(8);
      world.crash();
      expect(firings(8)).toBe(8);
      expect(new Set(world.started.map(({ record }) => record.id)).size).toBe(world.started.length);
    },
  );

  test("a clock a little behind the last tick repeats none when the schedule is resumed", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [every(1_000)] }) });
    world.run(1_000);
    world.done(newest(world));
    const list = () => world.ask("a", "feed", { type: "list-schedules", limit: 1 });
    world.wallMs -= 30_000;
    world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
    const before = list();
    world.ask("a", "feed", { type: "schedule", app: A, key: "feed", name: "poll", action: "resume" });
    expect(list()).toEqual(before);
  });

  describe("put again", () => {
    const hourly = { ...every(3_600_000), key: "feed" };
    const put = (world: World, spec: ScheduleSpec) =>
      expect(world.ask("a", "feed", { type: "put-schedule", app: A, spec })).toEqual({ type: "ok" });
    const firstFiring = (): World => {
      const world = new World({ seed: 1, limits: { endedIdsPerPartition: 1 } });
      put(world, hourly);
      world.run(3_600_000);
      expect(world.started).toHaveLength(1);
      return world;
    };

    test.each([
      ["the same", 2, {}],
      ["with another payload", 2, { payload: Uint8Array.of(2) }],
      ["with other times", 1, { every: { type: "interval" as const, everyMs: 1_200_000 } }],
    ])("%s, while a tick waits for the firing that runs: fires %i times (rule 19)", (_what, times, more) => {
      const world = firstFiring();
      world.run(3_600_000);
      put(world, { ...hourly, ...more });
      world.crash();
      world.run(1);
      world.done(newest(world));
      world.run(1);
      expect(new Set(world.started.map(({ record }) => record.id)).size).toBe(times);
    });

    test("the same, where the clock is behind: no tick comes twice", () => {
      const world = firstFiring();
      const list = () => world.ask("a", "feed", { type: "list-schedules", limit: 1 });
      world.wallMs -= 3_600_000;
      world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
      const before = list();
      put(world, hourly);
      expect(list()).toEqual(before);
      world.done(newest(world));
      world.run(3_600_000);
      expect(new Set(world.started.map(({ record }) => record.id)).size).toBe(1);
    });
  });

  test("P4: a wall clock that is adjusted each second costs no search for the next tick of every cron", () => {
    const search = vi.spyOn(Cron.prototype, "nextRun");
    try {
      const nightly = { type: "cron" as const, expression: "30 2 * * *", timeZone: "Europe/Berlin" };
      const spec: ScheduleSpec = { ...every(1_000), every: nightly };
      const world = new World({ seed: 1, apps: catalogue({ names: ["a"], schedules: [spec] }) });
      world.run(1_000);
      const before = search.mock.calls.length;
      for (let second = 0; second < 100; second++) {
        world.wallMs += 0.25;
        world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
        world.run(1_000);
      }
      expect(search.mock.calls.length - before).toBeLessThanOrEqual(1);
      world.run(86_400_000);
      expect(world.started).toHaveLength(1);
    } finally {
      search.mockRestore();
    }
  });

  test("P4: a list of them, asked for again and again, costs no search for the next tick of each", () => {
    const search = vi.spyOn(Cron.prototype, "nextRun");
    try {
      const world = new World({ seed: 1, apps: catalogue({ names: ["a"] }) });
      for (let minute = 0; minute < 60; minute++) {
        const cron = { type: "cron" as const, expression: `${minute} * * * *` };
        const spec = { ...every(1_000), key: "n", name: `at-${minute}`, every: cron };
        world.ask("a", "n", { type: "put-schedule", app: A, spec });
      }
      const before = search.mock.calls.length;
      for (let turn = 0; turn < 10; turn++) {
        world.run(1);
        const listed = world.ask("a", "n", { type: "list-schedules", limit: 100 });
        expect(listed).toHaveProperty("schedules.length", 60);
        // It is 2023-11-14T22:13:20Z.
        expect(listed).toHaveProperty("schedules.0.nextFireAtMs", Date.UTC(2023, 10, 14, 23));
        expect(listed).toHaveProperty("schedules.20.nextFireAtMs", Date.UTC(2023, 10, 14, 22, 20));
      }
      expect(search.mock.calls.length).toBe(before);
    } finally {
      search.mockRestore();
    }
  });

  test("P4: hundreds of one cron expression, as those of the apps of a template, fire after one search for their ticks", () => {
    const searches = [vi.spyOn(Cron.prototype, "nextRun"), vi.spyOn(Cron.prototype, "previousRuns")];
    try {
      const names = Array.from({ length: 300 }, (_, index) => `t-${index}`);
      const nightly = { type: "cron" as const, expression: "45 3 * * *", timeZone: "Europe/Lisbon" };
      const schedules = [{ ...every(1_000), every: nightly }];
      const world = new World({ seed: 1, apps: catalogue({ names, schedules }) });
      world.run(86_400_000);
      expect(world.started).toHaveLength(300);
      expect(searches.reduce((sum, { mock }) => sum + mock.calls.length, 0)).toBeLessThan(10);
    } finally {
      for (const search of searches) search.mockRestore();
    }
  });

  test("one is found by its name behind as many as a list may have", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"] }) });
    for (const name of ["first", "second"])
      world.ask("a", "n", { type: "put-schedule", app: A, spec: { ...every(1_000), key: "n", name } });
    const listed = world.ask("a", "n", { type: "list-schedules", app: "a", name: "second", limit: 1 });
    expect(listed).toMatchObject({ schedules: [{ name: "second" }] });
  });

  test.each(["app", "task type"] as const)(
    "P4: one whose %s is gone costs nothing, and fires once it is back",
    (gone) => {
      const search = vi.spyOn(Cron.prototype, "previousRuns");
      try {
        const overrides = new Map<string, { existence?: "deleted" | "implied" }>();
        const types = [taskType("plain", { state: "none" })];
        const world = new World({
          seed: 1,
          apps: { find: (app) => catalogue({ names: ["a"], overrides, types }).find(app), active: () => [A] },
        });
        const minutely = { ...every(1_000), every: { type: "cron" as const, expression: "* * * * *" } };
        world.ask("a", "feed", { type: "put-schedule", app: A, spec: minutely });
        world.run(60_000);
        world.done(newest(world));
        const change = (is: "here" | "gone"): void => {
          if (gone === "app") overrides.set("a", { existence: is === "gone" ? "deleted" : "implied" });
          else types.splice(0, 1, taskType(is === "gone" ? "other" : "plain", { state: "none" }));
          world.call((engine) => engine.appChanged(world.now, A));
        };
        change("gone");
        const before = search.mock.calls.length;
        for (let minute = 0; minute < 60; minute++) {
          world.wallMs += 0.25; // adjusted, so that all schedules look again
          world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
          world.run(60_000);
        }
        expect(search.mock.calls.length).toBe(before);
        expect(world.started).toHaveLength(1);
        world.crash();
        world.run(60_000);
        expect(search.mock.calls.length).toBe(before);
        const list = () => world.ask("a", "feed", { type: "list-schedules", limit: 1 });
        expect(list()).toMatchObject({ schedules: [{ waits: gone === "app" ? "APP_NOT_HERE" : "TASK_TYPE_UNKNOWN" }] });
        change("here");
        expect(list()).not.toMatchObject({ schedules: [{ waits: expect.anything() }] });
        world.run(1);
        expect(world.started).toHaveLength(2);
      } finally {
        search.mockRestore();
      }
    },
  );

  test("P4: a firing that finds no room is tried again ever later, to a minute, also while the wall clock is adjusted each second", () => {
    const tries = vi.spyOn(Cron.prototype, "previousRuns");
    try {
      const hourly: ScheduleSpec = { ...every(1_000), every: { type: "cron", expression: "0 * * * *" } };
      const apps = catalogue({ names: ["a"], schedules: [hourly] });
      const world = new World({ seed: 1, apps, limits: { queuedTasks: 1 } });
      const other = world.record({ app: "a", type: "work", key: "k", delayMs: 86_400_000 });
      world.submit(other);
      world.run(3_600_000 - (world.wallMs % 3_600_000));
      const before = tries.mock.calls.length;
      expect(before).toBe(1);
      for (let second = 0; second < 600; second++) {
        world.wallMs += 0.25;
        world.call((engine) => engine.setWallOffset(world.wallMs - world.now));
        world.run(1_000);
      }
      expect(tries.mock.calls.length - before).toBe(14); // after 1, 2, 4, … 32 s more, then each minute
      world.ask("a", "k", { type: "cancel", id: other.id });
      world.run(60_000);
      expect(world.started.map(({ record }) => record.key)).toEqual(["feed"]);
    } finally {
      tries.mockRestore();
    }
  });

  test.each(["once", "skip"] as const)(
    "a firing that finds no room waits no longer than to the next tick, which is tried anyway (%s)",
    (misfire) => {
      const apps = catalogue({ names: ["a"], schedules: [every(4_000, misfire)] });
      const world = new World({ seed: 1, apps, limits: { queuedTasks: 1 } });
      const other = world.record({ app: "a", type: "work", key: "k", delayMs: 86_400_000 });
      world.submit(other);
      world.run(600_000);
      expect(world.started).toEqual([]);
      world.ask("a", "k", { type: "cancel", id: other.id });
      world.run(4_000);
      expect(world.started).toHaveLength(1);
    },
  );

  test("ticks of a cron expression that found no room make one firing, also when the last one has come this very moment", () => {
    const minutely: ScheduleSpec = { ...every(1_000), every: { type: "cron", expression: "* * * * *" } };
    const apps = catalogue({ names: ["a"], schedules: [minutely] });
    const world = new World({ seed: 1, apps, limits: { queuedTasks: 1 } });
    const other = world.record({ app: "a", type: "work", key: "k", delayMs: 86_400_000 });
    world.submit(other);
    world.run(60_000 - (world.wallMs % 60_000) + 40_000);
    world.ask("a", "k", { type: "cancel", id: other.id });
    world.run(20_000); // it is tried again with the next tick
    expect(world.wallMs % 60_000).toBe(0);
    expect(world.started).toHaveLength(1);
    world.done(newest(world));
    world.run(30_000);
    expect(world.started).toHaveLength(1);
  });

  test("with `skip` a tick that finds no room is soon tried again, however many were passed over before it", () => {
    const hourly = every(3_600_000, "skip");
    const world = new World({
      seed: 1,
      apps: catalogue({ names: ["a"], schedules: [hourly] }),
      limits: { queuedTasks: 1 },
    });
    const other = world.record({ app: "a", type: "work", key: "k", delayMs: 10 * 86_400_000 });
    world.submit(other);
    const ticks = ticksOf("a", hourly) as Ticks;
    world.run(ticks.next(world.wallMs)! - world.wallMs);
    for (let hour = 0; hour < 5; hour++) world.run(3_600_000);
    world.run(2_500);
    world.ask("a", "k", { type: "cancel", id: other.id });
    world.run(2_000);
    expect(world.started).toHaveLength(1);
    world.run(60_000);
    expect(world.started).toHaveLength(1);
  });

  test("cron without a time zone is in UTC, wherever its owner stands", () => {
    const zone = process.env.TZ;
    process.env.TZ = "Asia/Tokyo";
    try {
      const every = { type: "cron", expression: "30 2 * * *" } as const;
      const spec = { name: "nightly", key: "k", taskType: "plain", every, payload: new Uint8Array(0), misfire: "once" };
      const ticks = ticksOf("a", spec as ScheduleSpec) as Ticks;
      expect(new Date(ticks.next(Date.UTC(2026, 0, 1))!).toISOString()).toBe("2026-01-01T02:30:00.000Z");
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });

  test("made at run time they are kept, listed, paused, run by hand and deleted; cron follows its time zone", () => {
    const world = new World({ seed: 1 });
    const spec = {
      name: "nightly",
      every: { type: "cron" as const, expression: "30 2 * * *", timeZone: "Europe/Berlin" },
      taskType: "plain",
      key: "n",
      payload: new Uint8Array(),
      misfire: "once" as const,
    };
    expect(world.ask("a", "n", { type: "put-schedule", app: A, spec })).toEqual({ type: "ok" });
    expect(
      world.ask("a", "n", {
        type: "put-schedule",
        app: A,
        spec: { ...spec, name: "bad", every: { type: "cron", expression: "61 * * * *" } },
      }),
    ).toMatchObject({ code: "INVALID_ARGUMENT" });
    world.crash();
    const listed = world.ask("a", "n", { type: "list-schedules", limit: 10 });
    expect(listed).toMatchObject({ schedules: [{ name: "nightly", declared: false, spec: "30 2 * * *" }] });
    // 2023-11-14T22:13:20Z: the next 02:30 in Berlin is 01:30 UTC.
    expect(listed.type === "schedules" && listed.schedules[0]?.nextFireAtMs).toBe(Date.UTC(2023, 10, 15, 1, 30));
    world.run(Date.UTC(2023, 10, 15, 1, 30) - WALL_MS);
    expect(world.started).toHaveLength(1);
    world.ask("a", "n", { type: "schedule", app: A, key: "n", name: "nightly", action: "pause" });
    world.done(newest(world));
    world.run(3 * 86_400_000);
    expect(world.started).toHaveLength(1);
    world.ask("a", "n", { type: "schedule", app: A, key: "n", name: "nightly", action: "run" });
    expect(world.started).toHaveLength(2);
    // Asked twice of one id: one task, while it runs, over a crash, and when it is done.
    world.done(newest(world));
    const taskId = mintId({ wallMs: WALL_MS + world.now, random: () => 0.5, app: A, key: "n" });
    const byHand = { type: "schedule", app: A, key: "n", name: "nightly", action: "run", taskId } as const;
    const firings = (): number => world.started.filter((attempt) => attempt.record.id === taskId).length;
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    world.run(10);
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    expect(firings()).toBe(1);
    world.crash();
    world.run(10);
    expect(firings()).toBe(2); // the attempt that the crash cut off, again
    world.done(newest(world));
    world.run(10);
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    world.run(10);
    world.crash();
    expect(world.ask("a", "n", byHand)).toEqual({ type: "ok" });
    world.run(10);
    expect(firings()).toBe(2);
    expect(
      world.ask("a", "n", { ...byHand, taskId: `${taskId.slice(0, 28)}${taskId.endsWith("0000") ? "0001" : "0000"}` }),
    ).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(world.ask("a", "n", { type: "schedule", app: A, key: "n", name: "nightly", action: "delete" })).toEqual({
      type: "ok",
    });
    world.crash();
    expect(world.ask("a", "n", { type: "list-schedules", limit: 10 })).toEqual({ type: "schedules", schedules: [] });
  });
});

describe("residents", () => {
  test("run at the owner, start again with delay, stop when the partition is held", () => {
    const world = new World({ seed: 1, apps: catalogue({ names: ["a"], residents: ["rss"] }) });
    const partition = partitionOf(hashKey("a", "rss"));
    expect(world.started).toHaveLength(1);
    expect(newest(world)).toMatchObject({ resident: "rss", partition, record: { app: "a", key: "rss" } });
    world.fail(newest(world));
    expect(world.started).toHaveLength(1);
    world.run(100);
    expect(world.started).toHaveLength(2);
    world.call((engine) => engine.hold(world.now, partition));
    expect(world.aborted).toMatchObject([{ reason: "handoff" }]);
    expect(world.engine.inFlight(partition)).toHaveLength(1);
    world.done(newest(world));
    expect(world.engine.inFlight(partition)).toHaveLength(0);
    world.run(60_000);
    expect(world.started).toHaveLength(2);
    world.call((engine) => engine.release(world.now, partition));
    world.run(100);
    expect(world.started).toHaveLength(3);
    expect(newest(world).fence > world.started[1]!.fence).toBe(true);
  });
});
