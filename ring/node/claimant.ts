/**
 * Proposes ring changes: those that follow from what happened (a death, a cut-over, a return, a member that does badly, a
 * retired one, an absent voter) and those that operators ask for.
 *
 * K1  One proposal at a time; everything that is ready goes into one epoch. It is a role, not a leader: two nodes that
 *     both believe to have it cost a lost ballot, never a wrong ring.
 * K2  Partitions are taken from a member that gave no consent only after a majority of voters said that its grant has
 *     run out (ownership rule 11).
 * K3  Cut-overs whose consent came too late for an epoch seal again for the next one: the claimant waits `LATE_MS` for
 *     them, or the first of them would take each epoch for itself and the others would seal again and again.
 * K4  A burst of deaths is one change: the first one waits `SETTLE_MS` for the others. Partitions whose owner has consented to give
 *     them away wait for nobody: their keys stand still.
 * K5  A proposal is under way until the register ends it, however long its disk takes: what the register says late would
 *     be credited to another one. Its wishes are done only when the decided document is the proposed one.
 */

import type { RingDocument } from "../document.ts";
import { asOneChange, findMember } from "../draft.ts";
import { RingError } from "../errors.ts";
import type { Epoch, NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { MemberNotice } from "../membership/events.ts";
import type { Consent } from "../register/messages.ts";
import { sameContent } from "../register/voting.ts";
import {
  isPlanned,
  type Move,
  markDown,
  markReturned,
  moveDone,
  plannedMoves,
  removeStranded,
  retireMembers,
  setAdopter,
  setUnwell,
} from "../transition.ts";
import { nextVoters, setVoters } from "../voters.ts";
import { Absorbed } from "./absorbed.ts";
import type { Here } from "./here.ts";
import type { Liveness } from "./liveness.ts";
import { LostAdoptions } from "./lost-adoptions.ts";
import type { Absorption, Giving } from "./messages.ts";
import { AFTER, type Part } from "./proposal-part.ts";
import { Returns } from "./returns.ts";
import type { ProposalEnding } from "./seat.ts";
import { SilentNewcomers } from "./silent-newcomers.ts";
import { Wellness } from "./wellness.ts";
import { type Wish, Wishes } from "./wishes.ts";

export interface ClaimantHooks {
  /** A proposal for the next epoch will follow. */
  prepare(): void;
  propose(document: RingDocument, consents: readonly Consent[]): void;
  askRevocable(member: NodeName): void;
  /** Members that adoption on their machine may still save: not marked down as away yet. */
  peersOnMachine(name: NodeName): boolean;
  /** This node speaks for the member from the store that all share: no adoption will save it. */
  isInStore?(name: NodeName): boolean;
  /** The member can reach a store that all share. Absent: each has its own. */
  reachesStore?(name: NodeName): boolean;
}

export class Claimant {
  readonly #here: Here;
  readonly #liveness: Liveness;
  readonly #hooks: ClaimantHooks;
  #proposing: { readonly document: RingDocument; readonly wishes: Wishes } | undefined;
  #notBefore: Instant = 0;
  /** Consents by member, for one epoch. */
  #consents = new Map<NodeName, { readonly epoch: Epoch; readonly gives: Giving }>();
  /** Partitions whose owner consented to an epoch that decided something else, and is about to consent again (K3). */
  readonly #late = new Set<Partition>();
  #lateUntil: Instant = Number.NEGATIVE_INFINITY;
  readonly #absorbed = new Absorbed();
  readonly #wishes = new Wishes();
  /** Dead members that a majority said may be taken from, and until when that is believed. */
  readonly #revocable = new Map<NodeName, Instant>();
  readonly #askedRevocable = new Map<NodeName, Instant>();
  readonly #returns = new Returns();
  readonly #wellness = new Wellness();
  readonly #silent = new SilentNewcomers();
  readonly #lostAdoptions: LostAdoptions;
  #before: RingDocument | undefined;
  #part: Part = "all";
  #dutyUntil: Instant = Number.NEGATIVE_INFINITY;
  #settleUntil: Instant | undefined;
  #lookAgainAt: Instant | undefined;
  /** The newest that was told. */
  #refusal: string | undefined;

  constructor(here: Here, liveness: Liveness, hooks: ClaimantHooks) {
    this.#here = here;
    this.#liveness = liveness;
    this.#hooks = hooks;
    this.#lostAdoptions = new LostAdoptions(liveness);
  }

  nextDeadline(): Instant | undefined {
    return this.#lookAgainAt;
  }

  /**
   * The lowest-named live voter, not counting one that restarts on purpose; with none of them, who holds the directory of
   * one: its acceptor decides meanwhile.
   */
  role(): NodeName | undefined {
    const { document, now } = this.#here;
    if (document === undefined) return undefined;
    const acting = document.voters.find((name) => this.#liveness.acts(now, name));
    if (acting !== undefined) return acting;
    for (const name of document.voters) {
      const speaker = this.#liveness.speakerFor(name);
      if (speaker !== undefined) return speaker;
    }
    return document.voters[0];
  }

  consent(member: NodeName, epoch: Epoch, gives: Giving, insist: boolean): void {
    const { document } = this.#here; // one far ahead would shut out those that count, and strangers have any number of names
    if (document === undefined || epoch > document.epoch + AHEAD_MOST || !findMember(document, member)) return;
    const known = this.#consents.get(member);
    if (known !== undefined && known.epoch === epoch && known.gives.type === "moves" && gives.type === "moves") {
      const moves = [
        ...known.gives.moves.filter((old) => !gives.moves.some((move) => move.partition === old.partition)),
        ...gives.moves,
      ];
      this.#consents.set(member, { epoch, gives: { type: "moves", moves } });
    } else if (known === undefined || known.epoch <= epoch) this.#consents.set(member, { epoch, gives });
    if (gives.type === "moves") for (const { partition } of gives.moves) this.#late.delete(partition);
    if (insist) this.#dutyUntil = this.#here.now + DUTY_MS;
    if (gives.type === "moves" && epoch === document.epoch + 1) this.#settleUntil = undefined; // K4
    this.#soon(0);
  }

  absorbed(by: NodeName, absorption: Absorption): void {
    const { document } = this.#here;
    if (document === undefined) return;
    this.#absorbed.told(by, absorption, document);
    this.#soon(ABSORBED_SETTLE_MS);
  }

  /** A change that somebody asked for. `done` gets the decided document, or why not. */
  wish(apply: Wish["apply"], done: Wish["done"], deadlineMs: number): void {
    if (!this.#wishes.add({ apply, done, deadline: this.#here.now + deadlineMs })) return;
    this.#dutyUntil = this.#here.now + DUTY_MS;
    this.#soon(0);
  }

  revocable(member: NodeName, majority: boolean): void {
    if (!majority) return;
    this.#revocable.set(member, this.#here.now + REVOCABLE_MS);
    this.#soon(SETTLE_MS / 4);
  }

  /** The register ended the proposal for that epoch (K5). */
  ended({ epoch, outcome, reason }: ProposalEnding, jitter: number): void {
    const flight = this.#proposing;
    if (flight === undefined || flight.document.epoch !== epoch) return;
    this.#proposing = undefined;
    const { document, now } = this.#here;
    const type = outcome === "chosen" && !isDecided(flight.document, document) ? "lost" : outcome;
    if (type === "chosen") for (const wish of flight.wishes.take()) wish.done(flight.document);
    else this.#wishes.putBack(flight.wishes.take());
    if (reason === "newcomer-silent" && document !== undefined) this.#silent.note(now, document, flight.document);
    if (type === "refused") {
      this.#revocable.clear();
      this.#part = AFTER[this.#part];
    } else this.#part = "all";
    this.#notBefore = type === "refused" || type === "timeout" ? now + BACK_OFF_MS * (0.5 + jitter) : now;
    this.#soon(0);
  }

  follow(document: RingDocument): void {
    const before = this.#before;
    this.#before = document;
    for (const { name, status } of document.members) {
      if (status !== "down" && before !== undefined && findMember(before, name)?.status === "down")
        this.#returns.returned(this.#here.now, name);
    }
    this.#returns.keep((name) => findMember(document, name) !== undefined);
    this.#wellness.follow(this.#here.now, document);
    this.#late.clear();
    for (const [member, consent] of this.#consents) {
      if (consent.epoch > document.epoch) continue;
      this.#consents.delete(member);
      if (consent.gives.type !== "moves") continue;
      for (const move of consent.gives.moves)
        if (isPlanned(document, { ...move, from: member })) this.#late.add(move.partition);
    }
    if (this.#late.size > 0) this.#lateUntil = this.#here.now + LATE_MS;
    this.#absorbed.follow(document);
    for (const name of this.#revocable.keys())
      if (findMember(document, name)?.status === "down") this.#revocable.delete(name);
    if (this.role() === this.#here.self && plannedMoves(document).length > 0) this.#hooks.prepare();
    this.#soon(0);
  }

  /** What membership says of a member. */
  noticed(notice: MemberNotice): void {
    this.#returns.notice(this.#here.now, notice);
    this.#wellness.notice(this.#here.now, notice);
    this.nudge();
  }

  /** Something may have changed: look at the ring soon. */
  nudge(): void {
    this.#soon(SETTLE_MS / 4);
  }

  tick(): void {
    const { now } = this.#here;
    if (this.#lookAgainAt === undefined || this.#lookAgainAt > now) return;
    this.#lookAgainAt = now + LOOK_EVERY_MS;
    this.#wishes.expire(now);
    this.#proposing?.wishes.expire(now);
    const { document } = this.#here;
    if (document === undefined || this.#proposing !== undefined) return;
    const mine = this.role() === this.#here.self;
    if (mine) this.#watchDead(document);
    if (!mine && now >= this.#dutyUntil) return;
    const at = Math.max(this.#notBefore, this.#settleUntil ?? 0, this.#late.size > 0 ? this.#lateUntil : 0);
    if (at > now) {
      this.#lookAgainAt = Math.min(this.#lookAgainAt, at);
      return;
    }
    this.#settleUntil = undefined;
    this.#propose(document, mine);
  }

  #propose(document: RingDocument, automatic: boolean): void {
    const consents: Consent[] = [];
    const transitions: ((document: RingDocument) => RingDocument)[] = [];
    const attempt = (change: (document: RingDocument) => RingDocument): void => {
      transitions.push((current) => {
        try {
          return change(current);
        } catch (error) {
          if (!(error instanceof RingError)) throw error;
          this.#refused(error.message);
          return current;
        }
      });
    };
    const part = this.#part;
    if (part === "all" || part === "consents") {
      this.#addConsents(document, consents, attempt);
      const absorbed = this.#absorbed.all();
      if (absorbed.length > 0) attempt((current) => removeStranded(current, absorbed));
    }
    if (automatic && (part === "all" || part === "automatic")) this.#addAutomatic(document, attempt);
    const wishes: Wish[] = [];
    for (const wish of part === "all" || part === "wishes" ? this.#wishes.take() : []) {
      transitions.push((current) => {
        try {
          const next = wish.apply(current);
          wishes.push(wish);
          return next;
        } catch (error) {
          if (!(error instanceof RingError)) throw error;
          wish.done(error);
          return current;
        }
      });
    }
    const next = asOneChange(document, transitions);
    if (next === document) {
      for (const wish of wishes) wish.done(document);
      if (part === "all") return;
      this.#part = AFTER[part];
      return this.#soon(0);
    }
    this.#proposing = { document: next, wishes: new Wishes(wishes) };
    this.#hooks.propose(next, consents);
  }

  /** Nobody asked for the change, so nobody else hears why it does not come (P8). */
  #refused(why: string): void {
    if (why !== this.#refusal) this.#here.note("change-refused", why);
    this.#refusal = why;
  }

  #addConsents(
    document: RingDocument,
    consents: Consent[],
    attempt: (change: (document: RingDocument) => RingDocument) => void,
  ): void {
    const epoch = (document.epoch + 1) as Epoch;
    const moves: Move[] = [];
    const dead = new Map<NodeName, NodeName>();
    const { now } = this.#here;
    const given = [...this.#consents].filter(([, consent]) => consent.epoch === epoch);
    // Nothing moves to a member that is dead, or goes down in the same epoch: one owner change of a partition in each.
    const going = new Set(this.#gone(document));
    for (const [member, { gives }] of given) if (gives.type === "all") going.add(member);
    for (const [member, { gives }] of given) {
      if (gives.type === "moves") {
        const planned = gives.moves
          .map((move) => ({ ...move, from: member }))
          .filter((move) => isPlanned(document, move) && !going.has(move.to) && this.#liveness.live(now, move.to));
        moves.push(...planned);
        consents.push({ member, epoch, partitions: planned.map((move) => move.partition) });
      } else if (findMember(document, member) !== undefined) {
        dead.set(member, gives.adopter);
        consents.push({ member, epoch, partitions: gives.partitions });
      }
    }
    if (moves.length > 0) attempt((current) => moveDone(current, moves));
    if (dead.size > 0)
      attempt((current) => markDown(current, [...dead.keys()], { adopters: dead, keepStranded: this.#keepStranded }));
  }

  #addAutomatic(document: RingDocument, attempt: (change: (document: RingDocument) => RingDocument) => void): void {
    const { now } = this.#here;
    const names = document.members.map((member) => member.name);
    const live = new Set(names.filter((name) => this.#liveness.live(now, name)));
    const gone = this.#gone(document);
    const adopters = this.#liveness.speakersFor(gone); // a full disk may keep them from their consent for long
    if (gone.length > 0) attempt((current) => markDown(current, gone, { adopters, keepStranded: this.#keepStranded }));
    for (const member of document.members) {
      if (
        member.status === "down" &&
        live.has(member.name) &&
        this.#liveness.reached(now, member.name) &&
        this.#returns.mayReturn(now, member.name) &&
        this.#hooks.reachesStore?.(member.name) !== false
      ) {
        attempt((current) => markReturned(current, member.name));
      }
    }
    const isThere = (name: NodeName): boolean => live.has(name) && this.#liveness.reached(now, name);
    for (const change of this.#wellness.changes(now, document, isThere))
      attempt((current) => setUnwell(current, change));
    attempt(retireMembers);
    for (const { member, memberId } of this.#lostAdoptions.in(now, document, this.#hooks.peersOnMachine))
      attempt((current) => setAdopter(current, { member, memberId }));
    attempt((current) => {
      const voters = nextVoters(current, {
        live: new Set(
          names.filter((name) => live.has(name) || this.#liveness.awaited(now, name) || this.#goesLater(current, name)),
        ),
        answered: new Set(
          [...live].filter((name) => this.#liveness.reached(now, name) && !this.#silent.has(now, name)),
        ),
      });
      return voters === current.voters ? current : setVoters(current, voters);
    });
  }

  get #keepStranded(): boolean {
    return this.#here.sharedStore !== true;
  }

  /** Dead, and a majority of voters said that they may be taken from (K2). */
  #gone(document: RingDocument): readonly NodeName[] {
    const { now } = this.#here;
    return [...this.#revocable]
      .filter(
        ([name, until]) =>
          until > now &&
          !this.#liveness.reached(now, name) &&
          (findMember(document, name)?.status ?? "down") !== "down",
      )
      .map(([name]) => name);
  }

  /**
   * The only voter, for which this node speaks from the store, goes in the epoch in which it loses its partitions: the voter
   * that follows it knows not what this node knows of its lease, and would wait for that once more.
   */
  #goesLater(document: RingDocument, name: NodeName): boolean {
    return this.#hooks.isInStore?.(name) === true && findMember(document, name)?.status !== "down";
  }

  /** K2, K4. */
  #watchDead(document: RingDocument): void {
    const { now } = this.#here;
    for (const { name, status } of document.members) {
      if (status === "down" || status === "exiting") continue;
      const since = this.#liveness.deadSince(now, name);
      if (since === undefined || now - since < SETTLE_MS) continue;
      const isAdopted = this.#liveness.speakerFor(name) !== undefined && this.#hooks.isInStore?.(name) !== true;
      if (isAdopted && now - since < ADOPTION_FIRST_MS) continue;
      if (
        (this.#revocable.get(name) ?? 0) > now ||
        now - (this.#askedRevocable.get(name) ?? Number.NEGATIVE_INFINITY) < REVOCABLE_ASK_MS
      )
        continue;
      this.#askedRevocable.set(name, now);
      this.#hooks.askRevocable(name);
    }
  }

  #soon(delayMs: number): void {
    const at = this.#here.now + delayMs;
    this.#settleUntil ??= at;
    if (this.#lookAgainAt === undefined || at < this.#lookAgainAt) this.#lookAgainAt = at;
  }
}

function isDecided(proposed: RingDocument, known: RingDocument | undefined): boolean {
  return known !== undefined && known.epoch === proposed.epoch && sameContent(known, proposed);
}

/** One gossip round: deaths of one burst become one ring change. */
const SETTLE_MS = 200;
/** Stranded rows that are absorbed one after another leave the list in one epoch. */
const ABSORBED_SETTLE_MS = 4;
/** A seal is one sync of the owner's disk and one message away. */
const LATE_MS = 100;
const LOOK_EVERY_MS = 500;
const BACK_OFF_MS = 150;
const REVOCABLE_MS = 3_000;
const REVOCABLE_ASK_MS = 500;
/** A peer that holds a dead member's directory gives consent within moments; a revocation would strand its tasks. */
const ADOPTION_FIRST_MS = 10_000;
/** For how long a node that is not the claimant goes on proposing what it was asked for. */
const DUTY_MS = 5_000;
/** Consents that come before their document. */
const AHEAD_MOST = 8;
