/**
 * Each partition's preference order over the members: the order in which npm `hashring` meets them, walking its
 * continuum from the partition's point.
 *
 * Boundary: the only file of `ring/` that uses a package; `hashring` computes md5 with Node's crypto inside.
 * Q1  Row p equals `hashring.range("partition-" + p)` over the same members (its points, walked once per table).
 * Q2  A member's points depend on its name alone, so adding or removing a member leaves the others' order as it was.
 * Q3  Every server gets an explicit number of points other than 40, `hashring`'s default, whose share computation has a
 *     float bug that moves keys between unchanged servers. Members are sorted, so the table depends on the set only.
 */

import HashRing from "hashring";
import type { NodeName } from "./ids.ts";

export interface PreferenceTable {
  readonly ringSize: number;
  /** Sorted. */
  readonly names: readonly NodeName[];
  /** Row p is `order[p * names.length ..]`: indexes into `names`, best first. */
  readonly order: Uint16Array;
}

/** The table of a member set; order and repetition of `names` do not matter. At most 65,535 names. */
export function preferenceTable(names: readonly NodeName[], ringSize: number): PreferenceTable {
  const sorted = [...new Set(names)].sort(byName);
  const cacheKey = `${ringSize} ${sorted.join(" ")}`;
  const known = tables.get(cacheKey);
  if (known !== undefined) {
    tables.delete(cacheKey); // to the young end
    tables.set(cacheKey, known);
    return known;
  }
  const table = { ringSize, names: sorted, order: computeOrder(sorted, ringSize) };
  tables.set(cacheKey, table);
  evict();
  return table;
}

/** The members in the order in which they should be tried for a partition. */
export function preferenceOf(table: PreferenceTable, partition: number): readonly NodeName[] {
  const width = table.names.length;
  const row: NodeName[] = [];
  for (let at = partition * width; at < (partition + 1) * width; at++) {
    row.push(table.names[table.order[at] as number] as NodeName);
  }
  return row;
}

/** By code unit: the same order in every process, whatever its locale. */
export function byName(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The key under which `hashring` places a partition. */
export function partitionKey(partition: number): string {
  return `partition-${partition}`;
}

/** The ring that the tables are computed from; for comparison in tests and benchmarks. */
export function hashRingOf(names: readonly string[]): HashRing {
  const servers: Record<string, { vnodes: number }> = {};
  for (const name of [...names].sort(byName)) servers[name] = { vnodes: POINT_GROUPS };
  return new HashRing(servers, "md5", { "max cache size": 1 });
}

function computeOrder(names: readonly NodeName[], ringSize: number): Uint16Array {
  const width = names.length;
  const order = new Uint16Array(ringSize * width);
  if (width === 0) return order;
  const ring = hashRingOf(names);
  const byServer = ring.points([...names]);
  const continuum: { readonly value: number; readonly member: number }[] = [];
  for (let member = 0; member < width; member++) {
    for (const value of byServer[names[member] as string] ?? []) continuum.push({ value, member });
  }
  continuum.sort((left, right) => left.value - right.value || left.member - right.member);
  const values = Float64Array.from(continuum, (point) => point.value);
  const members = Uint16Array.from(continuum, (point) => point.member);
  const starts = startsOf(ring, ringSize);
  const seenAt = new Int32Array(width).fill(-1);
  for (let partition = 0; partition < ringSize; partition++) {
    let point = firstAtLeast(values, starts[partition] as number);
    let found = 0;
    for (let steps = 0; found < width && steps < members.length; steps++) {
      const member = members[point] as number;
      if (seenAt[member] !== partition) {
        seenAt[member] = partition;
        order[partition * width + found++] = member;
      }
      if (++point === members.length) point = 0;
    }
  }
  return order;
}

/** Where each partition starts its walk; the same for every member set. */
function startsOf(ring: HashRing, ringSize: number): Float64Array {
  const known = starts.get(ringSize);
  if (known !== undefined) return known;
  const values = new Float64Array(ringSize);
  for (let partition = 0; partition < ringSize; partition++)
    values[partition] = ring.hashValue(partitionKey(partition));
  starts.set(ringSize, values);
  return values;
}

/** Index of the first value >= wanted; 0 when there is none, for the continuum is a circle. */
function firstAtLeast(values: Float64Array, wanted: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return low === values.length ? 0 : low;
}

function evict(): void {
  let cells = 0;
  for (const table of tables.values()) cells += table.order.length;
  for (const [cacheKey, table] of tables) {
    if (tables.size === 1 || (tables.size <= TABLE_LIMIT && cells <= CELL_LIMIT)) return;
    tables.delete(cacheKey);
    cells -= table.order.length;
  }
}

/** Tables of the last member sets, oldest first; one per (names, ringSize). A pure function's memory, not state. */
const tables = new Map<string, PreferenceTable>();
/** One entry per ring size, of which there are ten. */
const starts = new Map<number, Float64Array>();
const TABLE_LIMIT = 8;
/** 8 MiB of table in all, beyond the newest one. */
const CELL_LIMIT = 4 * 1024 * 1024;
/** Groups of four points per member. Not 40 (Q3). */
const POINT_GROUPS = 32;
