/** The end of a node that has left the ring: it answers late calls, says goodbye to all, and exits. */

import type { RingDocument } from "../document.ts";
import { findMember } from "../draft.ts";
import type { Instant } from "../machine.ts";
import type { Here } from "./here.ts";

export interface PartingParts {
  /** Begins to tell membership; false if it is told already. */
  leave(): boolean;
  /** Membership knows. */
  hasLeft(): boolean;
}

export class Parting {
  readonly #here: Here;
  readonly #parts: PartingParts;
  #at: Instant | undefined;

  constructor(here: Here, parts: PartingParts) {
    this.#here = here;
    this.#parts = parts;
  }

  nextDeadline(): Instant | undefined {
    return this.#at;
  }

  /** The ring went from one document to the next. */
  follow(before: RingDocument | undefined, document: RingDocument): void {
    const { self, now } = this.#here;
    if (before === undefined || findMember(before, self) === undefined) return;
    if (findMember(document, self) !== undefined) return;
    this.#here.note("left", "this node is no longer a member of the ring");
    this.#at = now + LATE_CALLS_MS;
  }

  tick(): void {
    const { now } = this.#here;
    if (this.#at === undefined || (this.#at > now && !this.#parts.hasLeft())) return;
    if (this.#parts.leave()) {
      this.#at = now + PARTING_MS;
      return;
    }
    this.#at = undefined;
    this.#here.emit({ type: "exit", code: 0, reason: "left the ring" });
  }
}

/** A member that has left goes on answering late calls for this long. */
const LATE_CALLS_MS = 2_000;
/** Membership takes 2 to 3 s to tell of a leave, longer on a busy machine: all shall see `left`, not a death. No longer than this. */
const PARTING_MS = 8_000;
