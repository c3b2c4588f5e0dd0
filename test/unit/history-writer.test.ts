import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TaskContext, TaskView } from "../../services/app.ts";
import { checkHistory } from "../../services/history/check.ts";
import { parseLine } from "../../services/history/line.ts";
import { HistoryWriter } from "../../services/history/writer.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "taskring-history-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.resetModules();
  rmSync(directory, { recursive: true, force: true });
});

function lines(): unknown[] {
  return readdirSync(directory).flatMap((name) =>
    readFileSync(join(directory, name), "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map(parseLine),
  );
}

test("a start stands in the file before the call returns, a client's line at the next turn", async () => {
  using writer = new HistoryWriter({ directory, role: "node", node: "n/1 ../x" });
  expect(readdirSync(directory)[0]).toMatch(/^node-n_1_.._x-\d+-\d+\.ndjson$/);
  writer.started({ id: "t", app: "a", key: "k", fence: 12345678901234567890n, attempt: 1, seq: 0 });
  expect(lines().at(-1)).toMatchObject({ type: "start", id: "t", fence: 12345678901234567890n, seq: 0 });
  writer.accepted({ id: "u", app: "a", key: "k", seq: 1 });
  expect(lines()).toHaveLength(2);
  await vi.waitFor(() => expect(lines().at(-1)).toMatchObject({ type: "accepted", id: "u" }));
});

test("lines keep their order when collected and immediate ones mix", () => {
  const writer = new HistoryWriter({ directory, role: "client" });
  writer.accepted({ id: "u", app: "a", key: "k" });
  writer.killed(17);
  writer[Symbol.dispose]();
  expect(lines().map((line) => (line as { type: string }).type)).toEqual(["open", "accepted", "killed", "closed"]);
  expect(() => writer.killed(18)).toThrow(/closed/);
});

test("P5: what a client's lines take in memory is bounded", () => {
  using writer = new HistoryWriter({ directory, role: "client" });
  for (let seq = 0; seq < 2_000; seq += 1) writer.accepted({ id: `task-${seq}`, app: "a", key: "k", seq });
  const written = readFileSync(join(directory, readdirSync(directory)[0] ?? ""), "utf8").split("\n").length;
  expect(written).toBeGreaterThan(1_000);
});

test("a recorded handler writes start, end, outcome and children, and gives back the same result", async () => {
  vi.stubEnv("TASKRING_HISTORY_DIR", directory);
  vi.stubEnv("TASKRING_NAME", "n1");
  const { processHistory, recorded } = await import("../../services/history/recorded.ts");
  let stale = false;
  const view = { id: "t0", app: "a", key: "k", attempt: 1, json: () => ({ seq: 4 }) } as unknown as TaskView;
  const context = (fence: bigint) =>
    ({
      token: {
        fence,
        get stale() {
          return stale;
        },
      },
      submit: (type: string) => `child-of-${type}`,
      state: { get: () => 7 },
    }) as unknown as TaskContext;
  const place = (task: TaskView) => task.json<{ seq: number }>();

  const good = recorded((_task, ctx) => [ctx.submit("x"), ctx.submit("x"), ctx.state.get("n")], { place });
  expect(await good(view, context(1n))).toEqual(["child-of-x", "child-of-x", 7]);
  const bad = recorded(() => Promise.reject(new Error("no")), { attempts: 2 });
  await expect(bad(view, context(2n))).rejects.toThrow("no");
  await expect(bad({ ...view, attempt: 2, json: view.json }, context(3n))).rejects.toThrow("no");
  const permanent = recorded(() => Promise.reject(Object.assign(new Error("never"), { permanent: true })));
  await expect(permanent(view, context(4n))).rejects.toThrow("never");
  const puts: unknown[] = [];
  const state = { get: () => "4", put: (...put: unknown[]) => void puts.push(put) };
  const traced = recorded(() => "traced", { traced: true });
  expect(await traced(view, { ...context(6n), state } as unknown as TaskContext)).toBe("traced");
  expect(puts).toEqual([["written-by", "6"]]);
  stale = true;
  await recorded(() => "late")(view, context(5n));
  processHistory()?.[Symbol.dispose]();
  const ends = lines().filter((line) => (line as { type: string }).type === "end");
  expect(ends).toMatchObject([
    { id: "t0", fence: 1n, outcome: "ok", children: ["child-of-x"] },
    { fence: 2n, outcome: "error" },
    { fence: 3n, outcome: "dead" },
    { fence: 4n, outcome: "dead" },
    { fence: 6n, outcome: "ok" },
    { fence: 5n, outcome: "aborted" },
  ]);
  expect(lines()[1]).toMatchObject({ type: "start", seq: 4, fence: 1n });
  expect(lines().find((line) => (line as { fence?: bigint }).fence === 6n)).toMatchObject({ type: "start", saw: "4" });
  expect(checkHistory(directory).processes).toBe(1);
});

test("without a history the handler is given back untouched", async () => {
  vi.stubEnv("TASKRING_HISTORY_DIR", "");
  const { recorded } = await import("../../services/history/recorded.ts");
  const handler = () => 1;
  expect(recorded(handler)).toBe(handler);
});
