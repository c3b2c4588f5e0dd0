/**
 * The states of fittings with `checkpointEvery`, kept by the run's coordinator: what a worker has stored here survives the
 * worker's node (ownership rule 22).
 *
 * The coordinator and not the next node of the preflist: its loss ends the run anyhow, so the pair of nodes whose loss at the same
 * time would lose a state never grows, and nothing has to be stored a second time when the keeper dies.
 * K1  A partition's state has one holder. Who wants it waits until the holder has given it back or is lost.
 * K2  What anybody but the holder sends is ignored.
 */

import type { MarkRows } from "./stamp.ts";

export interface KeptState {
  /** Inputs in it that `done` has not answered for. */
  readonly inputs: number;
  readonly marks: MarkRows;
  /** What `archive` gave; undefined before the first time. */
  readonly state: unknown;
}

export interface KeptRow {
  readonly stage: number;
  readonly partition: number;
  kept: KeptState;
  /** A peer, 0 for this node. */
  holder: number | undefined;
  /** Its last holder did not give it back. */
  lost: boolean;
  readonly waiting: { readonly peer: number; readonly give: (kept: KeptState) => void }[];
}

export class Keeper {
  readonly #rows = new Map<number, KeptRow>();

  /** `give` is called when the peer is the holder, at once or later. */
  load(
    place: { readonly stage: number; readonly partition: number },
    peer: number,
    give: (kept: KeptState) => void,
  ): void {
    const row = this.#row(place.stage, place.partition);
    if (row.holder === undefined || row.holder === peer) {
      row.holder = peer;
      give(row.kept);
      return;
    }
    const before = row.waiting.findIndex((one) => one.peer === peer);
    if (before >= 0) row.waiting.splice(before, 1); // The partition left that node and came back.
    row.waiting.push({ peer, give });
  }

  /** False: it is not the holder (K2). */
  keep(
    place: { readonly stage: number; readonly partition: number },
    peer: number,
    given: { readonly kept: KeptState; readonly release: boolean },
  ): boolean {
    const row = this.#row(place.stage, place.partition);
    if (row.holder !== peer) return false;
    row.kept = given.kept;
    row.lost = false;
    if (given.release) this.#free(row);
    return true;
  }

  release(place: { readonly stage: number; readonly partition: number }, peer: number): void {
    const row = this.#row(place.stage, place.partition);
    if (row.holder === peer) this.#free(row);
  }

  lost(peer: number): void {
    for (const row of this.#rows.values()) {
      for (let at = row.waiting.length - 1; at >= 0; at--)
        if (row.waiting[at]?.peer === peer) row.waiting.splice(at, 1);
      if (row.holder !== peer) continue;
      row.lost = true;
      this.#free(row);
    }
  }

  /** `done` has answered for what the peer holds of the stage. */
  answered(stage: number, peer: number): void {
    for (const row of this.#rows.values())
      if (row.stage === stage && row.holder === peer) row.kept = { ...row.kept, inputs: 0 };
  }

  /** States of the stage that nobody holds, and that `done` has yet to answer for. They are the caller's (0) from now on. */
  adopt(stage: number): readonly KeptRow[] {
    const orphans = [...this.#rows.values()].filter(
      (row) => row.stage === stage && row.holder === undefined && row.kept.inputs > 0,
    );
    for (const row of orphans) row.holder = 0;
    return orphans;
  }

  #free(row: KeptRow): void {
    const next = row.waiting.shift();
    row.holder = next?.peer;
    next?.give(row.kept);
  }

  #row(stage: number, partition: number): KeptRow {
    const key = stage * PARTITIONS_MOST + partition;
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { stage, partition, kept: NOTHING, holder: undefined, lost: false, waiting: [] };
      this.#rows.set(key, row);
    }
    return row;
  }
}

const NOTHING: KeptState = { inputs: 0, marks: [], state: undefined };
const PARTITIONS_MOST = 4_096;
