/** How long `ringctl task submit --wait` waits for an owner that is away. */

import { expect, test } from "vitest";
import { endOf } from "../../../cli/tasks.ts";
import type { Task } from "../../../proto/messages.ts";
import { RingError } from "../../../ring/errors.ts";

const task = (state: Task["state"]): Task => ({
  taskId: "1".repeat(32),
  app: "a",
  type: "work",
  key: "k",
  state,
  attempts: 1,
  partition: 0,
  acceptedAtMs: 0,
  waits: "",
});

/** As `RingClient.wait` while the owner is away for so long. */
const away = (awayMs: number) => ({
  wait: async (_id: string, { timeoutMs = 0 }: { readonly timeoutMs?: number } = {}): Promise<Task> => {
    if (timeoutMs <= awayMs) throw new RingError("NO_OWNER", "the partition's owner cannot be reached");
    return task("DONE");
  },
});

test("an owner that is away for a minute ends no wait of ten", async () => {
  expect(await endOf(away(60_000), "1".repeat(32), 600_000)).toMatchObject({ state: "DONE" });
});

test("one that is away for longer than the wait does", async () => {
  await expect(endOf(away(60_000), "1".repeat(32), 5_000)).rejects.toMatchObject({ code: "NO_OWNER" });
});

test("a wait of more than ten minutes is asked for again", async () => {
  const asked: (number | undefined)[] = [];
  const wait = async (_id: string, { timeoutMs }: { readonly timeoutMs?: number } = {}): Promise<Task> => {
    asked.push(timeoutMs);
    return task(asked.length < 3 ? "RUNNING" : "DONE");
  };
  expect(await endOf({ wait }, "1".repeat(32), 3_600_000)).toMatchObject({ state: "DONE" });
  expect(asked).toEqual([600_000, 600_000, 600_000]);
});
