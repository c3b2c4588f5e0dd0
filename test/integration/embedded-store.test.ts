/**
 * The embedded store where processes die, disks fill up and bits flip.
 *
 * SIGKILL keeps what the kernel has, so it proves order and completeness, not the sync itself; that there is one
 * fdatasync per commit was seen under strace (V1 of `environment.ts`).
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { open as openLmdb } from "lmdb";
import { afterEach, expect, type TestContext, test } from "vitest";
import type { Partition } from "../../ring/ids.ts";
import { openDirectory } from "../../ring/io/directory.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import type { RowChange, Term } from "../../ring/store.ts";
import { mountSmallDisk } from "./small-disk.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

test("P1: nothing acknowledged is missing after SIGKILL at random moments", { timeout: 60_000 }, async () => {
  const path = temporaryDirectory();
  const put = new Map<number, number>();
  const deleted = new Set<number>();
  for (let round = 0; round < 6; round += 1) {
    for (const line of await writeUntilKilled(path, { start: round * 1e6, linesAtLeast: 1 + 400 * round })) {
      const [what, partition, number] = line.split(" ");
      if (what === "put") put.set(Number(number), Number(partition));
      else deleted.add(Number(number));
    }
    const directory = await openDirectory(path, { name: "writer" as never });
    const store = await openEmbeddedStore({ directory: directory.storePath });
    const found = new Set<number>();
    for (const partition of [0, 1, 2, 3]) {
      for (const { key } of await rowsOf(store, partition as Partition)) found.add(Buffer.from(key).readDoubleBE(1));
    }
    // A number divisible by three may be gone without its deletion having been reported.
    const missing = [...put.keys()].filter((number) => number % 3 !== 0 && !found.has(number));
    const undead = [...deleted].filter((number) => found.has(number));
    expect({ missing, undead }).toEqual({ missing: [], undead: [] });
    expect(store.stats().quarantined).toBe(0);
    await store[Symbol.asyncDispose]();
    await directory.release();
  }
  expect(put.size).toBeGreaterThan(2000);
  expect(deleted.size).toBeGreaterThan(100);
});

test("P1: a row with a flipped bit is set aside loudly, and the pages around it are complete", async () => {
  const path = temporaryDirectory();
  const first = await openEmbeddedStore({ directory: path });
  const term = await first.open(P1, FIRST);
  const changes = Array.from({ length: 20 }, (_, at) => ({
    key: Uint8Array.of(1, at),
    value: new Uint8Array(100).fill(at),
  }));
  await first.commit([{ partition: P1, term, changes }]);
  await first[Symbol.asyncDispose]();

  const raw = openRaw(path);
  for (const at of [0, 5, 6, 7, 19]) {
    const key = Buffer.from([0, 7, 1, at]);
    const stored = Buffer.from(raw.get(key)!);
    stored[at] = stored[at]! ^ 0x10;
    await raw.put(key, stored);
  }
  await raw.close();

  const errors: string[] = [];
  const log = { warn: () => {}, error: (_: object, message: string) => errors.push(message) };
  const second = await openEmbeddedStore({ directory: path, log });
  cleanups.push(() => second[Symbol.asyncDispose]());
  const good = changes.map(({ key }) => key[1]!).filter((at) => ![0, 5, 6, 7, 19].includes(at));
  for (const rowLimit of [1, 2, 3, 100]) {
    expect((await rowsOf(second, P1, rowLimit)).map(({ key }) => key[1])).toEqual(good);
  }
  expect(errors.filter((message) => message.includes("checksum"))).toHaveLength(5);
  await eventually(() => second.stats().quarantined === 5);
  expect(second.stats().rows).toBe(15);
  await second.commit([{ partition: P1, term, changes: [{ key: Uint8Array.of(1, 5), value: Uint8Array.of(9) }] }]);
  expect(await rowsOf(second, P1)).toHaveLength(16);
});

test("a row under another row's key is not served", async () => {
  const path = temporaryDirectory();
  const first = await openEmbeddedStore({ directory: path });
  const term = await first.open(P1, FIRST);
  await first.commit([{ partition: P1, term, changes: [{ key: Uint8Array.of(1), value: Uint8Array.of(1) }] }]);
  await first[Symbol.asyncDispose]();
  const raw = openRaw(path);
  await raw.put(Buffer.from([0, 7, 2]), raw.get(Buffer.from([0, 7, 1]))!);
  await raw.close();
  const second = await openEmbeddedStore({ directory: path });
  cleanups.push(() => second[Symbol.asyncDispose]());
  expect((await rowsOf(second, P1)).map(({ key }) => [...key])).toEqual([[1]]);
});

test("a partition whose term row is damaged is set aside whole, the others open", async () => {
  const path = temporaryDirectory();
  const first = await openEmbeddedStore({ directory: path });
  for (const partition of [P1, P2]) {
    const term = await first.open(partition, FIRST);
    await first.commit([{ partition, term, changes: [{ key: Uint8Array.of(1), value: Uint8Array.of(1) }] }]);
  }
  await first[Symbol.asyncDispose]();
  const raw = openRaw(path);
  await raw.put(Buffer.from([0xff, 0xf1, 0, 7]), Buffer.from("garbage"));
  await raw.close();
  const second = await openEmbeddedStore({ directory: path });
  cleanups.push(() => second[Symbol.asyncDispose]());
  expect((await second.partitions()).map(({ partition }) => partition)).toEqual([P2]);
  expect(await rowsOf(second, P1)).toEqual([]);
  expect(await rowsOf(second, P2)).toHaveLength(1);
  await eventually(() => second.stats().quarantined === 2);
});

test("a drop or quarantine that a crash cut short is finished when the store opens again", async () => {
  const path = temporaryDirectory();
  const first = await openEmbeddedStore({ directory: path });
  for (const partition of [P1, P2]) {
    const term = await first.open(partition, FIRST);
    await first.commit([{ partition, term, changes: [{ key: Uint8Array.of(1), value: Uint8Array.of(1) }] }]);
  }
  await first[Symbol.asyncDispose]();
  // What the first step of a long drop (1) and of a long quarantine (2) leave behind, made by the store's own code.
  const { encodeTerm, keyOf, TERMS, termKey } = await import("../../ring/io/store/rows.ts");
  const { checksum } = await import("../../ring/io/store/checksum.ts");
  const raw = openRaw(path);
  for (const [partition, state] of [
    [P1, "dropping"],
    [P2, "moving-aside"],
  ] as const) {
    const key = Buffer.from(keyOf(TERMS, termKey(partition)));
    const value = encodeTerm({ history: 1, generation: 1, opens: 1 }, state);
    const whole = Buffer.concat([key, value, Buffer.alloc(4)]);
    whole.writeUInt32LE(checksum(whole, 0, whole.length - 4), whole.length - 4);
    await raw.put(key, whole.subarray(key.length));
  }
  await raw.close();
  const said: unknown[] = [];
  const log = { warn: () => {}, error: (fields: object) => void said.push(fields) };
  const second = await openEmbeddedStore({ directory: path, log });
  cleanups.push(() => second[Symbol.asyncDispose]());
  expect(await second.partitions()).toEqual([]);
  expect(second.stats()).toMatchObject({ rows: 0, quarantined: 1 });
  expect(said).toEqual([{ partition: P2, why: "a quarantine that a crash had cut short" }]);
});

test("a newer format and a file that is no store are refused", async () => {
  const path = temporaryDirectory();
  const first = await openEmbeddedStore({ directory: path });
  await first[Symbol.asyncDispose]();
  const { checksum } = await import("../../ring/io/store/checksum.ts");
  const raw = openRaw(path);
  const key = Buffer.from([0xff, 0xf0, 0]);
  const value = Buffer.from([3, 0, 0, 0, 0]);
  value.writeUInt32LE(checksum(Buffer.concat([key, Buffer.from([3])]), 0, 4), 1);
  await raw.put(key, value);
  await raw.close();
  await expect(openEmbeddedStore({ directory: path })).rejects.toMatchObject({
    code: "STORE_BROKEN",
    message: /newer/,
  });
  const other = temporaryDirectory();
  for (const bytes of [1, 100, 159, 160, 5000, 20_000]) {
    writeFileSync(join(other, "data.mdb"), Buffer.alloc(bytes, 7));
    await expect(openEmbeddedStore({ directory: other })).rejects.toMatchObject({ code: "STORE_BROKEN" });
  }
});

test("a lock file that LMDB cannot open is a fault like others, and does not end the process", async () => {
  const directory = join(temporaryDirectory(), "store");
  await (await openEmbeddedStore({ directory }))[Symbol.asyncDispose]();
  rmSync(join(directory, "lock.mdb"));
  mkdirSync(join(directory, "lock.mdb"));
  await expect(openEmbeddedStore({ directory })).rejects.toMatchObject({ code: "STORE_BROKEN", message: /lock\.mdb/ });
});

test("a store that was cut off or emptied is a fault, not a fresh start", async () => {
  const path = temporaryDirectory();
  const first = await openEmbeddedStore({ directory: path });
  const term = await first.open(P1, FIRST);
  for (let at = 0; at < 20; at += 1) {
    await first.commit([
      { partition: P1, term, changes: [{ key: Uint8Array.of(1, at), value: new Uint8Array(50_000) }] },
    ]);
  }
  await first[Symbol.asyncDispose]();
  truncateSync(join(path, "data.mdb"), 3 * 4096);
  await expect(openEmbeddedStore({ directory: path })).rejects.toMatchObject({
    code: "STORE_BROKEN",
    message: /cut off/,
  });
  rmSync(join(path, "data.mdb"));
  await expect(openEmbeddedStore({ directory: path, mustExist: true })).rejects.toMatchObject({
    code: "STORE_BROKEN",
    message: /empty/,
  });
});

test("P5: a full disk refuses new work, lets running work end, and recovers alone", {
  timeout: 60_000,
}, async (context) => {
  const disk = mountSmallDisk(64);
  if (typeof disk === "string") return context.skip(disk);
  cleanups.push(disk.remove);
  const store = await openEmbeddedStore({ directory: join(disk.path, "store"), reserveBytes: 16 * 1024 * 1024 });
  cleanups.push(() => store[Symbol.asyncDispose]());
  const term = await store.open(P1, FIRST);
  const acknowledged = await fill(store, term, 200);
  expect(store.full).toBe(true);
  const { bavail, bsize } = statfsSync(disk.path);
  expect(bavail * bsize).toBeGreaterThan(12 * 1024 * 1024);
  expect(store.broken).toBeUndefined();
  await expect(store.commit([put(term, 1e6)])).rejects.toMatchObject({ code: "QUEUE_FULL", retryAfterMs: 1000 });

  const ended = acknowledged.splice(0, Math.floor(acknowledged.length / 2));
  for (let at = 0; at < ended.length; at += 50) {
    const changes: RowChange[] = ended.slice(at, at + 50).map((number) => ({ key: keyOf(number) }));
    changes.push({ key: keyOf(-1 - at), value: new Uint8Array(500) });
    await store.commit([{ partition: P1, term, changes }]);
  }
  await eventually(() => !store.full);
  await store.commit([put(term, 2e6)]);
  expect(await numbersOf(store)).toEqual(new Set([...acknowledged, 2e6]));
});

test("P1: a disk that runs full in the middle of a commit loses nothing and does not break the store", {
  timeout: 60_000,
}, async (context) => {
  const disk = mountSmallDisk(48);
  if (typeof disk === "string") return context.skip(disk);
  cleanups.push(disk.remove);
  const path = join(disk.path, "store");
  mkdirSync(path);
  const ballast = join(disk.path, "ballast");
  writeFileSync(ballast, Buffer.alloc(16 * 1024 * 1024));
  // Without a reserve LMDB itself meets the end of the disk.
  const store = await openEmbeddedStore({ directory: path, reserveBytes: 0 });
  const term = await store.open(P1, FIRST);
  const acknowledged = await fill(store, term, 37);
  expect(store.broken).toBeUndefined();
  expect(store.full).toBe(true);
  rmSync(ballast);
  await eventually(() => !store.full);
  acknowledged.push(...(await fill(store, term, 1)).slice(0));
  expect(await numbersOf(store)).toEqual(new Set(acknowledged));
  await store[Symbol.asyncDispose]();
  const again = await openEmbeddedStore({ directory: path, reserveBytes: 0 });
  cleanups.push(() => again[Symbol.asyncDispose]());
  expect(await numbersOf(again)).toEqual(new Set(acknowledged));
});

test("P1: a commit that the disk has no room for is not seen, nor replayed, and the next one is", {
  timeout: 60_000,
}, async (context) => {
  const { path, ballast, store } = await onSmallDisk(context);
  const term = await store.open(P1, FIRST);
  await store.commit([put(term, 1)]);
  fillFile(ballast);
  const large = { key: keyOf(2), value: new Uint8Array(1_000_000) };
  await expect(store.commit([{ partition: P1, term, changes: [large] }])).rejects.toMatchObject({ code: "QUEUE_FULL" });
  expect(await numbersOf(store)).toEqual(new Set([1]));
  rmSync(ballast);
  await eventually(() => !store.full);
  await store.commit([put(term, 3)]);
  expect(await numbersOf(store)).toEqual(new Set([1, 3]));
  // What a SIGKILL would leave.
  const copy = temporaryDirectory();
  cpSync(path, copy, { recursive: true });
  const again = await openEmbeddedStore({ directory: copy });
  cleanups.push(() => again[Symbol.asyncDispose]());
  expect(await numbersOf(again)).toEqual(new Set([1, 3]));
});

test("P8: opening on a full disk gives up after its time with an error that names the disk, and does once there is room", {
  timeout: 60_000,
}, async (context) => {
  const { path, ballast, store } = await onSmallDisk(context);
  const term = await store.open(P1, FIRST);
  await store.commit([{ partition: P1, term, changes: [{ key: keyOf(1), value: new Uint8Array(3_000_000) }] }]);
  // What a SIGKILL leaves: the journal has what the database does not.
  const left = temporaryDirectory();
  cpSync(path, left, { recursive: true });
  await store[Symbol.asyncDispose]();
  rmSync(path, { recursive: true });
  cpSync(left, path, { recursive: true });
  fillFile(ballast);
  await expect(openEmbeddedStore({ directory: path, reserveBytes: 0, roomDeadlineMs: 0 })).rejects.toMatchObject({
    code: "QUEUE_FULL",
    message: expect.stringContaining(`the disk of ${path} is full`),
  });
  let told = (): void => {};
  const waits = new Promise<void>((resolve) => {
    told = resolve;
  });
  const opening = openEmbeddedStore({
    directory: path,
    reserveBytes: 0,
    log: { warn: (_, message) => message.includes("waits for room") && told(), error: () => {} },
  });
  await waits;
  rmSync(ballast);
  const again = await opening;
  cleanups.push(() => again[Symbol.asyncDispose]());
  expect(await numbersOf(again)).toEqual(new Set([1]));
});

let nextNumber = 0;

/** Puts rows of 5,000 bytes in calls of `rows` until the disk is full; returns the numbers acknowledged. */
async function fill(store: EmbeddedStore, term: Term, rows: number): Promise<number[]> {
  const acknowledged: number[] = [];
  for (;;) {
    const numbers = Array.from({ length: rows }, () => (nextNumber += 1));
    const changes = numbers.map((number) => ({ key: keyOf(number), value: new Uint8Array(5000).fill(number & 255) }));
    try {
      await store.commit([{ partition: P1, term, changes }]);
    } catch (error) {
      expect(error).toMatchObject({ code: "QUEUE_FULL" });
      return acknowledged;
    }
    acknowledged.push(...numbers);
  }
}

/** Takes what room the disk has. */
function fillFile(path: string): void {
  const file = openSync(path, "w");
  try {
    for (const bytes of [1 << 20, 4_096]) {
      const block = Buffer.alloc(bytes);
      try {
        while (writeSync(file, block) === bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOSPC" });
      }
    }
  } finally {
    closeSync(file);
  }
}

function put(term: Term, number: number): { partition: Partition; term: Term; changes: RowChange[] } {
  return { partition: P1, term, changes: [{ key: keyOf(number), value: new Uint8Array(5000) }] };
}

async function numbersOf(store: EmbeddedStore): Promise<Set<number>> {
  const numbers = (await rowsOf(store, P1)).map(({ key }) => Buffer.from(key).readDoubleBE(1));
  return new Set(numbers.filter((number) => number > 0));
}

function keyOf(number: number): Uint8Array {
  const key = Buffer.alloc(9, 1);
  key.writeDoubleBE(number, 1);
  return key;
}

/** Runs the writer, kills it a random while after its first lines, and returns what it acknowledged. */
async function writeUntilKilled(
  path: string,
  options: { readonly start: number; readonly linesAtLeast: number },
): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, path, String(options.start)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  let killing = false;
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk: string) => {
    output += chunk;
    if (killing || output.split("\n").length <= options.linesAtLeast) return;
    killing = true;
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 60);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  expect({ code, signal }).toEqual({ code: null, signal: "SIGKILL" });
  // The last line may be cut: then nobody was told.
  return output.split("\n").slice(0, -1);
}

async function rowsOf(store: EmbeddedStore, partition: Partition, rowLimit = 1000): Promise<{ key: Uint8Array }[]> {
  const rows: { key: Uint8Array }[] = [];
  let after: Uint8Array | undefined;
  do {
    const page = await store.page({ partition, rowLimit, byteLimit: 1e6, ...(after && { after }) });
    rows.push(...page.rows);
    after = page.next;
  } while (after);
  return rows;
}

async function eventually(condition: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${condition}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

function openRaw(path: string): ReturnType<typeof openLmdb<Buffer, Buffer>> {
  return openLmdb<Buffer, Buffer>({
    path,
    noSubdir: false,
    encoding: "binary",
    keyEncoding: "binary",
    overlappingSync: false,
  });
}

/** A store without a reserve on a disk of 32 MiB, and where a file may take the rest of it. */
async function onSmallDisk(
  context: TestContext,
): Promise<{ readonly path: string; readonly ballast: string; readonly store: EmbeddedStore }> {
  const disk = mountSmallDisk(32);
  if (typeof disk === "string") return context.skip(disk);
  cleanups.push(disk.remove);
  const path = join(disk.path, "store");
  const store = await openEmbeddedStore({ directory: path, reserveBytes: 0 });
  cleanups.push(() => store[Symbol.asyncDispose]());
  return { path, ballast: join(disk.path, "ballast"), store };
}

function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "taskring-store-"));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const WRITER = resolve("test/fixtures/store-writer.mjs");
const P1 = 7 as Partition;
const P2 = 8 as Partition;
const FIRST = { history: 1, generation: 1 };
