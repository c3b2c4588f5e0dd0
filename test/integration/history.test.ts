import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadHistory } from "../../services/history/history.ts";
import { HistoryWriter } from "../../services/history/writer.ts";

const WRITER = new URL("../../dist/services/history/writer.js", import.meta.url);
const CHECK = new URL("../../dist/services/history/check.js", import.meta.url);
const built = existsSync(WRITER) && existsSync(CHECK);
if (!built) {
  if (process.env.CI === "true") throw new Error("history: run `npm run build` first");
  console.warn("history: skipped, run `npm run build` first");
}

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "taskring-history-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test.skipIf(!built)("P1: SIGKILL loses no line that a handler process wrote", () => {
  const script = `
    import { HistoryWriter } from ${JSON.stringify(WRITER.href)};
    const writer = new HistoryWriter({ directory: process.argv[1], role: "node", node: "n1" });
    for (let n = 0; n < 500; n += 1) writer.started({ id: "t" + n, app: "a", key: "k" + n, fence: BigInt(n), attempt: 1 });
    process.kill(process.pid, "SIGKILL");`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script, directory]);
  expect(child.signal).toBe("SIGKILL");
  using harness = new HistoryWriter({ directory, role: "harness" });
  harness.killed("n1");
  const history = loadHistory(directory);
  expect(history).toMatchObject({ lines: 503, torn: 0, damage: [] });
  expect(history.tasks.size).toBe(500);
  expect(history.processes.find((each) => each.node === "n1")?.killedAt).toBeGreaterThan(0);
});

test.skipIf(!built)("the checker's exit code is its verdict", () => {
  const check = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(CHECK), ...args], {
      encoding: "utf8",
    });
    return { status, stdout, stderr };
  };
  const writer = new HistoryWriter({ directory, role: "both" });
  writer.started({ id: "t", app: "a", key: "k", fence: 1n, attempt: 1, seq: 0 });
  writer.ended({ id: "t", fence: 1n, outcome: "ok" });
  writer.accepted({ id: "t", app: "a", key: "k", seq: 0 });
  writer.flush();
  expect(check(directory)).toMatchObject({ status: 0, stdout: expect.stringContaining("every promise held") });
  writer.accepted({ id: "u", app: "a", key: "k", seq: 1 });
  writer[Symbol.dispose]();
  const failed = check(directory, "--json");
  expect(failed.status).toBe(1);
  expect(JSON.parse(failed.stdout)).toMatchObject({ ok: false, accepted: 2, lost: 1 });
  expect(check()).toMatchObject({ status: 2, stderr: expect.stringContaining("usage") });
  expect(check(directory, "--nonsense").status).toBe(2);
});
