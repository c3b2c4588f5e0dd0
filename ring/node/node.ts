/**
 * One whole node as a state machine: membership, register, lease, claimant, partitions, transfers, adoption and tasks,
 * composed in one place. The driver runs it on real sockets and disks, the simulator in virtual time.
 *
 * N1  Nothing starts and nothing is admitted without a lease that is held now (ownership rule 12).
 * N2  What a step wants done leaves it in order; row changes leave as numbered commit groups, one in flight.
 */

import type { Member, RingDocument } from "../document.ts";
import { findMember } from "../draft.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant, Machine, Random } from "../machine.ts";
import type { MemberNotice, SwimEffect, SwimEvent } from "../membership/events.ts";
import type { Swim } from "../membership/swim.ts";
import type { RegisterMessage, RegisterState } from "../register/messages.ts";
import type { RegisterEffect } from "../register/events.ts";
import { Register } from "../register/register.ts";
import type { Row } from "../store.ts";
import type { AppCatalogue, AppDefinition, AppOverride } from "../tasks/definition.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { TaskRecord } from "../tasks/task.ts";
import { Adoption, RESTART_GRACE_MS } from "./adoption.ts";
import { Answers } from "./answers.ts";
import { Asks } from "./asks.ts";
import { Claimant } from "./claimant.ts";
import { Commits } from "./commits.ts";
import type { Copy, NodeEffect, NodeEvent } from "./effects.ts";
import type { Here } from "./here.ts";
import { Hosting } from "./hosting.ts";
import { Incoming } from "./incoming.ts";
import { Liveness } from "./liveness.ts";
import { Loads } from "./loads.ts";
import type { AppPresence, Giving, NodeMessage } from "./messages.ts";
import { Outgoing } from "./outgoing.ts";
import { NODE_ROWS, Overrides, overrideChange } from "./overrides.ts";
import type { TransferView } from "./requests.ts";
import { type Admission, Router } from "./router.ts";
import { ClientSink, ForwardSink, OutboxSink, Slots } from "./sinks.ts";

/** Where app definitions come from; overrides go back to it. */
export interface AppSource extends AppCatalogue {
  override(override: AppOverride): boolean;
  /** Names and templates with their versions, as told to other members. */
  presence(): readonly { readonly match: string; readonly version: string }[];
  definitions(): Iterable<AppDefinition>;
}

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
  /** Stage and commit the own join without an operator. */
  readonly autoJoin: boolean;
}

export class NodeMachine implements Machine<NodeEvent, NodeEffect> {
  readonly #options: NodeOptions;
  readonly #here: Here & { now: Instant; document: RingDocument | undefined };
  readonly #engine: TaskEngineContract;
  readonly #swim: Swim;
  readonly #register: Register;
  readonly #liveness: Liveness;
  readonly #commits: Commits;
  readonly #hosting: Hosting;
  readonly #router: Router;
  readonly #outgoing: Outgoing;
  readonly #incoming: Incoming;
  readonly #claimant: Claimant;
  readonly #adoption: Adoption;
  readonly #asks: Asks;
  readonly #answers: Answers;
  readonly #overrides = new Overrides();
  readonly #loads = new Loads();
  readonly #slots = new Slots();
  readonly #clients = new Map<number, ClientSink>();
  readonly #outboxes = new Map<Partition, OutboxSink>();
  readonly #stateReads = new Map<number, number>();
  readonly #candidates = new Map<NodeName, Omit<Member, "status">>();
  readonly #presence = new Map<NodeName, readonly { readonly match: string; readonly version: string }[]>();
  #effects: NodeEffect[] = [];
  #loopback: NodeMessage[] = [];
  #touched: ClientSink[] = [];
  #readId = 0;
  #nodeRowsRead: number | undefined;
  #started = false;
  #flushAsked = false;
  #leaseUntil: Instant | undefined;
  #stopping: { readonly deadline: Instant; readonly phase: "draining" | "aborted" | "marking" } | undefined;
  #broken: string | undefined;
  #diskFull = false;
  #outsideTickAt: Instant | undefined;
  #leftAt: Instant | undefined;

  constructor(options: NodeOptions) {
    this.#options = options;
    const { member, engine, random, leaseMs } = options;
    this.#engine = engine;
    this.#swim = options.swim;
    this.#liveness = new Liveness(member.name);
    const liveness = this.#liveness;
    this.#here = {
      self: member.name,
      now: 0,
      document: undefined,
      emit: (effect) => void this.#effects.push(effect),
      send: (to, message) => {
        if (to === member.name) this.#loopback.push(message);
        else this.#effects.push({ type: "send", to, message });
      },
      linked: (name) => liveness.linked(name),
      note: (what, detail) => void this.#effects.push({ type: "note", what, detail }),
    };
    const here = this.#here;
    this.#register = new Register({ state: options.register, leaseMs, random });
    this.#commits = new Commits((partition) => (partition === NODE_ROWS ? NODE_TERM : this.#hosting.termOf(partition)));
    const nextReadId = (): number => ++this.#readId;
    this.#hosting = new Hosting(here, engine, options.copies, nextReadId);
    const parts = { engine, hosting: this.#hosting, commits: this.#commits };
    this.#router = new Router(here, {
      admission: (partition) => this.#admission(partition),
      submit: (partition, record, sink, token) => {
        const elsewhere = options.apps.find(record.app) === undefined ? this.#loadedElsewhere(record.app) : undefined;
        if (elsewhere === undefined) return engine.submit(here.now, partition, record, this.#slots.take(sink, token), sink.origin);
        const detail = `${member.name} owns the key but has not loaded ${record.app}; ${elsewhere} has`;
        sink.settle(token, { type: "refused", code: "APP_NOT_HERE", detail, retryAfterMs: 1_000 });
      },
    });
    this.#outgoing = new Outgoing(here, {
      ...parts,
      hooks: {
        consent: (epoch, partition, to, insist) => this.#giveConsent(member.name, epoch, { type: "moves", moves: [{ partition, to }] }, insist),
        nextReadId,
        nonce: () => Math.floor(random() * 2 ** 48),
        holds: (entry) => (entry.member === member.name ? (entry.memberId === member.id ? { type: "own" } : undefined) : this.#adoption.holds(entry)),
      },
    });
    this.#incoming = new Incoming(here, {
      ...parts,
      hooks: {
        absorbed: (entries) => this.#toClaimant({ type: "absorbed", entries }),
        busy: () => (this.#stopping === undefined ? undefined : "the receiver is stopping"),
      },
    });
    this.#claimant = new Claimant(here, liveness, {
      propose: (document, consents) => this.#fromRegister(member.name, this.#register.step(here.now, { type: "propose", document, consents })),
      askRevocable: (name) => this.#fromRegister(member.name, this.#register.step(here.now, { type: "ask-revocable", member: name })),
      peersOnMachine: (name) => this.#peersOnMachine(name),
    });
    this.#adoption = new Adoption(here, {
      random,
      leaseMs,
      hooks: {
        consent: (name, epoch, gives) => this.#giveConsent(name, epoch, gives, true),
        registerEffects: (of, effects) => this.#fromRegister(of, effects),
        learn: (document) => this.#learn(document),
        announce: (members) => this.#toAll({ type: "speaking-for", members }),
        isRestarting: (name) => liveness.isRestarting(here.now, name),
        live: (name) => liveness.live(here.now, name),
      },
    });
    this.#asks = new Asks(here);
    this.#answers = new Answers(here, {
      asks: this.#asks, engine, hosting: this.#hosting, claimant: this.#claimant, outgoing: this.#outgoing, incoming: this.#incoming,
      overrides: this.#overrides, apps: options.apps, liveness, adoption: this.#adoption, loads: this.#loads, candidates: this.#candidates, member,
      version: options.version,
      state: () => this.#state(),
      leaseMs: () => (this.#leaseUntil === undefined ? undefined : Math.max(0, Math.round(this.#leaseUntil - here.now))),
      changed: (override) => this.#overrideChanged(override),
    });
  }

  get document(): RingDocument | undefined {
    return this.#here.document;
  }

  members(): ReturnType<Swim["members"]> {
    return this.#swim.members();
  }

  holdsLease(now: Instant): boolean {
    return this.#leaseUntil !== undefined && this.#leaseUntil > now;
  }

  /** Transfers that this node sends. */
  transfers(): readonly TransferView[] {
    return this.#outgoing.views();
  }

  /** Partitions whose tasks this node would start now. For checkers. */
  active(now: Instant): readonly Partition[] {
    if (!this.holdsLease(now) || this.#stopping !== undefined || this.#broken !== undefined) return [];
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
      swim: this.#swim.nextDeadline(), register: this.#register.nextDeadline(), engine: this.#engine.nextDeadline(), router: this.#router.nextDeadline(),
      outgoing: this.#outgoing.nextDeadline(), incoming: this.#incoming.nextDeadline(), claimant: this.#claimant.nextDeadline(), adoption: this.#adoption.nextDeadline(),
      asks: this.#asks.nextDeadline(), lease: this.#leaseUntil, loads: this.#started ? this.#loads.nextDeadline() : undefined, outside: this.#outsideTickAt, left: this.#leftAt, stop: this.#stopping?.deadline,
    };
  }

  step(now: Instant, event: NodeEvent): readonly NodeEffect[] {
    this.#here.now = now;
    if (this.#leaseUntil !== undefined && this.#leaseUntil <= now) this.#loseLease();
    this.#handle(event);
    this.#settle();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #handle(event: NodeEvent): void {
    const { now } = this.#here;
    switch (event.type) {
      case "submit":
        return this.#router.submit(this.#client(event.origin), event.tokens, event.records);
      case "ended":
        this.#engine.ended(now, event.ends);
        this.#outgoing.attemptsEnded();
        if (this.#stopping !== undefined) this.#progressStop();
        return;
      case "committed":
        for (const partition of event.refused) this.#hosting.fenced(partition);
        this.#engine.durable(now, event.group);
        return this.#commits.settled(event.group, this.#outgoing);
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
        return this.#swimStep(event.event);
      case "register-persisted":
        if (event.of === this.#here.self) this.#fromRegister(event.of, this.#register.step(now, { type: "persisted", sequence: event.sequence }));
        else this.#adoption.persisted(event.of, event.sequence);
        return;
      case "link":
        return this.#link(event.peer, event.up);
      case "opened":
        return this.#hosting.opened(event.partition, event.term);
      case "dropped":
        if (event.directory.type === "own") this.#hosting.dropped(event.partition);
        else this.#adoption.dropped(event.directory.member, event.partition);
        return;
      case "adopted-committed":
        return this.#adoption.committed(event.writeId);
      case "lock":
        return this.#adoption.locked(event.member, event.result);
      case "ask":
        return this.#answers.ask({ type: "local", askId: event.askId }, event.request, { to: event.to, deadlineMs: event.deadlineMs });
      case "forget":
        this.#clients.delete(event.origin);
        return;
      case "wall":
        return this.#engine.setWallOffset(event.offsetMs);
      case "suspended":
        this.#here.note("suspended", "the clock jumped: the lease is void");
        this.#fromRegister(this.#here.self, this.#register.step(now, { type: "suspended" }));
        return this.#loseLease();
      case "start":
        return this.#start(event.wallOffsetMs);
      case "stop":
        return this.#stop(event.graceMs);
      case "marked":
        this.#here.emit({ type: "exit", code: 0, reason: "stopped" });
        return;
      case "store-full":
        this.#diskFull = event.full;
        this.#here.note(event.full ? "disk-full" : "disk-has-room", event.full ? "new tasks are refused" : "new tasks are taken again");
        return;
      case "store-broken":
        return this.#break(event.detail);
    }
  }

  #start(wallOffsetMs: number): void {
    this.#engine.setWallOffset(wallOffsetMs);
    this.#engine.allowStarts(this.#here.now, false);
    this.#started = true;
    this.#outsideTickAt = this.#here.now;
    this.#readNodeRows(undefined);
  }

  #readNodeRows(after: Uint8Array | undefined): void {
    this.#nodeRowsRead = ++this.#readId;
    const request = { partition: NODE_ROWS, rowLimit: 5_000, byteLimit: 4_194_304, ...(after === undefined ? {} : { after }) };
    this.#here.emit({ type: "read", readId: this.#nodeRowsRead, directory: { type: "own" }, request });
  }

  /** Once all app overrides are known, partitions may open. */
  #nodeRows(rows: readonly Row[], next: Uint8Array | undefined): void {
    for (const override of this.#overrides.load(rows)) this.#options.apps.override(override);
    if (next !== undefined) return this.#readNodeRows(next);
    this.#fromRegister(this.#here.self, this.#register.step(this.#here.now, { type: "start" }));
    const { document } = this.#options.register;
    if (document !== undefined && this.#here.document === undefined) this.#follow(document);
  }

  #tick(): void {
    const { now } = this.#here;
    this.#swimStep({ type: "tick" });
    this.#fromRegister(this.#here.self, this.#register.step(now, { type: "tick" }));
    this.#engine.tick(now);
    const drainAt = this.#router.nextDeadline();
    if (drainAt !== undefined && drainAt <= now) this.#router.drain();
    this.#outgoing.pump();
    this.#incoming.tick();
    this.#adoption.tick();
    this.#claimant.tick();
    this.#asks.tick();
    if (this.#outsideTickAt !== undefined && this.#outsideTickAt <= now) this.#outside();
    this.#tellLoads();
    if (this.#stopping !== undefined) this.#progressStop();
    if (this.#leftAt !== undefined && this.#leftAt <= now) {
      this.#leftAt = undefined;
      this.#here.emit({ type: "exit", code: 0, reason: "left the ring" });
    }
  }

  #message(from: NodeName, message: NodeMessage): void {
    switch (message.type) {
      case "forward": {
        const sink = new ForwardSink({ from, forwardId: message.forwardId, origin: message.origin, count: message.records.length }, (done) =>
          this.#here.send(done.from, { type: "forwarded", forwardId: done.forwardId, epoch: this.#here.document?.epoch ?? message.epoch, outcomes: done.outcomes }),
        );
        return this.#router.submit(sink, message.records.map((_, index) => index), message.records);
      }
      case "forwarded":
        return this.#router.forwarded(from, message);
      case "register":
        return this.#registerMessage(message.for, message.as, message.message);
      case "ask":
        return this.#answers.ask({ type: "peer", name: from, askId: message.askId }, message.request, { to: this.#here.self, deadlineMs: PEER_ASK_MS });
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
        return this.#claimant.consent(message.member, message.epoch, message.gives, true);
      case "absorbed":
        return this.#claimant.absorbed(message.entries);
      case "document":
        return this.#learn(message.document);
      case "pull-document": {
        const { document } = this.#here;
        if (document !== undefined && document.epoch > message.epoch) this.#here.send(from, { type: "document", document });
        return;
      }
      case "apps":
        return this.#appPresence(from, message);
      case "speaking-for":
        this.#liveness.speaks(from, message.members);
        return this.#claimant.nudge();
      case "candidate":
        if (this.#candidates.has(message.member.name) || this.#candidates.size < CANDIDATE_LIMIT) this.#candidates.set(message.member.name, message.member);
        return;
      case "loads":
        return this.#loads.learn(from, message.counts);
      case "restarting":
        this.#liveness.restarting(from, this.#here.now + message.graceMs);
        this.#here.note("member-restarting", from);
        return;
      case "refused":
        this.#here.note("refused", `${from}: ${message.code} ${message.detail}`);
        return;
      case "hello":
        return;
    }
  }

  // Register, document and lease.

  #registerMessage(to: NodeName, from: NodeName, message: RegisterMessage): void {
    if (to === this.#here.self) this.#fromRegister(to, this.#register.step(this.#here.now, { type: "message", from, message }));
    else this.#adoption.receive(to, from, message);
  }

  #fromRegister(of: NodeName, effects: readonly RegisterEffect[]): void {
    for (const effect of effects) {
      switch (effect.type) {
        case "send":
          this.#sendRegister(of, effect.to, effect.message);
          break;
        case "persist":
          this.#here.emit({ type: "persist-register", of, sequence: effect.sequence, state: effect.state });
          break;
        case "decided":
          if (of === this.#here.self) this.#follow(effect.document);
          else this.#learn(effect.document);
          break;
        case "proposal-ended":
          if (of === this.#here.self) {
            const { type } = effect.outcome;
            this.#claimant.ended(type === "unknown" ? "lost" : type, this.#options.random());
          }
          break;
        case "revocable":
          this.#claimant.revocable(effect.member, effect.majority);
          break;
        case "lease":
          if (of === this.#here.self) this.#lease(effect.heldUntil);
          break;
        case "lease-warning":
          if (of === this.#here.self) this.#engine.abortAll(this.#here.now, "lease");
          break;
        case "superseded":
          if (of === this.#here.self) this.#here.emit({ type: "exit", code: 1, reason: "the ring was recovered without this node: it belongs to an older history" });
          break;
        case "restored":
          if (of === this.#here.self) this.#here.emit({ type: "exit", code: 1, reason: "the data directory was restored from a copy, or two processes use it: start with an empty one" });
          break;
        default:
          this.#here.note(effect.type, JSON.stringify(effect).slice(0, 200));
      }
    }
  }

  #sendRegister(of: NodeName, to: NodeName, message: RegisterMessage): void {
    if (to === this.#here.self) this.#loopback.push({ type: "register", for: to, as: of, message });
    else if (this.#adoption.holding().includes(to)) this.#loopback.push({ type: "register", for: to, as: of, message });
    else this.#here.send(this.#liveness.speakerFor(to) ?? to, { type: "register", for: to, as: of, message });
  }

  #learn(document: RingDocument): void {
    this.#fromRegister(this.#here.self, this.#register.step(this.#here.now, { type: "learn", document }));
  }

  /** A newer document is decided and on this node's disk. */
  #follow(document: RingDocument): void {
    const before = this.#here.document;
    this.#here.document = document;
    const owned = document.owners.filter((owner) => owner === this.#here.self).length;
    this.#engine.setShare(owned, document.ringSize);
    this.#hosting.follow(document);
    this.#incoming.follow(document);
    this.#outgoing.follow(document);
    this.#claimant.follow(document);
    this.#adoption.follow(document);
    this.#settleInPlace();
    this.#router.drain();
    this.#here.emit({ type: "document" });
    this.#swimStep({ type: "set-tags", tags: new Map([...this.#ownTags(), ["epoch", String(document.epoch)]]) });
    this.#linkUp();
    const self = findMember(document, this.#here.self);
    if (before !== undefined && self === undefined && findMember(before, this.#here.self) !== undefined) {
      this.#here.note("left", "this node is no longer a member of the ring");
      this.#leftAt = this.#here.now + LATE_CALLS_MS;
    }
  }

  /** This node's own stranded rows of partitions that it owns again lie where they are needed. */
  #settleInPlace(): void {
    const { document, self } = this.#here;
    for (const entry of document?.stranded ?? []) {
      if (entry.member === self && entry.memberId === this.#options.member.id && document?.owners[entry.partition] === self && this.#hosting.loaded(entry.partition)) this.#incoming.settle(entry);
    }
  }

  #ownTags(): ReadonlyMap<string, string> {
    return this.#swim.members()[0]?.tags ?? new Map();
  }

  #lease(heldUntil: Instant | undefined): void {
    const had = this.#leaseUntil !== undefined;
    this.#leaseUntil = heldUntil;
    if (had === (heldUntil !== undefined)) return;
    this.#engine.allowStarts(this.#here.now, heldUntil !== undefined && this.#stopping === undefined && this.#broken === undefined);
    if (heldUntil !== undefined) this.#router.drain();
    else this.#here.note("lease-lost", "no majority of voters renewed it");
  }

  #loseLease(): void {
    this.#lease(undefined);
    this.#engine.abortAll(this.#here.now, "lease");
  }

  #admission(partition: Partition): Admission {
    if (this.#stopping !== undefined || this.#broken !== undefined) return "draining";
    if (!this.#hosting.serving(partition)) return "wait";
    if (this.#leaseUntil === undefined) return "no-lease";
    return this.#diskFull ? "disk-full" : "serve";
  }

  #giveConsent(member: NodeName, epoch: import("../ids.ts").Epoch, gives: Giving, insist: boolean): void {
    if (insist || this.#claimant.role() === this.#here.self) this.#claimant.consent(member, epoch, gives, insist);
    const role = this.#claimant.role();
    if (role !== undefined && role !== this.#here.self) this.#here.send(role, { type: "consent", member, epoch, gives });
  }

  #toClaimant(message: Extract<NodeMessage, { type: "absorbed" }>): void {
    const role = this.#claimant.role();
    if (role === undefined || role === this.#here.self) this.#claimant.absorbed(message.entries);
    else this.#here.send(role, message);
  }

  // Membership and links.

  #swimStep(event: SwimEvent): void {
    for (const effect of this.#swim.step(this.#here.now, event)) {
      if (isNotice(effect)) this.#notice(effect);
      else this.#here.emit({ type: "swim", effect });
    }
  }

  #notice(notice: MemberNotice): void {
    const { name } = notice.member;
    this.#liveness.notice(this.#here.now, notice);
    if (notice.type === "member-dead") this.#adoption.suspect(name);
    if (notice.type !== "member-updated") this.#here.note(notice.type, name);
    this.#linkUp();
    this.#claimant.nudge();
    const epoch = Number(notice.member.tags.get("epoch") ?? 0);
    if (epoch > (this.#here.document?.epoch ?? 0) && this.#liveness.linked(name)) this.#here.send(name, { type: "pull-document", epoch: this.#here.document?.epoch ?? 0 });
  }

  #linkUp(): void {
    const wanted = new Set<NodeName>();
    for (const member of this.#swim.members()) if (member.state !== "left" && member.state !== "dead") wanted.add(member.name);
    for (const member of this.#here.document?.members ?? []) wanted.add(member.name);
    wanted.delete(this.#here.self);
    this.#here.emit({ type: "links", to: [...wanted] });
  }

  #link(peer: NodeName, up: boolean): void {
    this.#liveness.link(peer, up);
    if (up) {
      this.#adoption.trust(peer);
      this.#here.send(peer, { type: "apps", loaded: this.#options.apps.presence(), overrides: this.#overrides.all() });
      if (this.#adoption.holding().length > 0) this.#here.send(peer, { type: "speaking-for", members: this.#adoption.holding() });
      this.#here.send(peer, { type: "pull-document", epoch: this.#here.document?.epoch ?? 0 });
      if (this.#loads.all().length > 0) this.#here.send(peer, { type: "loads", counts: this.#loads.all() });
      this.#outsideTickAt = this.#outsideTickAt === undefined ? undefined : this.#here.now;
      this.#router.drain();
      this.#outgoing.pump();
    } else {
      this.#liveness.speaks(peer, []);
      this.#router.linkDown(peer);
      this.#outgoing.linkDown(peer);
      this.#asks.linkDown(peer);
      this.#presence.delete(peer);
      this.#adoption.suspect(peer);
    }
    this.#claimant.nudge();
  }

  /** While this node is not a member: tells the ring of itself, and with `autoJoin` asks to be taken in. */
  #outside(): void {
    const { now, document, self } = this.#here;
    this.#outsideTickAt = now + OUTSIDE_EVERY_MS;
    for (const peer of this.#liveness.links()) if (document === undefined) this.#here.send(peer, { type: "pull-document", epoch: 0 });
    if (document === undefined) return;
    const member = findMember(document, self);
    if (member?.id === this.#options.member.id) {
      this.#outsideTickAt = undefined;
      return;
    }
    this.#toAll({ type: "candidate", member: this.#options.member });
    if (!this.#options.autoJoin) return;
    const staged = document.staged.some((change) => change.type === "join" && change.member.name === self);
    const askId = -1;
    const role = this.#claimant.role();
    if (role === undefined) return;
    this.#asks.forward({ type: "local", askId }, role, staged ? { type: "commit" } : { type: "stage", change: { type: "join", member: this.#options.member } }, AUTO_JOIN_ASK_MS);
  }

  #peersOnMachine(name: NodeName): boolean {
    const { document, now } = this.#here;
    const member = document === undefined ? undefined : findMember(document, name);
    if (document === undefined || member === undefined) return false;
    return document.members.some((other) => other.name !== name && other.machine === member.machine && this.#liveness.live(now, other.name));
  }

  #tellLoads(): void {
    const counts = this.#loads.due(this.#here.now, () => {
      const tasks = new Map<Partition, number>();
      for (const partition of this.#hosting.partitions()) {
        const view = this.#engine.view(partition);
        if (view !== undefined) tasks.set(partition, view.queued + view.delayed + view.running);
      }
      return tasks;
    });
    if (counts !== undefined) this.#toAll({ type: "loads", counts });
  }

  #toAll(message: NodeMessage): void {
    for (const peer of this.#liveness.links()) this.#here.send(peer, message);
  }

  // Apps.

  #appPresence(from: NodeName, message: AppPresence): void {
    this.#presence.set(from, message.loaded);
    for (const override of message.overrides) this.#overrideChanged(override, false);
  }

  #overrideChanged(override: AppOverride, tell = true): void {
    if (!this.#overrides.learn(override)) return;
    this.#commits.add(NODE_ROWS, overrideChange(override));
    this.#options.apps.override(override);
    this.#engine.appChanged(this.#here.now, override.app);
    if (tell) this.#toAll({ type: "apps", loaded: this.#options.apps.presence(), overrides: [override] });
  }

  // Rows, commits and what the engine wants.

  #rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): void {
    const stateRead = this.#stateReads.get(readId);
    if (stateRead !== undefined) {
      this.#stateReads.delete(readId);
      return this.#engine.stateLoaded(this.#here.now, stateRead, rows);
    }
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
    const commit = this.#commits.flush();
    this.#engine.group = this.#commits.group;
    if (commit === undefined) return;
    if (commit.groups.length > 0) this.#here.emit({ type: "commit", ...commit });
    else {
      // Nothing to write: what waited may run, but not before earlier groups, and none is in flight.
      this.#engine.durable(this.#here.now, commit.group);
      this.#commits.settled(commit.group, this.#outgoing);
    }
  }

  /** Carries what the engine and this node's own messages want until nothing more comes of it. */
  #settle(): void {
    const { output } = this.#engine;
    for (;;) {
      this.#drain(output);
      if (this.#loopback.length === 0) break;
      const messages = this.#loopback;
      this.#loopback = [];
      for (const message of messages) this.#message(this.#here.self, message);
    }
    for (const sink of this.#touched) {
      if (this.#clients.has(sink.id)) this.#here.emit({ type: "outcomes", origin: sink.id, tokens: sink.tokens, outcomes: sink.outcomes });
      sink.tokens = [];
      sink.outcomes = [];
    }
    this.#touched.length = 0;
    if (this.#commits.wanting && !this.#flushAsked) {
      this.#flushAsked = true;
      this.#here.emit({ type: "flush-soon" });
    }
  }

  #drain(output: TaskEngineContract["output"]): void {
    while (output.outbox.length > 0 || output.outcomes.length > 0 || output.changes.length > 0 || output.stateReads.length > 0 || output.answers.length > 0) {
      for (const { partition, change } of output.changes) this.#commits.add(partition, change);
      output.changes.length = 0;
      const outcomes = output.outcomes.splice(0);
      for (const { token, outcome } of outcomes) this.#slots.settle(token, outcome);
      for (const { partition, prefix, readId } of output.stateReads) {
        const own = ++this.#readId;
        this.#stateReads.set(own, readId);
        this.#here.emit({ type: "read", readId: own, directory: { type: "own" }, request: { partition, prefix, rowLimit: 10_000, byteLimit: 16_777_216 } });
      }
      output.stateReads.length = 0;
      for (const { requestId, answer } of output.answers.splice(0)) this.#answers.answered(requestId, answer);
      for (const { partition, outboxId, record } of output.outbox.splice(0)) this.#sendChild(partition, outboxId, record);
    }
    if (output.starts.length > 0) this.#here.emit({ type: "start", attempts: output.starts.splice(0) });
    for (const { attemptId, reason } of output.aborts.splice(0)) this.#here.emit({ type: "abort", attemptId, reason });
    if (output.events.length > 0) this.#here.emit({ type: "task-events", events: output.events.splice(0) });
  }

  /** The peer that has loaded an app which this node has not. */
  #loadedElsewhere(app: string): NodeName | undefined {
    for (const [peer, loaded] of this.#presence) {
      if (loaded.some(({ match }) => match === app || (match.endsWith("*") && app.startsWith(match.slice(0, -1))))) return peer;
    }
    return undefined;
  }

  #sendChild(partition: Partition, outboxId: number, record: TaskRecord): void {
    let sink = this.#outboxes.get(partition);
    if (sink === undefined) {
      sink = new OutboxSink(partition, (of, id, outcome) => this.#engine.childSent(this.#here.now, of, id, outcome));
      this.#outboxes.set(partition, sink);
    }
    this.#router.submit(sink, [outboxId], [record]);
  }

  #client(origin: number): ClientSink {
    let sink = this.#clients.get(origin);
    if (sink === undefined) {
      sink = new ClientSink(origin, (touched) => void this.#touched.push(touched));
      this.#clients.set(origin, sink);
    }
    return sink;
  }

  // The end.

  #stop(graceMs: number): void {
    if (this.#stopping !== undefined) return;
    const { now } = this.#here;
    this.#stopping = { deadline: now + graceMs, phase: "draining" };
    this.#engine.allowStarts(now, false);
    for (const partition of this.#hosting.partitions()) this.#engine.hold(now, partition);
    this.#toAll({ type: "restarting", graceMs: graceMs + RESTART_GRACE_MS });
    this.#progressStop();
  }

  #progressStop(): void {
    const stopping = this.#stopping;
    if (stopping === undefined || stopping.phase === "marking") return;
    const { now } = this.#here;
    let running = 0;
    for (const partition of this.#hosting.partitions()) running += this.#engine.inFlight(partition).length;
    if (running > 0 && now < stopping.deadline) return;
    if (running > 0 && stopping.phase === "draining") {
      this.#engine.abortAll(now, "shutdown");
      this.#stopping = { deadline: now + ABORT_GRACE_MS, phase: "aborted" };
      return;
    }
    this.#stopping = { deadline: Number.POSITIVE_INFINITY, phase: "marking" };
    this.#toAll({ type: "restarting", graceMs: RESTART_GRACE_MS });
    this.#commits.whenSynced(() => this.#here.emit({ type: "mark-stopping" }));
  }

  #break(detail: string): void {
    if (this.#broken !== undefined) return;
    this.#broken = detail;
    this.#engine.allowStarts(this.#here.now, false);
    this.#here.note("store-broken", detail);
    this.#here.emit({ type: "exit", code: EXIT_BROKEN_STORE, reason: `the store failed: ${detail}` });
  }

  #state(): "starting" | "waiting-to-join" | "serving" | "draining" | "stopping" | "broken" {
    if (this.#broken !== undefined) return "broken";
    if (this.#stopping !== undefined) return "stopping";
    const { document, self } = this.#here;
    if (!this.#started) return "starting";
    const member = document === undefined ? undefined : findMember(document, self);
    if (member === undefined || member.id !== this.#options.member.id) return "waiting-to-join";
    if (this.#leaseUntil === undefined) return "starting";
    return member.weight === 0 ? "draining" : "serving";
  }
}

function isNotice(effect: SwimEffect): effect is MemberNotice {
  return effect.type.startsWith("member-");
}

const NODE_TERM = { history: 0, generation: 0, opens: 0 };
const CANDIDATE_LIMIT = 64;
const PEER_ASK_MS = 30_000;
const OUTSIDE_EVERY_MS = 250;
const AUTO_JOIN_ASK_MS = 2_000;
/** A member that has left goes on answering late calls for this long. */
const LATE_CALLS_MS = 2_000;
const ABORT_GRACE_MS = 500;
/** sysexits.h EX_IOERR: the supervisor should look at the disk. */
const EXIT_BROKEN_STORE = 74;
