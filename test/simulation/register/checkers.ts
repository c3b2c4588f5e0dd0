/**
 * What must hold at every moment of a run of the register model, apart from whatever makes things happen there.
 *
 * C1  One document per (history, epoch), whoever says so (P7).
 * C2  Consecutive documents differ by at most one voter (ownership rule 3).
 * C3  A document is decided only when a majority of the voters of e and one of the voters of e+1 have it on disk, in one
 *     ballot, and no ballot ever carries two documents (rules 1 and 2).
 * C4  No voter of e votes for a document with a newcomer that has never had document e on its disk (rule 3).
 * C5  No two nodes believe at one moment that they may run the same partition (P3): lease in hand, owner in the newest
 *     document they know, no seal for the next epoch.
 * Each was seen to fail: `test/mutants/register.json` lists the line whose removal each of them catches.
 */

import type { RingDocument } from "../../../ring/document.ts";
import type { NodeName, Partition } from "../../../ring/ids.ts";
import type { Ballot, Vote } from "../../../ring/register/messages.ts";
import { isVoter, majorityOf, newcomersOf, sameContent } from "../../../ring/register/voting.ts";

export class Violation extends Error {}

/** Whoever may believe to own something. */
export interface Believer {
  readonly name: NodeName;
  readonly document: RingDocument | undefined;
  believes(partition: Partition): boolean;
}

interface Ballots {
  readonly document: RingDocument;
  readonly voters: { readonly name: NodeName; readonly memberId: string }[];
}

export class Checkers {
  readonly #decided = new Map<string, RingDocument>();
  /** By document, then by ballot. */
  readonly #votes = new Map<string, Map<string, Ballots>>();
  /** Newest epoch that each directory has had on disk. */
  readonly #known = new Map<string, number>();
  newest: RingDocument;

  constructor(first: RingDocument) {
    this.newest = first;
    this.#decided.set(keyOf(first), first);
  }

  /** A directory's synced state holds this document. */
  knows(memberId: string, document: RingDocument | undefined): void {
    if (document === undefined) return;
    this.#known.set(memberId, Math.max(this.#known.get(memberId) ?? 0, document.epoch));
    this.decided(document);
  }

  /** A directory's synced state holds this vote. */
  voted(name: NodeName, memberId: string, document: RingDocument, vote: Vote): void {
    const key = keyOf(vote.document);
    const ballot = ballotKey(vote.ballot);
    const ofEpoch = this.#votes.get(key) ?? new Map<string, Ballots>();
    const ballots = ofEpoch.get(ballot) ?? { document: vote.document, voters: [] };
    this.#votes.set(key, ofEpoch.set(ballot, ballots));
    if (!sameContent(ballots.document, vote.document))
      throw new Violation(`C3: ballot ${ballot} of ${key} carries two documents`);
    if (ballots.voters.some((voter) => voter.memberId === memberId)) return;
    ballots.voters.push({ name, memberId });
    if (!document.voters.includes(name)) return;
    for (const newcomer of newcomersOf(document, vote.document)) {
      const id = vote.document.members.find((member) => member.name === newcomer)?.id ?? "";
      if ((this.#known.get(id) ?? 0) < document.epoch)
        throw new Violation(`C4: ${name} votes for newcomer ${newcomer} that never had epoch ${document.epoch}`);
    }
  }

  /** Somebody holds this document for decided. */
  decided(document: RingDocument): void {
    const key = keyOf(document);
    const known = this.#decided.get(key);
    if (known === document) return;
    if (known !== undefined) {
      if (!sameContent(known, document)) throw new Violation(`C1: two documents for ${key}`);
      return;
    }
    this.#decided.set(key, document);
    const previous = this.#decided.get(`${document.history}.${document.epoch - 1}`);
    if (previous === undefined) throw new Violation(`C3: ${key} is decided before its predecessor`);
    if (newcomersOf(previous, document).length > 1 || newcomersOf(document, previous).length > 1)
      throw new Violation(`C2: more than one voter changed at ${key}`);
    if (!this.isChosen(previous, document))
      throw new Violation(`C3: ${key} is decided without both majorities on disk`);
    if (document.epoch > this.newest.epoch) this.newest = document;
  }

  /** The newest document that is decided whether or not anybody knows. */
  chosen(): RingDocument {
    const next = `${this.newest.history}.${this.newest.epoch + 1}`;
    for (const { document } of this.#votes.get(next)?.values() ?? []) {
      if (this.isChosen(this.newest, document)) return document;
    }
    return this.newest;
  }

  isChosen(previous: RingDocument, document: RingDocument): boolean {
    for (const { document: voted, voters } of this.#votes.get(keyOf(document))?.values() ?? []) {
      if (!sameContent(voted, document)) continue;
      const countIn = (electorate: RingDocument): number =>
        voters.filter(({ name, memberId }) => isVoter(electorate, name, memberId as never)).length;
      if (countIn(previous) >= majorityOf(previous.voters) && countIn(document) >= majorityOf(document.voters))
        return true;
    }
    return false;
  }

  /** After anything that may let `believer` believe in more than before. */
  exclusive(believer: Believer, all: readonly Believer[]): void {
    const { document } = believer;
    if (document === undefined) return;
    for (let partition = 0 as Partition; partition < document.ringSize; partition = (partition + 1) as Partition) {
      if (document.owners[partition] !== believer.name || !believer.believes(partition)) continue;
      for (const other of all) {
        if (other === believer || !other.believes(partition)) continue;
        const epochs = `${believer.name} at ${document.epoch}, ${other.name} at ${other.document?.epoch}`;
        throw new Violation(`C5: partition ${partition} has two owners: ${epochs}`);
      }
    }
  }
}

function keyOf(document: RingDocument): string {
  return `${document.history}.${document.epoch}`;
}

function ballotKey({ round, member, starts }: Ballot): string {
  return `${round}/${member}/${starts}`;
}
