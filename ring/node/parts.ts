/**
 * The parts of a node, made and joined: which part tells which of what it learns, and in which order they follow the ring.
 * The machine (`node.ts`) gives them events; they know each other by these hooks alone.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import { Adoption } from "./adoption.ts";
import { Answers } from "./answers.ts";
import { AppSettings } from "./app-settings.ts";
import { Asks } from "./asks.ts";
import { Claimant } from "./claimant.ts";
import { Commits } from "./commits.ts";
import { liesIn } from "./copies.ts";
import { Desk } from "./desk.ts";
import { Doubts } from "./doubts.ts";
import type { NodeEffect } from "./effects.ts";
import type { Here } from "./here.ts";
import { Hosting } from "./hosting.ts";
import { Incoming } from "./incoming.ts";
import { Liveness } from "./liveness.ts";
import type { NodeMessage } from "./messages.ts";
import { Neighbours } from "./neighbours.ts";
import type { NodeOptions } from "./node-options.ts";
import { NodeRows } from "./node-rows.ts";
import { Outgoing } from "./outgoing.ts";
import { NODE_ROWS, Overrides } from "./overrides.ts";
import { Parting } from "./parting.ts";
import { type LocalOwner, Router } from "./router.ts";
import { Seat } from "./seat.ts";
import { SoleSeat } from "./sole-seat.ts";
import { Standing } from "./standing.ts";
import { Stopping } from "./stopping.ts";
import { StoreLease } from "./store-lease.ts";
import { ToClaimant } from "./to-claimant.ts";
import { TransferLimit } from "./transfer.ts";

/** The way out of a step. */
export interface Out {
  emit(effect: NodeEffect): void;
  /** To this node itself, at the end of the step. */
  toSelf(message: NodeMessage): void;
}

export class Parts {
  readonly here: Here & { now: Instant; document: RingDocument | undefined };
  readonly engine: TaskEngineContract;
  readonly liveness: Liveness;
  readonly commits: Commits;
  readonly seat: Seat;
  readonly neighbours: Neighbours;
  readonly hosting: Hosting;
  readonly router: Router;
  readonly desk: Desk;
  readonly outgoing: Outgoing;
  readonly incoming: Incoming;
  readonly claimant: Claimant;
  readonly toClaimant: ToClaimant;
  readonly adoption: Adoption;
  readonly asks: Asks;
  readonly answers: Answers;
  readonly stopping: Stopping;
  readonly standing: Standing;
  readonly storeLease: StoreLease;
  readonly soleSeat: SoleSeat;
  readonly doubts: Doubts;
  readonly parting: Parting;
  readonly nodeRows: NodeRows;
  readonly overrides: Overrides = new Overrides();
  readonly settings: AppSettings;

  constructor(options: NodeOptions, out: Out) {
    const { member, engine, random, leaseMs, apps } = options;
    this.engine = engine;
    const liveness = new Liveness(member.name);
    this.liveness = liveness;
    const here: Parts["here"] = {
      self: member.name,
      memberId: member.id,
      now: 0,
      document: undefined,
      ...(options.sharedStore === true ? { sharedStore: true } : {}),
      emit: (effect) => out.emit(effect),
      send: (to, message) => {
        if (to === member.name) out.toSelf(message);
        else out.emit({ type: "send", to, message });
      },
      linked: (name) => liveness.linked(name),
      note: (what, detail) => out.emit({ type: "note", what, detail }),
    };
    this.here = here;
    this.storeLease = new StoreLease(here, {
      leaseMs,
      givenFor: options.givenFor,
      hooks: {
        changed: () => this.standing.allowStarts(),
        abortAll: () => engine.abortAll(here.now, "lease"),
      },
    });
    this.seat = new Seat(here, {
      state: options.register,
      leaseMs,
      random,
      hooks: {
        foreseen: (document) => {
          this.#share(document);
          this.hosting.foresee(document);
        },
        decided: (document) => this.follow(document),
        proposalEnded: (ending) => this.claimant.ended(ending, random()),
        revocable: (name, majority) => this.claimant.revocable(name, majority),
        leaseChanged: (held) => this.standing.leaseChanged(held),
        leaseWarning: () => engine.abortAll(here.now, "lease"),
        speakerFor: (name) => liveness.speakerFor(name),
        countsAsDead: (name) => liveness.isMember(name) && liveness.deadSince(here.now, name) !== undefined,
        holds: (name) => this.#speaksFor().includes(name),
        toHeld: (of, from, message) => {
          if (!this.soleSeat.receive(of, from, message)) this.adoption.receive(of, from, message);
        },
        mayAnswer: (now) => this.soleSeat.mayAnswer(member.name, now),
        seatWrite: (of, state) => this.soleSeat.writeOf(of, state),
      },
    });
    let readId = 0;
    const nextReadId = (): number => ++readId;
    const numbersFrom = (options.register.starts + 1) * NUMBERS_PER_START + Math.floor(this.seat.own.run / 2);
    let nonce = numbersFrom;
    this.commits = new Commits((partition) => (partition === NODE_ROWS ? NODE_TERM : this.hosting.termOf(partition)));
    this.hosting = new Hosting(here, engine, options.copies, nextReadId);
    const limit = new TransferLimit();
    const parts = { engine, hosting: this.hosting, commits: this.commits, limit };
    this.asks = new Asks(here, { numbersFrom });
    this.desk = new Desk(here, {
      engine,
      commits: this.commits,
      router: () => this.router,
      nextReadId,
      answered: (id, answer) => this.answers.answered(id, answer),
    });
    const owner: LocalOwner = {
      admission: (partition) => this.standing.admission(partition),
      submit: (partition, record, sink, token) => {
        const missing = apps.find(record.app) === undefined && this.overrides.get(record.app)?.existence !== "deleted";
        const elsewhere = missing ? this.neighbours.loadedElsewhere(record.app) : undefined;
        if (elsewhere === undefined) return this.desk.submit(partition, record, sink, token);
        const detail = `${member.name} owns the key but has not loaded ${record.app}; ${elsewhere} has`;
        sink.settle(token, { type: "refused", code: "APP_NOT_HERE", detail, retryAfterMs: 1_000 });
      },
    };
    this.router = new Router(here, owner, { numbersFrom });
    this.soleSeat = new SoleSeat(here, {
      memberId: member.id,
      random,
      leaseMs,
      hooks: {
        storeHeld: (now) => this.storeLease.heldAt(now),
        reachesStore: (name) => this.storeLease.holds(name),
        isRestarting: (name) => liveness.isRestarting(here.now, name),
        own: () => this.seat.own,
        seated: (kept) => this.seat.seated(kept),
        registerEffects: (of, effects) => this.seat.perform(of, effects),
        learn: (document) => this.seat.learn(document),
        announce: () => this.#announce(),
        voidLease: () => this.seat.loseLease({ suspended: true }),
      },
    });
    this.claimant = new Claimant(here, liveness, {
      prepare: () => this.seat.prepare(),
      propose: (document, consents) => this.seat.propose(document, consents),
      askRevocable: (name) => this.seat.askRevocable(name),
      peersOnMachine: (name) => this.neighbours.sharesMachine(name),
      reachesStore: (name) => this.storeLease.holds(name),
      isInStore: (name) => this.soleSeat.holding().includes(name),
    });
    this.toClaimant = new ToClaimant(here, this.claimant, this.asks);
    this.adoption = new Adoption(here, {
      random,
      leaseMs,
      hooks: {
        consent: (name, epoch, gives) => this.toClaimant.consent(name, epoch, gives, true),
        registerEffects: (of, effects) => this.seat.perform(of, effects),
        learn: (document) => this.seat.learn(document),
        announce: () => this.#announce(),
        isInStore: (name) => SoleSeat.memberOf(here.document, here.sharedStore === true)?.name === name,
        proveDead: (id, isDead) => this.soleSeat.proveDead(id, isDead),
        held: () => {
          if (here.document !== undefined) this.outgoing.follow(here.document);
        },
        isRestarting: (name) => liveness.isRestarting(here.now, name),
        live: (name) => liveness.live(here.now, name),
      },
    });
    this.neighbours = new Neighbours(here, {
      swim: options.swim,
      liveness,
      member,
      autoJoin: options.autoJoin,
      hooks: {
        presence: () => apps.presence(),
        overrides: () => this.overrides.all(),
        speaksFor: () => this.#speaksFor(),
        suspect: (name) => this.adoption.suspect(name),
        linkChanged: (name, up) => this.#linkChanged(name, up),
        noticed: (notice) => this.claimant.noticed(notice),
        changed: () => this.claimant.nudge(),
        askClaimant: (request) => this.toClaimant.ask(request),
        counts: () => this.#counts(),
      },
    });
    this.outgoing = new Outgoing(here, {
      ...parts,
      chunkRows: options.chunkRows,
      hooks: {
        consent: (epoch, partition, to, insist) =>
          this.toClaimant.consent(member.name, epoch, { type: "moves", moves: [{ partition, to }] }, insist),
        nextReadId,
        nonce: () => ++nonce,
        holds: (entry) =>
          entry.member === member.name
            ? liesIn(entry, here)
              ? { type: "own" }
              : undefined
            : this.adoption.holds(entry),
        copyFor: (entry) => (liesIn(entry, here) ? this.hosting : this.adoption).copyFor(entry),
      },
    });
    this.stopping = new Stopping(here, {
      holdAll: () => {
        engine.allowStarts(here.now, false);
        for (const partition of this.hosting.partitions()) engine.hold(here.now, partition);
      },
      running: () =>
        [...this.hosting.partitions()].reduce((sum, partition) => sum + engine.inFlight(partition).length, 0),
      abortAll: () => engine.abortAll(here.now, "shutdown"),
      whenSynced: (run) => this.commits.whenSynced(run),
      toAll: (message) => this.neighbours.toAll(message),
    });
    this.incoming = new Incoming(here, {
      ...parts,
      hooks: {
        absorbed: (absorption) => this.toClaimant.absorbed({ type: "absorbed", ...absorption }),
        busy: () =>
          this.stopping.begun
            ? "the receiver is stopping"
            : this.storeLease.mayServe
              ? undefined
              : "the receiver cannot reach the store",
      },
    });
    this.settings = new AppSettings(here, {
      overrides: this.overrides,
      apps,
      engine,
      commits: this.commits,
      asks: this.asks,
      links: () => liveness.links(),
    });
    this.answers = new Answers(here, {
      asks: this.asks,
      engine,
      hosting: this.hosting,
      claimant: this.claimant,
      outgoing: this.outgoing,
      limit,
      settings: this.settings,
      apps,
      liveness,
      adoption: this.adoption,
      neighbours: this.neighbours,
      member,
      version: options.version,
      state: () => this.standing.state(),
      leaseMs: () =>
        this.seat.leaseUntil === undefined ? undefined : Math.max(0, Math.round(this.seat.leaseUntil - here.now)),
    });
    this.standing = new Standing(here, {
      engine,
      memberId: member.id,
      leaseUntil: () => this.seat.leaseUntil,
      holdsStore: (at) => this.storeLease.mayServeAt(at ?? here.now),
      isStopping: () => this.stopping.begun,
      serves: (partition) => this.hosting.serving(partition),
      mayServe: () => this.router.drain(),
    });
    this.doubts = new Doubts(here, {
      epoch: () => this.hosting.doubts().at(-1) ?? (this.storeLease.held ? this.storeLease.doubt : undefined),
      wish: (change, ended, withinMs) => this.claimant.wish(change, ended, withinMs),
    });
    this.parting = new Parting(here, {
      leave: () => this.neighbours.leave(),
      hasLeft: () => this.neighbours.hasLeft,
    });
    this.nodeRows = new NodeRows(here, {
      overrides: this.overrides,
      apps,
      nextReadId,
      known: () => {
        this.seat.start();
        const { document } = options.register;
        if (document !== undefined && here.document === undefined) this.follow(document);
      },
    });
  }

  /** A newer document is decided and on this node's disk. */
  follow(document: RingDocument): void {
    const before = this.here.document;
    this.here.document = document;
    this.#share(document);
    this.hosting.follow(document);
    this.storeLease.follow(document); // after: starts are allowed again, of what is left
    this.incoming.follow(document);
    this.outgoing.follow(document);
    this.claimant.follow(document);
    this.soleSeat.follow(document);
    this.adoption.follow(document);
    this.settleInPlace();
    this.router.drain();
    this.here.emit({ type: "document" });
    this.neighbours.follow(document);
    this.parting.follow(before, document);
  }

  /** This node's own stranded rows of partitions that it owns again lie where they are needed. */
  settleInPlace(): void {
    const { document, self } = this.here;
    for (const entry of document?.stranded ?? []) {
      const isHere = liesIn(entry, this.here) && document?.owners[entry.partition] === self;
      if (isHere && this.hosting.loaded(entry.partition)) this.incoming.settle(entry);
    }
  }

  #linkChanged(peer: NodeName, up: boolean): void {
    if (up) {
      this.adoption.trust(peer);
      this.claimant.nudge(); // a voter at last, before partitions move to it
      if (this.soleSeat.holding().includes(peer)) this.#announce();
      this.router.drain();
      return this.outgoing.pump();
    }
    this.router.linkDown(peer);
    this.outgoing.linkDown(peer);
    this.asks.linkDown(peer);
    this.adoption.suspect(peer);
  }

  /** Before partitions that the document gives to this node are loaded: what they may keep depends on it. */
  #share({ owners, ringSize }: RingDocument): void {
    this.engine.setShare(owners.filter((owner) => owner === this.here.self).length, ringSize);
  }

  /** Members whose directories or seats are held here. */
  #speaksFor(): readonly NodeName[] {
    return [...new Set([...this.adoption.holding(), ...this.soleSeat.holding()])];
  }

  /** To all, this node's own claimant included. */
  #announce(): void {
    const message = { type: "speaking-for", members: this.#speaksFor() } as const;
    this.liveness.speaks(this.here.self, message.members);
    this.neighbours.toAll(message);
    this.here.send(this.here.self, message);
  }

  #counts(): ReadonlyMap<Partition, number> {
    const tasks = new Map<Partition, number>();
    for (const partition of this.hosting.partitions()) {
      const view = this.engine.view(partition);
      if (view !== undefined) tasks.set(partition, view.queued + view.delayed + view.running);
    }
    return tasks;
  }
}

const NODE_TERM = { history: 0, generation: 0, opens: 0 };
/**
 * What this process numbers and others answer, no process before it has numbered so: their late answers are not for this one. One that
 * was gone before its start was on disk counted from the same number of starts, but hardly from the same number.
 */
const NUMBERS_PER_START = 2 ** 32;
