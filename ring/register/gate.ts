/**
 * Lets in only messages of this ring, this history and the newest run of their sender's directory.
 *
 * T1  Another ring is refused, and reported once for each peer (ownership rule 5).
 * T2  An older history is answered with the document; a newer one with a pull (rule 6).
 * T3  The newest run of each member's directory is remembered, so that an older one is noticed: a delayed message of an
 *     earlier process, two processes on one directory, or a register file restored from backup (rule 4). Known only since
 *     this process started; a ring that was stopped as a whole cannot tell.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName } from "../ids.ts";
import type { RegisterBody, RegisterMessage, Run } from "./messages.ts";
import { isMember } from "./voting.ts";

export type Admission =
  | { readonly type: "pass" }
  | { readonly type: "reply"; readonly body: RegisterBody }
  | { readonly type: "wrong-ring"; readonly isFirst: boolean }
  /** The sender has heard from a later run of this node's own directory. */
  | { readonly type: "restored"; readonly seenStarts: number }
  | { readonly type: "drop" };

export class Gate {
  readonly #own: Run;
  readonly #newest = new Map<NodeName, Run>();
  readonly #refusedRings = new Set<NodeName>();

  constructor(own: Run) {
    this.#own = own;
  }

  admit(document: RingDocument, from: NodeName, message: RegisterMessage): Admission {
    if (message.ringId !== document.ringId) return this.#refuseRing(from); // T1
    if (message.type === "stale") return this.#judge(message.seen);
    const later = this.#laterRun(document, from, message);
    if (later !== undefined) return { type: "reply", body: { type: "stale", seen: later } }; // T3
    if (message.type === "document") return PASS;
    if (message.history < document.history) return { type: "reply", body: { type: "document", document } }; // T2
    if (message.history > document.history) return { type: "reply", body: { type: "pull", epoch: document.epoch } }; // T2
    return PASS;
  }

  #refuseRing(from: NodeName): Admission {
    const isFirst = !this.#refusedRings.has(from) && this.#refusedRings.size < REFUSED_RINGS_LIMIT;
    if (isFirst) this.#refusedRings.add(from);
    return { type: "wrong-ring", isFirst };
  }

  #judge(seen: Run): Admission {
    const { memberId, starts, run } = this.#own;
    if (seen.memberId !== memberId || seen.starts < starts) return { type: "drop" }; // about an earlier directory or run
    if (seen.starts === starts && seen.run === run) return { type: "drop" }; // about a delayed message of an earlier run
    return { type: "restored", seenStarts: seen.starts };
  }

  /** The later run of the same directory that was heard before this message. Remembers members only. */
  #laterRun(document: RingDocument, from: NodeName, { memberId, starts, run }: Run): Run | undefined {
    const known = this.#newest.get(from);
    if (known?.memberId === memberId) {
      if (starts < known.starts || (starts === known.starts && run !== known.run)) return known;
      if (starts === known.starts) return undefined;
    }
    if (isMember(document, from, memberId)) this.#newest.set(from, { memberId, starts, run });
    return undefined;
  }
}

const PASS: Admission = { type: "pass" };
const REFUSED_RINGS_LIMIT = 64;
