/**
 * Collects row changes into numbered commit groups, one commit in flight, and runs what waited for them.
 *
 * C1  Changes of one partition reach the store in the order in which they were added.
 * C2  What waits for group n runs only when every group up to n is synced.
 */

import type { Partition } from "../ids.ts";
import type { RowChange, RowGroup, Term } from "../store.ts";

export interface CommitListener {
  /** Before the group's effects are announced: these changes of the partition are synced now. */
  synced(partition: Partition, changes: readonly RowChange[]): void;
}

export class Commits {
  readonly #termOf: (partition: Partition) => Term | undefined;
  #group = 1;
  #collecting = new Map<Partition, RowChange[]>();
  #waiting: { readonly group: number; readonly run: () => void }[] = [];
  #inFlight: { readonly group: number; readonly groups: readonly RowGroup[] } | undefined;

  constructor(termOf: (partition: Partition) => Term | undefined) {
    this.#termOf = termOf;
  }

  /** The group that changes added now will be part of. */
  get group(): number {
    return this.#group;
  }

  /** Nothing collected, in flight or waited for. */
  get idle(): boolean {
    return this.#inFlight === undefined && this.#collecting.size === 0 && this.#waiting.length === 0;
  }

  /** A flush would start a commit. */
  get wanting(): boolean {
    return this.#inFlight === undefined && (this.#collecting.size > 0 || this.#waiting.length > 0);
  }

  add(partition: Partition, change: RowChange): void {
    const changes = this.#collecting.get(partition);
    if (changes === undefined) this.#collecting.set(partition, [change]);
    else changes.push(change);
  }

  /** Runs when everything added so far is synced; never inside this call. */
  whenSynced(run: () => void): void {
    this.#waiting.push({ group: this.#group, run });
  }

  /** Starts the next commit if none is in flight. An empty one is answered at once by `settled`. */
  flush(): { readonly group: number; readonly groups: readonly RowGroup[] } | undefined {
    if (!this.wanting) return undefined;
    const groups: RowGroup[] = [];
    for (const [partition, changes] of this.#collecting) {
      const term = this.#termOf(partition);
      // A partition that was closed since: its changes belong to nobody any more.
      if (term !== undefined) groups.push({ partition, term, changes });
    }
    this.#collecting = new Map();
    this.#inFlight = { group: this.#group++, groups };
    return this.#inFlight;
  }

  /** The commit in flight is synced. */
  settled(group: number, listener: CommitListener): void {
    const done = this.#inFlight;
    if (done === undefined || done.group !== group) return;
    this.#inFlight = undefined;
    for (const { partition, changes } of done.groups) listener.synced(partition, changes);
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter((waiter) => waiter.group <= group);
    this.#waiting = this.#waiting.filter((waiter) => waiter.group > group);
    for (const waiter of ready) waiter.run();
  }
}
