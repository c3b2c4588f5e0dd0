/**
 * What the node machine is told and what it wants done: the border between a whole node (pure) and the world.
 * `ring/io/node.ts` performs these on real disks and sockets; the simulator does it in virtual time.
 */

import type { RingDocument } from "../document.ts";
import type { MemberId, NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { SwimEffect, SwimEvent } from "../membership/events.ts";
import type { RegisterState } from "../register/messages.ts";
import type { PageRequest, Row, RowGroup, Term } from "../store.ts";
import type { TaskEvent } from "../tasks/engine-contract.ts";
import type { AbortReason, Attempt, AttemptEnd, SubmitOutcome, TaskRecord } from "../tasks/task.ts";
import type { Answer, Ask, Forward, NodeMessage } from "./messages.ts";
import type { NodeAnswer, NodeRequest } from "./requests.ts";

/** Whose directory rows are read from or written to: the node's own or that of a member it adopted. */
export type Directory = { readonly type: "own" } | { readonly type: "adopted"; readonly member: NodeName };

export type NodeEvent =
  | { readonly type: "start"; readonly wallOffsetMs: number }
  | { readonly type: "tick" }
  /** The answer to `flush-soon`: everything of this turn has been stepped. */
  | { readonly type: "flush" }
  | { readonly type: "swim"; readonly event: SwimEvent }
  | { readonly type: "messages"; readonly from: NodeName; readonly messages: readonly NodeMessage[] }
  /** The link took it not: it has no room, or the message is too large. Told of what somebody waits for. */
  | { readonly type: "unsent"; readonly to: NodeName; readonly message: Ask | Answer | Forward }
  | { readonly type: "link"; readonly peer: NodeName; readonly up: boolean }
  /** `seat`: the token it was written under, too. */
  | { readonly type: "register-persisted"; readonly of: NodeName; readonly sequence: number; readonly seat?: string }
  | { readonly type: "committed"; readonly group: number; readonly refused: readonly Partition[] }
  | { readonly type: "adopted-committed"; readonly writeId: number }
  /** Work on an adopted directory was not done. `passing`: for want of room, so that it may be done later. */
  | {
      readonly type: "adopted-failed";
      readonly member: NodeName;
      readonly passing: boolean;
      readonly detail: string;
    }
  | { readonly type: "opened"; readonly partition: Partition; readonly term: Term }
  | { readonly type: "rows"; readonly readId: number; readonly rows: readonly Row[]; readonly next?: Uint8Array }
  | { readonly type: "dropped"; readonly directory: Directory; readonly partition: Partition }
  | { readonly type: "lock"; readonly member: NodeName; readonly result: LockResult }
  | {
      readonly type: "submit";
      readonly origin: number;
      readonly tokens: readonly number[];
      readonly records: readonly TaskRecord[];
    }
  | { readonly type: "forget"; readonly origin: number }
  | {
      readonly type: "ask";
      readonly askId: number;
      readonly request: NodeRequest;
      readonly to?: NodeName;
      readonly deadlineMs: number;
    }
  /** State of a running attempt's key to be stored before its end: checkpoints. */
  | { readonly type: "keep"; readonly attemptId: number; readonly changes: AttemptEnd["stateChanges"] }
  | { readonly type: "ended"; readonly ends: readonly AttemptEnd[] }
  | { readonly type: "wall"; readonly offsetMs: number }
  /** The clock that counts suspend jumped against the monotonic one: the lease is void (ownership rule 12). */
  | { readonly type: "suspended" }
  /** A planned stop: no new attempts, let those under way end, then `exit`. */
  | { readonly type: "stop"; readonly graceMs: number }
  | { readonly type: "marked" }
  /** The disk has no room for new work, or has again; what is running may still end. */
  | { readonly type: "store-full"; readonly full: boolean }
  | { readonly type: "store-broken"; readonly detail: string }
  /** Of a shared store: this node's lease there, and which others have one. */
  | {
      readonly type: "store-lease";
      readonly heldUntil: Instant | undefined;
      readonly others: readonly NodeName[];
      /** As it was when the lease was renewed; absent: there is none. */
      readonly seat?: SeatFound;
    }
  /** The answer to `claim-seat`. */
  | { readonly type: "seat"; readonly of: MemberId; readonly result: SeatResult }
  /** A write under a seat's token was refused: somebody else has the seat. */
  | { readonly type: "seat-refused"; readonly seat: string }
  | { readonly type: "given-marked"; readonly epoch: number };

export type LockResult =
  /** A live process holds it, or it cannot be taken at all. */
  | { readonly type: "refused"; readonly detail: string }
  /** The process is gone; what its directory holds. */
  | {
      readonly type: "held";
      readonly memberId: MemberId;
      /** It stopped on purpose and should be given time to come back. */
      readonly planned: boolean;
      readonly register: RegisterState | undefined;
      readonly copies: readonly Copy[];
    };

/** The seat of a ring's only voter in a store that all share: whose acceptor it is, and who speaks for it. */
export interface SeatFound {
  readonly of: MemberId;
  /** Undefined: nobody, until the member itself claims it. */
  readonly holder: MemberId | undefined;
  /** Drawn anew with each claim; writes under an older one are refused. */
  readonly token: string;
  /** Of the holder's lease in the store, as it is written there: another one shows that its process lives. */
  readonly beat: string;
}

export interface SeatClaim {
  /** Whose seat. */
  readonly of: MemberId;
  /** Found so for longer than a lease, or proved dead: the seat may be taken from its holder if it still looks like this. */
  readonly seen?: { readonly token: string; readonly beat: string | "dead" };
  /** By the only voter itself: what its acceptor knows. */
  readonly own?: SeatState;
  /** Whoever claims knows that document. */
  readonly history: number;
  readonly epoch: number;
}

export interface SeatState {
  readonly state: RegisterState;
  /** Of its register (`RegisterOptions.continues`). */
  readonly run: number;
}

export type SeatResult =
  /** The store could not be asked, or did not answer: it may have been done. */
  | { readonly type: "no-answer" }
  /** `newer`: a decided document that the claimer does not know. */
  | { readonly type: "refused"; readonly found: SeatFound | undefined; readonly newer?: RingDocument }
  /** `kept`: what was answered in the member's name last, to go on from. Absent: what the claim brought. */
  | { readonly type: "held"; readonly token: string; readonly kept?: SeatState };

/** A state to be kept in the store under a seat's token. */
export interface SeatWrite extends SeatState {
  readonly token: string;
}

/** A partition that has rows in a directory. */
export interface Copy {
  readonly partition: Partition;
  readonly term: Term;
}

export type NodeEffect =
  | { readonly type: "flush-soon" }
  | { readonly type: "swim"; readonly effect: SwimEffect }
  | { readonly type: "send"; readonly to: NodeName; readonly message: NodeMessage }
  /** Keep links to exactly these. */
  | { readonly type: "links"; readonly to: readonly NodeName[] }
  | {
      readonly type: "persist-register";
      readonly of: NodeName;
      readonly sequence: number;
      readonly state: RegisterState;
      /** First into the store that all share. For another member than this node: only there. */
      readonly seat?: SeatWrite;
    }
  | { readonly type: "claim-seat"; readonly claim: SeatClaim }
  /** Leave the seat to the member whose it is. */
  | { readonly type: "leave-seat"; readonly token: string }
  | { readonly type: "commit"; readonly group: number; readonly groups: readonly RowGroup[] }
  | {
      readonly type: "commit-adopted";
      readonly member: NodeName;
      readonly writeId: number;
      readonly groups: readonly RowGroup[];
    }
  | { readonly type: "open"; readonly partition: Partition; readonly history: number; readonly generation: number }
  | { readonly type: "read"; readonly readId: number; readonly directory: Directory; readonly request: PageRequest }
  | { readonly type: "drop"; readonly directory: Directory; readonly partition: Partition }
  | { readonly type: "quarantine"; readonly partition: Partition; readonly why: string }
  | { readonly type: "try-lock"; readonly member: NodeName; readonly memberId: MemberId; readonly directory: string }
  | { readonly type: "release-lock"; readonly member: NodeName }
  | { readonly type: "start"; readonly attempts: readonly Attempt[] }
  | { readonly type: "abort"; readonly attemptId: number; readonly reason: AbortReason }
  | {
      readonly type: "outcomes";
      readonly origin: number;
      readonly tokens: readonly number[];
      readonly outcomes: readonly SubmitOutcome[];
    }
  | { readonly type: "answered"; readonly askId: number; readonly answer: NodeAnswer }
  | { readonly type: "document" }
  | { readonly type: "note"; readonly what: string; readonly detail: string }
  | { readonly type: "task-events"; readonly events: readonly TaskEvent[] }
  /** Write durably that everything was given up for this epoch; answered by `given-marked`. */
  | { readonly type: "mark-given"; readonly epoch: number }
  /** Write the durable mark of a planned stop; answered by `marked`. */
  | { readonly type: "mark-stopping" }
  | { readonly type: "exit"; readonly code: number; readonly reason: string };
