/**
 * Holds effects back until the state they depend on is synced (ownership rule 2).
 *
 * O1  Effects leave in the order they were made.
 * O2  An effect leaves only when the newest state saved before or with it is synced. A message to oneself is an effect
 *     like any other, so that a node's own vote counts no earlier than anybody else's.
 * O3  News that a majority has made true waits for nothing: its truth does not hang on what this node has written down.
 */

import type { RegisterEffect } from "./events.ts";
import type { RegisterMessage, RegisterState } from "./messages.ts";

export type Outgoing =
  | Exclude<RegisterEffect, { readonly type: "persist" }>
  | { readonly type: "to-self"; readonly message: RegisterMessage };

export class Outbox {
  #news: Outgoing[] = [];
  readonly #held: { readonly after: number; readonly effect: Outgoing }[] = [];
  #fresh: Outgoing[] = [];
  #unsaved: RegisterState | undefined;
  #sequence = 0;
  #persisted = 0;

  add(...effects: readonly Outgoing[]): void {
    this.#fresh.push(...effects);
  }

  /** O3. */
  tell(news: Outgoing): void {
    this.#news.push(news);
  }

  /** Everything made by the event in hand waits for this state. */
  save(state: RegisterState): void {
    this.#unsaved = state;
  }

  /** What waits for a state that will not be synced any more must not leave with a later one. */
  forget(isMoot: (message: RegisterMessage) => boolean): void {
    const isKept = (effect: Outgoing): boolean =>
      (effect.type !== "send" && effect.type !== "to-self") || !isMoot(effect.message);
    this.#held.splice(0, this.#held.length, ...this.#held.filter(({ effect }) => isKept(effect)));
    this.#fresh = this.#fresh.filter(isKept);
  }

  persisted(sequence: number): void {
    this.#persisted = Math.max(this.#persisted, sequence);
  }

  /** Ends the event in hand: the write it needs, if any. */
  close(): (RegisterEffect & { readonly type: "persist" }) | undefined {
    const state = this.#unsaved;
    this.#unsaved = undefined;
    if (state !== undefined) this.#sequence += 1;
    for (const effect of this.#fresh) this.#held.push({ after: this.#sequence, effect }); // O2
    if (this.#fresh.length > 0) this.#fresh = [];
    return state === undefined ? undefined : { type: "persist", sequence: this.#sequence, state };
  }

  /** The next effect that may leave. */
  take(): Outgoing | undefined {
    const news = this.#news.shift();
    if (news !== undefined) return news;
    const first = this.#held[0];
    if (first === undefined || first.after > this.#persisted) return undefined; // O1, O2
    this.#held.shift();
    return first.effect;
  }
}
