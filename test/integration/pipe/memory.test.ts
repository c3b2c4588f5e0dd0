/** Memory of a fan-out by single yields, in a process of its own with Node's own limits, seen from the system. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const SCRIPT = fileURLToPath(new URL("../../fixtures/fan-out.mjs", import.meta.url));
const OUTPUTS = 1_000_000;

describe.skipIf(!memoryIsSeen())("one input that makes a million outputs", () => {
  test.each([
    ["integers", "results"],
    ["integers", "batches"],
    ["integers", "drain"],
    ["objects", "results"],
    ["objects", "batches"],
  ])(
    "P5: as %s, read as %s, it costs no more than 32 MiB after a warm-up",
    async (form, sink) => {
      const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, form, sink, String(OUTPUTS)]);
      const { outputs, grownMiB } = JSON.parse(stdout) as { readonly outputs: number; readonly grownMiB: number };
      expect(outputs).toBe(OUTPUTS);
      expect(grownMiB).toBeLessThanOrEqual(32);
    },
    60_000,
  );
});

/** Elsewhere than on Linux the tests skip with one line; in CI on Linux the file has to be there. */
function memoryIsSeen(): boolean {
  if (existsSync("/proc/self/status")) return true;
  const why = "skipped: memory seen from the system needs /proc/self/status";
  if (process.env.CI === "true" && process.platform === "linux") throw new Error(why);
  console.warn(why);
  return false;
}
