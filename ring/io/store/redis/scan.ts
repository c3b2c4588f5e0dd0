/**
 * Pages of a partition's rows in key order. A hash has no order, so a whole scan reads the hash once, sorts it, and hands
 * it out page by page; rows of the indexed kind, which are read by prefix while work goes on, come from their index, and a row whose
 * whole key is the prefix (a dead letter, a child that is sent) is looked up.
 *
 * P1  What was read for a scan is thrown away when the partition is written: the next page reads again. So a page is never
 *     older than the newest commit that resolved.
 * P2  At most `SCANS_MOST` partitions are held in memory for scans, and none longer than `KEPT_MS`.
 * P3  The next one waits until one of them is handed out, or nobody has asked for more of it for `IDLE_MS`: a hash that gave way in the
 *     middle would be read again for each page, by a node that takes many partitions over.
 */

import type { Partition } from "../../../ids.ts";
import type { PageRequest, Row, RowPage } from "../../../store.ts";
import { KIND, POSITION_BYTES } from "../../../tasks/rows.ts";
import { PAGE_ROW_LIMIT } from "../limits.ts";
import { upperBound } from "../rows.ts";
import { type RedisLink, scriptOf } from "./link.ts";
import { INDEXED_KIND } from "./pack.ts";
import { INDEXED_PAGE } from "./scripts.ts";

interface Scan {
  readonly partition: Partition;
  readonly prefix: Uint8Array;
  readonly rows: readonly Row[];
  readonly readAt: number;
  usedAt: number;
}

export class Scans {
  readonly #link: RedisLink;
  readonly #keysOf: (partition: Partition) => readonly [string, string];
  readonly #kept: Scan[] = [];
  /** How often each partition was written, so that a read which a write overtook is not kept (P1). */
  readonly #writes = new Map<Partition, number>();
  #reading = 0;
  readonly #queue: (() => void)[] = [];

  constructor(link: RedisLink, keysOf: (partition: Partition) => readonly [string, string]) {
    this.#link = link;
    this.#keysOf = keysOf;
  }

  /** P1. */
  written(partition: Partition): void {
    if (this.#reading > 0) this.#writes.set(partition, (this.#writes.get(partition) ?? 0) + 1);
    if (this.#kept.length === 0) return;
    const at = this.#kept.findIndex((scan) => scan.partition === partition);
    if (at >= 0) this.#drop(at);
  }

  async page(request: PageRequest): Promise<RowPage> {
    const prefix = request.prefix ?? NOTHING;
    const rowLimit = Math.min(request.rowLimit, PAGE_ROW_LIMIT);
    if (prefix[0] === INDEXED_KIND) return this.#indexedPage(request, prefix, rowLimit);
    if (isWholeKey(prefix)) return request.after === undefined ? this.#row(request.partition, prefix) : { rows: [] };
    const scan = await this.#scan(request.partition, prefix, request.after !== undefined);
    const from = request.after === undefined ? 0 : firstAfter(scan.rows, request.after);
    const page = cut(scan.rows, from, rowLimit, request.byteLimit);
    if (page.next === undefined) this.#forget(scan);
    return page;
  }

  async #indexedPage(request: PageRequest, prefix: Uint8Array, rowLimit: number): Promise<RowPage> {
    const { after } = request;
    const beyond = after !== undefined && Buffer.compare(after, prefix) >= 0;
    const most = Math.min(rowLimit, INDEXED_ROWS) + 1;
    const reply = (await this.#link.script(
      PAGE,
      [...this.#keysOf(request.partition)],
      [
        Buffer.concat([Buffer.from(beyond ? "(" : "["), beyond ? after : prefix]),
        Buffer.concat([Buffer.from("("), upperBound(prefix)]),
        most,
      ],
    )) as readonly Buffer[];
    const rows: Row[] = [];
    for (let at = 0; at < reply.length; at += 2) rows.push({ key: reply[at]!, value: reply[at + 1]! });
    return cut(rows, 0, Math.min(rowLimit, INDEXED_ROWS), request.byteLimit);
  }

  async #row(partition: Partition, key: Uint8Array): Promise<RowPage> {
    const value = (await this.#link.call("hget", [this.#keysOf(partition)[0], Buffer.from(key)])) as Buffer | null;
    return { rows: value === null ? [] : [{ key, value }] };
  }

  async #scan(partition: Partition, prefix: Uint8Array, goesOn: boolean): Promise<Scan> {
    const now = performance.now();
    for (let at = this.#kept.length - 1; at >= 0; at--)
      if (now - this.#kept[at]!.readAt > KEPT_MS) this.#kept.splice(at, 1);
    const known = goesOn
      ? this.#kept.find((scan) => scan.partition === partition && Buffer.compare(scan.prefix, prefix) === 0)
      : undefined;
    if (known !== undefined) {
      known.usedAt = now;
      return known;
    }
    while (this.#reading + this.#inUse() >= SCANS_MOST) await this.#change();
    this.#reading++;
    try {
      const before = this.#writes.get(partition) ?? 0;
      const rows = await this.#readAll(partition, prefix);
      const overtaken = (this.#writes.get(partition) ?? 0) !== before;
      const readAt = performance.now();
      const scan: Scan = { partition, prefix, rows, readAt, usedAt: readAt };
      if (!overtaken) this.#keep(scan); // or it is good for this page only
      return scan;
    } finally {
      this.#reading--;
      if (this.#reading === 0) this.#writes.clear();
      this.#queue.shift()?.();
    }
  }

  async #readAll(partition: Partition, prefix: Uint8Array): Promise<readonly Row[]> {
    const [key] = this.#keysOf(partition);
    const found = new Map<string, Row>();
    let cursor = "0";
    do {
      const [next, fields] = (await this.#link.call("hscan", [key, cursor, "COUNT", SCAN_COUNT])) as [
        Buffer,
        readonly Buffer[],
      ];
      cursor = next.toString("latin1");
      for (let at = 0; at < fields.length; at += 2) {
        const field = fields[at]!;
        if (field.length === 0 || !startsWith(field, prefix)) continue;
        found.set(field.toString("latin1"), { key: field, value: fields[at + 1]! });
      }
    } while (cursor !== "0");
    // One character per byte, so text order is byte order.
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  }

  /** In place of the one that was asked for longest ago. */
  #keep(scan: Scan): void {
    this.#kept.sort((left, right) => left.usedAt - right.usedAt).push(scan);
    if (this.#kept.length > SCANS_MOST) this.#kept.shift();
  }

  #forget(scan: Scan): void {
    const at = this.#kept.indexOf(scan);
    if (at >= 0) this.#drop(at);
  }

  #drop(at: number): void {
    this.#kept.splice(at, 1);
    this.#queue.shift()?.();
  }

  /** P3 */
  #inUse(): number {
    const since = performance.now() - IDLE_MS;
    return this.#kept.filter(({ usedAt }) => usedAt > since).length;
  }

  /** Resolves when it is worth another look whether there is room. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        clearTimeout(timer);
        const at = this.#queue.indexOf(look);
        if (at >= 0) this.#queue.splice(at, 1);
        resolve();
      };
      const timer = setTimeout(look, IDLE_MS);
      this.#queue.push(look);
    });
  }
}

function cut(rows: readonly Row[], from: number, rowLimit: number, byteLimit: number): RowPage {
  let bytes = 0;
  let at = from;
  for (; at < rows.length; at++) {
    const { key, value } = rows[at]!;
    bytes += key.length + value.length;
    if (at > from && (at - from >= rowLimit || bytes > byteLimit))
      return { rows: rows.slice(from, at), next: rows[at - 1]!.key.slice() };
  }
  return { rows: rows.slice(from) };
}

function firstAfter(rows: readonly Row[], after: Uint8Array): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Buffer.compare(rows[middle]!.key, after) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Keys of rows with a position have one length, so none begins with another. */
function isWholeKey(prefix: Uint8Array): boolean {
  return prefix.length === POSITION_BYTES && POSITION_KINDS.has(prefix[0]!);
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  if (key.length < prefix.length) return false;
  for (let at = 0; at < prefix.length; at++) if (key[at] !== prefix[at]) return false;
  return true;
}

const PAGE = scriptOf(INDEXED_PAGE);
const POSITION_KINDS: ReadonlySet<number> = new Set([KIND.task, KIND.dead, KIND.outbox]);
const NOTHING = new Uint8Array();
const SCANS_MOST = 4;
const KEPT_MS = 30_000;
/** Whoever loads a partition asks for the next page within moments. */
const IDLE_MS = 250;
const SCAN_COUNT = 1_000;
/** Keys per call of the index. */
const INDEXED_ROWS = 2_000;
