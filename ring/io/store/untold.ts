/**
 * What the database has yet to be told of a segment: first what the segment after it will tell is left out, then the rest is taken, a
 * transaction at a time.
 *
 * U1  What is left out stays left out: the overlay that tells it instead counts on that (O3 of `overlay.ts`).
 */

import type { NetChange, NetRows, Overlay } from "./overlay.ts";

export class Untold {
  readonly #overlay: Overlay;
  readonly #net: NetRows;
  /** Of `#net`: looked at by `leaveOut`, of these kept, and of the kept ones taken. */
  #looked = 0;
  #kept = 0;
  #taken = 0;

  constructor(overlay: Overlay) {
    this.#overlay = overlay;
    this.#net = overlay.net();
  }

  get rows(): number {
    return this.#net.at.length;
  }

  /** Looks at `most` rows, and leaves out those that `newer` tells in its turn. False: all have been looked at. */
  leaveOut(newer: Overlay, most: number): boolean {
    const { at, hash, below } = this.#net;
    const end = Math.min(this.rows, this.#looked + most);
    for (let row = this.#looked; row < end; row++) {
      if (newer.takeOver(this.#overlay, at[row]!, hash[row]!, below[row] === 1)) continue;
      at[this.#kept++] = at[row]!;
    }
    this.#looked = end;
    return end < this.rows;
  }

  /** What `leaveOut` has not looked at is told. */
  keepRest(): void {
    this.#net.at.copyWithin(this.#kept, this.#looked);
    this.#kept += this.rows - this.#looked;
    this.#looked = this.rows;
  }

  /** Nothing is left. Once `leaveOut` has come to its end, or `keepRest` was called. */
  get isOver(): boolean {
    return this.#taken === this.#kept;
  }

  /** Up to `most`. Views. */
  take(most: { readonly rows: number; readonly bytes: number }): readonly NetChange[] {
    const changes: NetChange[] = [];
    let bytes = 0;
    while (!this.isOver && changes.length < most.rows && bytes < most.bytes) {
      const change = this.#overlay.changeAt(this.#net.at[this.#taken++]!);
      bytes += change.key.length + (change.value?.length ?? 0);
      changes.push(change);
    }
    return changes;
  }

  /** The share of it that `newer` would tell in its turn, 0 to 1, by a sample. */
  shareIn(newer: Overlay): number {
    const { at, hash } = this.#net;
    let told = 0;
    for (let look = 0; look < SAMPLE; look++) {
      const row = Math.floor((look * this.rows) / SAMPLE);
      if (row < this.rows && newer.replaces(this.#overlay, at[row]!, hash[row]!)) told++;
    }
    return told / SAMPLE;
  }
}

const SAMPLE = 64;
