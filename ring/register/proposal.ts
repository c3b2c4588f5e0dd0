/** What a proposer is asked for and what comes of it (`proposer.ts`). */

import type { RingDocument } from "../document.ts";
import type { Epoch, MemberId, NodeName } from "../ids.ts";
import type { Ballot, Consent, RegisterBody, Vote } from "./messages.ts";

export type RefusalReason =
  /** Another proposal of this node is under way. */
  | "busy"
  /** The document is not the successor of the one this node knows, or breaks a rule that no voter may vote for. */
  | "invalid"
  /** A majority of voters must still honour a grant, or could not be asked; see `waitMs`. */
  | "leased"
  /** Too few voters of the current or the proposed document answered. */
  | "no-majority"
  /** The new voter did not accept in time. */
  | "newcomer-silent"
  /** This node knows no document, or only speaks for another. */
  | "not-proposer";

export type ProposalOutcome =
  | { readonly type: "chosen" }
  /** Another document was decided for this epoch. */
  | { readonly type: "lost" }
  /** No voter of e was asked to vote for it. A seal made for it still holds until document e+1 is known (rule 13). */
  | { readonly type: "refused"; readonly reason: RefusalReason; readonly detail?: string; readonly waitMs?: number }
  /** In doubt: it may still be decided. */
  | { readonly type: "timeout" }
  /** The ring is further on than this epoch and what it decided is not known here; the newest document shows its effect. */
  | { readonly type: "unknown" };

export type ProposerEvent =
  /** `taken`: the owners it takes from without consent. `promised`: highest ballot this node's acceptor knows. */
  | {
      readonly type: "propose";
      readonly previous: RingDocument;
      readonly document: RingDocument;
      readonly consents: readonly Consent[];
      readonly taken: readonly NodeName[];
      readonly promised: Ballot | undefined;
    }
  /** P7. */
  | { readonly type: "prepare"; readonly previous: RingDocument; readonly promised: Ballot | undefined }
  | { readonly type: "inquired"; readonly majority: boolean; readonly waitMs: number }
  | {
      readonly type: "finish";
      readonly previous: RingDocument;
      readonly vote: Vote;
      readonly promised: Ballot | undefined;
    }
  /** Answers about this epoch, from whoever sent them. */
  | {
      readonly type: "promise";
      readonly from: NodeName;
      readonly memberId: MemberId;
      readonly ballot: Ballot;
      readonly accepted: Vote | undefined;
    }
  | { readonly type: "accepted"; readonly from: NodeName; readonly memberId: MemberId; readonly ballot: Ballot }
  | { readonly type: "refused"; readonly from: NodeName; readonly ballot: Ballot; readonly promised: Ballot }
  | { readonly type: "decided"; readonly document: RingDocument }
  | { readonly type: "tick" };

export type ProposerEffect =
  | { readonly type: "to-voters"; readonly to: readonly NodeName[]; readonly body: RegisterBody }
  | { readonly type: "inquire"; readonly members: readonly NodeName[]; readonly document: RingDocument }
  | { readonly type: "chosen"; readonly vote: Vote; readonly accepted: ReadonlySet<NodeName> }
  | { readonly type: "ended"; readonly epoch: Epoch; readonly outcome: ProposalOutcome };
