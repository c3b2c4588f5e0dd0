/**
 * This node's seat in the register: its own acceptor, proposer and lease, and the way of register messages, also of those
 * for dead members that somebody speaks for (ownership rules 1 to 12, 16).
 *
 * T1  Nothing is granted to a member that counts as dead though it asks: what is granted would not reach it, and as long as the
 *     grant is renewed its partitions can neither be served nor taken from it.
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, NodeName } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { RegisterEffect, RegisterEvent } from "../register/events.ts";
import type { Consent, RegisterMessage, RegisterState } from "../register/messages.ts";
import type { ProposalOutcome, RefusalReason } from "../register/proposal.ts";
import { Register } from "../register/register.ts";
import { checkSuccessor } from "../successor.ts";
import type { SeatState, SeatWrite } from "./effects.ts";
import type { Here } from "./here.ts";

/** How this node's proposal for that epoch ended. */
export interface ProposalEnding {
  readonly epoch: Epoch;
  readonly outcome: ProposalOutcome["type"];
  /** Of a refusal. */
  readonly reason?: RefusalReason;
}

export interface SeatHooks {
  /** A newer document is decided, and on its way to this node's disk. */
  foreseen(document: RingDocument): void;
  /** A newer document is decided and on this node's disk. */
  decided(document: RingDocument): void;
  proposalEnded(ending: ProposalEnding): void;
  revocable(member: NodeName, majority: boolean): void;
  /** The lease began or ended. */
  leaseChanged(held: boolean): void;
  /** 60 % of the lease has passed without renewal (rule 12). */
  leaseWarning(): void;
  /** Who speaks for a dead member; undefined: it speaks for itself. */
  speakerFor(name: NodeName): NodeName | undefined;
  /** It can be told nothing, and has been silent or without a link for long. */
  countsAsDead(name: NodeName): boolean;
  /** This node holds the directory of that member, or its seat in the store. */
  holds(name: NodeName): boolean;
  /** As the only voter: whether this node may answer now (`sole-seat.ts`). */
  mayAnswer(now: Instant): boolean;
  /** How a state is kept in the store that all share, if it is. */
  seatWrite(of: NodeName, state: RegisterState): SeatWrite | undefined;
  /** A message for such a member. */
  toHeld(of: NodeName, from: NodeName, message: RegisterMessage): void;
}

export class Seat {
  readonly #here: Here;
  readonly #register: Register;
  readonly #hooks: SeatHooks;
  #leaseUntil: Instant | undefined;

  constructor(here: Here, options: { state: RegisterState; leaseMs: number; random: Random; hooks: SeatHooks }) {
    const { state, leaseMs, random, hooks } = options;
    this.#here = here;
    this.#hooks = hooks;
    this.#register = new Register({
      state,
      leaseMs,
      random,
      ...(here.sharedStore === true ? { mayAnswer: (now: Instant) => hooks.mayAnswer(now) } : {}),
      checkSuccessor: (previous, next) => checkSuccessor(previous, next, { sharedStore: here.sharedStore === true })[0],
    });
  }

  nextDeadline(): Instant | undefined {
    return this.#register.nextDeadline();
  }

  get leaseUntil(): Instant | undefined {
    return this.#leaseUntil;
  }

  /** What the acceptor knows, and which run of this member it is. */
  get own(): SeatState {
    return { state: this.#register.state, run: this.#register.run };
  }

  start(): void {
    this.#step({ type: "start" });
  }

  /** This node has its seat as the only voter. */
  seated(kept: RegisterState | undefined): void {
    this.#step({ type: "seated", state: kept });
  }

  tick(): void {
    this.#step({ type: "tick" });
  }

  learn(document: RingDocument): void {
    this.#step({ type: "learn", document });
  }

  /** A proposal will follow. */
  prepare(): void {
    this.#step({ type: "prepare" });
  }

  propose(document: RingDocument, consents: readonly Consent[]): void {
    this.#step({ type: "propose", document, consents });
  }

  askRevocable(member: NodeName): void {
    this.#step({ type: "ask-revocable", member });
  }

  persisted(sequence: number): void {
    this.#step({ type: "persisted", sequence });
  }

  receive(to: NodeName, from: NodeName, message: RegisterMessage): void {
    if (message.type === "ask" && this.#hooks.countsAsDead(from)) return; // T1
    if (to === this.#here.self) this.#step({ type: "message", from, message });
    else this.#hooks.toHeld(to, from, message);
  }

  /** The lease ran out, or is void. */
  loseLease(options: { readonly suspended: boolean }): void {
    if (options.suspended) this.#step({ type: "suspended" });
    this.#lease(undefined);
    this.#hooks.leaseWarning();
  }

  /** Performs what an acceptor wants: this node's, or that of a member whose directory it holds. */
  perform(of: NodeName, effects: readonly RegisterEffect[]): void {
    for (const effect of effects) {
      if (effect.type === "send") this.#send(of, effect.to, effect.message);
      else if (effect.type === "persist") {
        const { sequence, state } = effect;
        const seat = this.#hooks.seatWrite(of, state);
        this.#here.emit({ type: "persist-register", of, sequence, state, ...(seat === undefined ? {} : { seat }) });
      } else if (of === this.#here.self) this.#performOwn(effect);
      else if (effect.type === "decided") this.learn(effect.document);
    }
  }

  #step(event: RegisterEvent): void {
    this.perform(this.#here.self, this.#register.step(this.#here.now, event));
  }

  #performOwn(effect: Exclude<RegisterEffect, { type: "send" | "persist" }>): void {
    switch (effect.type) {
      case "foreseen":
        return this.#hooks.foreseen(effect.document);
      case "decided":
        return this.#hooks.decided(effect.document);
      case "proposal-ended":
        return this.#hooks.proposalEnded(endingOf(effect));
      case "revocable":
        return this.#hooks.revocable(effect.member, effect.majority);
      case "lease":
        return this.#lease(effect.heldUntil);
      case "lease-warning":
        return this.#hooks.leaseWarning();
      case "superseded":
        return this.#here.emit({
          type: "exit",
          code: 1,
          reason: "the ring was recovered without this node: it belongs to an older history",
        });
      case "restored":
        return this.#here.emit({
          type: "exit",
          code: 1,
          reason: "the data directory was restored from a copy, or two processes use it: start with an empty one",
        });
      case "wrong-ring":
        return this.#here.note("wrong-ring", `${effect.from} belongs to ring ${effect.ringId}`);
    }
  }

  #send(of: NodeName, to: NodeName, message: RegisterMessage): void {
    const local = to === this.#here.self || this.#hooks.holds(to);
    const target = local ? this.#here.self : (this.#hooks.speakerFor(to) ?? to);
    this.#here.send(target, { type: "register", for: to, as: of, message });
  }

  #lease(heldUntil: Instant | undefined): void {
    const had = this.#leaseUntil !== undefined;
    this.#leaseUntil = heldUntil;
    if (had !== (heldUntil !== undefined)) this.#hooks.leaseChanged(!had);
  }
}

function endingOf({ epoch, outcome }: Extract<RegisterEffect, { readonly type: "proposal-ended" }>): ProposalEnding {
  return { epoch, outcome: outcome.type, ...(outcome.type === "refused" ? { reason: outcome.reason } : {}) };
}
