/**
 * Takes over the directory of a peer process that died on this machine, and speaks for the dead member meanwhile.
 *
 * A1  Only the directory's lock, which the kernel releases, proves the death; a planned stop is given `RESTART_GRACE_MS`.
 * A2  The seal of all its partitions, also of those that it never opened, is synced into its directory before consent is
 *     given (ownership rule 13).
 * A3  Its acceptor runs here, from its register file, as a restarted voter, until the lock is released (rule 16).
 * A4  The lock is released only when the ring says the member is down and lists nothing of it as stranded.
 * A5  Nothing is decided about the directory by a document older than the one in it: the ring may have given the member
 *     partitions since.
 * A6  A directory that is held only because its voter is needed is lent out for a moment, again and again, one at a time:
 *     a restarted process that waits for it takes it then. Otherwise two dead voters of three would stay out for ever.
 * A7  Work on a directory that found no room is done again, ever more rarely. After any other failure the directory is given
 *     back for a while, as if this process had died: what was synced counts, and nothing else was said.
 */

import type { RingDocument, Stranded } from "../document.ts";
import { findMember } from "../draft.ts";
import type { Epoch, MemberId, NodeName, Partition } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { RegisterEffect } from "../register/events.ts";
import { compareDocuments, type RegisterMessage } from "../register/messages.ts";
import { Register } from "../register/register.ts";
import type { Term } from "../store.ts";
import { type CopyFor, copyFor } from "./copies.ts";
import type { Directory, LockResult } from "./effects.ts";
import type { Here } from "./here.ts";
import type { Giving } from "./messages.ts";
import { sealChange } from "./rows.ts";
import { doubled, Trouble } from "./trouble.ts";

interface Watch {
  readonly since: Instant;
  nextTry: Instant | undefined;
  trying: boolean;
}

interface Holding {
  readonly memberId: MemberId;
  readonly copies: Map<Partition, Term>;
  readonly register: Register | undefined;
  /** The newest document in the directory (A5). */
  readonly document: RingDocument | undefined;
  readonly since: Instant;
  sealedFor: number | undefined;
  sealing: { readonly writeId: number; readonly epoch: number } | undefined;
  retryAt: Instant;
  dropping: Set<Partition> | undefined;
  /** Of work that fails for want of room (A7). */
  readonly trouble: Trouble;
}

export interface AdoptionHooks {
  consent(member: NodeName, epoch: Epoch, gives: Giving): void;
  /** As the only voter its acceptor lives in the store that all share: `sole-seat.ts` speaks for it. */
  isInStore(member: NodeName): boolean;
  /** Its directory's lock is held here from now on, or no longer. */
  proveDead(member: MemberId, isDead: boolean): void;
  /** Effects of the dead member's acceptor. */
  registerEffects(of: NodeName, effects: readonly RegisterEffect[]): void;
  learn(document: RingDocument): void;
  /** Whom this node speaks for has changed. */
  announce(): void;
  /** A directory is held: its stranded rows can be sent. */
  held(): void;
  isRestarting(name: NodeName): boolean;
  live(name: NodeName): boolean;
}

export class Adoption {
  readonly #here: Here;
  readonly #hooks: AdoptionHooks;
  readonly #random: Random;
  readonly #leaseMs: number;
  readonly #watched = new Map<NodeName, Watch>();
  readonly #holdings = new Map<NodeName, Holding>();
  /** How often each was lent out since it was last heard of (A6). */
  readonly #lent = new Map<NodeName, number>();
  /** How often each was given back (A7). */
  readonly #givenBack = new Map<NodeName, number>();
  #lendingUntil: Instant = Number.NEGATIVE_INFINITY;
  #writeId = 0;

  constructor(here: Here, options: { hooks: AdoptionHooks; random: Random; leaseMs: number }) {
    this.#here = here;
    this.#hooks = options.hooks;
    this.#random = options.random;
    this.#leaseMs = options.leaseMs;
  }

  nextDeadline(): Instant | undefined {
    let earliest: Instant | undefined;
    const sooner = (at: Instant | undefined): void => {
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    };
    for (const watch of this.#watched.values()) if (!watch.trying) sooner(watch.nextTry);
    for (const holding of this.#holdings.values()) {
      sooner(holding.register?.nextDeadline());
      sooner(holding.retryAt);
    }
    return earliest;
  }

  holding(): readonly NodeName[] {
    return [...this.#holdings.keys()];
  }

  holds(entry: Stranded): Directory | undefined {
    const holding = this.#holdings.get(entry.member);
    if (holding === undefined || holding.memberId !== entry.memberId) return undefined;
    return { type: "adopted", member: entry.member };
  }

  copyFor(entry: Stranded): CopyFor {
    return copyFor(this.#holdings.get(entry.member)?.copies.get(entry.partition), entry);
  }

  /** The link to a member on this machine broke, or membership holds it dead: its process may be gone. */
  suspect(name: NodeName): void {
    if (this.#watched.has(name) || this.#holdings.has(name) || this.#candidate(name) === undefined) return;
    this.#watched.set(name, { since: this.#here.now, nextTry: this.#here.now + FIRST_TRY_MS, trying: false });
  }

  trust(name: NodeName): void {
    this.#watched.delete(name);
    this.#lent.delete(name);
    this.#givenBack.delete(name);
  }

  tick(): void {
    const { now } = this.#here;
    for (const [name, watch] of this.#watched) {
      if (watch.trying || watch.nextTry === undefined || watch.nextTry > now) continue;
      const member = this.#candidate(name);
      if (member === undefined) this.#watched.delete(name);
      else if (this.#hooks.isRestarting(name)) watch.nextTry = now + RETRY_MS;
      else if (!this.#isNeeded(name)) watch.nextTry = now + RETRY_MOST_MS;
      else {
        watch.trying = true;
        this.#here.emit({ type: "try-lock", member: name, memberId: member.id, directory: member.directory });
      }
    }
    for (const [name, holding] of this.#holdings) {
      const register = holding.register;
      const deadline = register?.nextDeadline();
      if (register !== undefined && deadline !== undefined && deadline <= now)
        this.#hooks.registerEffects(name, register.step(now, { type: "tick" }));
      if (holding.retryAt <= now) {
        holding.retryAt = now + CONSENT_RETRY_MS;
        this.#advance(name, holding);
      }
    }
  }

  locked(name: NodeName, result: LockResult): void {
    const { now } = this.#here;
    const watch = this.#watched.get(name);
    if (result.type === "refused") {
      if (watch === undefined) return;
      watch.trying = false;
      // For as long as it matters to the ring: a process that has stood still for an hour may be killed then.
      const mostMs = now - watch.since > PATIENCE_MS ? RETRY_SLOW_MS : RETRY_MOST_MS;
      watch.nextTry = now + Math.min(mostMs, RETRY_MS + (now - watch.since) / 4);
      return;
    }
    const member = this.#candidate(name);
    const unwanted = watch === undefined || member === undefined || member.id !== result.memberId;
    const grace = result.planned && (watch === undefined || now - watch.since < RESTART_GRACE_MS);
    if (unwanted || grace) {
      this.#here.emit({ type: "release-lock", member: name });
      if (watch === undefined) return;
      watch.trying = false;
      watch.nextTry = now + (grace ? RETRY_MOST_MS : RETRY_MS);
      return;
    }
    this.#watched.delete(name);
    this.#adopt(name, result);
  }

  persisted(of: NodeName, sequence: number): void {
    const register = this.#holdings.get(of)?.register;
    if (register !== undefined)
      this.#hooks.registerEffects(of, register.step(this.#here.now, { type: "persisted", sequence }));
  }

  /** False if no directory of that name is held here. */
  receive(of: NodeName, from: NodeName, message: RegisterMessage): boolean {
    const holding = this.#holdings.get(of);
    if (holding === undefined) return false;
    if (holding.register !== undefined)
      this.#hooks.registerEffects(of, holding.register.step(this.#here.now, { type: "message", from, message }));
    return true;
  }

  committed(writeId: number): void {
    for (const [name, holding] of this.#holdings) {
      if (holding.sealing?.writeId !== writeId) continue;
      holding.sealedFor = holding.sealing.epoch;
      holding.sealing = undefined;
      holding.trouble.over();
      this.#advance(name, holding);
    }
  }

  dropped(member: NodeName, partition: Partition): void {
    const holding = this.#holdings.get(member);
    if (holding === undefined) return;
    holding.copies.delete(partition);
    if (holding.dropping === undefined) return;
    holding.trouble.over();
    holding.dropping.delete(partition);
    if (holding.dropping.size === 0) this.#release(member);
  }

  /** A7: a seal, a drop or a write of the register of `member` was not done. */
  failed(member: NodeName, failure: { readonly passing: boolean; readonly detail: string }): void {
    const holding = this.#holdings.get(member);
    if (holding === undefined) return;
    if (!failure.passing) return this.#giveBack(member, failure.detail);
    if (holding.sealing === undefined && holding.dropping === undefined) return; // what failed together is one failure
    holding.sealing = undefined;
    holding.dropping = undefined;
    const { restMs, tell } = holding.trouble.failed(this.#here.now, failure.detail);
    holding.retryAt = holding.trouble.restsUntil;
    if (tell) this.#here.note("adoption-waits", `${member}: ${failure.detail}; tried again in ${restMs / 1_000} s`);
  }

  /** What keeps the adoption of directories held here. */
  warnings(): readonly { readonly code: string; readonly detail: string }[] {
    return [...this.#holdings].flatMap(([name, { trouble }]) =>
      trouble.detail === undefined
        ? []
        : [{ code: "ADOPTION_WAITS", detail: `directory of ${name}: ${trouble.detail}` }],
    );
  }

  follow(document: RingDocument): void {
    for (const [name, holding] of this.#holdings) {
      if (holding.register !== undefined)
        this.#hooks.registerEffects(name, holding.register.step(this.#here.now, { type: "learn", document }));
      this.#advance(name, holding);
    }
    for (const entry of document.stranded)
      if (!this.#hooks.live(entry.member) && !this.#here.linked(entry.member)) this.suspect(entry.member);
  }

  #adopt(name: NodeName, lock: Extract<LockResult, { type: "held" }>): void {
    const { now } = this.#here;
    const register =
      lock.register === undefined || this.#hooks.isInStore(name)
        ? undefined
        : new Register({
            state: lock.register,
            leaseMs: this.#leaseMs,
            random: this.#random,
            acceptorOnly: true,
            mayAnswer: () => !this.#hooks.isInStore(name),
          });
    const holding: Holding = {
      memberId: lock.memberId,
      copies: new Map(lock.copies.map((copy) => [copy.partition, copy.term])),
      document: lock.register?.document,
      register,
      since: now,
      sealedFor: undefined,
      sealing: undefined,
      retryAt: now + CONSENT_RETRY_MS,
      dropping: undefined,
      trouble: new Trouble(),
    };
    this.#holdings.set(name, holding);
    this.#hooks.proveDead(lock.memberId, true);
    this.#here.note("adoption-started", `${name}: its process is gone, ${holding.copies.size} partitions on its disk`);
    this.#hooks.announce();
    if (register !== undefined) this.#hooks.registerEffects(name, register.step(now, { type: "start" }));
    if (lock.register?.document !== undefined) this.#hooks.learn(lock.register.document);
    if (register !== undefined && this.#here.document !== undefined)
      this.#hooks.registerEffects(name, register.step(now, { type: "learn", document: this.#here.document }));
    this.#advance(name, holding);
    this.#hooks.held();
  }

  #advance(name: NodeName, holding: Holding): void {
    const document = this.#here.document;
    if (document === undefined || holding.dropping !== undefined || this.#here.now < holding.trouble.restsUntil) return;
    if (holding.document !== undefined && compareDocuments(document, holding.document) < 0) return; // A5
    const member = findMember(document, name);
    const isThis = member?.id === holding.memberId;
    const standing = isThis && member.status !== "down" && member.status !== "exiting";
    if (isThis && (standing || document.owners.includes(name))) return this.#giveUp(name, holding, document);
    if (document.stranded.some((entry) => entry.member === name && entry.memberId === holding.memberId)) return;
    if (document.voters.includes(name) && !this.#quorumWithout(name, document) && !this.#lend(name, holding)) return;
    holding.dropping = new Set(holding.copies.keys());
    if (holding.dropping.size === 0) return this.#release(name);
    for (const partition of [...holding.dropping])
      this.#here.emit({ type: "drop", directory: { type: "adopted", member: name }, partition });
  }

  /** A2: seal, then consent; again for each epoch that decides something else. */
  #giveUp(name: NodeName, holding: Holding, document: RingDocument): void {
    const epoch = document.epoch + 1;
    if (holding.sealing !== undefined) return;
    if (holding.sealedFor === epoch) {
      const partitions: Partition[] = [];
      document.owners.forEach((owner, partition) => {
        if (owner === name) partitions.push(partition as Partition);
      });
      return this.#hooks.consent(name, epoch as Epoch, { type: "all", partitions, adopter: this.#here.self });
    }
    document.owners.forEach((owner, index) => {
      const partition = index as Partition;
      if (owner !== name || holding.copies.has(partition)) return;
      holding.copies.set(partition, { history: document.history, generation: document.generations[index]!, opens: 0 });
    });
    const writeId = ++this.#writeId;
    holding.sealing = { writeId, epoch };
    const groups = [...holding.copies].map(([partition, term]) => ({ partition, term, changes: [sealChange(epoch)] }));
    this.#here.emit({ type: "commit-adopted", member: name, writeId, groups });
  }

  #quorumWithout(name: NodeName, document: RingDocument): boolean {
    if (this.#hooks.isInStore(name)) return true;
    const others = document.voters.filter((voter) => voter !== name && this.#hooks.live(voter)).length;
    return others >= Math.floor(document.voters.length / 2) + 1;
  }

  /** A6: whether the time has come. */
  #lend(name: NodeName, holding: Holding): boolean {
    const { now } = this.#here;
    const times = this.#lent.get(name) ?? 0;
    if (now < this.#lendingUntil || now - holding.since < Math.min(LEND_MOST_MS, LEND_FIRST_MS * 2 ** times))
      return false;
    this.#lent.set(name, times + 1);
    this.#lendingUntil = now + 2 * LEND_MS;
    return true;
  }

  #release(name: NodeName): void {
    const holding = this.#letGo(name);
    if (this.#isNeeded(name))
      this.#watched.set(name, { since: this.#here.now, nextTry: this.#here.now + LEND_MS, trying: false });
    this.#here.emit({ type: "release-lock", member: name });
    this.#hooks.announce();
    this.#here.note(
      "adoption-done",
      `${name}: after ${Math.round(this.#here.now - (holding?.since ?? this.#here.now))} ms`,
    );
  }

  /** A7. Others may take it meanwhile: its own process, once it is started again, first of all. */
  #giveBack(name: NodeName, detail: string): void {
    const times = this.#givenBack.get(name) ?? 0;
    const awayMs = doubled(AWAY_MS, times, AWAY_MOST_MS);
    this.#givenBack.set(name, times + 1);
    this.#letGo(name);
    this.#watched.set(name, { since: this.#here.now, nextTry: this.#here.now + awayMs, trying: false });
    this.#here.emit({ type: "release-lock", member: name });
    this.#hooks.announce();
    this.#here.note(
      "adoption-failed",
      `${name}: ${detail}; its directory is given back, for ${awayMs / 1_000} s at least`,
    );
  }

  #letGo(name: NodeName): Holding | undefined {
    const holding = this.#holdings.get(name);
    this.#holdings.delete(name);
    if (holding !== undefined) this.#hooks.proveDead(holding.memberId, false);
    return holding;
  }

  /** Taking the lock would do something now: a dead voter of which nothing is left matters only without a majority. */
  #isNeeded(name: NodeName): boolean {
    const document = this.#here.document;
    const member = document === undefined ? undefined : findMember(document, name);
    if (document === undefined || member === undefined) return false;
    if (member.status !== "down" && member.status !== "exiting") return true;
    if (document.owners.includes(name) || document.stranded.some((entry) => entry.member === name)) return true;
    return document.voters.includes(name) && !this.#quorumWithout(name, document);
  }

  /** A member on this machine, not this node, that matters to the ring. */
  #candidate(name: NodeName): { readonly id: MemberId; readonly directory: string } | undefined {
    const document = this.#here.document;
    if (document === undefined || name === this.#here.self) return undefined;
    const member = findMember(document, name);
    const self = findMember(document, this.#here.self);
    if (member === undefined || self === undefined || member.machine !== self.machine) return undefined;
    const matters =
      member.status !== "down" ||
      document.voters.includes(name) ||
      document.owners.includes(name) ||
      document.stranded.some((entry) => entry.member === name);
    return matters ? member : undefined;
  }
}

/** A broken link on one machine means a dead process, or one that restarts: look at its lock at once. */
const FIRST_TRY_MS = 50;
const RETRY_MS = 250;
const RETRY_MOST_MS = 2_000;
const PATIENCE_MS = 600_000;
const RETRY_SLOW_MS = 15_000;
const CONSENT_RETRY_MS = 500;
/** A waiting process looks every 25 ms (`ring/io/directory.ts`). */
const LEND_MS = 300;
const LEND_FIRST_MS = 2_000;
/** How long a directory with which something is wrong is left to others. */
const AWAY_MS = 15_000;
const AWAY_MOST_MS = 300_000;
/** Rarely, since a voter that was lent grants no revocation for one lease. */
const LEND_MOST_MS = 30_000;
/** How long a member that stopped on purpose is waited for. */
export const RESTART_GRACE_MS = 30_000;
