import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { AppName, NodeName } from "../../ring/ids.ts";
import type { TaskEvent } from "../../ring/tasks/engine-contract.ts";
import { hotKeysOf } from "../../services/host/hot-keys.ts";

const listeners = new Set<(events: readonly TaskEvent[]) => void>();
const node = {
  name: "n1" as NodeName,
  onTaskEvents: (listener: (events: readonly TaskEvent[]) => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

function ended(app: string, key: string, runMs: number, outcome: "done" | "cancelled" = "done"): void {
  const event = {
    type: "ended",
    app: app as AppName,
    taskType: "t",
    key,
    id: "",
    outcome,
    started: outcome === "done",
    waitMs: 0,
    runMs,
  } as const;
  for (const listener of listeners) listener([{ type: "accepted", app: app as AppName, count: 1 }, event]);
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("the keys with the most attempts and those that ran longest are told, with the time that these ran", async () => {
  const ask = hotKeysOf(node);
  const all = ask({ app: undefined, forMs: 1_000, limit: 2 }, () => {});
  const one = ask({ app: "shop", forMs: 1_000, limit: 2 }, () => {});
  for (let turn = 0; turn < 5; turn++) ended("shop", "alice", 20);
  for (let turn = 0; turn < 9; turn++) ended("mail", "bob", 1);
  ended("shop", "carol", 500);
  for (let turn = 0; turn < 20; turn++) ended("shop", "dropped", 0, "cancelled");
  vi.advanceTimersByTime(1_000);
  expect(await all).toEqual({
    node: "n1",
    forMs: 1_000,
    attempts: 15,
    keys: [
      { app: "mail", key: "bob", attempts: 9, busyMs: 9 },
      { app: "shop", key: "alice", attempts: 5, busyMs: 100 },
      { app: "shop", key: "carol", attempts: 1, busyMs: 500 },
    ],
  });
  expect((await one).keys.map(({ key }) => key)).toEqual(["alice", "carol"]);
  expect(listeners.size).toBe(0); // it costs nothing any more
});

test("P5: few count at once, and who goes away counts no longer", async () => {
  const ask = hotKeysOf(node);
  const gone: (() => void)[] = [];
  const asked = [1, 2, 3, 4].map(() => ask({ app: undefined, forMs: 60_000, limit: 1 }, (tell) => gone.push(tell)));
  await expect(ask({ app: undefined, forMs: 60_000, limit: 1 }, () => {})).rejects.toMatchObject({
    code: "RATE_LIMITED",
  });
  for (const tell of gone) tell();
  await Promise.all(asked);
  expect(listeners.size).toBe(0);
  const again = ask({ app: undefined, forMs: 100, limit: 1 }, () => {});
  vi.advanceTimersByTime(100);
  expect((await again).keys).toEqual([]);
});
