/**
 * What registers say to each other, and the values those messages carry.
 *
 * Paper: Lamport, "Paxos made simple" (prepare, promise, accept, accepted) and "Reconfigurable state machine".
 * Boundary: plain values; the edge (`io/`) turns bytes into them and drops what does not parse.
 * M1  Every message names the ring and the history of its sender (ownership rule 5 and 6) and which run of which
 *     directory speaks (rule 4), so that a restored register file or a second process on one directory is noticed.
 * M2  `epoch` in prepare, promise, accept, accepted, refused, leased and decided is the epoch being decided (e+1); in
 *     ask, grant, inquire, inquired and pull it is the sender's decided epoch (e).
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../ids.ts";

/** Ordered by round, then member, then start counter; the counter keeps a restarted proposer from reusing one. */
export interface Ballot {
  readonly round: number;
  readonly member: NodeName;
  readonly starts: number;
}

/** "I start nothing of these partitions until I know document `epoch`", synced by its giver before it was sent (rule 13). */
export interface Consent {
  readonly member: NodeName;
  /** The epoch it is valid for (e+1), and for no other. */
  readonly epoch: Epoch;
  readonly partitions: readonly Partition[];
}

/** A document with the ballot it was proposed in and the consents that let it take partitions without waiting. */
export interface Vote {
  readonly ballot: Ballot;
  readonly document: RingDocument;
  readonly consents: readonly Consent[];
}

/** What is on disk: one value, replaced atomically and synced. */
export interface RegisterState {
  readonly version: 1;
  readonly member: NodeName;
  readonly memberId: MemberId;
  /** Raised and synced at each start before anything is sent. */
  readonly starts: number;
  /** The newest decided document known here; undefined before a joiner has learnt one. */
  readonly document: RingDocument | undefined;
  /** Of epoch `document.epoch + 1`. */
  readonly promised: Ballot | undefined;
  /** Of epoch `document.epoch + 1`. */
  readonly accepted: Vote | undefined;
}

/** One run of one directory. */
export interface Run {
  readonly memberId: MemberId;
  readonly starts: number;
  /** Drawn at random at each start: two processes with the same counter are told apart. */
  readonly run: number;
}

/** Who speaks (M1). */
export interface Envelope extends Run {
  readonly ringId: RingId;
  readonly history: number;
}

export type RegisterBody =
  /** For how long must you still refuse to take partitions from these members? At most `INQUIRE_LIMIT` of them. */
  | {
      readonly type: "inquire";
      readonly epoch: Epoch;
      readonly request: number;
      readonly members: readonly NodeName[];
    }
  /** One wait for each member asked about, in their order; 0 when the grant has run out. */
  | {
      readonly type: "inquired";
      readonly epoch: Epoch;
      readonly request: number;
      readonly waitsMs: readonly number[];
    }
  | { readonly type: "prepare"; readonly epoch: Epoch; readonly ballot: Ballot }
  | {
      readonly type: "promise";
      readonly epoch: Epoch;
      readonly ballot: Ballot;
      readonly accepted: Vote | undefined;
    }
  | { readonly type: "accept"; readonly epoch: Epoch; readonly vote: Vote }
  | { readonly type: "accepted"; readonly epoch: Epoch; readonly ballot: Ballot }
  /** `ballot` is the one refused, `promised` the one that stands in its way (rule 2). */
  | { readonly type: "refused"; readonly epoch: Epoch; readonly ballot: Ballot; readonly promised: Ballot }
  /** The document takes partitions from somebody whose grant has not run out here (rule 10). */
  | { readonly type: "leased"; readonly epoch: Epoch; readonly ballot: Ballot; readonly waitMs: number }
  /** To those who accepted this ballot: their vote is the decision. */
  | { readonly type: "decided"; readonly epoch: Epoch; readonly ballot: Ballot }
  | { readonly type: "document"; readonly document: RingDocument }
  | { readonly type: "pull"; readonly epoch: Epoch }
  /** A lease, please (rule 8). */
  | { readonly type: "ask"; readonly epoch: Epoch; readonly request: number }
  | { readonly type: "grant"; readonly epoch: Epoch; readonly request: number }
  /** "I have heard from a later run of your directory than the one you speak for." */
  | { readonly type: "stale"; readonly seen: Run };

export type RegisterMessage = Envelope & RegisterBody;

/** Below zero when `a` comes before `b`. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.round !== b.round) return a.round - b.round;
  if (a.member !== b.member) return a.member < b.member ? -1 : 1;
  return a.starts - b.starts;
}

/** Below zero when `a` is older: by history, then by epoch (rule 6). */
export function compareDocuments(a: RingDocument, b: RingDocument): number {
  return a.history !== b.history ? a.history - b.history : a.epoch - b.epoch;
}

/** Most members that one inquiry may name: more never die within one settle window of a ring this size. */
export const INQUIRE_LIMIT = 1_024;
