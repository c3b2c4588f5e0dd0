/** A store that another process writes to as fast as it can: looked at from beside it, and opened after its death. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open as openFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { lockAlone } from "../../ring/io/store/alone.ts";
import { openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import { openOnline, type ReadableStore } from "../../ring/io/store/online.ts";
import { waitUntil } from "../../services/lab/lab.ts";

let folder = "";
let writer: Writer | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "taskring-online-"));
});

afterEach(async () => {
  await writer?.kill();
  await rm(folder, { recursive: true, force: true });
});

test("P1: a view of a store in use is of one moment, and none that was told is missing", {
  timeout: 60_000,
}, async () => {
  writer = new Writer(1);
  const seen = new Set<number>();
  // Five commits are a segment of the journal.
  await writer.reaches(10);
  while (writer.told < 60 || seen.size < 5) {
    const before = writer.told;
    await using store = await openOnline(join(folder, "store"));
    seen.add(await theNumber(store, before));
  }
});

test("P1: killed while a segment goes into the database, in the middle of it too, a store has its newest commit whole", {
  timeout: 60_000,
}, async () => {
  let told = 0;
  for (let round = 0; round < 8; round++) {
    writer = new Writer(told + 1);
    await writer.reaches(told + 6 + round);
    await writer.kill();
    told = writer.told;
    await using store = await openEmbeddedStore({ directory: join(folder, "store"), mustExist: true });
    told = await theNumber(store, told);
  }
});

test("P1: a look waits for a transaction of the node that is under way", async () => {
  const directory = join(folder, "store");
  await using store = await openEmbeddedStore({ directory });
  await store.open(1 as Partition, { history: 1, generation: 1 });
  const file = await openFile(join(directory, "journal-0"), "r+");
  await lockAlone(file, 1_000);
  let isOpen = false;
  const opened = openOnline(directory).finally(() => {
    isOpen = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(isOpen).toBe(false);
  const second = await openFile(join(directory, "journal-1"), "r+");
  await expect(lockAlone(second, 0)).rejects.toThrow(/does not let go/);
  await file.close();
  await using look = await opened;
  expect(await look.partitions()).toHaveLength(1);
  await lockAlone(second, 0);
  await second.close();
});

/** The number of all rows, at least `least`. */
async function theNumber(store: ReadableStore, least: number): Promise<number> {
  const numbers = new Set<number>();
  for (const { partition } of await store.partitions()) {
    const { rows } = await store.page({ partition, rowLimit: 5_000, byteLimit: 1e9 });
    expect(rows).toHaveLength(1_500);
    for (const { value } of rows) numbers.add(new DataView(value.buffer, value.byteOffset).getUint32(0));
  }
  expect([...numbers]).toHaveLength(1);
  const [number = 0] = numbers;
  expect(number).toBeGreaterThanOrEqual(least);
  expect(store.stats().quarantined).toBe(0);
  return number;
}

class Writer {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  told = 0;

  constructor(from: number) {
    this.#child = spawn(process.execPath, [WRITER, folder, String(from)], { stdio: ["ignore", "pipe", "inherit"] });
    this.#exited = once(this.#child, "exit");
    this.#child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      this.told = Number(chunk.trimEnd().split("\n").at(-1));
    });
  }

  reaches(number: number): Promise<unknown> {
    return waitUntil(`the writer is at ${number}`, () => this.told >= number, 20_000);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

const WRITER = resolve("test/fixtures/store-pairs.mjs");
