/**
 * The ring register: one decision per epoch among the voters, and the leases that hang on it, as one machine.
 *
 * Paper: Lamport's reconfigurable state machine with one instance in flight; ownership rules 1 to 13 and 16.
 * Parts: `gate.ts` lets messages in, `voter.ts` answers, `proposer.ts` drives a decision, `inquiry.ts` asks before a revocation, `lease.ts` holds the
 * right to start tasks, `outbox.ts` keeps everything back until it is synced.
 * R1  The start counter is raised and synced before anything leaves (rule 1).
 * R2  A voter whose vote stays undecided for a second finishes the decision itself (rule 9).
 * R3  A message for a decided epoch is answered with the document, one from a later epoch with a pull (rule 2).
 * R4  Another ring is refused; a newer history ends this register, which then does nothing until a restart (rules 5, 6).
 * R5  An only voter whose seat is kept elsewhere (`node/sole-seat.ts`) answers as acceptor only while it holds that seat. What
 *     it said and could not have written down there is forgotten with the decision that it was about, or with the seat.
 * R6  The newest question about a later decision is kept until the document that it builds on is here, and then heard as if it
 *     had come late: a newcomer asked for its vote often knows the last document a moment too late, and would be asked again.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName } from "../ids.ts";
import type { Instant, Machine } from "../machine.ts";
import {
  REGISTER_DEFAULTS,
  type RegisterCounters,
  type RegisterEffect,
  type RegisterEvent,
  type RegisterOptions,
} from "./events.ts";
import { Gate } from "./gate.ts";
import { Inquiries, type InquiryEffect } from "./inquiry.ts";
import { type LeaseEffect, LeaseHolder } from "./lease.ts";
import {
  type Consent,
  compareBallots,
  compareDocuments,
  type Envelope,
  INQUIRE_LIMIT,
  type RegisterMessage,
  type RegisterState,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";
import type { ProposerEffect, RefusalReason } from "./proposal.ts";
import { Proposer } from "./proposer.ts";
import { type Question, Voter } from "./voter.ts";
import { concernedBy, isMember, isVoter, takenWithoutConsent, withLast } from "./voting.ts";

export class Register implements Machine<RegisterEvent, RegisterEffect> {
  readonly #options: RegisterOptions;
  readonly #finishAfterMs: number;
  readonly #voter: Voter;
  readonly #holder: LeaseHolder;
  readonly #proposer: Proposer;
  readonly #inquiries = new Inquiries();
  readonly #gate: Gate;
  readonly #outbox: Outbox;
  #early:
    | { readonly from: NodeName; readonly message: RegisterMessage & { readonly type: "prepare" | "accept" } }
    | undefined;
  readonly #counters = { wrongRing: 0, staleRun: 0, notVoter: 0, invalid: 0 };
  #phase: "new" | "running" | "over" = "new";
  #finishAt: Instant | undefined;

  constructor(options: RegisterOptions) {
    const {
      state,
      random,
      leaseMs = REGISTER_DEFAULTS.leaseMs,
      driftMargin = REGISTER_DEFAULTS.driftMargin,
      proposalTimeoutMs = REGISTER_DEFAULTS.proposalTimeoutMs,
    } = options;
    const { member, memberId } = state;
    const starts = options.continues === undefined ? state.starts + 1 : state.starts;
    this.#options = options;
    this.#finishAfterMs = options.finishAfterMs ?? REGISTER_DEFAULTS.finishAfterMs;
    const run = options.continues?.run ?? Math.floor(random() * 2 ** 32);
    this.#outbox = new Outbox({ ...state, starts }, run);
    this.#gate = new Gate({ memberId, starts, run });
    const { checkSuccessor } = options;
    this.#voter = new Voter({ leaseMs, driftMargin, ...(checkSuccessor === undefined ? {} : { checkSuccessor }) });
    this.#holder = new LeaseHolder({ member, memberId, leaseMs, requestsFrom: state.starts * 2 ** 32 });
    this.#proposer = new Proposer({ member, starts, proposalTimeoutMs, random });
  }

  /** What is, or is about to be, on disk. */
  get state(): RegisterState {
    return this.#outbox.state;
  }

  /** Drawn at its start: tells it from others that speak for the same member. */
  get run(): number {
    return this.#outbox.run;
  }

  get counters(): RegisterCounters {
    return this.#counters;
  }

  /** Undefined when no lease is held at this instant. */
  heldUntil(now: Instant): Instant | undefined {
    return this.#phase === "running" ? this.#holder.heldUntil(now) : undefined;
  }

  step(now: Instant, event: RegisterEvent): readonly RegisterEffect[] {
    const effects: RegisterEffect[] = [];
    this.#handle(now, event);
    this.#close(effects);
    for (let effect = this.#outbox.take(); effect !== undefined; effect = this.#outbox.take()) {
      if (effect.type !== "to-self") effects.push(effect);
      else if (this.#phase === "running") {
        this.#receive(now, this.state.member, effect.message);
        this.#close(effects);
      }
    }
    return effects;
  }

  nextDeadline(): Instant | undefined {
    if (this.#phase !== "running") return undefined;
    const parts = [this.#holder, this.#proposer, this.#inquiries];
    let deadline = this.#finishAt ?? Number.POSITIVE_INFINITY;
    for (const part of parts) deadline = Math.min(deadline, part.nextDeadline() ?? Number.POSITIVE_INFINITY);
    return deadline === Number.POSITIVE_INFINITY ? undefined : deadline;
  }

  #handle(now: Instant, event: RegisterEvent): void {
    if (event.type === "persisted") return this.#outbox.persisted(event.sequence);
    if (event.type === "start") return this.#start(now);
    if (this.#phase !== "running") return;
    switch (event.type) {
      case "message":
        return this.#receive(now, event.from, event.message);
      case "propose":
        return this.#propose(now, event.document, event.consents);
      case "prepare":
        return this.#prepare(now);
      case "ask-revocable":
        return this.#askRevocable(now, event.member);
      case "learn":
        return this.#learn(now, event.document);
      case "suspended":
        return this.#lease(this.#holder.step(now, { type: "void" }));
      case "seated":
        return this.#seated(now, event.state);
      case "tick":
        return this.#tick(now);
    }
  }

  #start(now: Instant): void {
    if (this.#phase !== "new") return;
    this.#phase = "running";
    this.#outbox.save(this.state); // R1
    this.#voter.start(now, this.#options.gone);
    const { document } = this.state;
    if (document === undefined) return;
    this.#scheduleFinish(now);
    if (!this.#options.acceptorOnly) this.#lease(this.#holder.step(now, { type: "document", document }));
  }

  #seated(now: Instant, state: RegisterState | undefined): void {
    if (state?.document !== undefined) this.#learn(now, state.document);
    const { document } = this.state;
    if (document === undefined || this.#phase !== "running") return;
    const isKept = state?.document !== undefined && compareDocuments(state.document, document) === 0;
    if (isKept) this.#outbox.forgetAnswers(); // R5
    this.#outbox.save(isKept ? { ...this.state, promised: state.promised, accepted: state.accepted } : this.state);
    this.#voter.start(now);
    this.#scheduleFinish(now);
    this.#lease(this.#holder.step(now, { type: "document", document }));
  }

  #tick(now: Instant): void {
    this.#lease(this.#holder.step(now, { type: "tick" }));
    this.#inquired(now, this.#inquiries.tick(now));
    this.#drive(now, this.#proposer.step(now, { type: "tick" }));
    if (this.#finishAt !== undefined && now >= this.#finishAt) this.#finish(now); // R2
  }

  #prepare(now: Instant): void {
    const { document: previous, promised } = this.state;
    if (previous !== undefined && !this.#options.acceptorOnly)
      this.#drive(now, this.#proposer.step(now, { type: "prepare", previous, promised }));
  }

  #propose(now: Instant, next: RingDocument, consents: readonly Consent[]): void {
    const { document: previous, promised } = this.state;
    if (previous === undefined || this.#options.acceptorOnly) return this.#refuse(next, "not-proposer");
    if (this.#proposer.isProposing) return this.#refuse(next, "busy");
    const fault = this.#voter.faultOf(previous, next);
    if (fault !== undefined) return this.#refuse(next, "invalid", fault);
    const taken = takenWithoutConsent(previous, next, consents);
    if (taken.length > INQUIRE_LIMIT)
      return this.#refuse(next, "invalid", `takes from more than ${INQUIRE_LIMIT} members`);
    this.#drive(
      now,
      this.#proposer.step(now, { type: "propose", previous, document: next, consents, taken, promised }),
    );
  }

  #refuse(next: RingDocument, reason: RefusalReason, detail?: string): void {
    const outcome = { type: "refused", reason, ...(detail === undefined ? {} : { detail }) } as const;
    this.#outbox.add({ type: "proposal-ended", epoch: next.epoch, outcome });
  }

  #askRevocable(now: Instant, member: NodeName): void {
    const { document } = this.state;
    if (document === undefined) {
      this.#outbox.add({ type: "revocable", member, majority: false, waitMs: 0 });
      return;
    }
    this.#inquired(now, this.#inquiries.start(now, { type: "revocable", member }, [member], document));
  }

  #finish(now: Instant): void {
    this.#scheduleFinish(now);
    const { document: previous, accepted: vote, promised, member, memberId } = this.state;
    if (previous === undefined || vote === undefined || !isVoter(previous, member, memberId)) return;
    if (this.#options.continues !== undefined) return;
    if (this.#proposer.isIdle) this.#drive(now, this.#proposer.step(now, { type: "finish", previous, vote, promised }));
  }

  /** Somewhat apart on each voter, so that they seldom duel. */
  #scheduleFinish(now: Instant): void {
    const waitMs = Math.floor(this.#finishAfterMs * (1 + this.#options.random() / 2));
    this.#finishAt = this.state.accepted === undefined ? undefined : now + waitMs;
  }

  #receive(now: Instant, from: NodeName, message: RegisterMessage): void {
    const { document, member, memberId } = this.state;
    if (document === undefined) {
      // A joiner believes only a document that lists it under its own id.
      if (message.type === "document" && isMember(message.document, member, memberId))
        this.#learn(now, message.document);
      return;
    }
    const admission = this.#gate.admit(document, from, message);
    switch (admission.type) {
      case "pass":
        if (message.type === "document") this.#learn(now, message.document);
        else this.#hear(now, from, message, document);
        return;
      case "reply":
        if (admission.body.type === "stale") this.#counters.staleRun += 1;
        this.#outbox.send(from, admission.body);
        return;
      case "wrong-ring":
        this.#counters.wrongRing += 1;
        if (admission.isFirst) this.#outbox.add({ type: "wrong-ring", from, ringId: message.ringId });
        return;
      case "restored":
        this.#outbox.add(
          { type: "lease", heldUntil: undefined },
          { type: "restored", by: from, seenStarts: admission.seenStarts },
        );
        this.#phase = "over";
        return;
      case "drop":
        return;
    }
  }

  #hear(now: Instant, from: NodeName, message: RegisterMessage, document: RingDocument): void {
    switch (message.type) {
      case "prepare":
      case "accept":
        if (this.#isAtEpoch(from, message.epoch - 1, document)) this.#answer(now, from, message);
        else if (message.epoch > document.epoch) this.#early = { from, message }; // R6
        return;
      case "ask":
      case "inquire":
        if (this.#isAtEpoch(from, message.epoch, document)) this.#answer(now, from, message);
        return;
      case "pull":
        this.#isAtEpoch(from, message.epoch, document);
        return;
      case "promise":
      case "accepted":
      case "refused":
        if (message.epoch === document.epoch + 1) this.#drive(now, this.#proposer.step(now, { ...message, from }));
        return;
      case "inquired":
        if (isVoter(document, from, message.memberId)) this.#inquired(now, this.#inquiries.answered(from, message));
        return;
      case "grant":
        if (isVoter(document, from, message.memberId))
          this.#lease(this.#holder.step(now, { ...message, type: "granted", from }));
        return;
      case "decided":
        this.#hearDecided(now, from, message, document);
        return;
      default: // leased: the proposer asks again until the grant has run out; the gate has dealt with the rest
        return;
    }
  }

  #answer(now: Instant, from: NodeName, message: Envelope & Question): void {
    if (this.#isMute(now)) return;
    const answer = this.#voter.answer(now, this.state, from, message);
    if (answer.type === "dropped") this.#counters[answer.reason] += 1;
    if (answer.type !== "reply") return;
    const isNewVote = answer.state.accepted !== this.state.accepted;
    if (answer.state !== this.state) this.#outbox.save(answer.state);
    if (isNewVote) this.#scheduleFinish(now);
    this.#outbox.send(from, answer.reply);
  }

  /** R5 */
  #isMute(now: Instant): boolean {
    const { document } = this.state;
    return document !== undefined && this.#isSole(document) && this.#options.mayAnswer?.(now) === false;
  }

  #isSole(document: RingDocument): boolean {
    const { member, memberId } = this.state;
    if (this.#options.mayAnswer === undefined || document.voters.length > 1) return false;
    return isVoter(document, member, memberId);
  }

  #hearDecided(
    now: Instant,
    from: NodeName,
    message: RegisterMessage & { readonly type: "decided" },
    document: RingDocument,
  ): void {
    if (message.epoch <= document.epoch) return;
    const { accepted } = this.state;
    const isNext = message.epoch === document.epoch + 1;
    if (isNext && accepted !== undefined && compareBallots(message.ballot, accepted.ballot) === 0)
      this.#learn(now, accepted.document);
    else this.#outbox.send(from, { type: "pull", epoch: document.epoch });
  }

  #isAtEpoch(from: NodeName, epoch: number, document: RingDocument): boolean {
    if (epoch < document.epoch) this.#outbox.send(from, { type: "document", document }); // R3
    if (epoch > document.epoch) this.#outbox.send(from, { type: "pull", epoch: document.epoch }); // R3
    return epoch === document.epoch;
  }

  #learn(now: Instant, document: RingDocument): void {
    const previous = this.state.document;
    if (previous !== undefined && document.ringId !== previous.ringId) {
      this.#counters.wrongRing += 1;
      return;
    }
    if (previous !== undefined && compareDocuments(document, previous) <= 0) return;
    if (previous !== undefined && this.#isSole(previous)) this.#outbox.forgetAnswers(); // R5
    if (document.history === previous?.history && !this.#options.acceptorOnly)
      this.#outbox.addNow({ type: "foreseen", document });
    this.#outbox.save({ ...this.state, document, promised: undefined, accepted: undefined });
    this.#finishAt = undefined;
    this.#voter.learned(now, previous, document);
    if (previous !== undefined && document.history > previous.history) {
      this.#outbox.add({ type: "lease", heldUntil: undefined }, { type: "superseded", document, previous });
      this.#phase = "over"; // R4
    } else this.#outbox.add({ type: "decided", document, previous });
    this.#drive(now, this.#proposer.step(now, { type: "decided", document }));
    if (this.#phase === "over") return;
    this.#inquired(now, this.#inquiries.decided(now, document));
    if (!this.#options.acceptorOnly) this.#lease(this.#holder.step(now, { type: "document", document }));
    const early = this.#early;
    if (early === undefined || early.message.epoch - 1 > document.epoch) return;
    this.#early = undefined;
    if (early.message.epoch - 1 === document.epoch) this.#receive(now, early.from, early.message); // R6
  }

  #chosen(now: Instant, { vote, accepted }: ProposerEffect & { readonly type: "chosen" }): void {
    const previous = this.state.document;
    if (previous === undefined) return;
    const { document, ballot } = vote;
    const decided = { type: "decided", epoch: document.epoch, ballot } as const;
    for (const to of concernedBy(previous, document)) {
      if (to === this.state.member) continue;
      this.#outbox.tellNow(to, accepted.has(to) ? decided : { type: "document", document });
    }
    this.#learn(now, document);
  }

  #drive(now: Instant, effects: readonly ProposerEffect[]): void {
    for (const effect of effects) {
      if (effect.type === "to-voters")
        for (const to of withLast(effect.to, this.state.member)) this.#outbox.send(to, effect.body);
      else if (effect.type === "inquire")
        this.#inquired(now, this.#inquiries.start(now, { type: "proposal" }, effect.members, effect.document));
      else if (effect.type === "chosen") this.#chosen(now, effect);
      else this.#outbox.add({ type: "proposal-ended", epoch: effect.epoch, outcome: effect.outcome });
    }
  }

  #inquired(now: Instant, effects: readonly InquiryEffect[]): void {
    for (const effect of effects) {
      if (effect.type === "inquire") {
        const { epoch, request, members } = effect;
        for (const to of effect.to) this.#outbox.send(to, { type: "inquire", epoch, request, members });
        continue;
      }
      const { purpose, majority, waitMs } = effect;
      if (purpose.type === "revocable")
        this.#outbox.add({ type: "revocable", member: purpose.member, majority, waitMs });
      else this.#drive(now, this.#proposer.step(now, { type: "inquired", majority, waitMs }));
    }
  }

  #lease(effects: readonly LeaseEffect[]): void {
    for (const effect of effects) {
      if (effect.type !== "ask") this.#outbox.add(effect);
      else
        for (const to of effect.to)
          this.#outbox.send(to, { type: "ask", epoch: effect.epoch, request: effect.request });
    }
  }

  #close(effects: RegisterEffect[]): void {
    const write = this.#outbox.close();
    if (write !== undefined) effects.push(write);
  }
}
