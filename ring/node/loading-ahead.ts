/**
 * Partitions that arrive: their rows go into the engine as they come, so that little is left to do when the owner has
 * stopped and keys wait for the ring's decision.
 *
 * A1  Nothing is opened on the disk and nothing is in service: a copy looks there like any other that has arrived, and the
 *     engine keeps the rows apart, under none of its limits, until the partition is opened.
 * A2  They are loaded under the term that the first opening at the new generation gets. Whoever opens under another one, or
 *     with other older tasks about, reads the disk.
 * A3  They count only when all of them are durable here, count and hash equal (incoming.ts, I2).
 * A4  What comes after that (of handlers that an operator did not wait for) is on the disk alone: it is read.
 * A5  So is what is too much to be kept beside the partitions that are served.
 * A6  What is whole is made into tasks in steps of their own, some at a time: whoever waits for the word that it is whole, and for
 *     votes on who owns it, hears that first.
 */

import type { Partition } from "../ids.ts";
import type { Row, RowChange, Term } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { Here } from "./here.ts";
import type { Older } from "./hosting.ts";

interface Loading {
  readonly term: Term;
  readonly older: Older;
  /** A3 */
  isWhole: boolean;
}

export class LoadingAhead {
  readonly #here: Here;
  readonly #engine: TaskEngineContract;
  readonly #loadings = new Map<Partition, Loading>();
  /** Whole, and not all of it made into tasks yet (A6). */
  readonly #arrived = new Set<Partition>();

  constructor(here: Here, engine: TaskEngineContract) {
    this.#here = here;
    this.#engine = engine;
  }

  begin(partition: Partition, at: { readonly history: number; readonly generation: number }, older: Older): void {
    this.cancel(partition);
    const term = { ...at, opens: 1 };
    this.#loadings.set(partition, { term, older, isWhole: false });
    this.#engine.open(this.#here.now, partition, term, older);
  }

  /** In the order in which the owner made them. */
  arrive(partition: Partition, changes: readonly RowChange[]): void {
    const loading = this.#loadings.get(partition);
    if (loading === undefined || changes.length === 0) return;
    if (loading.isWhole || !this.#engine.arrive(partition, changes)) this.cancel(partition); // A4, A5
  }

  /** That was all (A3). */
  whole(partition: Partition): void {
    const loading = this.#loadings.get(partition);
    if (loading === undefined || loading.isWhole) return;
    loading.isWhole = true;
    this.#arrived.add(partition);
  }

  get hasArrived(): boolean {
    return this.#arrived.size > 0;
  }

  /** A6: some of what came first. */
  load(): void {
    const [first] = this.#arrived;
    if (first !== undefined) this.#take(first, STEP_ROWS);
  }

  /** What the engine holds is good for an opening like this (A2, A3); if not, it goes. */
  serves(partition: Partition, generation: number, older: Older): boolean {
    const loading = this.#loadings.get(partition);
    if (loading?.isWhole === true && loading.term.generation === generation && loading.older === older) return true;
    this.cancel(partition);
    return false;
  }

  /** The partition is opened. True if its rows are in the engine, which is the partition's from now on. */
  opened(partition: Partition, term: Term, older: Older): boolean {
    const loading = this.#loadings.get(partition);
    const isIt = term.history === loading?.term.history && term.opens === loading.term.opens;
    if (isIt && this.serves(partition, term.generation, older)) {
      if (this.#arrived.has(partition)) this.#take(partition, Number.POSITIVE_INFINITY);
      return this.#loadings.delete(partition);
    }
    this.cancel(partition);
    return false;
  }

  cancel(partition: Partition): void {
    this.#arrived.delete(partition);
    if (this.#loadings.delete(partition)) this.#engine.close(this.#here.now, partition);
  }

  #take(partition: Partition, most: number): void {
    const { unreadable, isAll } = this.#engine.arrived(partition, most);
    if (isAll) this.#arrived.delete(partition);
    setAside(this.#here, partition, unreadable);
  }
}

/** Says so of rows that the engine cannot read. */
export function setAside(here: Here, partition: Partition, unreadable: readonly Row[]): void {
  if (unreadable.length > 0)
    here.note("unreadable-rows", `partition ${partition}: ${unreadable.length} rows set aside`);
}

/** A millisecond or so. */
const STEP_ROWS = 200;
