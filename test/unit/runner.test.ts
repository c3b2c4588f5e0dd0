/** The runner of handlers: what they see, how attempts end and are aborted, and the event loop's turns. */

import { describe, expect, test } from "vitest";
import type { Attempt } from "../../ring/tasks/task.ts";
import { defineApp, PermanentError, RetryLater, type TaskContext, task } from "../../services/app.ts";
import { acme, failureOf, resultOf } from "./runner-ends.ts";
import { attemptOf, harness } from "./runner-harness.ts";

describe("what a handler sees", () => {
  test("the task and the context carry the names, payload, headers, fence and attempt", async () => {
    let seen: unknown;
    using h = harness([
      acme((t, ctx) => {
        seen = [
          t.id.length,
          t.app,
          t.type,
          t.key,
          t.attempt,
          t.json(),
          t.headers.get("trace"),
          ctx.app,
          ctx.key,
          ctx.attempt,
          ctx.token.fence,
        ];
      }),
    ]);
    const record = { payload: new TextEncoder().encode('{"a":1}'), headers: new Map([["trace", "00-1"]]) };
    h.runner.start([attemptOf({ attempt: 3, record })]);
    await h.endOf(1);
    expect(seen).toEqual([32, "acme", "work", "k", 3, { a: 1 }, "00-1", "acme", "k", 3, 7n]);
  });

  test("a payload that is not JSON fails the task for good when it is read as JSON", async () => {
    using h = harness([acme((t) => t.json())]);
    h.runner.start([attemptOf({ record: { payload: new Uint8Array([1, 2, 3]) } })]);
    expect(failureOf(await h.endOf(1))).toMatchObject({ permanent: true, error: { name: "PermanentError" } });
  });

  test("the deadline is the earlier of the timeout and the task's own, in wall ms", async () => {
    const seen: (number | undefined)[] = [];
    using h = harness([acme((_t, ctx) => void seen.push(ctx.deadline))], { now: () => 1_000, wallNow: () => 50_000 });
    h.runner.start([
      attemptOf({ attemptId: 1, timeoutMs: 200 }),
      attemptOf({ attemptId: 2, timeoutMs: 200, deadline: 1_100 }),
      attemptOf({ attemptId: 3, timeoutMs: 0 }),
    ]);
    await h.endOf(3);
    expect(seen).toEqual([50_200, 50_100, undefined]);
  });

  test("methods taken off the context still work", async () => {
    using h = harness([
      acme((_t, { submit, progress, log }) => {
        progress({ done: 1, total: 2, note: "half" });
        log.info("hello", { more: 1 });
        submit("work", { key: "other" });
      }),
    ]);
    h.runner.start([attemptOf()]);
    expect((await h.endOf(1)).children).toHaveLength(1);
    expect(h.lines).toEqual([
      {
        level: "info",
        message: "hello",
        fields: { more: 1, app: "acme", key: "k", type: "work", task: expect.any(String), attempt: 1 },
      },
    ]);
  });

  test("pipelines are refused as not implemented", async () => {
    using h = harness([acme((_t, ctx) => ctx.run("ban-profile", { input: 1 }))]);
    h.runner.start([attemptOf()]);
    expect(failureOf(await h.endOf(1)).error.name).toBe("UNIMPLEMENTED");
  });
});

describe("how attempts end", () => {
  test("a synchronous handler ends without a promise, an asynchronous one when it settles", async () => {
    using h = harness([
      defineApp("acme", {
        tasks: {
          work: task(() => 41),
          slow: task(async () => ({ value: 42 })),
          bytes: task(() => new Uint8Array([1, 2])),
        },
      }),
    ]);
    h.runner.start([
      attemptOf({ attemptId: 1 }),
      attemptOf({ attemptId: 2, record: { type: "slow" } }),
      attemptOf({ attemptId: 3, record: { type: "bytes" } }),
    ]);
    expect(h.ends).toHaveLength(0);
    expect(h.runner.runningCount).toBe(1);
    expect(resultOf(await h.endOf(1))).toBe(41);
    expect(resultOf(await h.endOf(2))).toEqual({ value: 42 });
    expect(resultOf(await h.endOf(3))).toEqual(new Uint8Array([1, 2]));
    expect(h.runner.runningCount).toBe(0);
  });

  test("of many attempts a few start together, and their ends come in one batch", async () => {
    using h = harness([acme(() => {})], { sliceMs: 60_000 }); // on a busy machine some ms may pass at any moment
    h.runner.start(Array.from({ length: 200 }, (_, at) => attemptOf({ attemptId: at })));
    await h.endOf(199);
    expect(h.batches).toEqual([64, 64, 64, 8]);
  });

  test("P4: a throw and a rejection cost only their own attempts", async () => {
    using h = harness([
      acme((t) => {
        const { how } = t.json<{ how: string }>();
        if (how === "throw") throw new RangeError("no");
        if (how === "reject") return Promise.reject(new TypeError("neither"));
        if (how === "odd") throw Object.create(null);
        if (how === "text") throw "just text";
        return how;
      }),
    ]);
    const how = ["throw", "reject", "odd", "text", "fine"];
    h.runner.start(
      how.map((one, at) =>
        attemptOf({ attemptId: at, record: { payload: new TextEncoder().encode(JSON.stringify({ how: one })) } }),
      ),
    );
    await h.until(() => h.ends.length === 5, "five ends");
    const outcome = async (at: number) => failureOf(await h.endOf(at));
    expect(await outcome(0)).toMatchObject({
      permanent: false,
      error: { name: "RangeError", message: "no", stack: expect.stringContaining("no") },
    });
    expect((await outcome(1)).error).toMatchObject({ name: "TypeError", message: "neither" });
    expect((await outcome(2)).error.name).toBe("Error");
    expect((await outcome(3)).error).toEqual({ name: "Thrown", message: "just text" });
    expect(resultOf(await h.endOf(4))).toBe("fine");
  });

  test("PermanentError allows no retry and RetryLater sets the delay, whatever copy of the package they come from", async () => {
    const foreign = Object.assign(new Error("elsewhere"), { permanent: true });
    const errors = [new PermanentError("bad address"), new RetryLater(1_500), foreign];
    using h = harness([acme((t) => Promise.reject(errors[t.attempt - 1]))]);
    h.runner.start(errors.map((_, at) => attemptOf({ attemptId: at, attempt: at + 1 })));
    expect(failureOf(await h.endOf(0))).toMatchObject({ permanent: true });
    expect(failureOf(await h.endOf(1))).toMatchObject({ permanent: false, retryAfterMs: 1_500 });
    expect(failureOf(await h.endOf(2))).toMatchObject({ permanent: true });
  });

  test("a result that is too large or has no JSON form fails the task for good", async () => {
    const results: unknown[] = ["x".repeat(70_000), 10n, () => {}];
    using h = harness([acme((t) => results[t.attempt - 1])]);
    h.runner.start(results.map((_, at) => attemptOf({ attemptId: at, attempt: at + 1 })));
    expect(failureOf(await h.endOf(0))).toMatchObject({ permanent: true, error: { name: "PAYLOAD_TOO_LARGE" } });
    expect(failureOf(await h.endOf(1))).toMatchObject({ permanent: true, error: { name: "ResultNotEncodable" } });
    expect(failureOf(await h.endOf(2))).toMatchObject({ permanent: true, error: { name: "ResultNotEncodable" } });
  });

  test("a long stack is cut to 4 KiB of whole lines", async () => {
    const long = Object.assign(new Error("deep"), {
      stack: Array.from({ length: 1_000 }, (_, at) => `at é${at}`).join("\n"),
    });
    using h = harness([acme(() => Promise.reject(long))]);
    h.runner.start([attemptOf()]);
    const { stack = "" } = failureOf(await h.endOf(1)).error;
    expect(Buffer.byteLength(stack)).toBeLessThanOrEqual(4_096);
    expect(stack.endsWith("\n")).toBe(false);
    expect(stack).toMatch(/at é\d+$/);
  });

  test("a thenable that misbehaves ends its attempt once", async () => {
    // biome-ignore lint/suspicious/noThenProperty: a thenable is the point
    const twice = { then: (done: (value: unknown) => void) => ["first", "second"].forEach(done) };
    const throwing = {
      // biome-ignore lint/suspicious/noThenProperty: a thenable is the point
      then: () => {
        throw new Error("in then");
      },
    };
    using h = harness([acme((t) => (t.attempt === 1 ? twice : throwing))]);
    h.runner.start([attemptOf({ attemptId: 1 }), attemptOf({ attemptId: 2, attempt: 2 })]);
    expect(resultOf(await h.endOf(1))).toBe("first");
    expect(failureOf(await h.endOf(2)).error.message).toBe("in then");
    expect(h.ends).toHaveLength(2);
  });

  test("P4: whatever a handler returns, a look at it costs its attempt at most", async () => {
    const strict = new Proxy(
      {},
      {
        get() {
          throw new Error("no such field");
        },
      },
    );
    const { proxy: revoked, revoke } = Proxy.revocable({}, {});
    revoke();
    const own = (name: "then" | "constructor") =>
      Object.defineProperty(Promise.resolve(1), name, {
        get() {
          throw new Error(`own ${name}`);
        },
      });
    const returned = [strict, revoked, own("then"), own("constructor"), Object.create(Promise.prototype)];
    using h = harness([acme((t) => returned[t.attempt - 1])]);
    h.runner.start(returned.map((_, at) => attemptOf({ attemptId: at + 1, attempt: at + 1 })));
    for (const at of returned.keys()) expect((await h.endOf(at + 1)).outcome.type).toBe("failed");
    expect(failureOf(await h.endOf(1)).error.message).toBe("no such field");
    expect(h.ends).toHaveLength(returned.length);
  });

  test("an attempt of an app or type that is not loaded here fails and can be tried again elsewhere", async () => {
    using h = harness([acme(() => {})]);
    h.runner.start([
      attemptOf({ attemptId: 1, record: { app: "other" } }),
      attemptOf({ attemptId: 2, record: { type: "unknown" } }),
    ]);
    expect(failureOf(await h.endOf(1))).toMatchObject({ permanent: false, error: { name: "APP_NOT_HERE" } });
    expect(failureOf(await h.endOf(2))).toMatchObject({ permanent: false, error: { name: "APP_NOT_HERE" } });
  });
});

describe("aborting", () => {
  test("P3: an attempt that was put off starts no more when the lease has run out meanwhile", async () => {
    let held = true;
    const started: string[] = [];
    const noting = acme(async (t) => {
      started.push(t.id);
      held = false;
    });
    using h = harness([noting], { mayStart: () => held, sliceMs: 0.001 });
    h.runner.start([attemptOf({ attemptId: 1 }), attemptOf({ attemptId: 2 })]);
    expect(failureOf(await h.endOf(2))).toMatchObject({ permanent: false, error: { message: "aborted: lease" } });
    expect(started).toHaveLength(1);
  });

  test("P3: after an abort the token is stale and nothing can be written, but the end waits for the handler", async () => {
    let context: TaskContext | undefined;
    let release: () => void = () => {};
    using h = harness([
      acme(async (_t, ctx) => {
        context = ctx;
        ctx.state.put("before", 1);
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        return "late";
      }),
    ]);
    h.runner.start([attemptOf()]);
    expect(context?.token.stale).toBe(false);
    h.runner.abort(1, "timeout");
    h.runner.abort(1, "lease");
    expect(context?.signal.aborted).toBe(true);
    expect(context?.token.stale).toBe(true);
    expect(() => context?.state.put("n", 1)).toThrow(/stale/);
    expect(() => context?.submit("work")).toThrow(/stale/);
    expect(h.runner.running()).toMatchObject([{ attemptId: 1, aborted: "timeout" }]);
    release();
    const end = await h.endOf(1);
    expect(failureOf(end)).toMatchObject({ permanent: false, error: { name: "ABORTED", message: "aborted: timeout" } });
  });

  test("the signal tells a waiting handler, and what it then throws stands in the error", async () => {
    using h = harness([
      acme(
        (_t, { signal }) =>
          new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("cleaned up")))),
      ),
    ]);
    h.runner.start([attemptOf()]);
    h.runner.abort(1, "handoff");
    expect(failureOf(await h.endOf(1)).error.message).toBe(
      "aborted: handoff; its handler then threw Error: cleaned up",
    );
  });

  test("a context is useless once its attempt has ended", async () => {
    let context: TaskContext | undefined;
    using h = harness([
      acme((_t, ctx) => {
        context = ctx;
      }),
    ]);
    h.runner.start([attemptOf()]);
    const end = await h.endOf(1);
    expect(() => context?.state.put("n", 1)).toThrow(/has ended/);
    expect(() => context?.submit("work")).toThrow(/has ended/);
    expect(end.stateChanges).toEqual([]);
    expect(context?.token.stale).toBe(true);
  });

  test("aborting an attempt that is unknown or over changes nothing", async () => {
    using h = harness([acme(() => "ok")]);
    h.runner.abort(99, "timeout");
    h.runner.start([attemptOf()]);
    h.runner.abort(1, "timeout");
    expect(resultOf(await h.endOf(1))).toBe("ok");
  });
});

describe("fairness to the event loop", () => {
  test("P4: many attempts of busy handlers let I/O in between, and keep their order", async () => {
    const order: number[] = [];
    using h = harness(
      [
        acme((t) => {
          order.push(t.attempt);
          const until = performance.now() + 2;
          while (performance.now() < until);
        }),
      ],
      { sliceMs: 5 },
    );
    h.runner.start(Array.from({ length: 20 }, (_, at) => attemptOf({ attemptId: at, attempt: at })));
    h.runner.start([attemptOf({ attemptId: 20, attempt: 20 })]);
    expect(order.length).toBeLessThan(10);
    expect(h.runner.runningCount).toBe(21 - order.length);
    h.runner.abort(20, "cancelled");
    expect(failureOf(await h.endOf(20)).error.message).toBe("aborted: cancelled");
    await h.until(() => h.ends.length === 21, "all ends");
    expect(order).toEqual(Array.from({ length: 20 }, (_, at) => at));
  });

  test("P4: a chain of ends that start new attempts does not starve I/O", async () => {
    let turns = 0;
    let stop = false;
    const turn = (): void => {
      turns++;
      if (!stop) setImmediate(turn);
    };
    setImmediate(turn);
    let started = 0;
    using h = harness([acme(() => {})], {
      onEnds: () => {
        if (started++ < 1_000) h.runner.start([attemptOf({ attemptId: started })]);
      },
    });
    h.runner.start([attemptOf()]);
    await h.until(() => started > 1_000, "the chain");
    stop = true;
    expect(turns).toBeGreaterThan(300);
  });

  test("P4: when the time of a turn is used up nothing more starts before I/O", async () => {
    let started = 0;
    const busy = acme(() => {
      started++;
      const until = performance.now() + 2;
      while (performance.now() < until);
    });
    using h = harness([busy], { sliceMs: 5 });
    h.runner.start(Array.from({ length: 20 }, (_, at) => attemptOf({ attemptId: at })));
    const first = started;
    await new Promise<void>((resolve) => process.nextTick(resolve)); // when no microtask is left
    expect(first).toBeLessThan(20);
    expect(started).toBe(first);
    await h.until(() => h.ends.length === 20, "all ends");
  });

  test("P4: what ends of a turn make start runs in the next turn, not in this one", async () => {
    const one = attemptOf();
    let id = 0;
    let started = 0;
    let stop = false;
    const attempts = (count: number): Attempt[] => Array.from({ length: count }, () => ({ ...one, attemptId: id++ }));
    using h = harness([acme(() => void started++)], {
      onEnds: (ends) => {
        if (!stop) h.runner.start(attempts(ends.length));
      },
    });
    h.runner.start(attempts(200));
    await new Promise((resolve) => setImmediate(resolve));
    stop = true;
    // Those that were given, and those that the ends of the microtask made start.
    expect(started).toBeLessThanOrEqual(400);
  });

  test("P4: to abort all of very many that wait is a moment's work", async () => {
    const one = attemptOf();
    using h = harness([acme(() => {})]);
    h.runner.start(Array.from({ length: 65_536 }, (_, at) => ({ ...one, attemptId: at })));
    const waiting = h.runner.runningCount;
    const begun = performance.now();
    for (let at = 65_535; at >= 64; at--) h.runner.abort(at, "lease");
    expect(performance.now() - begun).toBeLessThan(1_000); // looked for one by one: more than four seconds
    expect(waiting - h.runner.runningCount).toBe(65_536 - 64);
    await h.until(() => h.ends.length === 65_536, "all ends");
  });

  test("what waits starts although the ends before it could not be told", async () => {
    const seen = new Set<number>();
    let told = 0;
    using h = harness([acme(() => {})], {
      onEnds: (ends) => {
        for (const { attemptId } of ends) seen.add(attemptId);
        if (++told === 2) throw new Error("once");
      },
    });
    h.runner.watchProcess(() => {});
    h.runner.start(Array.from({ length: 300 }, (_, at) => attemptOf({ attemptId: at })));
    await h.until(() => told >= 2, "the throw");
    h.runner.start([attemptOf({ attemptId: 999 })]);
    await h.until(() => seen.size === 301, "all ends");
  });
});
