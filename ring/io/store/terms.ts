/**
 * The newest term of every partition, in memory: what the S3 check of each store reads.
 *
 * A term counts from the moment it was accepted, not from when it is synced: whoever comes later in the queue of commits
 * is synced later as well, so an older owner is refused at once.
 */

import { RingError } from "../../errors.ts";
import type { Partition } from "../../ids.ts";
import type { Term } from "../../store.ts";

/** Below 0 when `a` is older than `b`, 0 when they are the same term. */
function compareTerms(a: Term, b: Term): number {
  return a.history - b.history || a.generation - b.generation || a.opens - b.opens;
}

export class TermTable {
  readonly #terms = new Map<Partition, Term>();
  /** Accepted terms that the medium does not have yet. */
  readonly #unsaved = new Set<Partition>();

  get size(): number {
    return this.#terms.size;
  }

  get(partition: Partition): Term | undefined {
    return this.#terms.get(partition);
  }

  entries(): readonly { readonly partition: Partition; readonly term: Term }[] {
    return [...this.#terms].map(([partition, term]) => ({ partition, term })).sort((a, b) => a.partition - b.partition);
  }

  /** S3: false when a newer term owns the partition; otherwise `term` is now the newest. */
  accept(partition: Partition, term: Term): boolean {
    const newest = this.#terms.get(partition);
    if (newest === term) return true;
    const order = newest === undefined ? 1 : compareTerms(term, newest);
    if (order < 0) return false;
    if (order > 0) {
      this.#terms.set(partition, term);
      this.#unsaved.add(partition);
    }
    return true;
  }

  /** The next term of an owner at (history, generation). Throws `NOT_OWNER` when the partition is held at a newer one. */
  raise(partition: Partition, at: { readonly history: number; readonly generation: number }): Term {
    const newest = this.#terms.get(partition);
    const first: Term = { history: at.history, generation: at.generation, opens: 1 };
    const order = newest === undefined ? 1 : compareTerms({ ...first, opens: newest.opens }, newest);
    if (order < 0)
      throw new RingError(
        "NOT_OWNER",
        `partition ${partition} is held at ${termText(newest!)}, newer than ${termText(first)}`,
      );
    // Also over a recovery, which leaves generations as they were: positions know no history.
    const opens = newest?.generation === at.generation ? newest.opens + 1 : 1;
    const term = { ...first, opens };
    this.#terms.set(partition, term);
    this.#unsaved.add(partition);
    return term;
  }

  /** A term as read from the medium. */
  load(partition: Partition, term: Term): void {
    this.#terms.set(partition, term);
  }

  /** The term that a commit to `partition` has to write as well, if any. */
  unsaved(partition: Partition): Term | undefined {
    return this.#unsaved.has(partition) ? this.#terms.get(partition) : undefined;
  }

  /** `term` is on the medium now. */
  saved(partition: Partition, term: Term): void {
    if (this.#terms.get(partition) === term) this.#unsaved.delete(partition);
  }

  delete(partition: Partition): void {
    this.#terms.delete(partition);
    this.#unsaved.delete(partition);
  }
}

function termText(term: Term): string {
  return `history ${term.history}, generation ${term.generation}, opening ${term.opens}`;
}
