/**
 * What nodes say to each other over the peer stream. Bytes and validation are in `ring/io/peer/`; the simulator passes
 * these objects by reference, so nobody may change one after it was sent.
 *
 * Every stream begins with `hello`, which carries ring id and history; a stream of another ring is closed (WRONG_RING).
 * The sender's name comes from the stream, never from the message.
 */

import type { Member, RingDocument, Stranded } from "../document.ts";
import type { ErrorCode } from "../errors.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../ids.ts";
import type { RegisterMessage } from "../register/messages.ts";
import type { RowChange } from "../store.ts";
import type { AppOverride } from "../tasks/definition.ts";
import type { SubmitOutcome, TaskRecord } from "../tasks/task.ts";
import type { Counts } from "./loads.ts";
import type { NodeAnswer, NodeRequest } from "./requests.ts";

export interface Hello {
  readonly type: "hello";
  /** Lowest and highest version of this protocol that the sender speaks. */
  readonly protocol: { readonly lowest: number; readonly highest: number };
  readonly ringId: RingId | undefined;
  readonly history: number;
  readonly name: NodeName;
  readonly memberId: MemberId;
  /** Where the sender keeps its tasks; absent: it does not say. */
  readonly store?: "own" | "shared";
}

/** Names of definitions loaded on a node, with their versions: a partition's tasks go only where their app is loaded. */
export interface AppPresence {
  readonly type: "apps";
  readonly loaded: readonly { readonly match: string; readonly version: string }[];
  /** What the sender knows of app overrides; the highest version of each wins. */
  readonly overrides: readonly AppOverride[];
}

/** Raw tasks for the owner. At most one hop: a receiver that does not own a partition answers NOT_OWNER (reliability rule 13). */
export interface Forward {
  readonly type: "forward";
  readonly forwardId: number;
  readonly epoch: Epoch;
  readonly origin: "client" | "child";
  readonly records: readonly TaskRecord[];
}

/** One outcome per record, in order. */
export interface Forwarded {
  readonly type: "forwarded";
  readonly forwardId: number;
  readonly epoch: Epoch;
  readonly outcomes: readonly SubmitOutcome[];
}

export interface Ask {
  readonly type: "ask";
  readonly askId: number;
  readonly epoch: Epoch;
  readonly request: NodeRequest;
}

export interface Answer {
  readonly type: "answer";
  readonly askId: number;
  readonly answer: NodeAnswer;
}

/** Which rows a transfer moves: a live partition, or what a member's directory holds of it. */
export interface TransferId {
  readonly partition: Partition;
  readonly kind: "handoff" | "stranded";
  /** Of the copy that moves: the owner's generation. */
  readonly generation: number;
  /** Rises with every attempt of the sender, over its restarts: an older attempt's messages are ignored. */
  readonly nonce: number;
}

export type TransferMessage =
  /** Sender: may I? */
  | {
      readonly type: "transfer-offer";
      readonly transfer: TransferId;
      readonly epoch: Epoch;
      readonly stranded?: Stranded;
    }
  /** Receiver: its slots are full, it lacks the app, …: why not now. */
  | { readonly type: "transfer-wait"; readonly transfer: TransferId; readonly reason: string }
  | { readonly type: "transfer-begin"; readonly transfer: TransferId }
  /**
   * `sequence` counts chunks from 1. `last`: the remainder ends here; `rows` and `hash` are of the whole stream, and at that
   * epoch of its sender the transfer is still planned.
   */
  | {
      readonly type: "transfer-chunk";
      readonly transfer: TransferId;
      readonly sequence: number;
      readonly changes: readonly RowChange[];
      readonly last?: { readonly changes: number; readonly hash: number; readonly epoch: Epoch };
    }
  /** Everything up to `sequence` is durable at the receiver. */
  | {
      readonly type: "transfer-ack";
      readonly transfer: TransferId;
      readonly sequence: number;
      readonly complete: boolean;
    }
  | { readonly type: "transfer-abort"; readonly transfer: TransferId; readonly reason: string };

/** What a member's seal allows: some partitions to their next owners, or everything because its process has died. */
export type Giving =
  | { readonly type: "moves"; readonly moves: readonly { readonly partition: Partition; readonly to: NodeName }[] }
  | { readonly type: "all"; readonly partitions: readonly Partition[]; readonly adopter: NodeName };

export interface Absorption {
  readonly entries: readonly Stranded[];
  /** Of the partition of each, when its rows became durable. Older nodes do not say it. */
  readonly generations?: readonly number[];
}

export type NodeMessage =
  | Hello
  | AppPresence
  | Forward
  | Forwarded
  | Ask
  | Answer
  | TransferMessage
  /** `for`: the acceptor spoken to or for; differs from the peer's name while a directory is adopted (rule 16). */
  | { readonly type: "register"; readonly for: NodeName; readonly as: NodeName; readonly message: RegisterMessage }
  | { readonly type: "document"; readonly document: RingDocument }
  | { readonly type: "pull-document"; readonly epoch: number }
  /** The sender holds these members' directory locks and speaks for their acceptors. */
  | { readonly type: "speaking-for"; readonly members: readonly NodeName[] }
  /** A seal of the sender (or of a member it speaks for), for whoever proposes epoch `epoch`. */
  | { readonly type: "consent"; readonly member: NodeName; readonly epoch: Epoch; readonly gives: Giving }
  /** Stranded rows that are durable at the owner (or came back): the entries may go. */
  | ({ readonly type: "absorbed" } & Absorption)
  /** A newcomer that waits to be staged and committed, and what its member record would be. */
  | { readonly type: "candidate"; readonly member: Omit<Member, "status"> }
  /** Tasks waiting at the sender, of the partitions whose number has changed. */
  | { readonly type: "loads"; readonly counts: Counts }
  /** The sender has lost the store that all share: who has not? */
  | { readonly type: "store-lost"; readonly epoch: number }
  | { readonly type: "store-kept"; readonly epoch: number }
  /** A planned stop: nobody adopts the sender or marks it down for `graceMs`. */
  | { readonly type: "restarting"; readonly graceMs: number }
  /** Of pipelines; taken out before the node machine, which ignores it. */
  | { readonly type: "pipe"; readonly bytes: Uint8Array }
  | { readonly type: "refused"; readonly code: ErrorCode; readonly detail: string };
