/**
 * Whether Redis has room for new work. What ends work frees memory and is let through at any level, so the level is looked
 * at as well as the refusals: it is full above `FULL_SHARE` of its limit, and again not below `ROOM_SHARE`.
 */

import type { StoreLog } from "../log.ts";
import { readMemory } from "./checks.ts";
import type { RedisLink } from "./link.ts";

export class Room implements Disposable {
  readonly #link: RedisLink;
  readonly #log: StoreLog | undefined;
  readonly #commits: () => number;
  #commitsSeen = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  full = false;
  usedBytes = 0;

  /** `commits`: how many there have been; while they are many it is looked at more often. */
  constructor(link: RedisLink, options: { readonly log: StoreLog | undefined; readonly commits: () => number }) {
    this.#link = link;
    this.#log = options.log;
    this.#commits = options.commits;
  }

  async watch(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const { usedBytes, limitBytes } = await readMemory(this.#link);
      this.usedBytes = usedBytes;
      if (limitBytes === 0) this.#is(false);
      else if (usedBytes > limitBytes * FULL_SHARE) this.#is(true);
      else if (usedBytes < limitBytes * ROOM_SHARE) this.#is(false);
    } catch {
      // The next look tells.
    }
    if (this.#closed) return;
    const busy = this.#commits() - this.#commitsSeen > BUSY_COMMITS || this.full;
    this.#commitsSeen = this.#commits();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.watch(), busy ? LOOK_BUSY_MS : LOOK_MS).unref();
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
