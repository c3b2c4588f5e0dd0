/** A store looked at while another process writes to it as fast as it can. */

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { openOnline } from "../../ring/io/store/online.ts";
import { waitUntil } from "../../services/lab/lab.ts";

test("P1: a view of a store in use is of one moment, and none that was told is missing", {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-online-"));
  const child = spawn(process.execPath, [WRITER, folder], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise((done) => child.once("exit", done));
  try {
    let told = 0;
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      told = Number(chunk.trimEnd().split("\n").at(-1));
    });
    await waitUntil("the writer writes", () => told > 10, 20_000);
    const seen = new Set<number>();
    // 200 commits are five segments of the journal.
    while (told < 200 || seen.size < 5) {
      const before = told;
      await using store = await openOnline(join(folder, "store"));
      const numbers = new Set<number>();
      for (const { partition } of await store.partitions()) {
        const { rows } = await store.page({ partition, rowLimit: 1_000, byteLimit: 1e9 });
        expect(rows).toHaveLength(50);
        for (const { value } of rows) numbers.add(new DataView(value.buffer, value.byteOffset).getUint32(0));
      }
      expect([...numbers]).toHaveLength(1);
      expect([...numbers][0]).toBeGreaterThanOrEqual(before);
      seen.add([...numbers][0] ?? 0);
      expect(store.stats().quarantined).toBe(0);
    }
  } finally {
    child.kill("SIGKILL");
    await exited;
    await rm(folder, { recursive: true, force: true });
  }
});

const WRITER = resolve("test/fixtures/store-pairs.mjs");
