import { describe, expect, test } from "vitest";
import type { AppName } from "../../ring/ids.ts";
import type { AppOverride } from "../../ring/tasks/definition.ts";
import { type AppOptions, defineApp, resident, task } from "../../services/app.ts";
import { Catalogue } from "../../services/apps/catalogue.ts";
import { parseLimits } from "../../services/apps/definition.ts";
import { isApp } from "../../services/apps/shapes.ts";

const work = task(() => {});
const name = (text: string) => text as AppName;

describe("defineApp", () => {
  test("an app with nothing said gets every default", () => {
    const app = defineApp("acme", { tasks: { work }, residents: { rss: resident(() => {}) } });
    expect(isApp(app)).toBe(true);
    expect(app.definition).toMatchObject({
      match: "acme",
      version: "0",
      limits: { queued: 100_000, running: 64, perSecond: 0, weight: 1 },
    });
    expect(app.definition.types.get("work")).toEqual({
      name: "work",
      concurrency: 64,
      attempts: 5,
      backoff: { baseMs: 500, maxMs: 60_000 },
      timeoutMs: 30_000,
      order: "strict",
      state: "detect",
      onAway: "wait",
    });
    expect(app.definition.residents.get("rss")).toEqual({ name: "rss", backoff: { baseMs: 500, maxMs: 60_000 } });
  });

  test("schedules become specs with their defaults", () => {
    const app = defineApp("acme", {
      tasks: { work },
      schedules: {
        poll: { everyMs: 60_000, task: "work" },
        nightly: {
          cron: "0 3 * * *",
          timeZone: "Europe/Berlin",
          task: "work",
          key: "k",
          payload: { a: 1 },
          misfire: "skip",
        },
      },
    });
    expect(app.definition.schedules.get("poll")).toEqual({
      name: "poll",
      every: { type: "interval", everyMs: 60_000 },
      taskType: "work",
      key: "poll",
      payload: new Uint8Array(0),
      misfire: "once",
    });
    expect(app.definition.schedules.get("nightly")).toEqual({
      name: "nightly",
      every: { type: "cron", expression: "0 3 * * *", timeZone: "Europe/Berlin" },
      taskType: "work",
      key: "k",
      payload: new TextEncoder().encode('{"a":1}'),
      misfire: "skip",
    });
  });

  const withTask = (options: object) => ({ tasks: { "mail.send": task(() => {}, options) } });
  const WRONG: readonly (readonly [string, unknown, unknown, RegExp])[] = [
    ["a bad name", "Acme", {}, /^name: "Acme"/],
    ["a template without match", "event-*", {}, /written \{ match: "event-\*" \}/],
    ["a bad template", { match: "a*b" }, {}, /^match: "a\*b"/],
    ["no name at all", 7, {}, /^name must be/],
    ["no options", "acme", undefined, /options must be an object/],
    ["an unknown option", "acme", { task: {} }, /task is unknown; known: version, tasks/],
    ["an unknown task option", "acme", withTask({ timeout: 5 }), /tasks\["mail.send"\]\.timeout is unknown/],
    ["a timeout of 0", "acme", withTask({ timeoutMs: 0 }), /tasks\["mail.send"\]\.timeoutMs must be 1 to/],
    ["a fraction of an attempt", "acme", withTask({ attempts: 1.5 }), /attempts must be a whole number/],
    ["a text for a number", "acme", withTask({ concurrency: "8" }), /concurrency must be 1 to 10000, not "8"/],
    ["not a number", "acme", withTask({ concurrency: Number.NaN }), /concurrency must be/],
    [
      "a back-off that shrinks",
      "acme",
      withTask({ backoff: { baseMs: 100, maxMs: 10 } }),
      /backoff\.maxMs \(10\) must be at least/,
    ],
    ["an unknown order", "acme", withTask({ order: "loose" }), /order must be one of strict, relaxed/],
    ["a bare function", "acme", { tasks: { work: () => {} } }, /tasks\["work"\] must be made by task/],
    ["a task as resident", "acme", { residents: { work } }, /residents\["work"\] must be made by resident/],
    ["a bad type name", "acme", { tasks: { "no spaces": work } }, /tasks\["no spaces"\]: the name must match/],
    [
      "a schedule of no task",
      "acme",
      { tasks: { work }, schedules: { s: { everyMs: 1_000, task: "nope" } } },
      /schedules\["s"\]\.task: "nope" is no task type/,
    ],
    [
      "a schedule of no time",
      "acme",
      { tasks: { work }, schedules: { s: { task: "work" } } },
      /needs either everyMs or cron/,
    ],
    [
      "a schedule too fast",
      "acme",
      { tasks: { work }, schedules: { s: { task: "work", everyMs: 1 } } },
      /everyMs must be 100 to/,
    ],
    [
      "a bad cron",
      "acme",
      { tasks: { work }, schedules: { s: { task: "work", cron: "every day" } } },
      /schedules\["s"\]\.cron: /,
    ],
    [
      "a cron that fits no day",
      "acme",
      { tasks: { work }, schedules: { s: { task: "work", cron: "0 0 30 2 *" } } },
      /schedules\["s"\]\.cron: the cron expression fits no day/,
    ],
    [
      "a bad time zone",
      "acme",
      { tasks: { work }, schedules: { s: { task: "work", cron: "* * * * *", timeZone: "Mars" } } },
      /timeZone: Mars is no/,
    ],
    [
      "a payload without JSON",
      "acme",
      { tasks: { work }, schedules: { s: { task: "work", everyMs: 1_000, payload: 1n } } },
      /schedules\["s"\]\.payload: /,
    ],
    [
      "a payload that no task may have",
      "a",
      { tasks: { work }, schedules: { s: { task: "work", everyMs: 1_000, payload: "x".repeat(1024 * 1024 + 1) } } },
      /schedules\["s"\]\.payload has 1048577 bytes, at most 1048576/,
    ],
    ["a negative limit", "acme", { limits: { queued: -1 } }, /limits\.queued must be/],
    ["an unknown limit", "acme", { limits: { speed: 1 } }, /limits\.speed is unknown/],
    ["a version that is no text", "acme", { version: 3 }, /version must be a string/],
    ["pipelines", "acme", { pipelines: [{}] }, /pipelines\[0\] must be made by pipeline\(\)/],
  ];
  for (const [what, given, options, message] of WRONG) {
    test(`${what} is refused with the field named`, () => {
      expect(() => defineApp(given as string, options as AppOptions)).toThrow(message);
    });
  }

  test("limits that an operator sets are held to the same ranges", () => {
    expect(parseLimits({ running: 2 })).toEqual({ queued: 100_000, running: 2, perSecond: 0, weight: 1 });
    expect(() => parseLimits({ weight: 0 })).toThrow(/limits\.weight/);
  });
});

describe("Catalogue", () => {
  const exact = defineApp("event-sale", { tasks: { work }, version: "1" });
  const short = defineApp({ match: "e*" }, { tasks: { work } });
  const long = defineApp({ match: "event-*" }, { tasks: { work }, version: "2" });
  const override = (app: string, version: number, fields: Partial<AppOverride> = {}): AppOverride => ({
    app: name(app),
    version,
    existence: "implied",
    paused: false,
    limits: {},
    ...fields,
  });

  test("an exact name wins over templates and the longest prefix over shorter ones", () => {
    const catalogue = new Catalogue([short, exact, long]);
    expect(catalogue.find(name("event-sale"))?.definition).toBe(exact.definition);
    expect(catalogue.find(name("event-42"))?.definition).toBe(long.definition);
    expect(catalogue.find(name("else"))?.definition).toBe(short.definition);
    expect(catalogue.find(name("acme"))).toBeUndefined();
    expect(catalogue.presence()).toEqual([
      { match: "e*", version: "0" },
      { match: "event-*", version: "2" },
      { match: "event-sale", version: "1" },
    ]);
  });

  test("the same app twice is refused", () => {
    expect(() => new Catalogue([exact, exact])).toThrow(/"event-sale" is defined twice/);
  });

  test("the override with the highest version wins in whatever order they arrive", () => {
    const catalogue = new Catalogue([long]);
    expect(catalogue.override(override("event-1", 2, { paused: true }))).toBe(true);
    expect(catalogue.override(override("event-1", 1))).toBe(false);
    expect(catalogue.override(override("event-1", 2))).toBe(false);
    expect(catalogue.find(name("event-1"))?.override?.paused).toBe(true);
    expect(catalogue.override(override("event-1", 3, { existence: "deleted" }))).toBe(true);
    expect(catalogue.find(name("event-1"))).toBeUndefined();
    expect(catalogue.override(override("event-1", 4))).toBe(true);
    expect(catalogue.find(name("event-1"))).toBeDefined();
  });

  test("active apps are exact ones and created ones, not deleted or merely implied ones", () => {
    const catalogue = new Catalogue([exact, long]);
    expect([...catalogue.active()]).toEqual(["event-sale"]);
    catalogue.find(name("event-9"));
    catalogue.override(override("event-1", 1, { existence: "created" }));
    catalogue.override(override("event-2", 1, { paused: true }));
    catalogue.override(override("unknown", 1, { existence: "created" }));
    expect([...catalogue.active()]).toEqual(["event-sale", "event-1"]);
    catalogue.override(override("event-sale", 1, { existence: "deleted" }));
    expect([...catalogue.active()]).toEqual(["event-1"]);
  });

  test("P5: names that were asked for once do not stay in memory without limit, nor do overrides", () => {
    const catalogue = new Catalogue([long], { cached: 10, overrides: 2 });
    const first = catalogue.find(name("event-0"));
    expect(catalogue.find(name("event-0"))).toBe(first);
    for (let at = 0; at < 1_000; at++) expect(catalogue.find(name(`event-${at}`))).toBeDefined();
    expect(catalogue.find(name("event-0"))).not.toBe(first);
    catalogue.override(override("event-1", 1));
    catalogue.override(override("event-2", 1));
    expect(() => catalogue.override(override("event-3", 1))).toThrow(/at most 2 apps/);
    expect(catalogue.override(override("event-2", 2))).toBe(true);
  });
});
