/**
 * `ringctl store stats|check|backup|restore`: care of a store without its node. `--data DIR` names a node's own store,
 * `--store redis://…` one that all nodes share. Nodes may go on meanwhile, but for a restore.
 */

import { readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { RingError } from "../ring/errors.ts";
import { giveBack, SHARED_STORE_FILE, tryLockDirectory } from "../ring/io/directory.ts";
import { syncDirectory } from "../ring/io/files.ts";
import { type ArchiveSize, checkArchive, writeArchive } from "../ring/io/store/archive.ts";
import {
  type CareView,
  damageOf,
  examine,
  examineIndex,
  identify,
  recordsOf,
  recordsOfRedis,
  restoreInto,
  ringKey,
} from "../ring/io/store/care.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../ring/io/store/embedded.ts";
import { openOnline, type ReadableStore } from "../ring/io/store/online.ts";
import { isRedisAddress } from "../ring/io/store/redis/address.ts";
import { openRedisStore, type RedisStore } from "../ring/io/store/redis/store.ts";
import type { CommandBody } from "./ask-node.ts";
import { confirm } from "./confirm.ts";
import { CliError, cliErrorOf, EXIT, usage } from "./exit-codes.ts";
import type { Settings } from "./settings.ts";
import { bytes, count, fieldLines } from "./table.ts";

export const storeStats: CommandBody = async ({ settings, output }) => {
  const { view, where } = await look(settings);
  const item = {
    store: where,
    partitions: view.partitions.length,
    rows: view.rows,
    bytes: view.bytes,
    quarantined: view.quarantined,
  };
  output.show({
    kind: "Store",
    items: [{ ...item, byPartition: view.partitions }],
    lines: (paint) =>
      fieldLines(
        [
          ["store", where],
          ["partitions", count(item.partitions)],
          ["rows", `${count(item.rows)}, ${bytes(item.bytes)}`],
          ["set aside", `${count(item.quarantined)} rows`],
        ],
        paint,
      ),
  });
  return EXIT.ok;
};

export const storeCheck: CommandBody = async ({ settings, output }) => {
  const { view, where } = await look(settings, { index: true });
  output.show({
    kind: "StoreCheck",
    items: [
      { store: where, partitions: view.partitions.length, rows: view.rows, bytes: view.bytes, damaged: view.damaged },
    ],
    lines: () => [
      `${where}: ${count(view.rows)} rows in ${view.partitions.length} partitions read, ${bytes(view.bytes)}`,
      ...(view.damaged.length === 0 ? ["nothing is damaged"] : view.damaged),
    ],
  });
  return view.damaged.length === 0 ? EXIT.ok : EXIT.unhealthy;
};

export const storeBackup: CommandBody = async ({ settings, flags, output }) => {
  const path = resolve(String(flags.to));
  const place = placeOf(settings);
  await mayWrite(path, { yes: flags.yes === true });
  let written: ArchiveSize | undefined;
  let damaged: readonly string[] = [];
  if (place.redis === undefined)
    written = await withEmbedded(place.data, async (store) => {
      const damagedSince = damageOf(store);
      const size = await writeArchive(path, recordsOf(store));
      damaged = damagedSince();
      return size;
    });
  else {
    await using store = await openRedis(place.redis);
    written = await writeArchive(path, recordsOfRedis(store));
  }
  if (written === undefined)
    throw new CliError("CONFLICT", `another backup to ${path} has begun since`, { exit: EXIT.conflict });
  const checked = await checkArchive(path);
  if (checked.rows !== written.rows)
    throw new RingError("STORE_BROKEN", `${path} has ${checked.rows} rows, not ${written.rows}`);
  const item = { archive: path, partitions: written.partitions, rows: written.rows, bytes: written.bytes, damaged };
  output.show({
    kind: "StoreBackup",
    items: [item],
    lines: () => [
      `${path}: ${count(item.rows)} rows in ${item.partitions} partitions, ${bytes(item.bytes)}, read back`,
      ...damaged.map((what) => `${what}: they are not in it`),
    ],
  });
  return damaged.length === 0 ? EXIT.ok : EXIT.unhealthy;
};

export const storeRestore: CommandBody = async ({ settings, flags, output }) => {
  const path = resolve(String(flags.from));
  const place = placeOf(settings);
  const found = await wholeArchive(path);
  if (flags.yes !== true)
    throw new CliError("CONFIRMATION_MISSING", `${path} is whole, with ${found.rows} rows; nothing was changed`, {
      exit: EXIT.usage,
      hint: "stop every node that uses the store, then pass --yes",
    });
  const restored =
    place.redis === undefined ? await intoDirectory(place.data, path) : await intoRedis(place.redis, path);
  output.show({
    kind: "StoreRestore",
    items: [{ archive: path, partitions: restored.partitions, rows: restored.rows }],
    lines: () => [`${count(restored.rows)} rows in ${restored.partitions} partitions restored and read back`],
  });
  return EXIT.ok;
};

/** Before the store is read, which may take long. */
async function mayWrite(path: string, { yes }: { readonly yes: boolean }): Promise<void> {
  const [folder, there] = await Promise.all([dirname(path), path].map((at) => stat(at).catch(() => undefined)));
  if (folder?.isDirectory() !== true) throw usage(`--to ${path}: there is no folder ${dirname(path)}`);
  if (there?.isFile() === false) throw usage(`--to ${path} is no file`);
  if (there !== undefined) await confirm(`${path} exists and would be replaced`, { yes });
}

/** What is wrong is the archive, and no store. */
function wholeArchive(path: string): Promise<ArchiveSize> {
  return checkArchive(path).catch((error: unknown) => {
    const { code, message, exit, cause } = cliErrorOf(error);
    const hint = "nothing was changed; --from names a whole archive that `ringctl store backup` wrote";
    throw new CliError(code, message, { exit, hint, cause });
  });
}

type Place =
  | { readonly redis: string; readonly data?: undefined }
  | { readonly redis?: undefined; readonly data: string };

function placeOf(settings: Settings): Place {
  const store = settings.required("store");
  if (isRedisAddress(store)) return { redis: store };
  if (store !== "embedded") throw usage(`--store ${store}: expected embedded or redis://HOST:PORT`);
  const name = settings.text("name");
  const data = settings.text("data") ?? (name === undefined ? undefined : join(".taskring", name));
  if (data === undefined) throw usage("--data is missing: the data directory of a node, or --store redis://…");
  return { data: resolve(data) };
}

async function look(
  settings: Settings,
  options: { readonly index?: boolean } = {},
): Promise<{ readonly view: CareView; readonly where: string }> {
  const place = placeOf(settings);
  if (place.redis === undefined) return { view: await withEmbedded(place.data, examine), where: place.data };
  await using store = await openRedis(place.redis);
  const view = await examine(store);
  const damaged = options.index === true ? [...view.damaged, ...(await examineIndex(store))] : view.damaged;
  return { view: { ...view, damaged }, where: place.redis.replace(/\/\/[^@/]*@/, "//…@") };
}

function openRedis(address: string): Promise<RedisStore> {
  return openRedisStore({ address, name: "ringctl", connectDeadlineMs: CONNECT_MS });
}

/** While its node runs it is looked at from beside. */
async function withEmbedded<T>(data: string, use: (store: ReadableStore) => Promise<T>): Promise<T> {
  const directory = await tryLockDirectory(data);
  try {
    await refuseStoreless(data);
  } catch (error) {
    await directory?.release();
    throw error;
  }
  if (directory === undefined) {
    await using store = await openOnline(join(data, "store"));
    return await use(store);
  }
  let own: EmbeddedStore | undefined;
  try {
    await using store = await openEmbeddedStore({ directory: directory.storePath, mustExist: true });
    own = store;
    return await use(store);
  } finally {
    await giveBack(directory, own);
  }
}

/**
 * Opening would make an empty one: it would be shown as whole, and a node that lost its store would take it for its own
 * instead of refusing to start.
 */
async function refuseStoreless(data: string): Promise<void> {
  const files = await readdir(data);
  const inside = files.includes("store") ? await readdir(join(data, "store")) : [];
  if (inside.length > 0) return;
  if (files.includes(SHARED_STORE_FILE))
    throw usage(`${data} holds no tasks: its node keeps them in a store that all nodes share`, "--store names it");
  throw new RingError("STORE_BROKEN", `${data} holds no store: it was lost, or its node has never started`);
}

async function lock(data: string): Promise<NonNullable<Awaited<ReturnType<typeof tryLockDirectory>>>> {
  const directory = await tryLockDirectory(data);
  if (directory !== undefined) return directory;
  throw new CliError("CONFLICT", `${data} is in use`, { exit: EXIT.conflict, hint: "stop the node first" });
}

/**
 * The register and everything else in the directory stays as it is (ownership rule 4), and the store that was there until another is
 * whole beside it: half of one a node would take for its own.
 */
async function intoDirectory(data: string, path: string): Promise<ArchiveSize> {
  await using locked = await lock(data);
  const { storePath } = locked;
  const beside = `${storePath}-restoring`;
  const aside = `${storePath}-before-${new Date().toISOString().replace(/[:.]/g, "-")}`;
  await rm(beside, { recursive: true, force: true }); // of a restore that was killed
  const restored = await intoNew(beside, path).catch(async (error: unknown) => {
    await rm(beside, { recursive: true, force: true });
    throw error;
  });
  await rename(storePath, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await rename(beside, storePath);
  await syncDirectory(data);
  return restored;
}

async function intoNew(directory: string, path: string): Promise<ArchiveSize> {
  await using store = await openEmbeddedStore({ directory });
  return await restoreInto(store, path);
}

async function intoRedis(address: string, path: string): Promise<ArchiveSize> {
  await using store = await openRedis(address);
  const used = (await store.link.call("exists", [ringKey(store)])) === 1 || (await store.partitions()).length > 0;
  if (used)
    throw new CliError("CONFLICT", "this Redis holds a store already", {
      exit: EXIT.conflict,
      hint: "restore into an empty one, or under another ?prefix=",
    });
  const restored = await restoreInto(store, path);
  await identify(store, path);
  return restored;
}

const CONNECT_MS = 5_000;
