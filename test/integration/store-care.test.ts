/** `ringctl store …` on both engines: an archive that comes back whole, and one that is damaged and does not. */

import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { openDirectory } from "../../ring/io/directory.ts";
import { type ArchiveRecord, writeArchive } from "../../ring/io/store/archive.ts";
import { openEmbeddedStore } from "../../ring/io/store/embedded.ts";
import { openRedisStore } from "../../ring/io/store/redis/store.ts";
import { encodeTerm, keyOf, TERMS, termKey } from "../../ring/io/store/rows.ts";
import type { TaskStore } from "../../ring/store.ts";
import { builtFile } from "../../services/lab/lab.ts";
import { RedisServer } from "../../services/lab/redis.ts";
import { redisThere } from "../redis-there.ts";

test("P1: an archive of a node's own store is restored whole, into its directory or into Redis", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-care-"));
  try {
    const data = join(folder, "n1");
    const archive = join(folder, "archive");
    const directory = await openDirectory(data, { name: "n1" as NodeName });
    const store = await openEmbeddedStore({ directory: directory.storePath });
    await fill(store);
    // While it is in use, too: from beside it.
    expect(await ringctl("store", "check", "--data", data, "-o", "json")).toMatchObject({ code: 0, items: [ALL] });
    expect(await ringctl("store", "backup", "--data", data, "--to", archive)).toMatchObject({ code: 0 });
    expect(await ringctl("store", "restore", "--data", data, "--from", archive, "--yes")).toMatchObject({ code: 6 });
    await store[Symbol.asyncDispose]();
    await directory.release();

    expect(await ringctl("store", "check", "--data", data, "-o", "json")).toMatchObject({ code: 0, items: [ALL] });
    const earlier = await stat(archive);
    expect(await ringctl("store", "backup", "--data", data, "--to", archive)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/archive exists and would be replaced; nothing was changed.*\n.*--yes/),
    });
    expect((await stat(archive)).ino).toBe(earlier.ino);
    expect(await ringctl("store", "backup", "--data", data, "--to", archive, "--yes")).toMatchObject({ code: 0 });
    for (const [to, why] of [
      [folder, "is no file"],
      [join(folder, "none", "archive"), "there is no folder .*none"],
    ] as const)
      expect(await ringctl("store", "backup", "--data", data, "--to", to, "--yes")).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(new RegExp(`--to .*${why}`)),
      });
    await expect(stat(`${folder}.part`)).rejects.toThrow("ENOENT");
    expect(await ringctl("store", "restore", "--data", data, "--from", archive)).toMatchObject({ code: 2 });
    expect(await ringctl("store", "restore", "--data", data, "--from", archive, "--yes")).toMatchObject({ code: 0 });
    expect(await ringctl("store", "stats", "--data", data, "-o", "json")).toMatchObject({ code: 0, items: [ALL] });

    if (redisThere()) {
      await using redis = await RedisServer.open();
      const into = ["--store", redis.url];
      expect(await ringctl("store", "restore", ...into, "--from", archive, "--yes")).toMatchObject({ code: 0 });
      expect(await ringctl("store", "check", ...into, "-o", "json")).toMatchObject({ code: 0, items: [ALL] });
      expect(await ringctl("store", "restore", ...into, "--from", archive, "--yes")).toMatchObject({ code: 6 });
    }

    const bytes = await readFile(archive);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(archive, bytes);
    expect(await ringctl("store", "restore", "--data", data, "--from", archive, "--yes")).toMatchObject({ code: 1 });
    await writeFile(archive, bytes.subarray(0, bytes.length >> 1));
    expect(await ringctl("store", "restore", "--data", data, "--from", archive, "--yes")).toMatchObject({ code: 1 });
    expect(await ringctl("store", "stats", "--data", data, "-o", "json")).toMatchObject({ items: [ALL] });

    await writeFile(archive, "something else");
    for (const from of [archive, folder])
      expect(await ringctl("store", "restore", "--data", data, "--from", from, "--yes")).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(
          /is no archive of a store .*\n {2}nothing was changed; --from names a whole archive/,
        ),
      });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("P1: a restore that comes to no end leaves the store that was there, and no part of another", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-care-"));
  try {
    const data = join(folder, "n1");
    const archive = join(folder, "archive");
    const directory = await openDirectory(data, { name: "n1" as NodeName });
    const store = await openEmbeddedStore({ directory: directory.storePath });
    await fill(store);
    await store[Symbol.asyncDispose]();
    await directory.release();
    await writeArchive(archive, halfOfOne());
    const files = await readdir(data);
    expect(await ringctl("store", "restore", "--data", data, "--from", archive, "--yes")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/rows of 2 have no term/),
    });
    expect(await readdir(data)).toEqual(files);
    expect(await ringctl("store", "stats", "--data", data, "-o", "json")).toMatchObject({ code: 0, items: [ALL] });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("P1: a check and a backup of a node's own store say which rows are damaged, whether the node runs or not", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-care-"));
  try {
    const data = join(folder, "n1");
    const archive = join(folder, "archive");
    const directory = await openDirectory(data, { name: "n1" as NodeName });
    const store = await openEmbeddedStore({ directory: directory.storePath });
    await fill(store);
    await store.settle();
    /** Every version of the row that the file holds. */
    const damage = async (key: readonly number[], value: Uint8Array): Promise<void> => {
      const file = join(directory.storePath, "data.mdb");
      const bytes = await readFile(file);
      const row = Buffer.concat([Buffer.from(key), value]);
      for (let at = bytes.indexOf(row); at >= 0; at = bytes.indexOf(row, at + 1)) bytes[at + key.length]! ^= 1;
      await writeFile(file, bytes, { flag: "r+" });
    };
    const row = (number: number): [number[], Uint8Array] => [
      [0, 1, 0x10, number >> 8, number & 255],
      new Uint8Array(number % 400).fill(number),
    ];
    const term: [number[], Uint8Array] = [
      [...keyOf(TERMS, termKey(2 as Partition))],
      encodeTerm({ history: 1, generation: 3, opens: 1 }, "live"),
    ];
    const check = ["store", "check", "--data", data, "-o", "json"];
    const backup = ["store", "backup", "--data", data, "--to", archive, "--yes", "-o", "json"];
    const found = { code: 7, items: [{ damaged: [expect.stringMatching(/^1 rows do not fit/)] }] };
    await damage(...row(301));
    expect(await ringctl(...check)).toMatchObject(found);
    expect(await ringctl(...backup)).toMatchObject(found);
    await damage(...term);
    const both = { code: 7, items: [{ damaged: [expect.stringMatching(/^2 rows do not fit/)] }] };
    expect(await ringctl(...check)).toMatchObject(both);
    await store[Symbol.asyncDispose]();
    await directory.release();
    expect(await ringctl(...check)).toMatchObject(both);
    await damage(...row(302));
    expect(await ringctl(...backup)).toMatchObject(found);
    expect(await ringctl(...check)).toMatchObject({ code: 0, items: [{ partitions: 1, rows: 4_998, damaged: [] }] });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("P1: a directory without a store gets no empty one by a look at it, which its node would take for its own", async () => {
  const folder = await mkdtemp(join(tmpdir(), "taskring-care-"));
  try {
    const data = join(folder, "n1");
    const archive = join(folder, "archive");
    const directory = await openDirectory(data, { name: "n1" as NodeName });
    const before = await readdir(data);
    const looks = async (code: number): Promise<void> => {
      expect(await ringctl("store", "stats", "--data", data)).toMatchObject({ code });
      expect(await ringctl("store", "check", "--data", data)).toMatchObject({ code });
      expect(await ringctl("store", "backup", "--data", data, "--to", archive)).toMatchObject({ code });
      expect(await readdir(data)).toEqual(before);
      expect(await readdir(folder)).toEqual(["n1"]);
    };
    await looks(1); // in use
    await directory.release();
    await looks(1);
    // What its node keeps is in Redis, and --store has to name that.
    await writeFile(join(data, "shared-store.json"), `${JSON.stringify({ version: 1, store: "0".repeat(32) })}\n`);
    before.push("shared-store.json");
    await looks(2);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.skipIf(!redisThere())(
  "P1: an archive of a Redis in use comes back whole in another, and a broken index is found",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "taskring-care-"));
    try {
      await using redis = await RedisServer.open();
      await using other = await RedisServer.open();
      const archive = join(folder, "archive");
      await using store = await openRedisStore({ address: redis.url });
      await fill(store);
      expect(await ringctl("store", "backup", "--store", redis.url, "--to", archive)).toMatchObject({ code: 0 });
      expect(await ringctl("store", "restore", "--store", other.url, "--from", archive, "--yes")).toMatchObject({
        code: 0,
      });
      expect(await ringctl("store", "check", "--store", other.url, "-o", "json")).toMatchObject({
        code: 0,
        items: [ALL],
      });
      await other.ask("del", "taskring:{2}:index");
      expect(await ringctl("store", "check", "--store", other.url, "-o", "json")).toMatchObject({
        code: 7,
        items: [{ damaged: [expect.stringMatching(/100 rows not in the index/)] }],
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);

/** Two partitions: 5,000 rows and 100 rows of state. */
async function fill(store: TaskStore): Promise<void> {
  for (const [partition, rows, kind] of [
    [1, 5_000, 0x10],
    [2, 100, 0x30],
  ] as const) {
    const term = await store.open(partition as Partition, { history: 1, generation: 3 });
    const changes = Array.from({ length: rows }, (_, at) => ({
      key: Uint8Array.of(kind, at >> 8, at & 255),
      value: new Uint8Array(at % 400).fill(at),
    }));
    await store.commit([{ partition: partition as Partition, term, changes }]);
  }
}

/** It is found to be wrong only in the middle of a restore. */
async function* halfOfOne(): AsyncGenerator<ArchiveRecord, void, undefined> {
  yield { type: "term", partition: 1 as Partition, term: { history: 1, generation: 3, opens: 1 } };
  yield { type: "row", partition: 1 as Partition, key: Uint8Array.of(0x10), value: Uint8Array.of(1) };
  yield { type: "row", partition: 2 as Partition, key: Uint8Array.of(0x10), value: Uint8Array.of(1) };
}

interface Ran {
  readonly code: number;
  readonly items: readonly object[];
  readonly stderr: string;
}

function ringctl(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [builtFile("cli/ringctl.ts"), ...args], (error, stdout, stderr) => {
      const items = stdout.startsWith("{") ? (JSON.parse(stdout) as { readonly items: readonly object[] }).items : [];
      resolve({ code: typeof error?.code === "number" ? error.code : 0, items, stderr });
    });
  });
}

const ALL = { partitions: 2, rows: 5_100 };
