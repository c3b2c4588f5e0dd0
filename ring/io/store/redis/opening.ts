/** A partition as this process opened it: its term, and where its sequence stands. */

import type { Term } from "../../../store.ts";
import { termBytes } from "./survey.ts";

export class Opening {
  readonly term: Term;
  readonly bytes: Buffer;
  /** Sequence of the newest group that Redis has, and of the newest that is under way. */
  applied = 0;
  next = 0;

  constructor(term: Term) {
    this.term = term;
    this.bytes = termBytes(term);
  }

  is(term: Term): boolean {
    const { history, generation, opens } = this.term;
    return this.term === term || (history === term.history && generation === term.generation && opens === term.opens);
  }
}
