/**
 * Care of a store from outside of its node: what it holds, whether all of it can be read, and archives of it.
 *
 * C1  The embedded store of a node that runs is looked at as it is at one moment (`online.ts`); one whose node does not run is
 *     opened under its directory's lock.
 * C2  In Redis each partition is of one moment; work that moves between two partitions meanwhile may be in both, and is
 *     recognised by its ids.
 * C3  A restore goes into an empty place only, and reads back what it wrote. Only then it takes the place of a node's own store.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { Row, RowChange, TaskStore, Term } from "../../store.ts";
import { type ArchiveRecord, type ArchiveSize, readArchive } from "./archive.ts";
import type { ReadableStore } from "./online.ts";
import type { RedisStore } from "./redis/store.ts";
import { termBytes } from "./redis/survey.ts";

export interface CareView {
  readonly partitions: readonly { readonly partition: Partition; readonly term: Term; readonly rows: number }[];
  readonly rows: number;
  readonly bytes: number;
  /** Set aside earlier, and kept. */
  readonly quarantined: number;
  /** Rows that cannot be read. */
  readonly damaged: readonly string[];
}

/** Reads every row. */
export async function examine(store: ReadableStore): Promise<CareView> {
  const before = store.stats().quarantined;
  const damagedSince = damageOf(store);
  const partitions: { partition: Partition; term: Term; rows: number }[] = [];
  let bytes = 0;
  for (const { partition, term } of await store.partitions()) {
    let rows = 0;
    for await (const { key, value } of rowsOf(store, partition)) {
      rows++;
      bytes += key.length + value.length;
    }
    partitions.push({ partition, term, rows });
  }
  const rows = partitions.reduce((sum, { rows }) => sum + rows, 0);
  return { partitions, rows, bytes, quarantined: before, damaged: damagedSince() };
}

/** What is damaged among what is read from now on, or was met by opening the store: all of it is left out. */
export function damageOf(store: ReadableStore): () => readonly string[] {
  const before = store.stats().quarantined;
  return () => {
    const rows = store.damagedRows ?? store.stats().quarantined - before;
    return rows > 0 ? [`${rows} rows do not fit their checksum`] : [];
  };
}

export async function* recordsOf(store: ReadableStore): AsyncGenerator<ArchiveRecord, void, undefined> {
  for (const { partition, term } of await store.partitions()) {
    yield { type: "term", partition, term };
    for await (const { key, value } of rowsOf(store, partition)) yield { type: "row", partition, key, value };
  }
}

/** C2, with what identifies the store. */
export async function* recordsOfRedis(store: RedisStore): AsyncGenerator<ArchiveRecord, void, undefined> {
  for (const name of ["id", "ring"]) {
    const value = await store.link.call("hget", [ringKey(store), name]);
    if (value !== null) yield { type: "about", name, value: String(value) };
  }
  for (const { partition, term } of await store.partitions()) {
    const fields = (await store.link.call("eval", [ALL, 1, store.keyOf(partition)], LONG_MS)) as readonly Buffer[];
    yield { type: "term", partition, term };
    for (let at = 0; at < fields.length; at += 2)
      if (fields[at]!.length > 0) yield { type: "row", partition, key: fields[at]!, value: fields[at + 1]! };
  }
}

/** C3. Throws `CONFLICT` through the caller when the place is not empty; `STORE_BROKEN` when what is read back differs. */
export async function restoreInto(store: TaskStore, path: string): Promise<ArchiveSize> {
  const terms = new Map<Partition, Term>();
  const counts = new Map<Partition, number>();
  let waiting: RowChange[] = [];
  let waitingBytes = 0;
  let of: Partition | undefined;
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (of === undefined || waiting.length === 0) return;
    const { refused } = await store.commit([{ partition: of, term: terms.get(of)!, changes: waiting }]);
    if (refused.length > 0) throw new RingError("STORE_BROKEN", `partition ${of} is held at a newer term`);
    counts.set(of, (counts.get(of) ?? 0) + waiting.length);
    waiting = [];
    waitingBytes = 0;
  };
  for await (const record of readArchive(path)) {
    if (record.type === "term") {
      await flush();
      terms.set(record.partition, record.term);
      of = record.partition;
      await store.commit([{ partition: of, term: record.term, changes: [] }]);
    } else if (record.type === "row") {
      if (record.partition !== of)
        throw new RingError("STORE_BROKEN", `${path}: rows of ${record.partition} have no term`);
      waiting.push({ key: record.key, value: record.value });
      waitingBytes += record.key.length + record.value.length;
      bytes += record.key.length + record.value.length;
      if (waiting.length >= GROUP_ROWS || waitingBytes > GROUP_BYTES) await flush();
    }
  }
  await flush();
  const { partitions, rows } = await examine(store);
  for (const { partition, rows: found } of partitions)
    if (found !== (counts.get(partition) ?? 0))
      throw new RingError(
        "STORE_BROKEN",
        `partition ${partition} has ${found} rows, not ${counts.get(partition) ?? 0}`,
      );
  return { partitions: partitions.length, rows, bytes };
}

/** Gives a restored Redis the identity that its nodes know. The last step: until then no node uses it. */
export async function identify(store: RedisStore, path: string): Promise<void> {
  const about: string[] = [];
  for await (const record of readArchive(path)) {
    if (record.type !== "about") break;
    about.push(record.name, record.value);
  }
  if (about.length > 0) await store.link.call("hset", [ringKey(store), ...about]);
}

/** Problems of the index, and of rows that are no rows. */
export async function examineIndex(store: RedisStore): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const { partition, term } of await store.partitions()) {
    const key = store.keyOf(partition);
    const [missing, extra] = (await store.link.call(
      "eval",
      [INDEX_CHECK, 2, key, `${key}:index`],
      LONG_MS,
    )) as number[];
    if (missing! + extra! > 0)
      wrong.push(`partition ${partition}: ${missing} rows not in the index, ${extra} too many`);
    const meta = (await store.link.call("hget", [key, ""])) as Buffer;
    if (!meta.subarray(0, 12).equals(termBytes(term))) wrong.push(`partition ${partition}: its term changed meanwhile`);
  }
  return wrong;
}

export function ringKey(store: RedisStore): string {
  return `${store.address.prefix}:{ring}`;
}

async function* rowsOf(store: ReadableStore, partition: Partition): AsyncGenerator<Row, void, undefined> {
  let after: Uint8Array | undefined;
  do {
    const page = await store.page({ partition, rowLimit: 5_000, byteLimit: 4_194_304, ...(after && { after }) });
    yield* page.rows;
    after = page.next;
  } while (after !== undefined);
}

/** KEYS: rows hash, index. Rows of the indexed kind that the index lacks, and entries without a row. */
const INDEX_CHECK = `
local missing, found = 0, 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.byte(field) == 48 then
    if redis.call('ZSCORE', KEYS[2], field) then found = found + 1 else missing = missing + 1 end
  end
end
return {missing, redis.call('ZCARD', KEYS[2]) - found}
`;
/** Without the client's own idea of how a hash should look. */
const ALL = "return redis.call('HGETALL', KEYS[1])";
const LONG_MS = 30_000;
const GROUP_ROWS = 2_000;
const GROUP_BYTES: number = 2 * 1024 * 1024;
