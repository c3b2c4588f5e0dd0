/**
 * What a Redis holds for the ring, by kind of row and app, from a sample of each partition: so that an operator can see
 * what grows and which bound it has.
 *
 * H1  It costs a few calls per partition, whatever these hold: at most `SAMPLE_ROWS` rows of each are looked at, fewer when
 *     they are large.
 * H2  Rows and bytes of a kind are estimates: the sample's shares of what Redis says of the whole partition.
 */

import type { Partition } from "../../../ids.ts";
import type { Holding, StoreHoldings } from "../../../store.ts";
import { ENGINE_LIMITS } from "../../../tasks/limits.ts";
import { isRefused, parseRecord } from "../../../tasks/record.ts";
import { KIND, readDead, readKeyed, readResult, TASK_HEADER_BYTES } from "../../../tasks/rows.ts";
import { readMemory, readRewriting } from "./checks.ts";
import type { RedisLink } from "./link.ts";
import type { Surveyed } from "./survey.ts";

/** Of which partitions there is anything: `survey`. */
export async function readHoldings(
  link: RedisLink,
  found: readonly Surveyed[],
  keyOf: (partition: Partition) => string,
): Promise<Omit<StoreHoldings, "sinceMs">> {
  const sums = new Map<string, Sum>();
  const add = (family: Family, app: string, part: { readonly rows: number; readonly bytes: number }): void => {
    const name = `${family.name} ${app}`;
    const sum = sums.get(name) ?? { family, app, rows: 0, bytes: 0, partitions: 0 };
    sums.set(name, sum);
    sum.rows += part.rows;
    sum.bytes += part.bytes;
    sum.partitions++;
  };
  for (let from = 0; from < found.length; from += AT_ONCE) {
    const looks = found.slice(from, from + AT_ONCE).map(async ({ partition, rows, asideRows }) => {
      const key = keyOf(partition);
      if (rows > 0) for (const share of await sharesOf(link, key, rows)) add(share.family, share.app, share);
      const [entries, bytes] = await Promise.all([
        numberOf(link, "zcard", `${key}:index`),
        usage(link, `${key}:index`),
      ]);
      if (entries > 0) add(INDEX, "", { rows: entries, bytes });
      if (asideRows > 0) add(ASIDE, "", { rows: asideRows, bytes: await asideBytes(link, `${key}:aside`) });
    });
    await Promise.all(looks);
  }
  const holdings: Holding[] = [...sums.values()]
    .map(({ family, app, rows, bytes, partitions }) => ({
      family: family.name,
      app,
      rows: Math.round(rows),
      bytes: Math.round(bytes),
      partitions,
      bound: family.bound,
      grownRows: 0,
      grownBytes: 0,
    }))
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, HOLDINGS_MOST);
  const { usedBytes, limitBytes } = await readMemory(link);
  return { holdings, usedBytes, limitBytes, ...(await readRewriting(link)) };
}

/** What has come since an earlier look. */
export function grownSince(now: readonly Holding[], before: readonly Holding[]): readonly Holding[] {
  const known = new Map(before.map((holding) => [`${holding.family} ${holding.app}`, holding]));
  return now.map((holding) => {
    const was = known.get(`${holding.family} ${holding.app}`);
    return { ...holding, grownRows: holding.rows - (was?.rows ?? 0), grownBytes: holding.bytes - (was?.bytes ?? 0) };
  });
}

interface Family {
  readonly name: string;
  readonly bound: string;
}

interface Sum {
  readonly family: Family;
  readonly app: string;
  rows: number;
  bytes: number;
  partitions: number;
}

/** H2 */
async function sharesOf(
  link: RedisLink,
  key: string,
  rows: number,
): Promise<
  readonly { readonly family: Family; readonly app: string; readonly rows: number; readonly bytes: number }[]
> {
  const bytes = await usage(link, key);
  const most = Math.max(1, Math.min(SAMPLE_ROWS, Math.floor(SAMPLE_BYTES / Math.max(1, bytes / rows))));
  const sample = (await link.call("hrandfield", [key, most, "withvalues"])) as readonly Buffer[];
  const shares = new Map<string, { family: Family; app: string; rows: number; bytes: number }>();
  let seenRows = 0;
  let seenBytes = 0;
  for (let at = 0; at + 1 < sample.length; at += 2) {
    const [field, value] = [sample[at]!, sample[at + 1]!];
    if (field.length === 0) continue; // the term
    const family = FAMILIES.get(field[0]!) ?? OTHER;
    const app = appOf(field, value);
    const share = shares.get(`${family.name} ${app}`) ?? { family, app, rows: 0, bytes: 0 };
    shares.set(`${family.name} ${app}`, share);
    const cost = field.length + value.length + ROW_BYTES;
    share.rows++;
    share.bytes += cost;
    seenRows++;
    seenBytes += cost;
  }
  return [...shares.values()].map((share) => ({
    ...share,
    rows: (share.rows / seenRows) * rows,
    bytes: (share.bytes / seenBytes) * bytes,
  }));
}

/** Empty where a row tells of none, or cannot be read. */
function appOf(key: Buffer, value: Buffer): string {
  try {
    switch (key[0]) {
      case KIND.task:
        return appOfWire(value.subarray(TASK_HEADER_BYTES));
      case KIND.dead:
        return appOfWire(readDead(value).wire);
      case KIND.outbox:
        return appOfWire(value.subarray(1));
      case KIND.result:
        return readResult(value).app;
      case KIND.state:
      case KIND.dedupe:
      case KIND.schedule:
      case KIND.paused:
      case KIND.stateHere:
        return readKeyed(key).app;
      default:
        return "";
    }
  } catch {
    return "";
  }
}

function appOfWire(wire: Uint8Array): string {
  const record = parseRecord(wire, 0, wire.length);
  return isRefused(record) ? "" : record.app;
}

async function numberOf(link: RedisLink, command: string, key: string): Promise<number> {
  return Number(await link.call(command, [key]));
}

async function usage(link: RedisLink, key: string): Promise<number> {
  return Number((await link.call("memory", ["usage", key, "samples", 5])) ?? 0);
}

async function asideBytes(link: RedisLink, key: string): Promise<number> {
  const numbers = (await link.call("hkeys", [key])) as readonly Buffer[];
  const sizes = numbers.slice(0, ASIDES_MOST).map((number) => usage(link, `${key}:${number.toString("latin1")}`));
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

const { deadPerApp, resultsPerApp, resultsMs, endedIdsPerPartition, dedupePerApp, dedupeMs } = ENGINE_LIMITS;
const { schedulesPerApp, outboxPerApp, pausedKeys, stateKeyBytes } = ENGINE_LIMITS;
const HOUR_MS = 3_600_000;
const FAMILIES: ReadonlyMap<number, Family> = new Map([
  [KIND.task, { name: "tasks", bound: "the app's `queued` limit (ringctl app limit)" }],
  [KIND.dead, { name: "dead letters", bound: `${deadPerApp} an app on each node (ringctl dead drop)` }],
  [
    KIND.state,
    {
      name: "state",
      bound: `${stateKeyBytes / 1024 / 1024} MiB a key; as many keys as the app writes to: delete what it no longer needs`,
    },
  ],
  [KIND.dedupe, { name: "idempotency keys", bound: `${dedupePerApp} an app, for ${dedupeMs / HOUR_MS} h` }],
  [KIND.result, { name: "results", bound: `${resultsPerApp} an app, for ${resultsMs / HOUR_MS} h` }],
  [KIND.ended, { name: "ids of ended tasks", bound: `${endedIdsPerPartition} a partition` }],
  [KIND.schedule, { name: "schedules", bound: `${schedulesPerApp} an app` }],
  [KIND.outbox, { name: "outbox", bound: `${outboxPerApp * 2} tasks an app on each node` }],
  [KIND.paused, { name: "paused keys", bound: `${pausedKeys} a partition (ringctl key resume)` }],
  [KIND.stateHere, { name: "state here", bound: "one row for each key with state" }],
]);
const OTHER: Family = { name: "other rows", bound: "those of pipelines and of nodes: a few for each partition" };
const INDEX: Family = { name: "index of state", bound: "one entry for each row of state" };
const ASIDE: Family = {
  name: "set aside",
  bound: "none: kept until it is removed by hand (UNLINK of PREFIX:{P}:aside*)",
};
const SAMPLE_ROWS = 64;
const SAMPLE_BYTES: number = 1024 * 1024;
/** About what a row takes beside its bytes. */
const ROW_BYTES = 56;
const AT_ONCE = 32;
const ASIDES_MOST = 100;
const HOLDINGS_MOST = 200;
