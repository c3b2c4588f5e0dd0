/**
 * The journal over a database that takes its time, or none of it: what is waited for, and what breaks the store.
 *
 * Seen to fail: with one deadline around a whole commit, and without one around a write of the journal.
 */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Partition } from "../../../ring/ids.ts";
import { giveBack } from "../../../ring/io/directory.ts";
import { lockAlone, unlockAlone } from "../../../ring/io/store/alone.ts";
import { openEmbeddedStore } from "../../../ring/io/store/embedded.ts";
import type { Environment } from "../../../ring/io/store/environment.ts";
import { withDeadline } from "../../../ring/io/store/failure.ts";
import { Journal } from "../../../ring/io/store/journal.ts";
import { JournalFile } from "../../../ring/io/store/journal-file.ts";
import { Lull } from "../../../ring/io/store/lull.ts";
import { KNOWN_ROW, knownOf } from "../../../ring/io/store/rows.ts";
import { Slices } from "../../../ring/io/store/slices.ts";
import { Space } from "../../../ring/io/store/space.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("a slow disk", () => {
  test("P5: a commit waits for the database as long as the disk answers, however long that is together", async () => {
    const database = new SlowDatabase(60);
    const { journal, broken } = await journalOver(database, { deadlineMs: 600 });
    let longestMs = 0;
    // Until a commit has waited for the segment before: that takes twenty transactions.
    for (let number = 0; longestMs < 1_000 && number < 400_000; ) {
      const begunAt = performance.now();
      await journal.append((rows) => {
        for (let row = 0; row < 500; row++) rows.put(1, keyOf(number++), VALUE);
      });
      longestMs = Math.max(longestMs, performance.now() - begunAt);
    }
    expect(longestMs).toBeGreaterThan(1_000);
    expect(broken).toEqual([]);
  }, 30_000);

  test("says since when commits wait for it, and that they do no more", async () => {
    const database = new SlowDatabase(0);
    const { journal } = await journalOver(database, { deadlineMs: 10_000 });
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    const release = database.hold();
    const settled = journal.settle();
    await vi.waitFor(() => expect(journal.behindMs).toBeGreaterThan(0));
    release();
    await settled;
    expect(journal.behindMs).toBe(0);
  });
});

describe("a disk that does not answer", () => {
  test("S4: a write of the journal is given up at the deadline", async () => {
    const { journal } = await journalOver(new SlowDatabase(0), { deadlineMs: 50 });
    vi.spyOn(JournalFile.prototype, "write").mockImplementation(() => new Promise(() => {}));
    await expect(journal.append((rows) => rows.put(1, keyOf(1), VALUE))).rejects.toThrow(/no answer from the disk/);
    expect(journal.get(Uint8Array.of(0, 1, ...keyOf(1)))).toBeUndefined();
  });

  test("P1: does not hold up the end of a node, whose lock stays for as long as something may still be written", async () => {
    const directory = mkdtempSync(join(tmpdir(), "taskring-pace-"));
    cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
    const store = await openEmbeddedStore({ directory, commitDeadlineMs: 1_000 });
    let answer = (): void => {};
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    vi.spyOn(JournalFile.prototype, "write").mockReturnValue(answered);
    const close = JournalFile.prototype.close;
    vi.spyOn(JournalFile.prototype, "close").mockImplementation(async function (this: JournalFile) {
      await answered; // as that of Node does for what is under way
      await close.call(this);
    });
    await expect(store.open(1 as Partition, { history: 1, generation: 1 })).rejects.toThrow(/no answer from the disk/);
    await store[Symbol.asyncDispose]();
    let isReleased = false;
    const release = async (): Promise<void> => {
      isReleased = true;
    };
    await giveBack({ release }, store);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(isReleased).toBe(false);
    answer();
    await vi.waitFor(() => expect(isReleased).toBe(true));
  });

  test("S4: at the end of a node a lock on a disk that failed may fail as well", async () => {
    const unhandled = vi.fn();
    process.once("unhandledRejection", unhandled);
    const release = vi.fn(() => Promise.reject(new Error("EIO")));
    await giveBack({ release }, { broken: new Error("EIO"), letGo: async () => {} });
    await new Promise((resolve) => setTimeout(resolve, 10));
    process.off("unhandledRejection", unhandled);
    expect(release).toHaveBeenCalledOnce();
    expect(unhandled).not.toHaveBeenCalled();
  });

  test("S4: a transaction of the database breaks the store at the deadline, and whoever waits for it hears of it", async () => {
    const database = new SlowDatabase(0);
    const { journal, broken } = await journalOver(database, { deadlineMs: 50 });
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    database.hold();
    await expect(journal.settle()).rejects.toThrow(/no answer from the disk/);
    await vi.waitFor(() => expect(broken.map(String)).toEqual([expect.stringMatching(/no answer from the disk/)]));
  });

  test("an event loop that was busy for longer than the deadline does not count as a slow disk", async () => {
    // A little longer: the answer is delivered in the turn of the timer. Much longer: as after SIGSTOP, the disk gets a new deadline.
    for (const { forMs, turns } of [
      { forMs: 150, turns: 1 },
      { forMs: 1_100, turns: 10 },
    ]) {
      const answer = new Promise<boolean>((resolve) => {
        setImmediate(() => {
          const end = performance.now() + forMs;
          while (performance.now() < end);
          afterTurns(turns, () => resolve(true));
        });
      });
      expect(await withDeadline(answer, 100)).toBe(true);
    }
  });
});

describe("a transaction that lmdb gives up", () => {
  test("P5: is tried again, with the same changes", async () => {
    const database = new SlowDatabase(0);
    const { journal, broken } = await journalOver(database, { deadlineMs: 5_000 });
    for (let number = 0; number < 5; number++) await journal.append((rows) => rows.put(1, keyOf(number), VALUE));
    database.giveUp(2);
    await journal.settle();
    expect(database.puts).toEqual([6, 6, 6]);
    expect(broken).toEqual([]);
  });

  test("S4: breaks the store when it never succeeds", async () => {
    const database = new SlowDatabase(0);
    const { journal, broken } = await journalOver(database, { deadlineMs: 5_000 });
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    database.giveUp(99);
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    const settled = journal.settle().catch((error: { code?: number }) => error.code);
    await vi.advanceTimersByTimeAsync(10_000);
    vi.useRealTimers();
    expect(await settled).toBe(-30782);
    expect(database.puts).toHaveLength(6);
    expect(broken).toHaveLength(1);
  });
});

describe("a journal that is closed because its store is broken", () => {
  test("P1: tells the database nothing more: who opens it next may have told it newer already", async () => {
    const database = new SlowDatabase(0);
    const { journal, broken } = await journalOver(database, { deadlineMs: 5_000 });
    const large = new Uint8Array(5 * 1024 * 1024);
    for (let number = 0; number < 3; number++) await journal.append((rows) => rows.put(1, keyOf(number), large));
    expect(journal.owedBytes).toBeGreaterThan(3 * large.length); // a segment is on its way
    database.puts.length = 0;
    await journal.close(true);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(database.puts).toEqual([]);
    expect(broken).toEqual([]);
  });
});

describe("a segment of several transactions", () => {
  test("P1: counts as applied with the last of them", async () => {
    const database = new SlowDatabase(0);
    const { journal } = await journalOver(database, { deadlineMs: 5_000 });
    await journal.append((rows) => {
      for (let row = 0; row < 2_500; row++) rows.put(1, keyOf(row), VALUE);
    });
    database.puts.length = 0;
    database.known.length = 0;
    await journal.settle();
    expect(database.puts.length).toBeGreaterThan(1);
    expect(database.puts.at(-1)).toBeGreaterThan(1);
    // Beside its changes each says how far the database is.
    expect(database.puts.reduce((sum, puts) => sum + puts)).toBe(2_500 + database.puts.length);
    const known = database.known.map((value) => knownOf(value)!);
    const [first, last] = [known[0]!.applied, known.at(-1)!.applied];
    expect(known.map(({ applied }) => applied)).toEqual([...database.puts.slice(1).map(() => first), last]);
    expect(last).toBe(first + 1);
  });
});

describe("another process that opens the database beside its node", () => {
  test("P1: does so between two transactions, of which lmdb would lose one", async () => {
    const database = new SlowDatabase(0);
    const { journal, directory } = await journalOver(database, { deadlineMs: 5_000 });
    await using file = await open(join(directory, "journal-0"), "r+");
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    await lockAlone(file, 0);
    database.puts.length = 0;
    const release = database.hold();
    const settled = journal.settle();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(database.puts).toEqual([]);
    unlockAlone(file);
    await vi.waitFor(() => expect(database.puts).toEqual([2]));
    await expect(lockAlone(file, 0)).rejects.toThrow(/does not let go/);
    release();
    await settled;
    await lockAlone(file, 0);
  });

  test("P1: has as long as it needs after a stop of both: they go on together", async () => {
    const { directory } = await journalOver(new SlowDatabase(0), { deadlineMs: 5_000 });
    await using held = await open(join(directory, "journal-0"), "r+");
    await using waiting = await open(join(directory, "journal-0"), "r+");
    await lockAlone(held, 0);
    const locked = lockAlone(waiting, 500);
    const end = performance.now() + 1_000;
    while (performance.now() < end);
    setTimeout(() => unlockAlone(held), 50);
    await locked;
  });

  test("P1: reads the journal while no segment is begun to be told, for a second at most", async () => {
    const database = new SlowDatabase(0);
    const { journal, directory } = await journalOver(database, { deadlineMs: 5_000 });
    const file = await open(join(directory, "journal-1"), "r+");
    for (const letsGo of [true, false]) {
      await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
      database.puts.length = 0;
      await lockAlone(file, 0);
      const settled = journal.settle();
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(database.puts).toEqual([]);
      if (letsGo) unlockAlone(file);
      await settled;
      expect(database.puts).toEqual([2]);
    }
    // He is not waited for again.
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    const begunAt = performance.now();
    await journal.settle();
    expect(performance.now() - begunAt).toBeLessThan(500);
    await file.close();
  });

  test("P5: is all that a commit waits for that came meanwhile: the segment is told at once when he lets go", async () => {
    const { journal, directory } = await journalOver(new SlowDatabase(0), { deadlineMs: 5_000 });
    const lulls = vi.spyOn(Lull.prototype, "over");
    await using file = await open(join(directory, "journal-1"), "r+");
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    await lockAlone(file, 0);
    const settled = journal.settle();
    await vi.waitFor(() => expect(journal.behindMs).toBeGreaterThan(0));
    unlockAlone(file);
    await settled;
    expect(lulls).not.toHaveBeenCalled();
  });

  test("S4: breaks the store when it never comes to an end", async () => {
    const { journal, broken, directory } = await journalOver(new SlowDatabase(0), { deadlineMs: 50 });
    await using file = await open(join(directory, "journal-0"), "r+");
    await journal.append((rows) => rows.put(1, keyOf(1), VALUE));
    await lockAlone(file, 0);
    await expect(journal.settle()).rejects.toThrow(/does not let go/);
    await vi.waitFor(() => expect(broken).toHaveLength(1));
  });
});

describe("whoever waits until everything is in the database", () => {
  test("finds all of it there, also what the next segment has said newer of by then", async () => {
    const database = new SlowDatabase(0);
    const { journal } = await journalOver(database, { deadlineMs: 5_000 });
    const most = 40_000;
    await journal.append((rows) => {
      for (let number = 0; number < most; number++) rows.put(1, keyOf(number), Uint8Array.of(1));
    });
    vi.spyOn(JournalFile.prototype, "write").mockResolvedValue();
    database.puts.length = 0;
    const settled = journal.settle();
    const later: Promise<boolean>[] = [];
    for (const count of [most, 1])
      later.push(
        journal.append((rows) => {
          for (let number = 0; number < count; number++) rows.put(1, keyOf(number), Uint8Array.of(2));
        }),
      );
    await settled;
    expect(database.puts.reduce((sum, puts) => sum + puts, 0)).toBe(most + database.puts.length);
    await Promise.all(later);
  });
});

describe("the size of a transaction", () => {
  test("grows only while somebody waits and the disk is quick, and comes back", () => {
    const slices = new Slices(10_000);
    const usual = slices.rows;
    slices.answered({ tookMs: 5, isWaitedFor: false });
    expect(slices.rows).toBe(usual);
    for (let answer = 0; answer < 10; answer++) slices.answered({ tookMs: 5, isWaitedFor: true });
    expect(slices.rows).toBe(4 * usual);
    expect(slices.bytes).toBe(8 * 1024 * 1024);
    slices.answered({ tookMs: 5, isWaitedFor: false });
    expect(slices.rows).toBe(usual);
  });

  test("P5: shrinks after slow answers, so that each comes in time, but not to nothing", () => {
    const slices = new Slices(10_000);
    const usual = slices.rows;
    slices.answered({ tookMs: 4_000, isWaitedFor: true });
    expect(slices.rows).toBe(usual / 2);
    for (let answer = 0; answer < 20; answer++) slices.answered({ tookMs: 9_000, isWaitedFor: true });
    expect(slices.rows).toBeGreaterThan(100);
    for (let answer = 0; answer < 20; answer++) slices.answered({ tookMs: 20, isWaitedFor: false });
    expect(slices.rows).toBe(usual);
  });

  test("grows while a store is opened: whoever opens it waits for all that a killed process left", async () => {
    const folder = mkdtempSync(join(tmpdir(), "taskring-pace-"));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const rows = 20_000;
    await using store = await openEmbeddedStore({ directory: join(folder, "killed") });
    const term = await store.open(1 as Partition, { history: 1, generation: 1 });
    const changes = Array.from({ length: rows }, (_, number) => ({ key: keyOf(number), value: VALUE }));
    await store.commit([{ partition: 1 as Partition, term, changes }]);
    cpSync(join(folder, "killed"), join(folder, "left"), { recursive: true });
    await using left = await openEmbeddedStore({ directory: join(folder, "left") });
    expect(left.stats().rows).toBe(rows);
    const { syncs, commits } = left.stats();
    expect((syncs - commits) / 2).toBeLessThan(rows / 2_000);
  });
});

/** Keeps nothing; a transaction takes as long as it is told to. */
class SlowDatabase {
  readonly #tookMs: number;
  #held: Promise<void> | undefined;
  #givenUp = 0;
  /** Of each transaction. */
  readonly puts: number[] = [];
  /** What it has been told of how far it is. */
  readonly known: Uint8Array[] = [];

  constructor(tookMs: number) {
    this.#tookMs = tookMs;
  }

  /** Transactions wait until the result is called. */
  hold(): () => void {
    let release = (): void => {};
    this.#held = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  /** So many transactions fail as lmdb's do now and then, which only promises the reason. */
  giveUp(count: number): void {
    this.#givenUp = count;
    this.puts.length = 0;
  }

  async batch(write: () => void): Promise<void> {
    this.puts.push(0);
    write();
    if (this.#givenUp-- > 0) {
      const commitError = Promise.reject(Object.assign(new Error("MDB_BAD_TXN"), { code: -30782 }));
      commitError.catch(() => {});
      throw Object.assign(new Error("Commit failed"), { commitError });
    }
    await this.#held;
    await new Promise((resolve) => setTimeout(resolve, this.#tookMs));
  }

  put(key: Uint8Array, value: Uint8Array & { readonly start: number; readonly end: number }): void {
    this.puts[this.puts.length - 1]!++;
    if (Buffer.compare(key, KNOWN_ROW) === 0) this.known.push(value.slice(value.start, value.end));
  }

  remove(): void {}
}

async function journalOver(
  database: SlowDatabase,
  options: { readonly deadlineMs: number },
): Promise<{ readonly journal: Journal; readonly broken: unknown[]; readonly directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), "taskring-pace-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  const space = new Space({ directory, reserveBytes: 0, freeInside: () => 0, onChange: () => {} });
  cleanups.push(() => space.close());
  const environment = { database, get: () => undefined, forgetDeadReaders: () => {} };
  const broken: unknown[] = [];
  const journal = await Journal.open({
    directory,
    environment: environment as unknown as Environment,
    space,
    deadlineMs: options.deadlineMs,
    onBroken: (error) => broken.push(error),
  });
  cleanups.push(() => journal.close(true));
  return { journal, broken, directory };
}

function keyOf(number: number): Uint8Array {
  return Uint8Array.of(0x20, number >>> 24, number >>> 16, number >>> 8, number);
}

function afterTurns(turns: number, then: () => void): void {
  if (turns === 0) then();
  else setImmediate(afterTurns, turns - 1, then);
}

const VALUE: Uint8Array = new Uint8Array(250);
