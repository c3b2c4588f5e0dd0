/**
 * Writes rows into the LMDB transaction that is being put together. One is reused for all of them, with its memory.
 *
 * Values lie in slabs that lmdb's thread reads until the transaction has ended. A value is told to lmdb as a slab with
 * `start` and `end`, as its own encoders do: a view for each row was a tenth of a node's garbage.
 */

import { checksum } from "./checksum.ts";
import type { Database } from "./environment.ts";
import { CHECKSUM_BYTES } from "./rows.ts";

export class Batch {
  readonly #database: Database;
  /** Memory that lmdb's thread reads until the transaction has ended. */
  #slabs: Slab[] = [slabOf(SLAB_BYTES)];
  #slabIndex = 0;
  #at = 0;
  #wrote = false;

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

  /** `key` with its space in front. `isStored`: the value comes with the checksum that it has. */
  putRow(key: Uint8Array, value: Uint8Array, isStored: boolean): void {
    if (isStored) {
      const slab = this.#room(value.length);
      slab.set(value, this.#at);
      this.#put(key, slab, this.#at, this.#at + value.length);
      return;
    }
    const whole = key.length + value.length + CHECKSUM_BYTES;
    const slab = this.#room(whole);
    const start = this.#at;
    const valueAt = start + key.length;
    slab.set(key, start);
    slab.set(value, valueAt);
    const end = valueAt + value.length;
    const sum = checksum(slab, start, end);
    slab[end] = sum;
    slab[end + 1] = sum >>> 8;
    slab[end + 2] = sum >>> 16;
    slab[end + 3] = sum >>> 24;
    this.#put(key, slab, valueAt, start + whole);
  }

  removeRow(key: Uint8Array): void {
    this.#wrote = true;
    this.#database.remove(key);
  }

  #put(key: Uint8Array, slab: Slab, start: number, end: number): void {
    this.#at = end;
    this.#wrote = true;
    slab.start = start;
    slab.end = end;
    this.#database.put(key, slab);
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
