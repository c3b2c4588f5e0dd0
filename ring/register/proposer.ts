/**
 * Drives the decision of epoch e+1: its own proposal, or one that a voter accepted and nobody finished.
 *
 * P1  A ballot is used for one document only: (round, member, start counter), each round once (ownership rule 1).
 * P2  Chosen = accepted in one ballot by a majority of the voters of e and a majority of the voters of e+1 (rule 1).
 * P3  Whoever finds an accepted document proposes that one; its own ends "lost" when the other is decided.
 * P4  A new voter accepts before any voter of e is asked to, so it has learnt e (rule 3) and a newcomer that is silent
 *     costs nothing: nobody has voted yet. That is stricter than an answer beforehand, which may be its last. Likewise
 *     nobody is asked to vote for other voters before a majority of them has answered: a vote for voters that are dead
 *     could never be decided, and a voter that has voted grants nothing.
 * P5  A proposal that takes partitions without consent first waits for a majority's word that it may (rule 11).
 * P7  Promises may be asked for ahead of a proposal: they hold whatever is proposed then. One that changes the voters asks
 *     anew (P4). Nobody is asked twice for nothing.
 * P6  Own proposals end within `proposalTimeoutMs`; finishing somebody's vote goes on until the epoch is decided.
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, NodeName } from "../ids.ts";
import type { Instant, Machine, Random } from "../machine.ts";
import { type Ballot, type Consent, compareBallots, type Vote } from "./messages.ts";
import type { ProposalOutcome, ProposerEffect, ProposerEvent } from "./proposal.ts";
import { isMajority, isVoter, newcomersOf, sameContent, sameVoters } from "./voting.ts";

/** Asked again at `at`, each time after a longer wait. */
interface Resend {
  readonly at: Instant;
  readonly afterMs: number;
}

type Phase =
  | { readonly type: "idle" }
  | { readonly type: "inquiring" }
  | {
      readonly type: "preparing";
      readonly ballot: Ballot;
      readonly promises: Map<NodeName, Vote | undefined>;
      readonly resend: Resend;
    }
  /** P7: a majority has promised, and nothing was voted for. */
  | { readonly type: "prepared"; readonly ballot: Ballot; readonly promises: ReadonlyMap<NodeName, Vote | undefined> }
  | {
      readonly type: "accepting";
      readonly vote: Vote;
      /** By voters of e and by voters of e+1: apart, because one name may stand for two directories. */
      readonly accepted: { readonly now: Set<NodeName>; readonly next: Set<NodeName> };
      /** Must accept before the others are asked (P4); empty once they have. */
      readonly newcomers: readonly NodeName[];
      readonly newcomersBy: Instant;
      readonly resend: Resend;
    }
  | { readonly type: "backing-off"; readonly until: Instant };

interface OwnProposal {
  readonly document: RingDocument;
  readonly consents: readonly Consent[];
  readonly endsAt: Instant;
  /** `inquiring` until P5 is met; `exposed` once a voter of e was asked to accept it, so that giving up leaves a doubt. */
  readonly progress: "inquiring" | "cleared" | "exposed";
}

export interface ProposerOptions {
  readonly member: NodeName;
  /** Of this run, already raised. */
  readonly starts: number;
  readonly proposalTimeoutMs: number;
  readonly random: Random;
}

export class Proposer implements Machine<ProposerEvent, ProposerEffect> {
  readonly #options: ProposerOptions;
  #phase: Phase = { type: "idle" };
  #previous: RingDocument | undefined;
  #own: OwnProposal | undefined;
  /** What this node's acceptor voted for, when it is finishing that. */
  #found: Vote | undefined;
  #round = 0;
  #attempts = 0;

  constructor(options: ProposerOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#phase.type === "idle" || this.#phase.type === "prepared";
  }

  /** An own proposal is under way. */
  get isProposing(): boolean {
    return this.#own !== undefined;
  }

  step(now: Instant, event: ProposerEvent): readonly ProposerEffect[] {
    switch (event.type) {
      case "propose":
        return this.#propose(now, event);
      case "prepare":
        if (this.#phase.type !== "idle") return [];
        this.#open(event.previous, event.promised);
        return this.#prepare(now);
      case "inquired":
        return this.#inquired(now, event);
      case "finish":
        this.#open(event.previous, event.promised);
        this.#found = event.vote;
        return this.isIdle ? this.#prepare(now) : [];
      case "promise":
        return this.#promised(now, event);
      case "accepted":
        return this.#accepted(now, event);
      case "refused":
        return this.#refused(now, event.ballot, event.promised);
      case "decided":
        return this.#decided(event.document);
      case "tick":
        return this.#tick(now);
    }
  }

  nextDeadline(): Instant | undefined {
    const ends = this.#own?.endsAt ?? Number.POSITIVE_INFINITY;
    const deadline = Math.min(ends, this.#phaseDeadline());
    return deadline === Number.POSITIVE_INFINITY ? undefined : deadline;
  }

  #phaseDeadline(): Instant {
    switch (this.#phase.type) {
      case "idle":
      case "inquiring":
      case "prepared":
        return Number.POSITIVE_INFINITY;
      case "preparing":
        return this.#phase.resend.at;
      case "accepting":
        return this.#phase.newcomers.length > 0
          ? Math.min(this.#phase.resend.at, this.#phase.newcomersBy)
          : this.#phase.resend.at;
      case "backing-off":
        return this.#phase.until;
    }
  }

  #tick(now: Instant): readonly ProposerEffect[] {
    if (this.#own !== undefined && now >= this.#own.endsAt) return this.#timeOut(now);
    if (now < this.#phaseDeadline()) return [];
    switch (this.#phase.type) {
      case "idle":
      case "inquiring":
      case "prepared":
        return [];
      case "preparing": {
        if (this.#isAhead) return this.#rest(); // P7
        const { promises, ballot } = this.#phase;
        this.#phase = { ...this.#phase, resend: later(now, this.#phase.resend) };
        return this.#sendPrepare(ballot, (voter) => !promises.has(voter));
      }
      case "accepting":
        if (this.#phase.newcomers.length > 0 && now >= this.#phase.newcomersBy) return this.#giveUpNewcomer();
        this.#phase = { ...this.#phase, resend: later(now, this.#phase.resend) };
        return this.#sendAccept();
      case "backing-off":
        return this.#prepare(now);
    }
  }

  #propose(now: Instant, event: ProposerEvent & { readonly type: "propose" }): readonly ProposerEffect[] {
    const { document, consents, taken } = event;
    this.#open(event.previous, event.promised);
    const progress = taken.length === 0 ? "cleared" : "inquiring";
    this.#own = { document, consents, endsAt: now + this.#options.proposalTimeoutMs, progress };
    if (progress === "cleared") return this.isIdle ? this.#begin(now) : []; // a vote being finished goes first
    if (this.isIdle) this.#phase = { type: "inquiring" };
    return [{ type: "inquire", members: taken, document: event.previous }]; // P5
  }

  #inquired(now: Instant, verdict: { readonly majority: boolean; readonly waitMs: number }): readonly ProposerEffect[] {
    if (this.#own?.progress !== "inquiring") return [];
    if (!verdict.majority) return this.#end({ type: "refused", reason: "leased", waitMs: verdict.waitMs });
    this.#own = { ...this.#own, progress: "cleared" };
    return this.isIdle || this.#phase.type === "inquiring" ? this.#begin(now) : [];
  }

  #open(previous: RingDocument, promised: Ballot | undefined): void {
    this.#previous = previous;
    this.#round = Math.max(this.#round, promised?.round ?? 0);
  }

  /** P7 */
  #begin(now: Instant): readonly ProposerEffect[] {
    const [phase, previous, own] = [this.#phase, this.#previous, this.#own];
    if (phase.type !== "prepared" || own === undefined || previous === undefined) return this.#prepare(now);
    if (!sameVoters(previous, own.document)) return this.#prepare(now);
    const { document, consents } = own;
    this.#accept(now, { ballot: phase.ballot, document, consents }, []);
    return this.#sendAccept();
  }

  #accept(now: Instant, vote: Vote, newcomers: readonly NodeName[]): void {
    this.#phase = {
      type: "accepting",
      vote,
      accepted: { now: new Set(), next: new Set() },
      newcomers,
      newcomersBy: now + NEWCOMER_MS,
      resend: first(now),
    };
  }

  #prepare(now: Instant): readonly ProposerEffect[] {
    this.#round += 1;
    const { member, starts } = this.#options;
    const ballot: Ballot = { round: this.#round, member, starts }; // P1
    this.#phase = { type: "preparing", ballot, promises: new Map(), resend: first(now) };
    return this.#sendPrepare(ballot, () => true);
  }

  #sendPrepare(ballot: Ballot, isWanted: (voter: NodeName) => boolean): readonly ProposerEffect[] {
    if (this.#previous === undefined) return [];
    const epoch = (this.#previous.epoch + 1) as Epoch;
    return [
      { type: "to-voters", to: this.#previous.voters.filter(isWanted), body: { type: "prepare", epoch, ballot } },
    ];
  }

  #promised(now: Instant, promise: ProposerEvent & { readonly type: "promise" }): readonly ProposerEffect[] {
    if (this.#phase.type !== "preparing" || compareBallots(promise.ballot, this.#phase.ballot) !== 0) return [];
    if (this.#previous === undefined || !isVoter(this.#previous, promise.from, promise.memberId)) return [];
    const { promises, ballot } = this.#phase;
    promises.set(promise.from, promise.accepted);
    if (!isMajority(this.#previous.voters, promises)) return [];
    let found: Vote | undefined;
    for (const vote of promises.values()) {
      if (vote !== undefined && (found === undefined || compareBallots(vote.ballot, found.ballot) > 0)) found = vote; // P3
    }
    const own = this.#own?.progress === "inquiring" ? undefined : this.#own;
    const value = found ?? own ?? this.#found;
    if (value === undefined) {
      this.#phase = { type: "prepared", ballot, promises };
      return [];
    }
    const isFresh = found === undefined && own !== undefined;
    const newcomers = isFresh ? newcomersOf(this.#previous, value.document) : []; // P4
    if (isFresh && !isMajority(value.document.voters, new Set([...promises.keys(), ...newcomers]))) return []; // P4
    this.#accept(now, { ballot, document: value.document, consents: value.consents }, newcomers);
    return this.#sendAccept();
  }

  #sendAccept(): readonly ProposerEffect[] {
    if (this.#phase.type !== "accepting" || this.#previous === undefined) return [];
    const { vote, accepted, newcomers } = this.#phase;
    if (newcomers.length === 0 && vote.document === this.#own?.document)
      this.#own = { ...this.#own, progress: "exposed" };
    const targets = newcomers.length > 0 ? newcomers : new Set([...this.#previous.voters, ...vote.document.voters]);
    const to = [...targets].filter((voter) => !accepted.now.has(voter) && !accepted.next.has(voter));
    return [{ type: "to-voters", to, body: { type: "accept", epoch: vote.document.epoch, vote } }];
  }

  #accepted(
    now: Instant,
    { from, memberId, ballot }: ProposerEvent & { readonly type: "accepted" },
  ): readonly ProposerEffect[] {
    if (this.#phase.type !== "accepting" || this.#previous === undefined) return [];
    const { vote, accepted, newcomers } = this.#phase;
    if (compareBallots(ballot, vote.ballot) !== 0) return [];
    if (isVoter(this.#previous, from, memberId)) accepted.now.add(from);
    if (isVoter(vote.document, from, memberId)) accepted.next.add(from);
    if (newcomers.length > 0) {
      if (!newcomers.every((newcomer) => accepted.next.has(newcomer))) return [];
      this.#phase = { ...this.#phase, newcomers: [], resend: first(now) };
      return this.#sendAccept();
    }
    if (!isMajority(this.#previous.voters, accepted.now)) return [];
    if (!isMajority(vote.document.voters, accepted.next)) return []; // P2
    return [{ type: "chosen", vote, accepted: new Set([...accepted.now, ...accepted.next]) }];
  }

  /** Somebody has promised a higher ballot: back off for a random time, longer at each attempt, and outbid it. */
  #refused(now: Instant, ballot: Ballot, promised: Ballot): readonly ProposerEffect[] {
    const current = this.#currentBallot();
    if (current === undefined || compareBallots(ballot, current) !== 0) return [];
    this.#round = Math.max(this.#round, promised.round);
    if (this.#isAhead) return this.#rest(); // P7
    this.#attempts += 1;
    const spreadMs = Math.min(BACK_OFF_LIMIT_MS, BACK_OFF_MS * 2 ** Math.min(this.#attempts, 10));
    this.#phase = { type: "backing-off", until: now + 1 + Math.floor(this.#options.random() * spreadMs) };
    return [];
  }

  /** Promises are asked for, and nobody proposes yet. */
  get #isAhead(): boolean {
    return this.#phase.type === "preparing" && this.#own === undefined && this.#found === undefined;
  }

  #currentBallot(): Ballot | undefined {
    if (this.#phase.type === "preparing") return this.#phase.ballot;
    return this.#phase.type === "accepting" ? this.#phase.vote.ballot : undefined;
  }

  #decided(document: RingDocument): readonly ProposerEffect[] {
    const own = this.#own;
    this.#own = undefined;
    this.#found = undefined;
    this.#previous = undefined;
    this.#round = 0;
    this.#attempts = 0;
    this.#phase = { type: "idle" };
    if (own === undefined) return [];
    const { epoch, history } = own.document;
    if (document.history !== history || document.epoch !== epoch)
      return [{ type: "ended", epoch, outcome: { type: "unknown" } }];
    const type = sameContent(document, own.document) ? "chosen" : "lost";
    return [{ type: "ended", epoch, outcome: { type } }];
  }

  #giveUpNewcomer(): readonly ProposerEffect[] {
    const inDoubt = this.#own?.progress === "exposed";
    this.#rest();
    return this.#end(inDoubt ? { type: "timeout" } : { type: "refused", reason: "newcomer-silent" });
  }

  #timeOut(now: Instant): readonly ProposerEffect[] {
    const outcome = this.#outcomeOfTimeOut();
    const ended = this.#end(outcome);
    if (this.#found === undefined) return [...ended, ...this.#rest()];
    return [...ended, ...this.#prepare(now)]; // P6
  }

  #outcomeOfTimeOut(): ProposalOutcome {
    switch (this.#own?.progress) {
      case "inquiring":
        return { type: "refused", reason: "leased" };
      case "cleared":
        return { type: "refused", reason: "no-majority" };
      default:
        return { type: "timeout" };
    }
  }

  /** Ends the own proposal; a vote being finished goes on. */
  #end(outcome: ProposalOutcome): readonly ProposerEffect[] {
    const own = this.#own;
    this.#own = undefined;
    if (this.#phase.type === "inquiring") this.#rest();
    return own === undefined ? [] : [{ type: "ended", epoch: own.document.epoch, outcome }];
  }

  #rest(): readonly ProposerEffect[] {
    this.#phase = { type: "idle" };
    return [];
  }
}

function first(now: Instant): Resend {
  return { at: now + RESEND_MS, afterMs: RESEND_MS };
}

function later(now: Instant, resend: Resend): Resend {
  const afterMs = Math.min(RESEND_LIMIT_MS, resend.afterMs * 2);
  return { at: now + afterMs, afterMs };
}

const RESEND_MS = 150;
/** A voter that refuses because of a grant is asked again at this pace until the grant has run out. */
const RESEND_LIMIT_MS = 1_000;
const BACK_OFF_MS = 25;
const BACK_OFF_LIMIT_MS = 2_000;
const NEWCOMER_MS = 2_000;
