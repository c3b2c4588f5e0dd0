/**
 * Collects row changes into numbered commit groups, one commit in flight, and runs what waited for them.
 *
 * C1  Changes of one partition reach the store in the order in which they were added.
 * C2  What waits for group n runs only when every group up to n is synced.
 * C3  A change enters under the term at which it was made, or not at all: what a partition wanted before it was closed is
 *     nobody's, also when it has been opened again since.
 */

import { Changes } from "../changes.ts";
import type { Partition } from "../ids.ts";
import type { RowChange, RowChanges, RowGroup, Term } from "../store.ts";
import type { Written } from "../tasks/written.ts";

export interface CommitListener {
  /** Before the group's effects are announced: these changes of the partition are synced now. */
  synced(partition: Partition, changes: RowChanges): void;
}

interface Collected {
  readonly term: Term;
  /** Takes more. */
  readonly changes: { add(change: RowChange): unknown; addAll(changes: Changes): void };
  /** With the commit. */
  readonly take: () => RowChanges;
}

export class Commits {
  readonly #termOf: (partition: Partition) => Term | undefined;
  #group = 1;
  #collecting = new Map<Partition, Collected>();
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
    const term = this.#termOf(partition);
    if (term === undefined) return; // C3
    const known = this.#collecting.get(partition);
    if (known?.term === term) known.changes.add(change);
    else {
      const changes = new Changes();
      changes.add(change);
      this.#collecting.set(partition, { term, changes, take: () => changes });
    }
  }

  /** What the engine has written and still writes in this partition goes with the next commit. */
  collect(written: Written): void {
    const { partition } = written;
    const term = this.#termOf(partition);
    const known = this.#collecting.get(partition);
    if (term === undefined)
      written.moveTo(undefined); // C3
    else if (known?.term === term) written.moveTo(known.changes);
    else this.#collecting.set(partition, { term, changes: written, take: () => written.take() });
  }

  /** Runs when everything added so far is synced; never inside this call. */
  whenSynced(run: () => void): void {
    this.#waiting.push({ group: this.#group, run });
  }

  /** Starts the next commit if none is in flight. An empty one is answered at once by `settled`. */
  flush(): { readonly group: number; readonly groups: readonly RowGroup[] } | undefined {
    if (!this.wanting) return undefined;
    const groups: RowGroup[] = [];
    for (const [partition, { term, take }] of this.#collecting) {
      const changes = take();
      if (this.#termOf(partition) === term) groups.push({ partition, term, changes }); // C3
    }
    this.#collecting = new Map();
    this.#inFlight = { group: this.#group++, groups };
    return this.#inFlight;
  }

  /** Of these partitions of the commit in flight, those that are still written under the term that was refused. */
  fenced(group: number, refused: readonly Partition[]): readonly Partition[] {
    if (this.#inFlight?.group !== group) return [];
    const { groups } = this.#inFlight;
    return refused.filter((partition) =>
      groups.some((each) => each.partition === partition && this.#termOf(partition) === each.term),
    );
  }

  /** The commit in flight is synced, but for the partitions that were refused. */
  settled(group: number, listener: CommitListener, refused: readonly Partition[] = []): void {
    const done = this.#inFlight;
    if (done === undefined || done.group !== group) return;
    this.#inFlight = undefined;
    for (const { partition, changes } of done.groups) {
      if (!refused.includes(partition)) listener.synced(partition, changes);
      if (changes instanceof Changes) changes.clear(); // or a partition at rest would keep what its last changes lay in
    }
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter((waiter) => waiter.group <= group);
    this.#waiting = this.#waiting.filter((waiter) => waiter.group > group);
    for (const waiter of ready) waiter.run();
  }
}
