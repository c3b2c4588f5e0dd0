/** Group commit over a journal that fails on purpose. Seen to fail: without S4's latch. */

import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterAll, expect, test } from "vitest";
import type { RingError } from "../../../ring/errors.ts";
import type { Partition } from "../../../ring/ids.ts";
import { CommitLine, type Job } from "../../../ring/io/store/commit.ts";
import type { Journal } from "../../../ring/io/store/journal.ts";
import type { RowSink } from "../../../ring/io/store/row-sink.ts";
import { Space } from "../../../ring/io/store/space.ts";

const directory = mkdtempSync(`${tmpdir()}/taskring-line-`);
afterAll(() => rmdirSync(directory));

test("S4: the first failed commit breaks the line; what waited and what comes later is rejected, nothing is tried again", async () => {
  const journal = new FailingJournal();
  const broken: RingError[] = [];
  const line = lineOver(journal, { onBroken: (error) => broken.push(error) });
  await line.submit(job());
  journal.next = { type: "fail", code: 5 };
  const failing = line.submit(job());
  const waiting = line.submit({ ...job(), reads: true });
  const results = await Promise.allSettled([failing, waiting]);
  expect(results.map((result) => result.status === "rejected" && result.reason.code)).toEqual([
    "STORE_BROKEN",
    "STORE_BROKEN",
  ]);
  await expect(line.submit(job())).rejects.toMatchObject({ code: "STORE_BROKEN" });
  expect({ commits: line.commits, tried: journal.batches, reports: broken.length }).toEqual({
    commits: 1,
    tried: 2,
    reports: 1,
  });
  await line.idle();
});

test("S4: a failed sync of the journal breaks the line also while the disk is nearly full", async () => {
  const journal = new FailingJournal();
  const space = new Space({ directory, reserveBytes: 0, freeInside: () => 0, onChange: () => {} });
  space.diskBytes = () => 4_096;
  const line = lineOver(journal, { space });
  journal.next = { type: "fail", code: 5 }; // of the database, which says so when it wrote less than it should
  await line.submit(job());
  expect(line.broken).toBeUndefined();
  journal.next = { type: "fail", code: "EIO" };
  await expect(line.submit(job())).rejects.toMatchObject({ code: "STORE_BROKEN" });
  expect(journal.batches).toBe(3);
  space.close();
});

test("want of space refuses what begins work and tries what ends work again", async () => {
  const journal = new FailingJournal();
  const line = lineOver(journal);
  journal.next = { type: "fail", code: 28 };
  const results = await Promise.allSettled([
    line.submit({ ...job(1), grows: true }),
    line.submit({ ...job(1) }),
    line.submit({ ...job(2) }),
  ]);
  // The second shares a partition with the first, and must not outlive it (S1).
  expect(results.map((result) => (result.status === "rejected" ? result.reason.code : "synced"))).toEqual([
    "QUEUE_FULL",
    "QUEUE_FULL",
    "synced",
  ]);
  expect(line.broken).toBeUndefined();
  await expect(line.submit({ ...job(), grows: true })).rejects.toMatchObject({
    code: "QUEUE_FULL",
    retryAfterMs: 1000,
  });
  await line.submit(job());
});

test("P8: a job that is refused before anything is written does not hold up those that come later", async () => {
  const journal = new FailingJournal();
  let room = 2 ** 60;
  const space = new Space({ directory, reserveBytes: 2 ** 60, freeInside: () => room, onChange: () => {} });
  const line = lineOver(journal, { space });
  room = 0;
  await expect(line.submit({ ...job(), grows: true, bytes: 2 ** 50 })).rejects.toMatchObject({ code: "QUEUE_FULL" });
  await line.submit(job());
  space.close();
  expect(journal.batches).toBe(1);
});

test("P5: more than may wait for the disk is refused with a delay", async () => {
  const line = lineOver(new FailingJournal(), { waitingLimitBytes: 1000 });
  const results = await Promise.allSettled(Array.from({ length: 5 }, () => line.submit({ ...job(), bytes: 400 })));
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled", "rejected", "rejected"]);
  await line.submit(job());
});

test("jobs given in one turn share a batch, one that reads begins a new one", async () => {
  const journal = new FailingJournal();
  const line = lineOver(journal);
  await Promise.all([
    line.submit(job()),
    line.submit(job()),
    line.submit({ ...job(), reads: true }),
    line.submit(job()),
  ]);
  expect(journal.batches).toBe(2);
});

type Outcome = { readonly type: "sync" } | { readonly type: "fail"; readonly code: number | string };

/** Does to the next batch what it was told to. */
class FailingJournal {
  next: Outcome = { type: "sync" };
  batches = 0;

  append(write: (rows: RowSink) => void): Promise<boolean> {
    this.batches += 1;
    write(NO_ROWS);
    const outcome = this.next;
    this.next = { type: "sync" };
    switch (outcome.type) {
      case "sync":
        return new Promise((resolve) => setImmediate(resolve, true));
      case "fail":
        return Promise.reject(Object.assign(new Error(`code ${outcome.code}`), { code: outcome.code }));
    }
  }
}

const NO_ROWS: RowSink = { put: () => {}, putStored: () => {}, remove: () => {}, change: () => {} };

function lineOver(
  journal: FailingJournal,
  options: Partial<ConstructorParameters<typeof CommitLine>[0]> = {},
): CommitLine {
  const space = new Space({ directory, reserveBytes: 0, freeInside: () => 0, onChange: () => {} });
  return new CommitLine({
    journal: journal as unknown as Journal,
    space,
    waitingLimitBytes: 1e6,
    onBroken: () => {},
    ...options,
  });
}

function job(partition = 1): Job {
  return {
    grows: false,
    reads: false,
    changes: 1,
    bytes: 10,
    partitions: [partition as Partition],
    write: (rows) => rows.put(partition, Uint8Array.of(1), Uint8Array.of(1)),
  };
}
