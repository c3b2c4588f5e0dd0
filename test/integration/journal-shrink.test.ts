/**
 * P1: a journal file is cut down to its usual size (after a segment with an unusually large batch) while the next segment but
 * one is already being written into it.
 */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import { JournalFile } from "../../ring/io/store/journal-file.ts";

const folder = mkdtempSync(join(tmpdir(), "shrink-"));
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const P = 7 as Partition;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("P1: what was acknowledged is there after a crash, although the file system took its time to cut a file", async () => {
  // The disk: the first `stat` and `ftruncate` of a journal file wait for their turn (thread pool or file system busy).
  let asked = (): void => {};
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  let goOn = (): void => {};
  const mayGoOn = new Promise<void>((resolve) => (goOn = resolve));
  const shrink = JournalFile.prototype.shrink;
  let cut: Promise<void> | undefined;
  vi.spyOn(JournalFile.prototype, "shrink").mockImplementation(function (this: JournalFile, bytes: number) {
    if (cut !== undefined) return shrink.call(this, bytes);
    cut = mayGoOn.then(() => shrink.call(this, bytes));
    asked();
    return cut;
  });

  const directory = join(folder, "store");
  const store = await openEmbeddedStore({ directory, commitDeadlineMs: 60_000 });
  const term = await store.open(P, { history: 1, generation: 1 });
  // 13.2 MiB: what a few clients' full windows of large tasks come to in one commit of a node.
  const commit = (name: number): Promise<unknown> =>
    store.commit([
      {
        partition: P,
        term,
        changes: [0, 1, 2, 3].map((row) => ({
          key: Uint8Array.of(0x10, name, row),
          value: new Uint8Array(3.3 * 1024 * 1024).fill(name),
        })),
      },
    ]);
  await commit(1); // segment 1, in its own file
  await commit(2); // segment 2, in the other file; segment 1 goes into the database
  await isAsked; // segment 1 is applied; its file is about to be cut
  const third = commit(3); // segment 3, in the file of segment 1
  await Promise.race([third, pause(2_000)]); // acknowledged before the file is cut (or, repaired, only after that)
  goOn();
  await third;
  await cut;
  await pause(1_500); // segment 2 goes into the database

  // SIGKILL now: what the disk holds.
  const image = join(folder, "image");
  cpSync(directory, image, { recursive: true });
  const after = await openEmbeddedStore({ directory: image });
  const keys: string[] = [];
  for (let next: Uint8Array | undefined, first = true; first || next !== undefined; first = false) {
    const page = await after.page({ partition: P, rowLimit: 100, byteLimit: 64 << 20, ...(next && { after: next }) });
    for (const { key } of page.rows) keys.push(`${key[1]}.${key[2]}`);
    next = page.next;
  }
  await after[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  expect(keys).toEqual(["1.0", "1.1", "1.2", "1.3", "2.0", "2.1", "2.2", "2.3", "3.0", "3.1", "3.2", "3.3"]);
}, 60_000);
