/**
 * What goes into the register and what comes out of it.
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, NodeName, RingId } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { LeaseEffect } from "./lease.ts";
import type { Consent, RegisterMessage, RegisterState } from "./messages.ts";
import type { ProposalOutcome } from "./proposal.ts";

export type RegisterEvent =
  /** First, once. */
  | { readonly type: "start" }
  | { readonly type: "message"; readonly from: NodeName; readonly message: RegisterMessage }
  /** The state of this sequence and all before it are synced; the driver may write only the newest. */
  | { readonly type: "persisted"; readonly sequence: number }
  /** Ends with `proposal-ended`; one at a time. */
  | { readonly type: "propose"; readonly document: RingDocument; readonly consents: readonly Consent[] }
  /** A proposal will follow: ask for the promises it needs. Nothing comes of it but less to wait for then. */
  | { readonly type: "prepare" }
  /** Ends with `revocable`. */
  | { readonly type: "ask-revocable"; readonly member: NodeName }
  /** A decided document that came by gossip, a pull or a file. */
  | { readonly type: "learn"; readonly document: RingDocument }
  /** A clock that counts suspend and the monotonic one differ by more than 1 s: the lease is void (rule 12). */
  | { readonly type: "suspended" }
  /**
   * This member's acceptor may answer from now on, as one that starts (`RegisterOptions.mayAnswer`). With a state it goes on
   * from there: somebody has answered in its name meanwhile.
   */
  | { readonly type: "seated"; readonly state: RegisterState | undefined }
  | { readonly type: "tick" };

export type RegisterEffect =
  | { readonly type: "send"; readonly to: NodeName; readonly message: RegisterMessage }
  /** Replace the file atomically and sync it, then say `persisted`. */
  | { readonly type: "persist"; readonly sequence: number; readonly state: RegisterState }
  /** Synced here. `previous` is undefined for the first document of a joiner; epochs may be skipped. */
  | { readonly type: "decided"; readonly document: RingDocument; readonly previous: RingDocument | undefined }
  /** Decided, but not synced here yet: nothing may be done on the strength of it but to get ready. `decided` follows. */
  | { readonly type: "foreseen"; readonly document: RingDocument }
  | { readonly type: "proposal-ended"; readonly epoch: Epoch; readonly outcome: ProposalOutcome }
  /** Whether a majority of voters said that the member's grants have run out, else when to ask again. */
  | { readonly type: "revocable"; readonly member: NodeName; readonly majority: boolean; readonly waitMs: number }
  | Exclude<LeaseEffect, { readonly type: "ask" }>
  /** A newer history: this register is over; stop the node. Synced here. */
  | { readonly type: "superseded"; readonly document: RingDocument; readonly previous: RingDocument }
  /** At most once for each peer. */
  | { readonly type: "wrong-ring"; readonly from: NodeName; readonly ringId: RingId }
  /** A peer has heard from a later run of this directory: its file was restored, or two processes use it. Stop the node. */
  | { readonly type: "restored"; readonly by: NodeName; readonly seenStarts: number };

export interface RegisterOptions {
  readonly state: RegisterState;
  /** Default 5,000. The same on all nodes: a voter reckons with its own. */
  readonly leaseMs?: number;
  /** Default 1.05: clocks may drift by 2 % either way (rule 10). */
  readonly driftMargin?: number;
  /** How long a vote may stay undecided before its voter finishes it (rule 9). Default 1,000. */
  readonly finishAfterMs?: number;
  /** Default 10,000. */
  readonly proposalTimeoutMs?: number;
  readonly random: Random;
  /** An adopter speaks for a dead member with its register file: it votes, grants and finishes, but neither proposes nor asks for leases (rule 16). */
  readonly acceptorOnly?: boolean;
  /** Goes on as this run of the member, with its start counter: votes and grants, and proposes nothing, not even to finish. */
  readonly continues?: { readonly run: number };
  /** Of whom it is proved that every lease granted to it before this start has ended. */
  readonly gone?: NodeName;
  /** Asked while the member is the only voter: whether its acceptor may answer now. Absent: always. */
  readonly mayAnswer?: (now: Instant) => boolean;
  /** Further checks of a proposal, by proposer and voters alike; the reason, or undefined. */
  readonly checkSuccessor?: (previous: RingDocument, next: RingDocument) => string | undefined;
}

export const REGISTER_DEFAULTS = {
  leaseMs: 5_000,
  driftMargin: 1.05,
  finishAfterMs: 1_000,
  proposalTimeoutMs: 10_000,
} as const;

/** Messages dropped, by reason. */
export interface RegisterCounters {
  readonly wrongRing: number;
  readonly staleRun: number;
  readonly notVoter: number;
  readonly invalid: number;
}
