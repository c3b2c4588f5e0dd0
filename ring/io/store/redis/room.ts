/**
 * Whether Redis has room for new work. What ends work frees memory and is let through at any level, so the level is looked
 * at as well as the refusals: it is full above `FULL_SHARE` of its limit, and again not below `ROOM_SHARE`. A server that may
 * evict has none: start-up refuses it, but a setting may change, and a replica with another one be promoted.
 */

import type { StoreLog } from "../log.ts";
import { readMemory } from "./checks.ts";
import type { RedisLink } from "./link.ts";

interface RoomOptions {
  readonly log?: StoreLog | undefined;
  /** How many there have been: while they are many the level is looked at more often. */
  readonly commits: () => number;
  readonly lookMs?: number;
}

export class Room implements Disposable {
  readonly #link: RedisLink;
  readonly #log: StoreLog | undefined;
  readonly #commits: () => number;
  readonly #lookMs: number;
  #commitsSeen = 0;
  #timer: NodeJS.Timeout | undefined;
  #evicts = false;
  #closed = false;
  full = false;
  usedBytes = 0;

  constructor(link: RedisLink, options: RoomOptions) {
    this.#link = link;
    this.#log = options.log;
    this.#lookMs = options.lookMs ?? LOOK_MS;
    this.#commits = options.commits;
  }

  async watch(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const { usedBytes, limitBytes, evicts } = await readMemory(this.#link);
      this.usedBytes = usedBytes;
      this.#mayEvict(evicts);
      if (evicts) this.#is(true);
      else if (limitBytes === 0) this.#is(false);
      else if (usedBytes > limitBytes * FULL_SHARE) this.#is(true);
      else if (usedBytes < limitBytes * ROOM_SHARE) this.#is(false);
    } catch {
      // The next look tells.
    }
    if (this.#closed) return;
    const busy = this.#commits() - this.#commitsSeen > BUSY_COMMITS || this.full;
    this.#commitsSeen = this.#commits();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.watch(), busy ? LOOK_BUSY_MS : this.#lookMs).unref();
  }

  /** Redis refused a write for want of memory. */
  ranOut(): void {
    if (this.full) return;
    this.#is(true);
    void this.watch();
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #mayEvict(evicts: boolean): void {
    if (evicts && !this.#evicts)
      this.#log?.error({}, "Redis may throw tasks away: no new work until maxmemory-policy is noeviction again");
    this.#evicts = evicts;
  }

  #is(full: boolean): void {
    if (full === this.full) return;
    this.full = full;
    const { usedBytes } = this;
    if (full) this.#log?.error({ usedBytes }, "Redis is full: no new work until there is room again");
    else this.#log?.warn({ usedBytes }, "Redis has room again");
  }
}

const LOOK_MS = 10_000;
const LOOK_BUSY_MS = 1_000;
const BUSY_COMMITS = 100;
/** Of `maxmemory`. */
const FULL_SHARE = 0.95;
const ROOM_SHARE = 0.9;
