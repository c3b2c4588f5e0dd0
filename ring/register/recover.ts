/**
 * `ringctl recover`: the quorum is lost for good, so an operator starts a new history with the voters he names
 * (ownership rule 6).
 *
 * Run offline on the file of exactly one member; the others learn the new history from it, stop, and start again. What the
 * old history decided but this member never learnt is lost, and so is a vote that nobody finished.
 */

import { RingError } from "../errors.ts";
import { recoverRing } from "../founding.ts";
import type { NodeName } from "../ids.ts";
import type { RegisterState } from "./messages.ts";

export interface RecoverOptions {
  readonly voters: readonly NodeName[];
}

/** Throws `NOT_FOUND` without a document, `MEMBER_UNKNOWN`, `INVALID_ARGUMENT`. */
export function recover(state: RegisterState, { voters }: RecoverOptions): RegisterState {
  if (state.document === undefined) throw new RingError("NOT_FOUND", "this directory knows no ring document");
  return { ...state, document: recoverRing(state.document, voters), promised: undefined, accepted: undefined };
}
