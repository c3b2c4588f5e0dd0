/** Runs of pipelines that belong to tasks, as the runner opens them. */

import { expect, test } from "vitest";
import { RingError } from "../../ring/errors.ts";
import type { TaskContext } from "../../services/apps/context.ts";
import type { OpenRun } from "../../services/runner/pipeline-run.ts";
import { currentRun } from "../../services/runner/strays.ts";
import { acme } from "./runner-ends.ts";
import { attemptOf, harness } from "./runner-harness.ts";

test("P6: a run is told from that of an attempt that was lost in a crash, which had the same number", async () => {
  const ids: string[] = [];
  const apps: string[] = [];
  const openRun = ((_pipeline: string, { id, app }: { readonly id: string; readonly app: string }) => {
    ids.push(id);
    apps.push(app);
    return { send: async () => {}, end: () => {}, report: async () => ({}), [Symbol.asyncDispose]: async () => {} };
  }) as unknown as OpenRun;
  const twice = acme(async (_t, ctx) => {
    for (const input of [1, 2]) await ctx.run("ban", { input });
  });
  using h = harness([twice], { openRun });
  const { record } = attemptOf();
  for (const [attemptId, fence] of [7n, 8n].entries()) {
    h.runner.start([{ ...attemptOf({ attemptId, attempt: 1, fence }), record }]);
    await h.endOf(attemptId);
  }
  expect(ids).toHaveLength(4);
  expect(new Set(apps)).toEqual(new Set([record.app]));
  expect(new Set(ids).size).toBe(4);
  expect(ids.every((id) => id.startsWith(record.id))).toBe(true);
});

test("P4: what a task's run has the node store is not stored in the context of its attempt", async () => {
  const contexts: unknown[] = [];
  const openRun = ((_pipeline: string, { onCheckpoint }: { readonly onCheckpoint: (cursor: unknown) => void }) => ({
    send: async () => onCheckpoint(1),
    end: () => {},
    report: async () => ({}),
    [Symbol.asyncDispose]: async () => {},
  })) as unknown as OpenRun;
  const keep = (): void => void contexts.push(currentRun());
  using h = harness([acme(async (_t, ctx) => void (await ctx.run("ban", { input: 1 })))], { openRun, keep });
  h.runner.start([attemptOf({ attemptId: 1 })]);
  await h.endOf(1);
  expect(contexts).toEqual([undefined, undefined]);
});

test("P6: a run that has failed ends its task's wait, although the source of its inputs stands still", async () => {
  const openRun = (() => ({
    send: async () => {},
    end: () => {},
    report: async () => ({ error: { code: "STATE_LOST", detail: "a node was lost" } }),
    [Symbol.asyncDispose]: async () => {},
  })) as unknown as OpenRun;
  const inputs = async function* (): AsyncGenerator<number> {
    yield 1;
    await new Promise(() => undefined); // for what the run gives its sink, as a rule
  };
  using h = harness([acme(async (_t, ctx) => void (await ctx.run("ban", { inputs: inputs() })))], { openRun });
  h.runner.start([attemptOf({ attemptId: 1 })]);
  expect(await h.endOf(1)).toMatchObject({ outcome: { type: "failed", error: { name: "STATE_LOST" } } });
});

test.each(["its node", "another node"])(
  "P4: an attempt for whose run %s had no room is told from one that failed",
  async (who) => {
    const openRun = (() => {
      if (who === "its node") throw new RingError("QUEUE_FULL", "no room", { retryAfterMs: 700 });
      return {
        send: () => Promise.reject(new RingError("QUEUE_FULL", "no room")),
        end: () => {},
        report: async () => ({ error: { code: "QUEUE_FULL", detail: "no room" } }),
        [Symbol.asyncDispose]: async () => {},
      };
    }) as unknown as OpenRun;
    const handlers = [
      async (ctx: TaskContext) => void (await ctx.run("ban", { input: 1 })),
      async (ctx: TaskContext) => {
        await ctx.run("ban", { input: 1 }).catch(() => undefined);
        throw new RingError("QUEUE_FULL", "of its own");
      },
    ];
    const outcomes: unknown[] = [];
    for (const handler of handlers) {
      using h = harness([acme((_t, ctx) => handler(ctx))], { openRun });
      h.runner.start([attemptOf({ attemptId: 1 })]);
      outcomes.push((await h.endOf(1)).outcome);
    }
    const retryAfterMs = who === "its node" ? 700 : 1_000;
    expect(outcomes[0]).toMatchObject({ type: "failed", permanent: false, noRoom: true, retryAfterMs });
    expect(outcomes[1]).not.toHaveProperty("noRoom");
  },
);
