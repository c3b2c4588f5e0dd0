/** What a command line is answered with before anything is asked of a node. */

import { afterEach, expect, test, vi } from "vitest";
import { run } from "../../../cli/run.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

async function running(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const told = { out: "", err: "" };
  for (const [name, stream] of [
    ["out", process.stdout],
    ["err", process.stderr],
  ] as const)
    vi.spyOn(stream, "write").mockImplementation((text) => {
      told[name] += String(text);
      return true;
    });
  const code = await run(args);
  return { code, ...told };
}

test("help has the options of a command, on whatever level it is", async () => {
  expect(await running("help", "status")).toMatchObject({ code: 0, out: expect.stringContaining("ringctl status") });
  const { code, out } = await running("help", "task", "submit");
  expect(code).toBe(0);
  expect(out).toContain("Usage: ringctl task submit");
  expect(out).toContain("--idempotency-key");
});

test("a command that is missing is called so in JSON", async () => {
  for (const args of [
    ["-o", "json"],
    ["-o", "json", "task"],
  ]) {
    const { code, err } = await running(...args);
    expect(code).toBe(2);
    expect(JSON.parse(err)).toMatchObject({ error: { code: "USAGE", message: "a command is missing" } });
  }
});
