/**
 * Holds effects back until the state they depend on is synced (ownership rule 2).
 *
 * O1  Effects leave in the order they were made.
 * O2  An effect leaves only when the newest state saved before or with it is synced. A message to oneself is an effect
 *     like any other, so that a node's own vote counts no earlier than anybody else's.
 * O3  News that a majority has made true waits for nothing: its truth does not hang on what this node has written down.
 */

import type { NodeName } from "../ids.ts";
import type { RegisterEffect } from "./events.ts";
import type { RegisterBody, RegisterMessage, RegisterState } from "./messages.ts";

export type Outgoing =
  | Exclude<RegisterEffect, { readonly type: "persist" }>
  | { readonly type: "to-self"; readonly message: RegisterMessage };

export class Outbox {
  readonly run: number;
  readonly #held: { readonly after: number; readonly effect: Outgoing }[] = [];
  #now: Outgoing[] = [];
  #fresh: Outgoing[] = [];
  #state: RegisterState;
  #isUnsaved = false;
  #sequence = 0;
  #persisted = 0;

  /** `run`: of the directory whose state this is. */
  constructor(state: RegisterState, run: number) {
    this.#state = state;
    this.run = run;
  }

  get state(): RegisterState {
    return this.#state;
  }

  add(...effects: readonly Outgoing[]): void {
    this.#fresh.push(...effects);
  }

  /** Nothing while no document is known: there is nobody to talk to. */
  send(to: NodeName, body: RegisterBody): void {
    const message = this.#message(body);
    if (message === undefined) return;
    this.add(to === this.#state.member ? { type: "to-self", message } : { type: "send", to, message });
  }

  /** O3. */
  addNow(effect: Outgoing): void {
    this.#now.push(effect);
  }

  /** O3. */
  tellNow(to: NodeName, body: RegisterBody): void {
    const message = this.#message(body);
    if (message !== undefined) this.addNow({ type: "send", to, message });
  }

  /** Everything made by the event in hand waits for this state. */
  save(state: RegisterState): void {
    this.#state = state;
    this.#isUnsaved = true;
  }

  /** What an acceptor has said of the open decision must not leave with a state that no longer holds it. */
  forgetAnswers(): void {
    const isKept = (effect: Outgoing): boolean =>
      (effect.type !== "send" && effect.type !== "to-self") || !isAnswer(effect.message);
    this.#held.splice(0, this.#held.length, ...this.#held.filter(({ effect }) => isKept(effect)));
    this.#fresh = this.#fresh.filter(isKept);
  }

  persisted(sequence: number): void {
    this.#persisted = Math.max(this.#persisted, sequence);
  }

  /** Ends the event in hand: the write it needs, if any. */
  close(): (RegisterEffect & { readonly type: "persist" }) | undefined {
    const state = this.#isUnsaved ? this.#state : undefined;
    this.#isUnsaved = false;
    if (state !== undefined) this.#sequence += 1;
    for (const effect of this.#fresh) this.#held.push({ after: this.#sequence, effect }); // O2
    if (this.#fresh.length > 0) this.#fresh = [];
    return state === undefined ? undefined : { type: "persist", sequence: this.#sequence, state };
  }

  /** The next effect that may leave. */
  take(): Outgoing | undefined {
    const now = this.#now.shift();
    if (now !== undefined) return now;
    const first = this.#held[0];
    if (first === undefined || first.after > this.#persisted) return undefined; // O1, O2
    this.#held.shift();
    return first.effect;
  }

  #message(body: RegisterBody): RegisterMessage | undefined {
    const { document, memberId, starts } = this.#state;
    if (document === undefined) return undefined;
    const { ringId, history } = document;
    return { ringId, history, memberId, starts, run: this.run, ...body };
  }
}

function isAnswer({ type }: RegisterMessage): boolean {
  return type === "promise" || type === "accepted";
}
