/** Code of handlers that runs outside of its attempt. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { TaskHandler } from "../../services/app.ts";
import { acme } from "./runner-ends.ts";
import { attemptOf, type Harness, harness } from "./runner-harness.ts";

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

/** As an object of an ORM with a lazy relation: looking at it starts a query, which fails. */
const lazy = () => ({
  id: 1,
  get posts() {
    return Promise.reject(new Error("the connection is closed"));
  },
});

const HANDLERS: Record<string, TaskHandler> = {
  "an async handler returns it": async () => lazy(),
  "a handler returns it": (() => lazy()) as never,
  "a handler throws it": async () => {
    throw (
      Object.assign(new Error("no"), {}, Object.defineProperty({}, "x", {})) &&
      new (class extends Error {
        get permanent() {
          void Promise.reject(new Error("lost"));
          return false;
        }
      })("no")
    );
  },
  "a handler logs it": async (_t, ctx) =>
    ctx.log.info("user", {
      get user() {
        return lazy().posts;
      },
    }),
};

describe("P4: a rejection of a handler's own object never stops the node", () => {
  for (const [what, handler] of Object.entries(HANDLERS)) {
    test(what, async () => {
      using h: Harness = harness([acme(handler)]);
      h.runner.watchProcess((error) => foreign.push(error));
      h.runner.start([attemptOf()]);
      await h.endOf(1);
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(foreign).toEqual([]);
    });
  }
});

test("a name of state that put accepts is accepted by the engine", async () => {
  const { World } = await import("../property/task-world.ts");
  const name = "n".repeat(200);
  using h = harness([acme(async (_t, ctx) => ctx.state.put(name, 1))]);
  h.runner.start([attemptOf()]);
  const end = await h.endOf(1);
  expect(end.outcome.type).toBe("done");
  const world = new World({ seed: 1 });
  world.submit(world.record({ app: "a", type: "work", key: "k" }));
  world.sync();
  world.end(world.started[0] as never, end.outcome, { stateChanges: end.stateChanges });
  world.run(60_000);
  expect(world.started).toHaveLength(1);
});
