/** A node whose log has no room: built, in a process of its own. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const BIN = join(import.meta.dirname, "../../dist/cli/ringctl.js");

test.skipIf(!existsSync("/dev/full"))(
  "a disk too full for the log does not keep a node from serving and stopping",
  async () => {
    const data = mkdtempSync(join(tmpdir(), "taskring-log-"));
    const ports = ["--grpc", "0", "--http", "0", "--gossip", "0"];
    const stdio = ["ignore", "pipe", openSync("/dev/full", "w")] as const;
    const child = spawn(process.execPath, [BIN, "start", "--name", "n1", "--data", data, ...ports], {
      stdio: [...stdio],
    });
    try {
      const [line] = (await once(child.stdout!, "data", { signal: AbortSignal.timeout(10_000) })) as [Buffer];
      expect(String(line)).toMatch(/^ready name=n1 /);
      child.kill("SIGTERM");
      expect(await once(child, "exit", { signal: AbortSignal.timeout(10_000) })).toEqual([0, null]);
    } finally {
      child.kill("SIGKILL");
      rmSync(data, { recursive: true, force: true });
    }
  },
);
