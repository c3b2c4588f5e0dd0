/**
 * Writes rows into the LMDB transaction that is being put together. One is reused for all of them, with its memory.
 *
 * Values lie in slabs that lmdb's thread reads until the transaction has ended. A value is told to lmdb as a slab with
 * `start` and `end`, as its own encoders do: a view for each row was a tenth of a node's garbage.
 */

import { checksum } from "./checksum.ts";
import type { Database } from "./environment.ts";
import { KEY_LIMIT_BYTES } from "./limits.ts";
import { CHECKSUM_BYTES, SPACE_BYTES, type Space } from "./rows.ts";

export class Batch {
  readonly #database: Database;
  /** Memory that lmdb's thread reads until the transaction has ended. */
  #slabs: Slab[] = [slabOf(SLAB_BYTES)];
  #slabIndex = 0;
  #at = 0;
  #wrote = false;
  /** lmdb copies a key at once, so all keys are made in the same bytes; one view per length. */
  readonly #key = new Uint8Array(SPACE_BYTES + KEY_LIMIT_BYTES + 64);
  readonly #keyViews: Uint8Array[] = [];

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Runs `write`, and resolves to true when what it wrote is synced, to false when it wrote nothing.
   *
   * An explicit batch, because in lmdb's own batching by turn a failed transaction also rejects promises that nobody holds.
   */
  async transact(write: () => void): Promise<boolean> {
    this.#slabIndex = 0;
    this.#at = 0;
    this.#wrote = false;
    if (this.#slabs.length > 1) {
      this.#slabs = this.#slabs.filter((slab) => slab.length === SLAB_BYTES).slice(0, SLABS_KEPT);
    }
    await this.#database.batch(write);
    return this.#wrote;
  }

  put(space: Space, key: Uint8Array, value: Uint8Array): void {
    const keyBytes = SPACE_BYTES + key.length;
    const whole = keyBytes + value.length + CHECKSUM_BYTES;
    const slab = this.#room(whole);
    const start = this.#at;
    slab[start] = space >>> 8;
    slab[start + 1] = space & 255;
    slab.set(key, start + SPACE_BYTES);
    slab.set(value, start + keyBytes);
    const end = start + whole - CHECKSUM_BYTES;
    const sum = checksum(slab, start, end);
    slab[end] = sum;
    slab[end + 1] = sum >>> 8;
    slab[end + 2] = sum >>> 16;
    slab[end + 3] = sum >>> 24;
    this.#at = start + whole;
    this.#wrote = true;
    slab.start = start + keyBytes;
    slab.end = start + whole;
    this.#database.put(this.#keyOf(space, key), slab);
  }

  remove(space: Space, key: Uint8Array): void {
    this.#wrote = true;
    this.#database.remove(this.#keyOf(space, key));
  }

  /** Keeps `stored` as it is, with the checksum it came with. */
  putStored(space: Space, key: Uint8Array, stored: Uint8Array): void {
    const slab = this.#room(stored.length);
    const start = this.#at;
    slab.set(stored, start);
    this.#at = start + stored.length;
    this.#wrote = true;
    slab.start = start;
    slab.end = this.#at;
    this.#database.put(this.#keyOf(space, key), slab);
  }

  #keyOf(space: Space, key: Uint8Array): Uint8Array {
    const length = SPACE_BYTES + key.length;
    this.#keyViews[length] ??= this.#key.subarray(0, length);
    const view = this.#keyViews[length]!;
    view[0] = space >>> 8;
    view[1] = space & 255;
    view.set(key, SPACE_BYTES);
    return view;
  }

  #room(bytes: number): Slab {
    let slab = this.#slabs[this.#slabIndex]!;
    while (this.#at + bytes > slab.length) {
      this.#slabIndex += 1;
      this.#at = 0;
      this.#slabs[this.#slabIndex] ??= slabOf(Math.max(SLAB_BYTES, bytes));
      slab = this.#slabs[this.#slabIndex]!;
    }
    return slab;
  }
}

/** Memory of its own (lmdb adds `start` to where the buffer begins), and which part of it is the value. */
type Slab = Uint8Array & { start: number; end: number };

function slabOf(bytes: number): Slab {
  return Object.assign(new Uint8Array(bytes), { start: 0, end: 0 });
}

const SLAB_BYTES: number = 1024 * 1024;
const SLABS_KEPT = 8;
