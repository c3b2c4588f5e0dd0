/**
 * `RedisStore`: the `TaskStore` that every node of a ring shares. Any node takes over any partition by opening it.
 *
 * The fence is inside Redis (`scripts.ts`): a term that is not the newest changes nothing, whatever its owner believes.
 * X1  Two connections: one for writes, which keeps their order; one for reads, the lease and questions, so that a long
 *     write does not cost the lease. (The lease has a third while it is held by this node: `lease.ts`.)
 * X2  A call without an answer is repeated until it has one; meanwhile the store says that it is full.
 * X3  A Redis that has lost what it acknowledged is noticed at the next write: a whole partition gone breaks the store
 *     (S4); one that went back a little is refused, so that its owner opens it again and goes on with what is there.
 */

import { setTimeout as delay } from "node:timers/promises";
import { Changes } from "../../../changes.ts";
import { RingError } from "../../../errors.ts";
import type { Partition } from "../../../ids.ts";
import type {
  CommitResult,
  Holding,
  PageRequest,
  RowGroup,
  RowPage,
  StoreHoldings,
  StoreStats,
  Term,
} from "../../../store.ts";
import { checkPageRequest, measureGroups } from "../limits.ts";
import type { StoreLog } from "../log.ts";
import type { NodeStore } from "../node-store.ts";
import { parseRedisAddress, type RedisAddress, showRedisAddress } from "./address.ts";
import { checkSettings, readSettings } from "./checks.ts";
import { grownSince, readHoldings } from "./holdings.ts";
import { type Item, WriteLine } from "./line.ts";
import { asRingError, RedisLink, RedisTrouble, scriptOf } from "./link.ts";
import { Opening } from "./opening.ts";
import { Room } from "./room.ts";
import { Scans } from "./scan.ts";
import { DROP, SET_ASIDE } from "./scripts.ts";
import { survey, termBytes } from "./survey.ts";

export interface RedisStoreOptions {
  readonly address: string | RedisAddress;
  /** Of the node, for the server's list of clients. */
  readonly name?: string;
  readonly log?: StoreLog;
  /** How long to wait for a server that does not answer before giving up. Default: for ever. */
  readonly connectDeadlineMs?: number;
  /** What may wait for Redis. Default 256 MiB. */
  readonly waitingLimitBytes?: number;
  /** How often an idle store looks at the memory of Redis. Default 10 s; a busy one does each second. */
  readonly lookMs?: number;
}

/** Rejects with `INVALID_ARGUMENT` for a Redis that evicts, with `DEADLINE` when it does not answer in time. */
export async function openRedisStore(options: RedisStoreOptions): Promise<RedisStore> {
  const address = typeof options.address === "string" ? parseRedisAddress(options.address) : options.address;
  const store = new RedisStore(address, options);
  try {
    await store.start(options.connectDeadlineMs);
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
  return store;
}

export class RedisStore implements NodeStore {
  readonly shared: boolean = true;
  readonly address: RedisAddress;
  /** For reads and for the lease's owner (X1). */
  readonly link: RedisLink;
  readonly #writer: RedisLink;
  readonly #line: WriteLine;
  readonly #scans: Scans;
  readonly #room: Room;
  readonly #log: StoreLog | undefined;
  readonly #opened = new Map<Partition, Opening>();
  readonly #rows = new Map<Partition, number>();
  readonly #leaving = new Set<Partition>();
  #quarantined = 0;
  #held: { readonly holdings: readonly Holding[]; readonly at: number } | undefined;
  #closed: Promise<void> | undefined;

  constructor(address: RedisAddress, options: RedisStoreOptions) {
    this.address = address;
    this.#log = options.log;
    const name = `taskring${options.name === undefined ? "" : `-${options.name}`}`;
    this.link = new RedisLink(address, `${name}-read`);
    this.#writer = new RedisLink(address, `${name}-write`);
    const keysOf = (partition: Partition): readonly [string, string] => this.#keysOf(partition);
    this.#scans = new Scans(this.link, keysOf);
    this.#room = new Room(this.link, { ...options, commits: () => this.#line.commits });
    this.#line = new WriteLine({
      link: this.#writer,
      keysOf,
      together: address.kind !== "cluster",
      waitingLimitBytes: options.waitingLimitBytes ?? WAITING_LIMIT_BYTES,
      onFull: () => this.#room.ranOut(),
      onBroken: (error) => options.log?.error({ err: error }, "the store is broken: nothing is accepted any more"),
    });
  }

  get broken(): Error | undefined {
    return this.#line.broken;
  }

  get full(): boolean {
    return this.#room.full || this.#line.stalledMs(performance.now()) > STALLED_MS;
  }

  /** Waits for the server, checks how it is set up, and looks at what it holds. */
  async start(connectDeadlineMs: number = Number.POSITIVE_INFINITY): Promise<void> {
    const until = performance.now() + connectDeadlineMs;
    for (let said = Number.NEGATIVE_INFINITY; ; ) {
      try {
        const settings = await readSettings(this.link);
        for (const warning of checkSettings(settings))
          this.#log?.warn({ store: showRedisAddress(this.address) }, warning);
        break;
      } catch (error) {
        if (!(error instanceof RedisTrouble) || error.kind !== "again") throw asRingError(error);
        if (performance.now() > until)
          throw new RingError("DEADLINE", `${showRedisAddress(this.address)} does not answer: ${error.message}`);
        if (performance.now() - said > SAY_MS) {
          said = performance.now();
          this.#log?.warn({ store: showRedisAddress(this.address), detail: error.message }, "waiting for Redis");
        }
        await delay(AGAIN_MOST_MS); // one that loads its file answers at once
      }
    }
    for (const { asideRows } of await this.#survey()) this.#quarantined += asideRows;
    void this.#room.watch();
  }

  async open(partition: Partition, at: { readonly history: number; readonly generation: number }): Promise<Term> {
    this.#check();
    const term = await new Promise<Term>((resolve, reject) => {
      const asked: Term = { history: at.history, generation: at.generation, opens: 0 };
      const opening: Item = {
        ...SMALL,
        partition,
        args: () => ["o", termBytes(asked), "0", "0", ""],
        done: (verdict, opens) => {
          const opened: Term = { ...asked, opens };
          if (verdict !== 0) return reject(notOwner(partition));
          this.#opened.set(partition, new Opening(opened));
          resolve(opened);
        },
        failed: reject,
      };
      this.#line.submit([opening], { fromReserve: true });
    });
    this.#scans.written(partition);
    return term;
  }

  async commit(groups: readonly RowGroup[], options: { readonly fromReserve?: boolean } = {}): Promise<CommitResult> {
    this.#check();
    const size = measureGroups(groups);
    const fromReserve = options.fromReserve === true;
    if (this.#room.full && !fromReserve && size.deletes === 0 && size.changes > 0)
      throw new RingError("QUEUE_FULL", "the memory of Redis is full", { retryAfterMs: 1_000 });
    const refused: number[] = [];
    if (groups.length === 0) return { refused };
    await new Promise<void>((resolve, reject) => {
      let left = groups.length;
      const settled = (): void => {
        left--;
        if (left === 0) resolve();
      };
      const items: Item[] = [];
      groups.forEach((group, index) => {
        if (!this.#leaving.has(group.partition)) {
          items.push(this.#item(group, { refuse: () => refused.push(index), settled, failed: reject }));
          return;
        }
        refused.push(index);
        settled();
      });
      if (items.length > 0) this.#line.submit(items, { fromReserve });
    });
    return { refused: refused.sort((a, b) => a - b) };
  }

  async page(request: PageRequest): Promise<RowPage> {
    this.#check();
    checkPageRequest(request);
    return this.#again(() => this.#scans.page(request));
  }

  async drop(partition: Partition): Promise<void> {
    await this.#alone(partition, async (keys, term) => {
      if ((await this.link.script(REMOVE, keys, [term])) === 0) throw notOwner(partition);
    });
  }

  async quarantine(partition: Partition, why: string): Promise<void> {
    this.#log?.error({ partition, why }, "partition set aside: its rows are kept but not opened");
    await this.#alone(partition, async ([key, index], term) => {
      const rows = Math.max(0, Number(await this.link.call("hlen", [key])) - 1);
      const about = JSON.stringify({ why, rows, at: new Date() });
      const aside = Number(await this.link.script(ASIDE, [key, index, `${key}:aside`], [term, about, ASIDES_MOST]));
      if (aside === -1) throw notOwner(partition);
      if (aside === -2) throw new RingError("QUEUE_FULL", `partition ${partition} was set aside ${ASIDES_MOST} times`);
      this.#quarantined += rows;
    });
  }

  async partitions(): Promise<readonly { readonly partition: Partition; readonly term: Term }[]> {
    this.#check();
    const found = await this.#survey();
    return found.flatMap(({ partition, term }) => (term === undefined ? [] : [{ partition, term }]));
  }

  /** Rows of the partitions that this node has written; each script call counts as one sync. */
  stats(): StoreStats {
    let rows = 0;
    for (const count of this.#rows.values()) rows += count;
    const { commits } = this.#line;
    return { rows, bytes: this.#room.usedBytes, commits, syncs: commits, quarantined: this.#quarantined };
  }

  /** Compared with an earlier look of this process, one of the last hour. */
  async holdings(): Promise<StoreHoldings> {
    this.#check();
    const found = await this.#survey();
    const seen = await this.#again(() => readHoldings(this.link, found, (partition) => this.keyOf(partition)));
    const now = performance.now();
    const before = this.#held ?? { holdings: seen.holdings, at: now };
    this.#held = now - before.at < COMPARED_MS ? before : { holdings: seen.holdings, at: now };
    return { ...seen, holdings: grownSince(seen.holdings, before.holdings), sinceMs: Math.round(now - before.at) };
  }

  /** From outside of the line of writes: what Redis holds is not what this ring stored (S4). */
  break(error: RingError): void {
    this.#line.break(error);
  }

  keyOf(partition: Partition): string {
    return `${this.address.prefix}:{${partition}}`;
  }

  #keysOf(partition: Partition): readonly [string, string] {
    const key = this.keyOf(partition);
    return [key, `${key}:index`];
  }

  /** Waits for what was accepted, as long as Redis answers. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #item(
    group: RowGroup,
    tell: { readonly refuse: () => void; readonly settled: () => void; readonly failed: (error: RingError) => void },
  ): Item {
    const { partition, term } = group;
    const changes = Changes.of(group.changes);
    let opened: Opening | undefined;
    let sequence = 0;
    return {
      partition,
      changes: changes.length,
      bytes: 64 + changes.putBytes + changes.deletes * changes.longestKeyBytes,
      args: (packer) => {
        const known = this.#opened.get(partition);
        if (known?.is(term) === true) {
          opened = known;
          sequence = ++known.next;
        }
        const expected = String(Math.max(0, sequence - 1));
        return ["w", opened?.bytes ?? termBytes(term), String(sequence), expected, packer.pack(changes)];
      },
      done: (verdict, length) => {
        this.#rows.set(partition, Math.max(0, length - 1));
        this.#scans.written(partition);
        if (verdict === GONE) return tell.failed(this.#gone(partition));
        if (verdict === APPLIED || verdict === REPEATED) {
          if (opened !== undefined) opened.applied = sequence;
        } else {
          if (verdict === BEHIND)
            this.#log?.error({ partition, term }, "Redis has lost acknowledged changes: the partition is opened again");
          if (opened !== undefined && this.#opened.get(partition) === opened) this.#opened.delete(partition);
          tell.refuse();
        }
        tell.settled();
      },
      failed: (error) => {
        if (opened !== undefined) opened.next = opened.applied;
        tell.failed(error);
      },
    };
  }

  /** X3 */
  #gone(partition: Partition): RingError {
    const error = new RingError(
      "STORE_BROKEN",
      `Redis no longer has partition ${partition}, which this node had stored there: it was flushed, or is another server`,
    );
    this.#line.break(error);
    return error;
  }

  /** `work` gets the term under which this process opened the partition; it has no right to one that it did not open. */
  async #alone(
    partition: Partition,
    work: (keys: readonly [string, string], term: Buffer) => Promise<void>,
  ): Promise<void> {
    this.#check();
    this.#leaving.add(partition);
    try {
      await this.#line.idle();
      const opened = this.#opened.get(partition);
      if (opened === undefined) throw notOwner(partition);
      this.#opened.delete(partition);
      await this.#again(() => work(this.#keysOf(partition), opened.bytes));
      this.#rows.delete(partition);
      this.#scans.written(partition);
    } finally {
      this.#leaving.delete(partition);
    }
  }

  /** X2, for calls that may be repeated as they are. */
  async #again<T>(call: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        return await call();
      } catch (error) {
        if (this.#line.broken !== undefined) throw this.#line.broken;
        if (!(error instanceof RedisTrouble) || error.kind !== "again" || this.#closed !== undefined)
          throw asRingError(error);
        await delay(Math.min(AGAIN_MOST_MS, 10 * 2 ** Math.min(tries, 8)));
      }
    }
  }

  #survey(): ReturnType<typeof survey> {
    const together = this.address.kind !== "cluster";
    return this.#again(() => survey(this.link, { keyOf: (partition) => this.keyOf(partition), together }));
  }

  #check(): void {
    if (this.#line.broken !== undefined) throw this.#line.broken;
    if (this.#closed !== undefined) throw new RingError("STORE_BROKEN", "the store is closed");
  }

  async #close(): Promise<void> {
    this.#room[Symbol.dispose]();
    const late = setTimeout(() => this.#line.close(), CLOSE_MS);
    await this.#line.idle();
    clearTimeout(late);
    this.link.close();
    this.#writer.close();
  }
}

function notOwner(partition: Partition): RingError {
  return new RingError("NOT_OWNER", `partition ${partition} is not open here, or is held at a newer term`);
}

const ASIDE = scriptOf(SET_ASIDE);
const REMOVE = scriptOf(DROP);
const ASIDES_MOST = 100;
/** Verdicts of the write script. */
const APPLIED = 0;
const REPEATED = 2;
const BEHIND = 3;
const GONE = 4;
const SMALL = { changes: 1, bytes: 64 } as const;
const WAITING_LIMIT_BYTES: number = 256 * 1024 * 1024;
/** A call that takes longer means that new work is refused. */
const STALLED_MS = 2_500;
const CLOSE_MS = 2_000;
const SAY_MS = 5_000;
const AGAIN_MOST_MS = 250;
const COMPARED_MS = 3_600_000;
