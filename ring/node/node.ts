/**
 * One whole node as a state machine: membership, register, lease, claimant, partitions, transfers, adoption and tasks,
 * composed in one place. The driver runs it on real sockets and disks, the simulator in virtual time.
 *
 * N1  Nothing starts and nothing is admitted without a lease that is held now (ownership rule 12).
 * N2  What a step wants done leaves it in order; row changes leave as numbered commit groups, one in flight.
 */

import type { Member, RingDocument } from "../document.ts";
import { findMember, weightOf } from "../draft.ts";
import type { Epoch, NodeName, Partition } from "../ids.ts";
import type { Instant, Machine, Random } from "../machine.ts";
import type { MemberView } from "../membership/events.ts";
import type { Swim } from "../membership/swim.ts";
import type { RegisterState } from "../register/messages.ts";
import type { Row } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import { passEpoch } from "../transition.ts";
import { Adoption } from "./adoption.ts";
import { Answers } from "./answers.ts";
import { AppSettings } from "./app-settings.ts";
import type { AppSource } from "./app-source.ts";
import { Asks } from "./asks.ts";
import { Claimant } from "./claimant.ts";
import { Commits } from "./commits.ts";
import { liesIn } from "./copies.ts";
import { Desk } from "./desk.ts";
import type { Copy, NodeEffect, NodeEvent } from "./effects.ts";
import type { Here } from "./here.ts";
import { Hosting } from "./hosting.ts";
import { Incoming } from "./incoming.ts";
import { Liveness } from "./liveness.ts";
import type { Giving, NodeMessage } from "./messages.ts";
import { Neighbours } from "./neighbours.ts";
import { Outgoing } from "./outgoing.ts";
import { NODE_ROWS, Overrides } from "./overrides.ts";
import type { NodeRequest, NodeStatus, TransferView } from "./requests.ts";
import { type Admission, Router } from "./router.ts";
import { Seat } from "./seat.ts";
import { SoleSeat } from "./sole-seat.ts";
import { Sparing } from "./sparing.ts";
import { Stopping } from "./stopping.ts";
import { StoreLease } from "./store-lease.ts";
import { TransferLimit } from "./transfer.ts";

export interface NodeOptions {
  /** What this node's member record is, or would be. */
  readonly member: Omit<Member, "status">;
  readonly version: string;
  readonly swim: Swim;
  /** From the register file; a founder's holds the founding document. */
  readonly register: RegisterState;
  /** What the own directory holds. */
  readonly copies: readonly Copy[];
  readonly engine: TaskEngineContract;
  readonly apps: AppSource;
  readonly random: Random;
  readonly leaseMs: number;
  /** Every node sees the same rows. */
  readonly sharedStore?: boolean;
  /** An earlier process gave everything up for this epoch (`store-lease.ts`). */
  readonly givenFor?: number;
  /** Stage and commit the own join without an operator. */
  readonly autoJoin: boolean;
  /** Rows of one message of a transfer, at most. Default 250. */
  readonly chunkRows?: number;
}

export class NodeMachine implements Machine<NodeEvent, NodeEffect> {
  readonly #options: NodeOptions;
  readonly #here: Here & { now: Instant; document: RingDocument | undefined };
  readonly #engine: TaskEngineContract;
  readonly #liveness: Liveness;
  readonly #commits: Commits;
  readonly #seat: Seat;
  readonly #neighbours: Neighbours;
  readonly #hosting: Hosting;
  readonly #router: Router;
  readonly #desk: Desk;
  readonly #outgoing: Outgoing;
  readonly #incoming: Incoming;
  readonly #claimant: Claimant;
  readonly #adoption: Adoption;
  readonly #asks: Asks;
  readonly #answers: Answers;
  readonly #stopping: Stopping;
  readonly #storeLease: StoreLease;
  readonly #soleSeat: SoleSeat;
  readonly #overrides = new Overrides();
  readonly #remarks = new Sparing();
  readonly #settings: AppSettings;
  #effects: NodeEffect[] = [];
  #loopback: NodeMessage[] = [];
  #readId = 0;
  #nonce = 0;
  #nodeRowsRead: number | undefined;
  #started = false;
  #flushAsked = false;
  #broken: string | undefined;
  #diskFull = false;
  #leftAt: Instant | undefined;
  #doubtsAt: Instant | undefined;

  constructor(options: NodeOptions) {
    const { member, engine, random, leaseMs, apps } = options;
    this.#options = options;
    this.#engine = engine;
    const liveness = new Liveness(member.name);
    this.#liveness = liveness;
    const here: Here & { now: Instant; document: RingDocument | undefined } = {
      self: member.name,
      memberId: member.id,
      now: 0,
      document: undefined,
      ...(options.sharedStore === true ? { sharedStore: true } : {}),
      emit: (effect) => void this.#effects.push(effect),
      send: (to, message) => {
        if (to === member.name) this.#loopback.push(message);
        else this.#effects.push({ type: "send", to, message });
      },
      linked: (name) => liveness.linked(name),
      note: (what, detail) => void this.#effects.push({ type: "note", what, detail }),
    };
    this.#here = here;
    this.#storeLease = new StoreLease(here, {
      leaseMs,
      givenFor: options.givenFor,
      hooks: {
        changed: () => this.#allowStarts(),
        abortAll: () => engine.abortAll(here.now, "lease"),
      },
    });
    const nextReadId = (): number => ++this.#readId;
    this.#commits = new Commits((partition) => (partition === NODE_ROWS ? NODE_TERM : this.#hosting.termOf(partition)));
    this.#hosting = new Hosting(here, engine, options.copies, nextReadId);
    const limit = new TransferLimit();
    const parts = { engine, hosting: this.#hosting, commits: this.#commits, limit };
    this.#asks = new Asks(here);
    this.#desk = new Desk(here, {
      engine,
      commits: this.#commits,
      router: () => this.#router,
      nextReadId,
      answered: (id, answer) => this.#answers.answered(id, answer),
    });
    this.#router = new Router(here, {
      admission: (partition) => this.#admission(partition),
      submit: (partition, record, sink, token) => {
        const missing = apps.find(record.app) === undefined && this.#overrides.get(record.app)?.existence !== "deleted";
        const elsewhere = missing ? this.#neighbours.loadedElsewhere(record.app) : undefined;
        if (elsewhere === undefined) return this.#desk.submit(partition, record, sink, token);
        const detail = `${member.name} owns the key but has not loaded ${record.app}; ${elsewhere} has`;
        sink.settle(token, { type: "refused", code: "APP_NOT_HERE", detail, retryAfterMs: 1_000 });
      },
    });
    this.#seat = new Seat(here, {
      state: options.register,
      leaseMs,
      random,
      hooks: {
        foreseen: (document) => {
          this.#share(document);
          this.#hosting.foresee(document);
        },
        decided: (document) => this.#follow(document),
        proposalEnded: (ending) => this.#claimant.ended(ending, random()),
        revocable: (name, majority) => this.#claimant.revocable(name, majority),
        leaseChanged: (held) => this.#leaseChanged(held),
        leaseWarning: () => engine.abortAll(here.now, "lease"),
        speakerFor: (name) => liveness.speakerFor(name),
        holds: (name) => this.#speaksFor().includes(name),
        toHeld: (of, from, message) => {
          if (!this.#soleSeat.receive(of, from, message)) this.#adoption.receive(of, from, message);
        },
        mayAnswer: (now) => this.#soleSeat.mayAnswer(member.name, now),
        seatWrite: (of, state) => this.#soleSeat.writeOf(of, state),
      },
    });
    this.#soleSeat = new SoleSeat(here, {
      memberId: member.id,
      random,
      leaseMs,
      hooks: {
        storeHeld: (now) => this.#storeLease.heldAt(now),
        reachesStore: (name) => this.#storeLease.holds(name),
        isRestarting: (name) => liveness.isRestarting(here.now, name),
        own: () => this.#seat.own,
        seated: (kept) => this.#seat.seated(kept),
        registerEffects: (of, effects) => this.#seat.perform(of, effects),
        learn: (document) => this.#seat.learn(document),
        announce: () => this.#announce(),
        voidLease: () => this.#seat.loseLease({ suspended: true }),
      },
    });
    this.#claimant = new Claimant(here, liveness, {
      prepare: () => this.#seat.prepare(),
      propose: (document, consents) => this.#seat.propose(document, consents),
      askRevocable: (name) => this.#seat.askRevocable(name),
      peersOnMachine: (name) => this.#neighbours.sharesMachine(name),
      reachesStore: (name) => this.#storeLease.holds(name),
      isInStore: (name) => this.#soleSeat.holding().includes(name),
    });
    this.#adoption = new Adoption(here, {
      random,
      leaseMs,
      hooks: {
        consent: (name, epoch, gives) => this.#giveConsent(name, epoch, gives, true),
        registerEffects: (of, effects) => this.#seat.perform(of, effects),
        learn: (document) => this.#seat.learn(document),
        announce: () => this.#announce(),
        isInStore: (name) => SoleSeat.memberOf(here.document, here.sharedStore === true)?.name === name,
        proveDead: (id, isDead) => this.#soleSeat.proveDead(id, isDead),
        held: () => {
          if (here.document !== undefined) this.#outgoing.follow(here.document);
        },
        isRestarting: (name) => liveness.isRestarting(here.now, name),
        live: (name) => liveness.live(here.now, name),
      },
    });
    this.#neighbours = new Neighbours(here, {
      swim: options.swim,
      liveness,
      member,
      autoJoin: options.autoJoin,
      hooks: {
        presence: () => apps.presence(),
        overrides: () => this.#overrides.all(),
        speaksFor: () => this.#speaksFor(),
        suspect: (name) => this.#adoption.suspect(name),
        linkChanged: (name, up) => this.#linkChanged(name, up),
        noticed: (notice) => this.#claimant.noticed(notice),
        changed: () => this.#claimant.nudge(),
        askClaimant: (request) => this.#askClaimant(request),
        counts: () => this.#counts(),
      },
    });
    this.#outgoing = new Outgoing(here, {
      ...parts,
      chunkRows: options.chunkRows,
      hooks: {
        consent: (epoch, partition, to, insist) =>
          this.#giveConsent(member.name, epoch, { type: "moves", moves: [{ partition, to }] }, insist),
        nextReadId,
        nonce: () => (options.register.starts + 1) * NONCES_PER_START + ++this.#nonce,
        holds: (entry) =>
          entry.member === member.name
            ? liesIn(entry, here)
              ? { type: "own" }
              : undefined
            : this.#adoption.holds(entry),
        copyFor: (entry) => (liesIn(entry, here) ? this.#hosting : this.#adoption).copyFor(entry),
      },
    });
    this.#stopping = new Stopping(here, {
      holdAll: () => {
        engine.allowStarts(here.now, false);
        for (const partition of this.#hosting.partitions()) engine.hold(here.now, partition);
      },
      running: () =>
        [...this.#hosting.partitions()].reduce((sum, partition) => sum + engine.inFlight(partition).length, 0),
      abortAll: () => engine.abortAll(here.now, "shutdown"),
      whenSynced: (run) => this.#commits.whenSynced(run),
      toAll: (message) => this.#neighbours.toAll(message),
    });
    this.#incoming = new Incoming(here, {
      ...parts,
      hooks: {
        absorbed: (entries) => this.#toClaimant({ type: "absorbed", entries }),
        busy: () =>
          this.#stopping.begun
            ? "the receiver is stopping"
            : this.#storeLease.mayServe
              ? undefined
              : "the receiver cannot reach the store",
      },
    });
    this.#settings = new AppSettings(here, {
      overrides: this.#overrides,
      apps,
      engine,
      commits: this.#commits,
      asks: this.#asks,
      links: () => liveness.links(),
    });
    this.#answers = new Answers(here, {
      asks: this.#asks,
      engine,
      hosting: this.#hosting,
      claimant: this.#claimant,
      outgoing: this.#outgoing,
      limit,
      settings: this.#settings,
      apps,
      liveness,
      adoption: this.#adoption,
      neighbours: this.#neighbours,
      member,
      version: options.version,
      state: () => this.#state(),
      leaseMs: () =>
        this.#seat.leaseUntil === undefined ? undefined : Math.max(0, Math.round(this.#seat.leaseUntil - here.now)),
    });
  }

  get document(): RingDocument | undefined {
    return this.#here.document;
  }

  members(): readonly MemberView[] {
    return this.#neighbours.members();
  }

  member(name: NodeName): MemberView | undefined {
    return this.#neighbours.member(name);
  }

  holdsLease(now: Instant): boolean {
    return this.#seat.leaseUntil !== undefined && this.#seat.leaseUntil > now && this.#storeLease.mayServeAt(now);
  }

  /** Transfers that this node sends. */
  transfers(): readonly TransferView[] {
    return this.#outgoing.views();
  }

  /** How many transfers this node receives. */
  arrivals(): number {
    return this.#incoming.count;
  }

  /** Partitions whose tasks this node would start now. For checkers. */
  active(now: Instant): readonly Partition[] {
    if (!this.holdsLease(now) || this.#stopping.begun || this.#broken !== undefined) return [];
    return [...this.#hosting.partitions()].filter((partition) => this.#hosting.serving(partition));
  }

  nextDeadline(): Instant | undefined {
    let earliest: Instant | undefined;
    for (const at of Object.values(this.deadlines())) {
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  /** When each part wants to be woken. */
  deadlines(): Readonly<Record<string, Instant | undefined>> {
    return {
      neighbours: this.#neighbours.nextDeadline(),
      seat: this.#seat.nextDeadline(),
      lease: this.#seat.leaseUntil,
      engine: this.#engine.nextDeadline(),
      router: this.#router.nextDeadline(),
      outgoing: this.#outgoing.nextDeadline(),
      incoming: this.#incoming.nextDeadline(),
      claimant: this.#claimant.nextDeadline(),
      adoption: this.#adoption.nextDeadline(),
      asks: this.#asks.nextDeadline(),
      doubts: this.#doubtsAt,
      stopping: this.#stopping.nextDeadline(),
      storeLease: this.#storeLease.nextDeadline(),
      soleSeat: this.#soleSeat.nextDeadline(),
      left: this.#leftAt,
    };
  }

  step(now: Instant, event: NodeEvent): readonly NodeEffect[] {
    this.#here.now = now;
    if (this.#seat.leaseUntil !== undefined && this.#seat.leaseUntil <= now) this.#seat.loseLease({ suspended: false });
    this.#handle(event);
    this.#claimant.tick(); // a consent is waited for: not until a timer finds its turn
    this.#settle();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #handle(event: NodeEvent): void {
    const { now } = this.#here;
    switch (event.type) {
      case "submit":
        return this.#desk.fromClient(event.origin, event.tokens, event.records);
      case "keep":
        this.#engine.keep(now, event.attemptId, event.changes);
        return;
      case "ended":
        this.#engine.ended(now, event.ends);
        this.#hosting.attemptsEnded(event.ends);
        this.#outgoing.attemptsEnded();
        return this.#stopping.progress();
      case "committed":
        for (const partition of this.#commits.fenced(event.group, event.refused)) {
          this.#hosting.fenced(partition);
          this.#incoming.fenced(partition);
          this.#outgoing.fenced(partition);
        }
        this.#engine.durable(now, event.group);
        return this.#commits.settled(event.group, this.#outgoing, event.refused);
      case "flush":
        return this.#flush();
      case "messages":
        for (const message of event.messages) this.#message(event.from, message);
        return;
      case "tick":
        return this.#tick();
      case "rows":
        return this.#rows(event.readId, event.rows, event.next);
      case "swim":
        return this.#neighbours.step(event.event);
      case "register-persisted":
        if (event.of === this.#here.self) this.#seat.persisted(event.sequence);
        else if (event.seat !== undefined) this.#soleSeat.persisted(event.seat, event.sequence);
        else this.#adoption.persisted(event.of, event.sequence);
        return;
      case "unsent":
        if (event.message.type === "forward") this.#router.unsent(event.to, event.message.forwardId);
        else this.#asks.unsent(event.to, event.message);
        return;
      case "link":
        return this.#neighbours.link(event.peer, event.up);
      case "opened":
        this.#hosting.opened(event.partition, event.term);
        this.#settleInPlace();
        return this.#router.drain();
      case "dropped":
        if (event.directory.type === "own") this.#hosting.dropped(event.partition);
        else this.#adoption.dropped(event.directory.member, event.partition);
        return;
      case "adopted-committed":
        return this.#adoption.committed(event.writeId);
      case "adopted-failed":
        return this.#adoption.failed(event.member, event);
      case "lock":
        return this.#adoption.locked(event.member, event.result);
      case "ask":
        return this.#answers.ask({ type: "local", askId: event.askId }, event.request, {
          to: event.to,
          deadlineMs: event.deadlineMs,
        });
      case "forget":
        return this.#desk.forget(event.origin);
      case "wall":
        return this.#engine.setWallOffset(event.offsetMs);
      case "suspended":
        this.#here.note("suspended", "the clock jumped: the lease is void");
        return this.#seat.loseLease({ suspended: true });
      case "start":
        return this.#start(event.wallOffsetMs);
      case "stop":
        return this.#stopping.begin(event.graceMs);
      case "marked":
        return this.#here.emit({ type: "exit", code: 0, reason: "stopped" });
      case "store-full":
        this.#diskFull = event.full;
        return this.#here.note(
          event.full ? "disk-full" : "disk-has-room",
          event.full ? "new tasks are refused" : "new tasks are taken again",
        );
      case "store-broken":
        return this.#break(event.detail);
      case "store-lease":
        this.#soleSeat.confirm(event.seat);
        return this.#storeLease.learned(event.heldUntil, event.others);
      case "seat":
        return this.#soleSeat.claimed(event.of, event.result);
      case "seat-refused":
        return this.#soleSeat.refused(event.seat);
      case "given-marked":
        return this.#storeLease.marked(event.epoch);
    }
  }

  #start(wallOffsetMs: number): void {
    this.#engine.setWallOffset(wallOffsetMs);
    this.#engine.allowStarts(this.#here.now, false);
    this.#started = true;
    this.#neighbours.start();
    this.#readNodeRows(undefined);
  }

  #tick(): void {
    const { now } = this.#here;
    this.#neighbours.tick();
    this.#seat.tick();
    this.#storeLease.tick();
    this.#soleSeat.tick();
    this.#engine.tick(now);
    this.#router.tick();
    this.#outgoing.pump();
    this.#incoming.tick();
    this.#adoption.tick();
    this.#asks.tick();
    this.#stopping.progress();
    this.#endDoubts();
    if (this.#leftAt === undefined || (this.#leftAt > now && !this.#neighbours.hasLeft)) return;
    if (this.#neighbours.leave()) {
      this.#leftAt = now + PARTING_MS;
      return;
    }
    this.#leftAt = undefined;
    this.#here.emit({ type: "exit", code: 0, reason: "left the ring" });
  }

  #message(from: NodeName, message: NodeMessage): void {
    switch (message.type) {
      case "forward":
        return this.#desk.fromPeer(from, message);
      case "forwarded":
        return this.#router.forwarded(from, message);
      case "register":
        return this.#seat.receive(message.for, message.as, message.message);
      case "ask":
        return this.#answers.ask({ type: "peer", name: from, askId: message.askId }, message.request, {
          to: this.#here.self,
          deadlineMs: PEER_ASK_MS,
        });
      case "answer":
        return this.#asks.settle(message.askId, message.answer, from);
      case "transfer-offer":
      case "transfer-chunk":
        return this.#incoming.receive(from, message);
      case "transfer-abort":
        this.#incoming.receive(from, message);
        return this.#outgoing.receive(from, message);
      case "transfer-wait":
      case "transfer-begin":
      case "transfer-ack":
        return this.#outgoing.receive(from, message);
      case "consent":
        // Whoever gives everything up for want of the store gives it to somebody who has it.
        if (message.gives.type === "all" && message.member === from && !this.#storeLease.steady) return;
        return this.#claimant.consent(message.member, message.epoch, message.gives, true);
      case "store-lost":
        return this.#storeLease.asked(from, message.epoch);
      case "store-kept":
        return this.#storeLease.answered(from, message.epoch);
      case "absorbed":
        return this.#claimant.absorbed(message.entries);
      case "document":
        return this.#seat.learn(message.document);
      case "pull-document": {
        const { document } = this.#here;
        const epoch = document?.epoch ?? 0;
        if (document !== undefined && epoch > message.epoch) this.#here.send(from, { type: "document", document });
        // It knows more: its answer to our own question may have come before its link to us was up.
        else if (epoch < message.epoch) this.#here.send(from, { type: "pull-document", epoch });
        return;
      }
      case "apps":
        this.#neighbours.learnApps(from, message.loaded);
        this.#settings.told(from, message.overrides);
        return;
      case "speaking-for":
        this.#liveness.speaks(from, message.members);
        return this.#claimant.nudge();
      case "candidate":
        return this.#neighbours.learnCandidate(message.member);
      case "loads":
        return this.#neighbours.learnLoads(from, message.counts);
      case "restarting":
        if (!this.#liveness.isRestarting(this.#here.now, from)) this.#remark("member-restarting", from);
        return this.#liveness.restarting(from, this.#here.now + Math.min(message.graceMs, RESTARTING_MOST_MS));
      case "refused":
        return this.#remark("refused", `${from}: ${message.code} ${message.detail}`);
      case "hello":
      case "pipe":
        return;
    }
  }

  /** What a peer says of itself, in its own words and as often as it likes. */
  #remark(what: string, detail: string): void {
    const leftOut = this.#remarks.take(this.#here.now);
    if (leftOut === undefined) return;
    const more = leftOut === 0 ? "" : ` (${leftOut} more were left out before)`;
    this.#here.note(what, `${detail.slice(0, REMARK_LENGTH)}${more}`);
  }

  // Ring and lease.

  /** A newer document is decided and on this node's disk. */
  #follow(document: RingDocument): void {
    const { self } = this.#here;
    const before = this.#here.document;
    this.#here.document = document;
    this.#share(document);
    this.#hosting.follow(document);
    this.#storeLease.follow(document); // after: starts are allowed again, of what is left
    this.#incoming.follow(document);
    this.#outgoing.follow(document);
    this.#claimant.follow(document);
    this.#soleSeat.follow(document);
    this.#adoption.follow(document);
    this.#settleInPlace();
    this.#router.drain();
    this.#here.emit({ type: "document" });
    this.#neighbours.follow(document);
    if (before === undefined || findMember(before, self) === undefined || findMember(document, self) !== undefined)
      return;
    this.#here.note("left", "this node is no longer a member of the ring");
    this.#leftAt = this.#here.now + LATE_CALLS_MS;
  }

  /** Before partitions that the document gives to this node are loaded: what they may keep depends on it. */
  #share({ owners, ringSize }: RingDocument): void {
    this.#engine.setShare(owners.filter((owner) => owner === this.#here.self).length, ringSize);
  }

  /** This node's own stranded rows of partitions that it owns again lie where they are needed. */
  #settleInPlace(): void {
    const { document, self } = this.#here;
    for (const entry of document?.stranded ?? []) {
      const isHere = liesIn(entry, this.#here) && document?.owners[entry.partition] === self;
      if (isHere && this.#hosting.loaded(entry.partition)) this.#incoming.settle(entry);
    }
  }

  /**
   * A partition that an earlier process sealed waits for an epoch; with the proposer of that epoch gone too nobody may
   * propose it any more. This node drives the decision itself (ownership rule 14).
   */
  #endDoubts(): void {
    const { now } = this.#here;
    const epoch = this.#hosting.doubts().at(-1) ?? (this.#storeLease.held ? this.#storeLease.doubt : undefined);
    if (epoch === undefined || (this.#doubtsAt !== undefined && now < this.#doubtsAt)) {
      if (epoch === undefined) this.#doubtsAt = undefined;
      return;
    }
    if (this.#doubtsAt !== undefined)
      this.#claimant.wish(
        (document) => (document.epoch < epoch ? passEpoch(document) : document),
        () => {},
        DOUBT_MS,
      );
    this.#doubtsAt = now + DOUBT_MS;
  }

  #leaseChanged(held: boolean): void {
    this.#allowStarts();
    if (!held) this.#here.note("lease-lost", "no majority of voters renewed it");
  }

  #allowStarts(): void {
    const held = this.#seat.leaseUntil !== undefined && this.#storeLease.mayServe;
    this.#engine.allowStarts(this.#here.now, held && !this.#stopping.begun && this.#broken === undefined);
    if (held) this.#router.drain();
  }

  #admission(partition: Partition): Admission {
    if (this.#stopping.begun || this.#broken !== undefined) return "draining";
    if (!this.#hosting.serving(partition)) return "wait";
    if (this.#seat.leaseUntil === undefined) return "no-lease";
    if (!this.#storeLease.mayServe) return "no-lease";
    return this.#diskFull ? "disk-full" : "serve";
  }

  #giveConsent(member: NodeName, epoch: Epoch, gives: Giving, insist: boolean): void {
    const role = this.#claimant.role();
    if (insist || role === this.#here.self) this.#claimant.consent(member, epoch, gives, insist);
    if (role !== undefined && role !== this.#here.self)
      this.#here.send(role, { type: "consent", member, epoch, gives });
  }

  #toClaimant(message: Extract<NodeMessage, { type: "absorbed" }>): void {
    const role = this.#claimant.role();
    if (role === undefined || role === this.#here.self) this.#claimant.absorbed(message.entries);
    else this.#here.send(role, message);
  }

  /** Nobody waits for the answer: the ring tells. */
  #askClaimant(request: NodeRequest): void {
    const role = this.#claimant.role();
    if (role !== undefined) this.#asks.forward({ type: "local", askId: NOBODY }, role, request, AUTO_JOIN_ASK_MS);
  }

  #linkChanged(peer: NodeName, up: boolean): void {
    if (up) {
      this.#adoption.trust(peer);
      this.#claimant.nudge(); // a voter at last, before partitions move to it
      if (this.#soleSeat.holding().includes(peer)) this.#announce();
      this.#router.drain();
      return this.#outgoing.pump();
    }
    this.#router.linkDown(peer);
    this.#outgoing.linkDown(peer);
    this.#asks.linkDown(peer);
    this.#adoption.suspect(peer);
  }

  /** Members whose directories or seats are held here. */
  #speaksFor(): readonly NodeName[] {
    return [...new Set([...this.#adoption.holding(), ...this.#soleSeat.holding()])];
  }

  /** To all, this node's own claimant included. */
  #announce(): void {
    const message = { type: "speaking-for", members: this.#speaksFor() } as const;
    this.#liveness.speaks(this.#here.self, message.members);
    this.#neighbours.toAll(message);
    this.#here.send(this.#here.self, message);
  }

  #counts(): ReadonlyMap<Partition, number> {
    const tasks = new Map<Partition, number>();
    for (const partition of this.#hosting.partitions()) {
      const view = this.#engine.view(partition);
      if (view !== undefined) tasks.set(partition, view.queued + view.delayed + view.running);
    }
    return tasks;
  }

  // Apps.

  #readNodeRows(after: Uint8Array | undefined): void {
    this.#nodeRowsRead = ++this.#readId;
    const request = {
      partition: NODE_ROWS,
      rowLimit: 5_000,
      byteLimit: 4_194_304,
      ...(after === undefined ? {} : { after }),
    };
    this.#here.emit({ type: "read", readId: this.#nodeRowsRead, directory: { type: "own" }, request });
  }

  /** Once all app overrides are known, partitions may open. */
  #nodeRows(rows: readonly Row[], next: Uint8Array | undefined): void {
    for (const override of this.#overrides.load(rows)) this.#options.apps.override(override);
    if (next !== undefined) return this.#readNodeRows(next);
    this.#seat.start();
    const { document } = this.#options.register;
    if (document !== undefined && this.#here.document === undefined) this.#follow(document);
  }

  // Rows and commits.

  #rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): void {
    if (this.#desk.rows(readId, rows)) return;
    if (readId === this.#nodeRowsRead) {
      this.#nodeRowsRead = undefined;
      return this.#nodeRows(rows, next);
    }
    if (this.#hosting.rows(readId, rows, next)) {
      this.#settleInPlace();
      return this.#router.drain();
    }
    this.#outgoing.rows(readId, rows, next);
  }

  #flush(): void {
    this.#flushAsked = false;
    this.#hosting.loadArrived();
    if (!this.#commits.wanting) return;
    this.#engine.beforeCommit();
    this.#desk.drain();
    const commit = this.#commits.flush();
    this.#engine.group = this.#commits.group;
    if (commit === undefined) return;
    if (commit.groups.length > 0) {
      this.#here.emit({ type: "commit", ...commit });
      for (const { partition, changes } of commit.groups) this.#outgoing.leaving(partition, changes);
      return;
    }
    // Nothing to write: what waited may run, but not before earlier groups, and none is in flight.
    this.#engine.durable(this.#here.now, commit.group);
    this.#commits.settled(commit.group, this.#outgoing);
  }

  /** Carries what the engine and this node's own messages want until nothing more comes of it. */
  #settle(): void {
    for (;;) {
      this.#desk.drain();
      if (this.#loopback.length === 0) break;
      const messages = this.#loopback;
      this.#loopback = [];
      for (const message of messages) this.#message(this.#here.self, message);
    }
    this.#desk.flushOutcomes();
    if (this.#flushAsked || !(this.#commits.wanting || this.#hosting.hasArrived)) return;
    this.#flushAsked = true;
    this.#here.emit({ type: "flush-soon" });
  }

  #break(detail: string): void {
    if (this.#broken !== undefined) return;
    this.#broken = detail;
    this.#engine.allowStarts(this.#here.now, false);
    this.#here.note("store-broken", detail);
    this.#here.emit({ type: "exit", code: EXIT_BROKEN_STORE, reason: `the store failed: ${detail}` });
  }

  #state(): NodeStatus["state"] {
    if (this.#broken !== undefined) return "broken";
    if (this.#stopping.begun) return "stopping";
    if (!this.#started) return "starting";
    const { document, self } = this.#here;
    const member = document === undefined ? undefined : findMember(document, self);
    if (member === undefined || member.id !== this.#options.member.id) return "waiting-to-join";
    if (this.#seat.leaseUntil === undefined || !this.#storeLease.mayServe) return "starting";
    return weightOf(member) === 0 ? "draining" : "serving";
  }
}

const REMARK_LENGTH = 500;
/** For how long a peer is waited for that says once that it will be back. */
const RESTARTING_MOST_MS = 60_000;
const NODE_TERM = { history: 0, generation: 0, opens: 0 };
const NONCES_PER_START = 2 ** 32;
const PEER_ASK_MS = 30_000;
const AUTO_JOIN_ASK_MS = 2_000;
const NOBODY = -1;
/** Whoever holds the consent proposes within moments, if it is still there. */
const DOUBT_MS = 1_000;
/** A member that has left goes on answering late calls for this long. */
const LATE_CALLS_MS = 2_000;
/** Membership takes 2 to 3 s to tell of a leave, longer on a busy machine: all shall see `left`, not a death. No longer than this. */
const PARTING_MS = 8_000;
/** sysexits.h EX_IOERR: the supervisor should look at the disk. */
const EXIT_BROKEN_STORE = 74;
