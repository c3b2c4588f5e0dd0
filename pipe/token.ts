/**
 * Acknowledgement trees. A token stands for inputs whose sender keeps them until all that came of them has an end.
 *
 * T1  `pending` counts what has no end yet: inputs in queues, calls under way, outputs at the next fitting. Within a node
 *     outputs carry the token of their input, so a tree costs one counter, not a record for each item.
 * T2  At zero the owner is told, once: it acknowledges to whoever sent. Failures travel with that acknowledgement, so no
 *     loss of a message can turn a failure into a success.
 * T3  Whoever goes on at a cursor finds nothing again of what came before it. So none is told once something has failed, which is
 *     known here only until the end; nor once a call has sent an input to its own worker: that may come to its end much later,
 *     and its own cursors say nothing of the call's; nor of an input that has a copy on each partition.
 */

import { startOf } from "../ring/tasks/shared-text.ts";
import { FAILURES_KEPT, SHOWN_CHARACTERS } from "./limits.ts";
import type { TraceContext } from "./span.ts";

export interface Failure {
  readonly fitting: string;
  readonly partition: number;
  /** The input as JSON, cut. */
  readonly input: string;
  readonly error: string;
}

/** What failed below a token, or was sent again after a loss. */
export interface Outcome {
  readonly failed: number;
  /** The first ones only. */
  readonly failures: readonly Failure[];
  /** Inputs sent again because a node was lost: so many outputs may be there twice. */
  readonly resent: number;
}

export interface TokenOwner {
  /** Everything has an end (T2), or all but `low`. */
  settled(token: Token): void;
  /** A call for an input of this token wants to start at `cursor` if it must be done again. */
  checkpointed(token: Token, cursor: unknown): void;
}

export class Token implements Outcome {
  pending: number;
  /** The owner is told when no more than this has no end yet. */
  low = 0;
  readonly owner: TokenOwner;
  /** How many inputs it stands for where it was made. */
  inputs: number;
  failed = 0;
  resent = 0;
  failures: Failure[] = NO_FAILURES as Failure[];
  /** Its input has copies, or a call for it has sent an input to its own worker: no cursor says where all of them are (T3). */
  isShared = false;
  /** Of a sampled input: it has a span, and what comes of it may have some. */
  trace: TraceContext | undefined = undefined;

  constructor(owner: TokenOwner, pending: number) {
    this.owner = owner;
    this.pending = pending;
    this.inputs = pending;
  }

  fail(failure: Failure): void {
    this.failed += 1;
    if (this.failures.length < FAILURES_KEPT) this.failures = [...this.failures, failure];
  }

  /** Takes over what another tree reported. */
  add(outcome: Outcome): void {
    this.failed += outcome.failed;
    this.resent += outcome.resent;
    const room = FAILURES_KEPT - this.failures.length;
    if (outcome.failures.length > 0 && room > 0) this.failures = [...this.failures, ...outcome.failures.slice(0, room)];
  }
}

export function settle(token: Token, count: number): void {
  token.pending -= count;
  if (token.pending <= token.low) token.owner.settled(token);
}

/** A call for an input of this token may start at `cursor` if it must be done again; told to the owner if that is safe (T3). */
export function checkpoint(token: Token, cursor: unknown): void {
  if (!token.isShared && token.failed === 0) token.owner.checkpointed(token, cursor);
}

/** For what a call sends to its own worker: its end counts with `above`, its cursors do not (T3). */
export function recursion(above: Token): Token {
  above.pending += 1;
  above.isShared = true;
  const token = new Token(new Recursion(above), 1);
  token.trace = above.trace;
  return token;
}

export function failureOf(
  at: { readonly fitting: string; readonly partition: number },
  input: unknown,
  error: unknown,
): Failure {
  return { ...at, input: shownOf(input), error: errorTextOf(error) };
}

export function shownOf(value: unknown): string {
  try {
    return startOf(JSON.stringify(value) ?? typeof value, SHOWN_CHARACTERS);
  } catch {
    return typeof value;
  }
}

export function errorTextOf(error: unknown): string {
  try {
    if (error instanceof Error) return startOf(`${error.name}: ${error.message}`, SHOWN_CHARACTERS);
    return startOf(String(error), SHOWN_CHARACTERS);
  } catch {
    return "something that has no text form";
  }
}

class Recursion implements TokenOwner {
  readonly #above: Token;

  constructor(above: Token) {
    this.#above = above;
  }

  settled(token: Token): void {
    this.#above.add(token);
    settle(this.#above, 1);
  }

  checkpointed(): void {}
}

const NO_FAILURES: readonly Failure[] = [];
