/** A node whose log has no room, or whose output has no reader: built, in a process of its own. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, existsSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const BIN = join(import.meta.dirname, "../../dist/cli/ringctl.js");

// macOS has none; in CI it must be there.
const onFull = test.skipIf(process.env.CI !== "true" && !existsSync("/dev/full"));

onFull("a disk too full for the log does not keep a node from serving and stopping", async () => {
  await servesAndEnds(mkdtempSync(join(tmpdir(), "taskring-log-")), openSync("/dev/full", "w"));
});

test("a reader of the log that stands still keeps a node neither from serving nor from ending", async () => {
  const folder = mkdtempSync(join(tmpdir(), "taskring-log-"));
  const fifo = join(folder, "log");
  execFileSync("mkfifo", [fifo]);
  const unread = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  expect(() => {
    for (;;) writeSync(unread, "x".repeat(4_096));
  }).toThrow(/EAGAIN/);
  await servesAndEnds(folder, unread);
});

test("P4: a node outlives who reads its output: it joins, and ends as it would have", async () => {
  const data = mkdtempSync(join(tmpdir(), "taskring-log-"));
  const ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0"];
  const nobody = ["--join", "127.0.0.1:9", "--timeout", "4s"];
  const child = spawn(process.execPath, [BIN, "start", "--name", "n1", "--data", data, ...ports, ...nobody]);
  try {
    child.stdout.destroy();
    child.stderr.destroy();
    expect(await once(child, "exit", { signal: AbortSignal.timeout(15_000) })).toEqual([4, null]);
  } finally {
    child.kill("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
});

onFull("output that finds no room is an error in one sentence", async () => {
  const child = spawn(process.execPath, [BIN, "config"], {
    stdio: ["ignore", openSync("/dev/full", "w"), "pipe"],
  });
  let said = "";
  child.stderr!.on("data", (chunk: Buffer) => {
    said += String(chunk);
  });
  expect(await once(child, "close", { signal: AbortSignal.timeout(10_000) })).toEqual([1, null]);
  expect(said).toMatch(/^ringctl: stdout: ENOSPC.*\n$/);
});

/** A node whose log goes to `stderr`; the folder is removed. */
async function servesAndEnds(folder: string, stderr: number): Promise<void> {
  const ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0"];
  const child = spawn(process.execPath, [BIN, "start", "--name", "n1", "--data", join(folder, "n1"), ...ports], {
    stdio: ["ignore", "pipe", stderr],
  });
  try {
    const [line] = (await once(child.stdout!, "data", { signal: AbortSignal.timeout(10_000) })) as [Buffer];
    expect(String(line)).toMatch(/^ready name=n1 /);
    child.kill("SIGTERM");
    expect(await once(child, "exit", { signal: AbortSignal.timeout(10_000) })).toEqual([0, null]);
  } finally {
    child.kill("SIGKILL");
    closeSync(stderr);
    rmSync(folder, { recursive: true, force: true });
  }
}
