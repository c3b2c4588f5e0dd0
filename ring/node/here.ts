/** What the parts of a node machine may use of the whole: who and when it is, the ring, and the way out. */

import type { RingDocument } from "../document.ts";
import type { MemberId, NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { NodeEffect } from "./effects.ts";
import type { NodeMessage } from "./messages.ts";

export interface Here {
  readonly self: NodeName;
  /** Made with the data directory: a namesake with another one is another member (ownership rule 4). */
  readonly memberId: MemberId;
  /** Of the step under way. */
  readonly now: Instant;
  readonly document: RingDocument | undefined;
  /** Every node sees the same rows: nothing is copied, left behind or dropped. */
  readonly sharedStore?: boolean;
  emit(effect: NodeEffect): void;
  /** To a peer over its link, or to this node itself at the end of the step. */
  send(to: NodeName, message: NodeMessage): void;
  /** Can be reached, by its link. Always true of itself. */
  linked(name: NodeName): boolean;
  /** Ring events for operators. */
  note(what: string, detail: string): void;
}
