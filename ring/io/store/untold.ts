/**
 * What the database has yet to be told of a segment, a transaction at a time.
 *
 * U1  What is left out once stays left out: the overlay that says newer of the row counts on that (O3 of `overlay.ts`), so a transaction
 *     that is tried again is of the same changes.
 */

import type { NetChange, Overlay } from "./overlay.ts";

export class Untold {
  readonly #overlay: Overlay;
  readonly #net: Int32Array;
  #next = 0;

  constructor(overlay: Overlay) {
    this.#overlay = overlay;
    this.#net = overlay.net();
  }

  /** Nothing is left. */
  get isOver(): boolean {
    return this.#next === this.#net.length;
  }

  /** Up to `most`, without what `newer` tells in its turn (W6 of `journal.ts`). Views. */
  take(newer: Overlay, most: { readonly rows: number; readonly bytes: number }): readonly NetChange[] {
    const changes: NetChange[] = [];
    const end = Math.min(this.#net.length, this.#next + LOOKS * most.rows);
    let bytes = 0;
    while (this.#next < end && changes.length < most.rows && bytes < most.bytes) {
      const at = this.#net[this.#next++]!;
      if (newer.replaces(this.#overlay, at)) {
        newer.replace(this.#overlay, at);
        continue;
      }
      const change = this.#overlay.changeAt(at);
      bytes += change.key.length + (change.value?.length ?? 0);
      changes.push(change);
    }
    return changes;
  }

  /** The share of it that `newer` tells in its turn, 0 to 1, by a sample. */
  shareIn(newer: Overlay): number {
    let told = 0;
    for (let look = 0; look < SAMPLE; look++) {
      const at = this.#net[Math.floor((look * this.#net.length) / SAMPLE)];
      if (at !== undefined && newer.replaces(this.#overlay, at)) told++;
    }
    return told / SAMPLE;
  }
}

/** Rows that are looked at in one turn for each one that may be told. */
const LOOKS = 4;
const SAMPLE = 64;
