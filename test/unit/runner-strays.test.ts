import { stat } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defineApp, resident, type TaskHandler, task } from "../../services/app.ts";
import type { BlockedLoop } from "../../services/runner/loop-watch.ts";
import { attemptOf, type Harness, harness } from "./runner-harness.ts";

// The test runner's own listeners would take every stray error for a failed test.
const KINDS = ["unhandledRejection", "uncaughtException"] as const;
let saved: (readonly [(typeof KINDS)[number], (...args: never) => unknown])[] = [];
const foreign: unknown[] = [];

beforeEach(() => {
  saved = KINDS.flatMap((kind) => process.listeners(kind as "unhandledRejection").map((one) => [kind, one] as const));
  for (const kind of KINDS) process.removeAllListeners(kind);
  foreign.length = 0;
});

afterEach(() => {
  for (const [kind, listener] of saved) process.on(kind as "unhandledRejection", listener as () => void);
});

function watched(handler: TaskHandler, options = {}): Harness {
  const apps = [
    defineApp("acme", {
      tasks: { work: task(handler), fine: task(async () => "fine") },
      residents: { r: resident((ctx) => handler(undefined as never, ctx as never)) },
    }),
  ];
  const h = harness(apps, options);
  h.runner.watchProcess((error) => foreign.push(error));
  return h;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const strayLines = (h: Harness) => h.lines.filter(({ message }) => message.includes("stray"));

/** Ways in which an error escapes; each must be attributed. */
const ESCAPES: Readonly<Record<string, () => void>> = {
  "a rejection nobody awaits": () => void Promise.reject(new Error("lost")),
  "a rejection after an await": () =>
    void (async () => {
      await undefined;
      throw new Error("lost");
    })(),
  "a throw in a timer": () =>
    void setTimeout(() => {
      throw new Error("lost");
    }, 1),
  "a throw in setImmediate": () =>
    void setImmediate(() => {
      throw new Error("lost");
    }),
  "a throw in nextTick": () =>
    process.nextTick(() => {
      throw new Error("lost");
    }),
  "a throw in a microtask": () =>
    queueMicrotask(() => {
      throw new Error("lost");
    }),
  "a throw in an I/O callback": () =>
    stat(".", () => {
      throw new Error("lost");
    }),
};

describe("while the handler runs", () => {
  for (const [what, lose] of Object.entries(ESCAPES)) {
    test(`P4: ${what} fails its own attempt and no other`, async () => {
      using h = watched(async (_t, { signal }) => {
        lose();
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return "would be done";
      });
      h.runner.start([attemptOf({ attemptId: 1 }), attemptOf({ attemptId: 2, record: { type: "fine" } })]);
      expect((await h.endOf(1)).outcome).toMatchObject({
        type: "failed",
        error: { message: "lost" },
        permanent: false,
      });
      expect((await h.endOf(2)).outcome.type).toBe("done");
      expect(strayLines(h)).toMatchObject([
        { level: "error", fields: { app: "acme", type: "work", key: "k", ended: false } },
      ]);
      expect(foreign).toEqual([]);
    });
  }

  test("P4: a handler that never settles after its stray error ends when its timeout is over", async () => {
    using h = watched(
      () =>
        new Promise(() => {
          setTimeout(() => {
            throw new Error("lost");
          }, 1);
        }),
    );
    h.runner.start([attemptOf({ timeoutMs: 60 })]);
    await h.until(() => strayLines(h).length === 1, "the stray error");
    expect(h.ends).toHaveLength(0);
    expect((await h.endOf(1)).outcome).toMatchObject({ type: "failed", error: { message: "lost" } });
    expect(h.ends).toHaveLength(1);
  });

  test("P5: an attempt that has ended after its stray error is not kept for the rest of its timeout", async () => {
    using h = watched(async (_t, { signal }) => {
      void Promise.reject(new Error("lost"));
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
    const run = async (): Promise<WeakRef<object>> => {
      const attempt = attemptOf({ timeoutMs: 86_400_000 });
      h.runner.start([attempt]);
      await h.endOf(1);
      h.ends.length = 0;
      return new WeakRef(attempt);
    };
    const ended = await run();
    const isLetGo = (): boolean => {
      collectGarbage();
      return ended.deref() === undefined;
    };
    await h.until(isLetGo, "the attempt to be let go");
  });

  test("P4: a listener of the abort signal that throws costs only its attempt", async () => {
    using h = watched(
      (_t, { signal }) =>
        new Promise((resolve) =>
          signal.addEventListener("abort", () => {
            resolve(undefined);
            throw new Error("in the listener");
          }),
        ),
    );
    h.runner.start([attemptOf()]);
    h.runner.abort(1, "timeout");
    expect((await h.endOf(1)).outcome).toMatchObject({ type: "failed", error: { name: "ABORTED" } });
    await h.until(() => strayLines(h).length === 1, "the stray error");
    expect(foreign).toEqual([]);
  });

  test("P4: a throw in a finalizer that the handler made fails its own attempt", async () => {
    using h = watched(async (_t, { signal }) => {
      const finalizers = new FinalizationRegistry(() => {
        throw new Error("lost");
      });
      (() => finalizers.register({}, 1))();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      finalizers.unregister(finalizers); // alive until here
    });
    h.runner.start([attemptOf()]);
    const finalized = (): boolean => {
      collectGarbage();
      return strayLines(h).length + foreign.length > 0;
    };
    await h.until(finalized, "the finalizer");
    expect(foreign).toEqual([]);
    expect((await h.endOf(1)).outcome).toMatchObject({ type: "failed", error: { message: "lost" } });
  });

  test("a finalizer of the node's own is left as it is", () => {
    using _h = watched(() => {});
    const finalizers = new FinalizationRegistry(() => {});
    expect(finalizers).toBeInstanceOf(FinalizationRegistry);
    expect(() => new FinalizationRegistry(1 as never)).toThrow(TypeError);
  });

  test("P4: a stray error of a resident aborts and fails that resident", async () => {
    using h = watched((_t, { signal }) => {
      setTimeout(() => {
        throw new Error("lost");
      }, 1);
      return new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
    h.runner.start([attemptOf({ resident: "r", timeoutMs: 0 })]);
    expect((await h.endOf(1)).outcome).toMatchObject({ type: "failed", error: { message: "lost" } });
  });
});

describe("after the handler's end", () => {
  for (const [what, lose] of Object.entries(ESCAPES)) {
    test(`P4: ${what} after the handler's end is logged with its task and costs nothing else`, async () => {
      const strays: unknown[] = [];
      using h = watched(
        () => {
          setImmediate(lose);
          return "done";
        },
        { onStray: (stray: unknown) => strays.push(stray) },
      );
      h.runner.start([attemptOf()]);
      expect((await h.endOf(1)).outcome.type).toBe("done");
      await h.until(() => strays.length === 1, "the stray error");
      expect(strayLines(h)).toMatchObject([
        { fields: { app: "acme", key: "k", ended: true, error: { message: "lost" } } },
      ]);
      expect(h.ends).toHaveLength(1);
      expect(foreign).toEqual([]);
    });
  }
});

test("an error outside of any attempt is the node's own", async () => {
  using h = watched(() => {});
  setImmediate(() => {
    throw new Error("the node's");
  });
  await h.until(() => foreign.length === 1, "the foreign error");
  expect(strayLines(h)).toEqual([]);
});

test("what the node does on behalf of a handler is never attributed to it", async () => {
  using h = harness([defineApp("acme", { tasks: { work: task((_t, { log }) => log.info("hello")) } })], {
    log: {
      debug: () => {},
      info: () => {
        setImmediate(() => {
          throw new Error("in the log's own flush");
        });
      },
      warn: () => {},
      error: () => {},
    },
    onEnds: () => {
      setImmediate(() => {
        throw new Error("after the end");
      });
    },
  });
  h.runner.watchProcess((error) => foreign.push((error as Error).message));
  h.runner.start([attemptOf()]);
  await h.until(() => foreign.length === 2, "both errors");
  expect(foreign.toSorted()).toEqual(["after the end", "in the log's own flush"]);
});

test("P4: clearing an immediate after another one threw does not hang the process", async () => {
  let cleared = false;
  using h = watched(
    async (_task, { signal }) => {
      setImmediate(() => {
        throw new Error("lost");
      });
      const later = setImmediate(() => {});
      process.once("taskring-test-stray" as "exit", () => {
        clearImmediate(later);
        cleared = true;
      });
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
    { onStray: () => process.emit("taskring-test-stray" as "exit", 0) },
  );
  h.runner.start([attemptOf()]);
  expect((await h.endOf(1)).outcome).toMatchObject({ type: "failed", error: { message: "lost" } });
  expect(cleared).toBe(true);
});

test("the process gets its own queueMicrotask, setImmediate and FinalizationRegistry back", () => {
  const globals = () => [globalThis.queueMicrotask, globalThis.setImmediate, globalThis.FinalizationRegistry];
  const before = globals();
  const h = watched(() => {});
  expect(globals()).not.toEqual(before);
  h[Symbol.dispose]();
  expect(globals()).toEqual(before);
});

describe("a blocked event loop", () => {
  const block = (ms: number): void => {
    const until = performance.now() + ms;
    while (performance.now() < until);
  };

  test("P4: a handler that blocks the event loop is named, with what it blocked for", async () => {
    const blocked: BlockedLoop[] = [];
    using h = watched(() => block(120), { blockedMs: 100, onBlocked: (one: BlockedLoop) => blocked.push(one) });
    h.runner.start([attemptOf()]);
    await h.endOf(1);
    expect(blocked).toMatchObject([{ certain: true, handlers: [{ app: "acme", type: "work", key: "k" }] }]);
    expect(blocked[0]?.blockedMs).toBeGreaterThanOrEqual(115);
    expect(h.lines).toMatchObject([{ level: "warn", message: expect.stringContaining("work of app acme") }]);
  });

  test("P4: one that blocks after an await is suspected the first time and named for certain the next", async () => {
    const blocked: BlockedLoop[] = [];
    using h = watched(
      async () => {
        for (let round = 0; round < 3; round++) {
          await new Promise((resolve) => setTimeout(resolve, 30));
          block(150);
        }
      },
      { blockedMs: 100, onBlocked: (one: BlockedLoop) => blocked.push(one) },
    );
    h.runner.start([attemptOf()]);
    await h.endOf(1);
    await h.until(() => blocked.some(({ certain }) => certain), "a certain report");
    expect(blocked[0]).toMatchObject({ certain: false, handlers: [{ app: "acme", type: "work" }] });
    expect(blocked.find(({ certain }) => certain)?.handlers).toMatchObject([{ app: "acme", type: "work", key: "k" }]);
  });
});
