/** Whether errors are told as JSON: where the output was chosen does not matter. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { wantsJson } from "../../../cli/run.ts";

let folder: string;
let config: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "taskring-json-errors-"));
  config = join(folder, "other.json");
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  delete process.env.TASKRING_OUTPUT;
});

test("errors are JSON when a flag, the environment or the configuration file says so, the first of them that speaks", () => {
  for (const args of [["-o", "json"], ["--output", "jsonl"], ["-ojson"], ["--output=json"]])
    expect(wantsJson(["status", ...args])).toBe(true);
  writeFileSync(config, '{"output": "json"}');
  expect(wantsJson(["status", "--config", config])).toBe(true);
  expect(wantsJson([`--config=${config}`, "status"])).toBe(true);
  expect(wantsJson(["status", "--config", config, "-o", "table"])).toBe(false);
  process.env.TASKRING_OUTPUT = "table";
  expect(wantsJson(["status", "--config", config])).toBe(false);
});

test("a configuration that cannot be read leaves it to the environment", () => {
  const args = ["status", "--config", join(folder, "none.json")];
  expect(wantsJson(args)).toBe(false);
  process.env.TASKRING_OUTPUT = "json";
  expect(wantsJson(args)).toBe(true);
});
