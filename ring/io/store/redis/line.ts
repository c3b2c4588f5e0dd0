/**
 * The line of writes to Redis: what waits becomes one script call, one call under way, repeated until it is answered.
 *
 * W1  Items are written in the order they were given; those of one partition never overtake each other.
 * W2  A call without an answer is repeated as it was: its sequence numbers make that safe (R2 of `scripts.ts`).
 * W3  While Redis does not answer, what waits is bounded; more is refused with `QUEUE_FULL`. Openings, one for each partition,
 *     and what was let in before are taken.
 */

import { RingError } from "../../../errors.ts";
import type { Partition } from "../../../ids.ts";
import { type RedisArgument, type RedisLink, RedisTrouble, scriptOf } from "./link.ts";
import { Packer } from "./pack.ts";
import { WRITE } from "./scripts.ts";

/** The part of one partition in a call. */
export interface Item {
  readonly partition: Partition;
  readonly changes: number;
  readonly bytes: number;
  /** Kind, term, sequence, expected sequence, blob; asked when the item enters its call, which keeps them to its end. */
  readonly args: (packer: Packer) => readonly RedisArgument[];
  readonly done: (verdict: number, number: number) => void;
  readonly failed: (error: RingError) => void;
}

export interface LineOptions {
  readonly link: RedisLink;
  readonly keysOf: (partition: Partition) => readonly [string, string];
  /** A cluster takes no call with keys of several partitions. */
  readonly together: boolean;
  readonly waitingLimitBytes: number;
  /** The memory of Redis is full. */
  readonly onFull: () => void;
  /** Redis refuses for good. */
  readonly onBroken: (error: RingError) => void;
}

interface Entry {
  readonly item: Item;
  readonly fromReserve: boolean;
}

export class WriteLine {
  readonly #options: LineOptions;
  readonly #packer = new Packer();
  #waiting: Entry[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;
  #underWaySince: number | undefined;
  #broken: RingError | undefined;
  #closed = false;
  commits = 0;

  constructor(options: LineOptions) {
    this.#options = options;
  }

  get broken(): RingError | undefined {
    return this.#broken;
  }

  /** For how long the call under way has been unanswered. */
  stalledMs(now: number): number {
    return this.#underWaySince === undefined ? 0 : now - this.#underWaySince;
  }

  /** Throws `STORE_BROKEN`, or `QUEUE_FULL` (W3), but not for what is from the reserve. */
  submit(items: readonly Item[], { fromReserve }: { readonly fromReserve: boolean }): void {
    if (this.#broken !== undefined) throw this.#broken;
    if (!fromReserve && this.#waitingBytes > this.#options.waitingLimitBytes)
      throw new RingError("QUEUE_FULL", "too much waits for Redis", { retryAfterMs: 500 });
    for (const item of items) {
      this.#waiting.push({ item, fromReserve });
      this.#waitingBytes += item.bytes;
    }
    this.#running ??= this.#run();
  }

  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Nothing is repeated from now on. */
  close(): void {
    this.#closed = true;
  }

  break(error: RingError): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    this.#options.onBroken(error);
    for (const { item } of this.#waiting.splice(0)) item.failed(error);
    this.#waitingBytes = 0;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      await nextTurn();
      const entries = this.#take();
      if (entries.length === 0) continue;
      this.#underWaySince = performance.now();
      const calls = this.#options.together ? [entries] : byPartition(entries);
      await Promise.all(calls.map((call) => this.#carry(call)));
      this.#packer.reset();
      this.#underWaySince = undefined;
    }
    this.#running = undefined;
  }

  #take(): Entry[] {
    const taken: Entry[] = [];
    let bytes = 0;
    let changes = 0;
    for (const entry of this.#waiting) {
      const { item } = entry;
      if (
        taken.length > 0 &&
        (taken.length >= ITEM_LIMIT ||
          bytes + item.bytes > BYTE_LIMIT ||
          changes + item.changes > CHANGE_LIMIT ||
          entry.fromReserve !== taken[0]!.fromReserve)
      )
        break;
      bytes += item.bytes;
      changes += item.changes;
      taken.push(entry);
    }
    this.#waiting.splice(0, taken.length);
    this.#waitingBytes -= bytes;
    return taken;
  }

  async #carry(entries: readonly Entry[]): Promise<void> {
    const keys: string[] = [];
    const args: RedisArgument[] = [entries[0]!.fromReserve ? "1" : "0"];
    for (const { item } of entries) {
      keys.push(...this.#options.keysOf(item.partition));
      args.push(...item.args(this.#packer));
    }
    for (let tries = 0; this.#broken === undefined; tries++) {
      try {
        const reply = (await this.#options.link.script(SCRIPT, keys, args)) as readonly number[];
        this.commits++;
        entries.forEach(({ item }, at) => {
          item.done(reply[2 * at]!, reply[2 * at + 1]!);
        });
        return;
      } catch (error) {
        if (!(error instanceof RedisTrouble)) throw error;
        if (error.kind === "full") {
          this.#options.onFull();
          const full = new RingError("QUEUE_FULL", "the memory of Redis is full", { retryAfterMs: 1_000 });
          for (const { item } of entries) item.failed(full);
          return;
        }
        if (error.kind === "refused") this.break(new RingError("STORE_BROKEN", `Redis: ${error.message}`));
        else if (this.#closed) break;
        else await delay(Math.min(AGAIN_MOST_MS, AGAIN_MS * 2 ** Math.min(tries, 8)));
      }
    }
    const error = this.#broken ?? new RingError("STORE_BROKEN", "the store was closed before Redis answered");
    for (const { item } of entries) item.failed(error);
  }
}

function byPartition(entries: readonly Entry[]): readonly (readonly Entry[])[] {
  const calls = new Map<Partition, Entry[]>();
  for (const entry of entries) {
    const call = calls.get(entry.item.partition);
    if (call === undefined) calls.set(entry.item.partition, [entry]);
    else call.push(entry);
  }
  return [...calls.values()];
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const SCRIPT = scriptOf(WRITE);
/** Limits of one call: it keeps Redis for so long. */
const ITEM_LIMIT = 1_024;
const CHANGE_LIMIT = 20_000;
const BYTE_LIMIT: number = 8 * 1024 * 1024;
const AGAIN_MS = 10;
const AGAIN_MOST_MS = 250;
