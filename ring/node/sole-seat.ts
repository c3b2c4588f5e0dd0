/**
 * The seat of a ring's only voter, where all nodes share a store: its acceptor lives in the store, not on one disk.
 *
 * A ring of one or two members has one voter. With stores of their own, and no directory lock that proves its death, the
 * ring stops with it. Here what it promised and accepted is kept in the store as well, and another member may go on
 * from there. It stays Paxos with one acceptor: who holds the seat's token speaks for it, and the token is the fence.
 * O1  Nothing that the only voter promises or accepts leaves before it is written under the token. A claim changes the
 *     token in one step with reading what was written, so whoever held it before can write nothing more.
 * O2  The acceptor answers only while its holder has the seat, and a lease in the store by its own clock (S1). So its grants
 *     end at most one lease after that one.
 * O3  A seat is taken from its holder only after this node has seen, by its own clock, that the holder's lease in the store
 *     was not renewed for longer than it lasts, or when the directory lock of the member proves its death. Redis' clock decides nothing.
 * O4  Who takes it acts as if it had just granted every lease (rule 10), but for that holder: it starts nothing without its
 *     lease in the store (S1). Whoever finds its seat taken gives up its own lease of the voters with the answer that gives it
 *     back the one in the store, so it cannot start on an old one.
 * O5  What was written for an older document than the one known here says nothing of the open decision: for that one
 *     nothing has left (O1).
 * O6  A seat that was taken from a member that is back, with its lease in the store, is left to it if the ring still wants it
 *     as its only voter.
 * With more voters, and with a store of its own, a node does nothing here: then no vote depends on the store.
 */

import type { Member, RingDocument } from "../document.ts";
import { findMember } from "../draft.ts";
import type { MemberId, NodeName } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { RegisterEffect, RegisterEvent } from "../register/events.ts";
import { compareDocuments, type RegisterMessage, type RegisterState } from "../register/messages.ts";
import { Register } from "../register/register.ts";
import type { SeatClaim, SeatFound, SeatResult, SeatState, SeatWrite } from "./effects.ts";
import type { Here } from "./here.ts";

export interface SoleSeatHooks {
  /** This node's lease in the store is held. */
  storeHeld(now: Instant): boolean;
  /** As far as this node can see, the member can reach the store. */
  reachesStore(name: NodeName): boolean;
  isRestarting(name: NodeName): boolean;
  /** What this node's own acceptor knows. */
  own(): SeatState;
  /** This node's own acceptor may answer; from what was kept, if that is given. */
  seated(kept: RegisterState | undefined): void;
  /** Effects of another member's acceptor. */
  registerEffects(of: NodeName, effects: readonly RegisterEffect[]): void;
  learn(document: RingDocument): void;
  /** Whom this node speaks for has changed. */
  announce(): void;
  /** O4: the lease of the voters is void. */
  voidLease(): void;
}

interface Tenure {
  readonly of: NodeName;
  readonly token: string;
  readonly since: Instant;
  /** Of another member. */
  readonly register: Register | undefined;
}

export class SoleSeat {
  readonly #here: Here;
  readonly #hooks: SoleSeatHooks;
  readonly #self: MemberId;
  readonly #random: Random;
  readonly #leaseMs: number;
  #tenure: Tenure | undefined;
  #asking = false;
  #lookAt: Instant = Number.NEGATIVE_INFINITY;
  /** As found in the store, and since when it looks like that (O3). */
  #seen: { readonly found: SeatFound; readonly since: Instant } | undefined;
  #provedDead: MemberId | undefined;

  constructor(here: Here, options: { memberId: MemberId; random: Random; leaseMs: number; hooks: SoleSeatHooks }) {
    this.#here = here;
    this.#hooks = options.hooks;
    this.#self = options.memberId;
    this.#random = options.random;
    this.#leaseMs = options.leaseMs;
  }

  /** The member whose acceptor lives in the store: the only voter. */
  static memberOf(document: RingDocument | undefined, isShared: boolean): Member | undefined {
    const [name, ...more] = document?.voters ?? [];
    if (!isShared || document === undefined || name === undefined || more.length > 0) return undefined;
    return findMember(document, name);
  }

  nextDeadline(): Instant | undefined {
    const sole = this.#sole;
    if (sole === undefined) return undefined;
    if (this.#tenure !== undefined) return this.#tenure.register?.nextDeadline();
    return this.#asking || !this.#isWanted(sole) ? undefined : this.#lookAt;
  }

  /** Other members that this node speaks for. */
  holding(): readonly NodeName[] {
    return this.#tenure?.register === undefined ? [] : [this.#tenure.of];
  }

  /** O2 */
  mayAnswer(of: NodeName, now: Instant): boolean {
    return this.#tenure?.of === of && this.#hooks.storeHeld(now);
  }

  /** How a state of that member is to be kept in the store (O1); undefined: not at all. */
  writeOf(of: NodeName, state: RegisterState): SeatWrite | undefined {
    const tenure = this.#tenure;
    if (tenure?.of !== of || SoleSeat.memberOf(state.document, true)?.name !== of) return undefined;
    return { token: tenure.token, state, run: tenure.register?.run ?? this.#hooks.own().run };
  }

  tick(): void {
    const { now, document } = this.#here;
    const sole = this.#sole;
    if (sole === undefined || document === undefined) return;
    const tenure = this.#tenure;
    if (tenure !== undefined) {
      const deadline = tenure.register?.nextDeadline();
      if (deadline !== undefined && deadline <= now) this.#step({ type: "tick" });
      return this.#leave(sole);
    }
    if (this.#asking || now < this.#lookAt || !this.#isWanted(sole)) return;
    const seen = this.#claimable();
    const isOwn = sole.id === this.#self;
    const { history, epoch } = document;
    const claim: SeatClaim = {
      of: sole.id,
      history,
      epoch,
      ...(seen === undefined ? {} : { seen }),
      ...(isOwn ? { own: this.#hooks.own() } : {}),
    };
    this.#asking = true;
    this.#here.emit({ type: "claim-seat", claim }); // without `seen` it is a look, but for whoever holds it already
  }

  /** The answer to a claim. */
  claimed(of: MemberId, result: SeatResult): void {
    const { now } = this.#here;
    this.#asking = false;
    this.#lookAt = now + LOOK_MS;
    const sole = this.#sole;
    if (sole?.id !== of || this.#tenure !== undefined) return;
    switch (result.type) {
      case "no-answer":
        return;
      case "refused":
        this.#look(of, result.found);
        if (result.newer !== undefined) this.#hooks.learn(result.newer);
        return;
      case "held":
        return this.#hold(sole, result);
    }
  }

  /** With each renewal of the lease in the store: the seat at that moment. */
  confirm(found: SeatFound | undefined): void {
    const sole = this.#sole;
    if (this.#tenure === undefined) {
      if (sole !== undefined) this.#look(sole.id, found);
    } else if (this.#tenure.token !== found?.token) this.lost();
  }

  /** O4: somebody else has it, or the store has gone back behind the claim. */
  lost(): void {
    const tenure = this.#tenure;
    if (tenure === undefined) return;
    this.#here.note("seat-lost", `another member speaks for ${tenure.of}`);
    this.#drop();
    this.#hooks.voidLease();
  }

  /** The directory lock of that member is held here from now on, or no longer. */
  proveDead(of: MemberId, isDead: boolean): void {
    if (isDead) {
      this.#provedDead = of;
      this.#lookAt = this.#here.now;
    } else if (this.#provedDead === of) this.#provedDead = undefined;
  }

  follow(document: RingDocument): void {
    const sole = this.#sole;
    const tenure = this.#tenure;
    if (tenure !== undefined && sole?.name === tenure.of) return this.#step({ type: "learn", document });
    this.#seen = undefined;
    this.#lookAt = this.#here.now;
    if (tenure !== undefined) this.#drop();
    this.tick();
  }

  /** False if that member's seat is not held here. */
  receive(of: NodeName, from: NodeName, message: RegisterMessage): boolean {
    if (!this.holding().includes(of)) return false;
    this.#step({ type: "message", from, message });
    return true;
  }

  /** Of an acceptor that was given up, and of one taken over again, the numbers mean something else. */
  persisted(token: string | undefined, sequence: number): void {
    if (token !== undefined && this.#tenure?.token === token) this.#step({ type: "persisted", sequence });
  }

  /** A write was refused; one under an older token says nothing. */
  refused(token: string): void {
    if (this.#tenure?.token === token) this.lost();
  }

  get #sole(): Member | undefined {
    return SoleSeat.memberOf(this.#here.document, this.#here.sharedStore === true);
  }

  /** The own seat always; another's when it seems to be dead or cut off from the store. */
  #isWanted(sole: Member): boolean {
    const { document, now, self } = this.#here;
    if (!this.#hooks.storeHeld(now)) return false;
    if (sole.id === this.#self) return true;
    const status = document === undefined ? undefined : findMember(document, self)?.status;
    if (status !== "valid" && status !== "down") return false;
    if (this.#hooks.isRestarting(sole.name)) return false;
    return !this.#here.linked(sole.name) || !this.#hooks.reachesStore(sole.name);
  }

  /** O3 */
  #claimable(): NonNullable<SeatClaim["seen"]> | undefined {
    if (this.#seen === undefined) return undefined;
    const { found, since } = this.#seen;
    if (found.holder === this.#provedDead && found.of === this.#provedDead) return { token: found.token, beat: "dead" };
    if (this.#here.now - since < this.#leaseMs * SILENCE) return undefined;
    return { token: found.token, beat: found.beat };
  }

  #look(of: MemberId, found: SeatFound | undefined): void {
    if (found === undefined || found.of !== of) {
      this.#seen = undefined; // it has never kept anything there, or what is there is another's
      return;
    }
    const known = this.#seen?.found;
    const isSame = known?.token === found.token && known.beat === found.beat;
    if (!isSame) this.#seen = { found, since: this.#here.now };
  }

  #hold(sole: Member, { token, kept }: Extract<SeatResult, { type: "held" }>): void {
    const { now } = this.#here;
    const holder = this.#seen?.found.holder;
    const gone = kept === undefined || holder === undefined ? undefined : this.#nameOf(holder);
    this.#seen = undefined;
    if (sole.id === this.#self) {
      this.#tenure = { of: sole.name, token, since: now, register: undefined };
      return this.#hooks.seated(kept?.state);
    }
    if (kept === undefined) return;
    const register = new Register({
      state: this.#newer(kept.state),
      leaseMs: this.#leaseMs,
      random: this.#random,
      acceptorOnly: true,
      continues: { run: kept.run },
      mayAnswer: (at) => this.mayAnswer(sole.name, at),
      ...(gone === undefined || gone === this.#here.self ? {} : { gone }), // O4
    });
    this.#tenure = { of: sole.name, token, since: now, register };
    this.#here.note("seat-taken", `${sole.name} is the only voter and gone: this node speaks for it from the store`);
    this.#hooks.announce();
    this.#step({ type: "start" });
    if (kept.state.document !== undefined) this.#hooks.learn(kept.state.document);
  }

  /** O5 */
  #newer(kept: RegisterState): RegisterState {
    const { document } = this.#here;
    if (document === undefined || (kept.document !== undefined && compareDocuments(kept.document, document) >= 0))
      return kept;
    return { ...kept, document, promised: undefined, accepted: undefined };
  }

  /** O6 */
  #leave(sole: Member): void {
    const tenure = this.#tenure;
    const { now } = this.#here;
    if (tenure?.register === undefined || now - tenure.since < LEAVE_MS) return;
    if (!this.#here.linked(sole.name) || !this.#hooks.reachesStore(sole.name)) return;
    this.#here.emit({ type: "leave-seat", token: tenure.token });
    this.#here.note("seat-left", `${sole.name} is back`);
    this.#drop();
    this.#lookAt = now + LEAVE_MS;
  }

  #drop(): void {
    const isAnothers = this.#tenure?.register !== undefined;
    this.#tenure = undefined;
    this.#lookAt = this.#here.now;
    if (isAnothers) this.#hooks.announce();
  }

  #nameOf(id: MemberId): NodeName | undefined {
    return this.#here.document?.members.find((member) => member.id === id)?.name;
  }

  /** A state that belongs to other voters already is not kept: all that came of it is a document to be learnt. */
  #step(event: RegisterEvent): void {
    const tenure = this.#tenure;
    if (tenure?.register === undefined) return;
    const effects = tenure.register.step(this.#here.now, event);
    const beyond = effects.find(
      (effect) => effect.type === "persist" && this.writeOf(tenure.of, effect.state) === undefined,
    );
    if (beyond?.type !== "persist") return this.#hooks.registerEffects(tenure.of, effects);
    if (beyond.state.document !== undefined) this.#hooks.learn(beyond.state.document);
  }
}

/** In leases: as long as a voter waits after its last grant (ownership rule 10). */
const SILENCE = 1.05;
const LOOK_MS = 250;
/** The ring has another voter long before, if it wants one. */
const LEAVE_MS = 3_000;
