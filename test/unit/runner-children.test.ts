/** What handlers submit, and residents. */

import { describe, expect, test } from "vitest";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { defineApp, resident, type TaskHandler, task } from "../../services/app.ts";
import { acme, failureOf, resultOf } from "./runner-ends.ts";
import { attemptOf, harness } from "./runner-harness.ts";

describe("children", () => {
  const submitThrice: TaskHandler = (_t, ctx) => [
    ctx.submit("work", { key: "a", payload: { n: 1 } }),
    ctx.submit("work", { payload: "text", delayMs: 50, headers: { trace: "x" } }),
    ctx.submit("work", { idempotencyKey: "guid-1", payload: new Uint8Array([1]) }),
  ];

  test("P2: children have the same ids on every attempt, and their ids name their lanes", async () => {
    using h = harness([acme(submitThrice)]);
    h.runner.start([attemptOf({ attemptId: 1 }), attemptOf({ attemptId: 2, attempt: 2 })]);
    const first = await h.endOf(1);
    const second = await h.endOf(2);
    expect(first.children).toEqual(second.children);
    expect(resultOf(first)).toEqual(first.children.map(({ id }) => id));
    const records = first.children.map(({ wire }) => {
      const record = parseRecord(wire, 0, wire.length);
      if (isRefused(record)) throw new Error(record.detail);
      return record;
    });
    expect(records.map(({ key }) => key)).toEqual([
      "a",
      first.children[1]?.id.slice(0, 28),
      expect.stringMatching(/^[0-9a-f]{16}$/),
    ]);
    expect(records[1]).toMatchObject({ delayMs: 50, app: "acme", type: "work" });
    expect(new Set(first.children.map(({ id }) => id)).size).toBe(3);
  });

  test("a child's deadline of less than a millisecond is not none", async () => {
    using h = harness([acme((_t, ctx) => ctx.submit("work", { deadlineMs: 0.3, delayMs: 1.2 }))]);
    h.runner.start([attemptOf()]);
    const [child] = (await h.endOf(1)).children;
    expect(parseRecord(child!.wire, 0, child!.wire.length)).toMatchObject({ deadlineMs: 1, delayMs: 2 });
  });

  test("the same idempotency key in one attempt makes one child", async () => {
    using h = harness([
      acme((_t, ctx) => [
        ctx.submit("work", { idempotencyKey: "g" }),
        ctx.submit("work", { idempotencyKey: "g" }),
        ctx.submit("work", { idempotencyKey: "h" }),
      ]),
    ]);
    h.runner.start([attemptOf()]);
    const end = await h.endOf(1);
    expect(end.children).toHaveLength(2);
    const [a, b, c] = resultOf(end) as string[];
    expect(a).toBe(b);
    expect(c).not.toBe(a);
  });

  test("P1: an empty idempotency key is none: each child is its own", async () => {
    using h = harness([
      acme((_t, ctx) => [
        ctx.submit("work", { idempotencyKey: "", payload: "first" }),
        ctx.submit("work", { idempotencyKey: "", payload: "second" }),
        ctx.submit("work", { idempotencyKey: "", key: "a" }),
        ctx.submit("work", { idempotencyKey: "", key: "a" }),
      ]),
    ]);
    h.runner.start([attemptOf()]);
    const end = await h.endOf(1);
    expect(end.children).toHaveLength(4);
    expect(new Set(resultOf(end) as string[]).size).toBe(4);
  });

  test("a child of another app goes there; unknown types, bad names and oversize payloads are refused at the call", async () => {
    const refusals: unknown[] = [];
    using h = harness([
      acme((_t, ctx) => {
        ctx.submit("anything", { app: "elsewhere", key: "k" });
        const attempts: (() => string)[] = [
          () => ctx.submit("nope"),
          () => ctx.submit("work", { app: "Bad Name" }),
          () => ctx.submit("work", { payload: new Uint8Array(2 * 1024 * 1024) }),
          () => ctx.submit("work", { key: "k".repeat(600) }),
          () => ctx.submit("work", { priority: 1_000 }),
          () => ctx.submit("work", { delayMs: Number.NaN }),
        ];
        for (const attempt of attempts) {
          try {
            attempt();
          } catch (error) {
            refusals.push((error as { code: string }).code);
          }
        }
      }),
    ]);
    h.runner.start([attemptOf()]);
    expect((await h.endOf(1)).children).toHaveLength(1);
    expect(refusals).toEqual([
      "TASK_TYPE_UNKNOWN",
      "APP_NAME_INVALID",
      "PAYLOAD_TOO_LARGE",
      "INVALID_ARGUMENT",
      "INVALID_ARGUMENT",
      "INVALID_ARGUMENT",
    ]);
  });

  test("a key that is no string is refused as that, and not for an id that the handler never made", async () => {
    const refusals: unknown[] = [];
    using h = harness([
      acme((_t, ctx) => {
        for (const key of [5, null, ["a"]]) {
          try {
            ctx.submit("work", { key: key as never });
          } catch (error) {
            refusals.push((error as Error).message);
          }
        }
      }),
    ]);
    h.runner.start([attemptOf()]);
    await h.endOf(1);
    expect(refusals).toEqual(["5", "null", "a"].map((key) => `submit: key must be a string, not ${key}`));
  });

  test("P5: one attempt makes at most 10,000 children", async () => {
    using h = harness(
      [
        acme((_t, ctx) => {
          for (let at = 0; at <= 10_000; at++) ctx.submit("work", { key: "k" });
        }),
      ],
      { blockedMs: 60_000 },
    );
    h.runner.start([attemptOf()]);
    expect(failureOf(await h.endOf(1)).error.name).toBe("QUEUE_FULL");
  });
});

describe("residents", () => {
  const start = attemptOf({ record: { type: "rss", key: "rss" }, resident: "rss", timeoutMs: 0 });

  test("a resident runs until its signal aborts and then ends done", async () => {
    using h = harness([
      defineApp("acme", {
        residents: {
          rss: resident(async ({ signal, key, app }) => {
            await new Promise((resolve) => signal.addEventListener("abort", resolve));
            return `${app}/${key}`;
          }),
        },
      }),
    ]);
    h.runner.start([start]);
    await h.until(() => h.runner.runningCount === 1, "the resident");
    h.runner.abort(1, "handoff");
    expect(resultOf(await h.endOf(1))).toBe("acme/rss");
  });

  test("what a resident submits is sent at once through the host", async () => {
    const sent: string[] = [];
    using h = harness(
      [
        defineApp("acme", {
          tasks: { work: task(() => {}) },
          residents: { rss: resident(async (ctx) => ctx.submit("work", { key: "k" })) },
        }),
      ],
      {
        submit: async (child, app) => {
          sent.push(`${app} ${child.wire.length > 0}`);
          return child.id;
        },
      },
    );
    h.runner.start([start]);
    expect(resultOf(await h.endOf(1))).toMatch(/^[0-9a-f]{32}$/);
    expect(sent).toEqual(["acme true"]);
  });

  test("a resident that fails is told in the log with its error: nothing else keeps it", async () => {
    using h = harness([
      defineApp("acme", {
        tasks: { work: task(() => {}) },
        residents: {
          rss: resident(async () => {
            throw new Error("no feed");
          }),
        },
      }),
    ]);
    h.runner.start([start]);
    await h.endOf(1);
    expect(h.lines).toMatchObject([
      { level: "warn", fields: { app: "acme", type: "rss", error: { name: "Error", message: "no feed" } } },
    ]);
  });

  test("without a host that takes tasks the submit of a resident is refused", async () => {
    using h = harness([
      defineApp("acme", { tasks: { work: task(() => {}) }, residents: { rss: resident((ctx) => ctx.submit("work")) } }),
    ]);
    h.runner.start([start]);
    expect(failureOf(await h.endOf(1)).error.name).toBe("UNIMPLEMENTED");
  });
});
