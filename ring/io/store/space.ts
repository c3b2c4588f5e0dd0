/**
 * Watches how much can still be written (reliability rule 8): what the file system has free, plus the pages that LMDB
 * has freed inside its file, which never shrinks.
 *
 * Below the reserve the store is full: new work is refused, while commits that end work may use the reserve up. Between
 * two looks at the file system every commit is charged, so a burst cannot run past the reserve unseen.
 */

import { statfsSync } from "node:fs";

export interface SpaceOptions {
  readonly directory: string;
  /** Kept for commits that end work. */
  readonly reserveBytes: number;
  /** Free bytes inside the file, less what is promised. */
  readonly freeInside: () => number;
  readonly onChange: (full: boolean, freeBytes: number) => void;
  /** Now and then while it is full: what can give space back should. */
  readonly whileFull?: () => void;
}

export class Space {
  readonly #options: SpaceOptions;
  #full = false;
  /** What may be charged before the next look. */
  #budgetBytes = 0;
  /** After a write found the disk full, whatever the file system says: no new work before this time. */
  #fullUntilMs = 0;
  #timer: NodeJS.Timeout;

  constructor(options: SpaceOptions) {
    this.#options = options;
    this.look();
    this.#timer = setInterval(() => {
      this.look();
      if (this.#full) this.#options.whileFull?.();
    }, LOOK_MS);
    this.#timer.unref();
  }

  get full(): boolean {
    return this.#full;
  }

  /** Takes `bytes` off the budget. False when they would come out of the reserve. */
  charge(bytes: number): boolean {
    this.#budgetBytes -= bytes;
    if (this.#budgetBytes < 0) {
      this.look();
      this.#budgetBytes -= bytes;
    }
    return !this.#full;
  }

  /** A write failed for want of space. */
  ranOut(): void {
    this.#fullUntilMs = performance.now() + RETRY_MS;
    this.#set(true, 0);
  }

  /** Free bytes of the file system; undefined when it does not tell. */
  diskBytes(): number | undefined {
    try {
      const { bavail, bsize } = statfsSync(this.#options.directory);
      return bavail * bsize;
    } catch {
      return undefined;
    }
  }

  look(): void {
    const diskBytes = this.diskBytes();
    if (diskBytes === undefined) return;
    const freeBytes = diskBytes + this.#options.freeInside();
    const { reserveBytes } = this.#options;
    this.#budgetBytes = Math.max(0, freeBytes - reserveBytes);
    // A full store needs some more than the reserve to take new work again, or it would change at every commit.
    const enough = this.#full ? reserveBytes * 1.25 : reserveBytes;
    this.#set(freeBytes < enough || performance.now() < this.#fullUntilMs, freeBytes);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #set(full: boolean, freeBytes: number): void {
    if (full === this.#full) return;
    this.#full = full;
    this.#options.onChange(full, freeBytes);
  }
}

/** When to tell a refused caller to come again, and how long a failed write counts. */
export const RETRY_MS = 1000;
const LOOK_MS = 500;
