/**
 * The copies of partitions that the own directory holds: which generation each is of, which arrive, which are being dropped.
 *
 * Y1  A copy goes when the ring has moved on from it, or has given up the transfer that brought it; never while it is
 *     listed as stranded (ownership rule 15).
 * Y2  Rows of a shared store stay where they are.
 */

import type { RingDocument, Stranded } from "../document.ts";
import type { Partition } from "../ids.ts";
import type { Term } from "../store.ts";
import type { Copy } from "./effects.ts";
import type { Here } from "./here.ts";

export class Copies {
  readonly #here: Here;
  readonly #isHosted: (partition: Partition) => boolean;
  readonly #terms = new Map<Partition, Term>();
  /** Rows arriving for a partition that is not owned yet: the term they are written under. */
  readonly #incoming = new Map<Partition, Term>();
  readonly #dropping = new Set<Partition>();

  constructor(here: Here, found: readonly Copy[], isHosted: (partition: Partition) => boolean) {
    this.#here = here;
    this.#isHosted = isHosted;
    for (const { partition, term } of found) this.#terms.set(partition, term);
  }

  get(partition: Partition): Term | undefined {
    return this.#terms.get(partition);
  }

  /** It was opened under that term. */
  opened(partition: Partition, term: Term): void {
    if (this.#here.sharedStore !== true) this.#terms.set(partition, term);
  }

  incoming(): ReadonlyMap<Partition, Term> {
    return this.#incoming;
  }

  isDropping(partition: Partition): boolean {
    return this.#dropping.has(partition);
  }

  /** False if it was not being dropped. */
  dropped(partition: Partition): boolean {
    if (!this.#dropping.delete(partition)) return false;
    this.#terms.delete(partition);
    return true;
  }

  /** Rows of a handoff will arrive: whatever is there goes first. */
  expect(partition: Partition, term: Term): "ready" | "clearing" | "busy" {
    if (this.#isHosted(partition)) return "busy";
    if (this.#here.sharedStore === true) return "ready"; // Y2
    if (this.#dropping.has(partition)) return "clearing";
    if (this.#incoming.delete(partition)) {
      // An earlier attempt of the transfer left rows: start from nothing.
      this.drop(partition);
      return "clearing";
    }
    if (this.#terms.has(partition)) {
      if (this.#isListed(this.#here.document, partition)) return "busy";
      this.drop(partition);
      return "clearing";
    }
    this.#incoming.set(partition, term);
    this.#terms.set(partition, term);
    return "ready";
  }

  /**
   * A handoff broke off: the rows that came are nobody's, unless the ring lists them. Then it gave the partition to this node, and
   * took it away by force, in documents that this node did not see one by one.
   */
  unexpect(partition: Partition): void {
    if (!this.#incoming.delete(partition) || this.#isHosted(partition)) return;
    if (!this.#isListed(this.#here.document, partition)) this.drop(partition);
  }

  /** The partition is opened; true if its rows were arriving. */
  taken(partition: Partition): boolean {
    return this.#incoming.delete(partition);
  }

  /** A partition that is not this node's: its copy goes if the document says so (Y1). */
  follow(partition: Partition, document: RingDocument): void {
    if (this.#incoming.has(partition)) return;
    if (this.#isOutdated(partition, document) || this.#isAbandoned(partition, document))
      this.discard(partition, document);
  }

  /** A copy without the right to be served: kept while it is listed as stranded, else dropped. */
  discard(partition: Partition, document: RingDocument): void {
    if (this.#isListed(document, partition) || this.#dropping.has(partition)) return;
    const copy = this.#terms.get(partition);
    if (copy !== undefined && copy.history < document.history)
      this.#here.emit({ type: "quarantine", partition, why: "of an older history of the ring" });
    this.drop(partition);
  }

  #isListed(document: RingDocument | undefined, partition: Partition): boolean {
    return isStrandedHere(document, this.#here, { partition, copy: this.#terms.get(partition) });
  }

  drop(partition: Partition): void {
    if (this.#here.sharedStore === true || this.#dropping.has(partition)) return; // Y2
    this.#dropping.add(partition);
    this.#here.emit({ type: "drop", directory: { type: "own" }, partition });
  }

  /**
   * The ring has moved on from the copy: a forced change would have listed it as stranded, so this one was consented. Of an
   * older history nothing is known: what it decided last may have been lost with its voters.
   */
  #isOutdated(partition: Partition, document: RingDocument): boolean {
    const copy = this.#terms.get(partition);
    if (copy === undefined) return false;
    return (
      copy.history < document.history ||
      (copy.history === document.history && copy.generation < document.generations[partition]!)
    );
  }

  /**
   * A copy that arrived in an earlier life, whose transfer the ring has given up since: this node knew the document that
   * planned it before the first row came. The owner goes on, so the copy would be stale when the owner is removed by force.
   */
  #isAbandoned(partition: Partition, document: RingDocument): boolean {
    const copy = this.#terms.get(partition);
    if (copy === undefined || document.next[partition] === this.#here.self) return false;
    return copy.history === document.history && copy.generation === document.generations[partition];
  }
}

/** Whether this node's own directory holds the partition's rows as stranded. */
export function isStrandedHere(
  document: RingDocument | undefined,
  here: Here,
  { partition, copy }: { readonly partition: Partition; readonly copy: Term | undefined },
): boolean {
  const lists = (entry: Stranded): boolean => entry.partition === partition && liesIn(entry, here);
  return (
    document?.stranded.some((entry) => lists(entry) && (copy === undefined || copyFor(copy, entry) !== "none")) ?? false
  );
}

/**
 * Whether the copy is what the entry lists: opened at its generation, or arrived for it, if all of it came, which a row of it says.
 * One of an earlier ownership is not, nor is one that arrived before the member became the owner by force, and never knew: the
 * owner that had sent it may have gone on.
 */
export function copyFor(copy: Term | undefined, { generation, byForce }: Stranded): CopyFor {
  if (copy?.generation === generation) return "opened";
  return byForce !== true && copy?.opens === 0 && copy.generation + 1 === generation ? "arrived" : "none";
}

export type CopyFor = "opened" | "arrived" | "none";

/** The rows of the entry are in this node's own directory. */
export function liesIn({ member, memberId }: Stranded, here: Here): boolean {
  return member === here.self && memberId === here.memberId;
}

/** The owner of that generation gave no consent: its own rows are the ones that count, and the ring lists them. */
export function isTakenByForce(document: RingDocument, partition: Partition, generation: number): boolean {
  return document.stranded.some((entry) => entry.partition === partition && entry.generation === generation);
}

/** Good for that generation. A recovery leaves owners and generations as they were (ownership rule 6). */
export function isCopyOf(copy: Term, history: number, generation: number): boolean {
  return copy.history <= history && copy.generation === generation;
}
