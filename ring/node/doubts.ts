/**
 * Partitions that an earlier process of this node sealed wait for an epoch; with the proposer of that epoch gone too
 * nobody may propose it any more. This node drives the decision itself (ownership rule 14).
 */

import type { RingDocument } from "../document.ts";
import type { Instant } from "../machine.ts";
import { passEpoch } from "../transition.ts";
import type { Here } from "./here.ts";

export interface DoubtsParts {
  /** The latest that anything here waits for. */
  epoch(): number | undefined;
  wish(change: (document: RingDocument) => RingDocument, ended: () => void, withinMs: number): void;
}

export class Doubts {
  readonly #here: Here;
  readonly #parts: DoubtsParts;
  #at: Instant | undefined;

  constructor(here: Here, parts: DoubtsParts) {
    this.#here = here;
    this.#parts = parts;
  }

  nextDeadline(): Instant | undefined {
    return this.#at;
  }

  tick(): void {
    const { now } = this.#here;
    const epoch = this.#parts.epoch();
    if (epoch === undefined || (this.#at !== undefined && now < this.#at)) {
      if (epoch === undefined) this.#at = undefined;
      return;
    }
    if (this.#at !== undefined)
      this.#parts.wish(
        (document) => (document.epoch < epoch ? passEpoch(document) : document),
        () => {},
        DOUBT_MS,
      );
    this.#at = now + DOUBT_MS;
  }
}

/** Whoever holds the consent proposes within moments, if it is still there. */
const DOUBT_MS = 1_000;
