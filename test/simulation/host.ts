/**
 * One simulated process at a time on one simulated machine: performs the effects of a node machine in virtual time.
 *
 * A life is one process: a crash ends it with everything that was not synced; a pause delays what it would do.
 */

import type { Member, RingDocument } from "../../ring/document.ts";
import type { NodeName, Partition } from "../../ring/ids.ts";
import type { SwimEffect } from "../../ring/membership/events.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import type { NodeMessage } from "../../ring/node/messages.ts";
import { idTag } from "../../ring/node/neighbours.ts";
import { NodeMachine } from "../../ring/node/node.ts";
import { NODE_ROWS } from "../../ring/node/overrides.ts";
import type { RegisterState } from "../../ring/register/messages.ts";
import type { RowGroup } from "../../ring/store.ts";
import { TaskEngine } from "../../ring/tasks/engine.ts";
import type { Attempt, AttemptEnd } from "../../ring/tasks/task.ts";
import type { Agenda } from "./agenda.ts";
import { handlerEnd, SimulatedApps } from "./apps.ts";
import { Disk } from "./disk.ts";
import type { Network } from "./network.ts";
import type { SeededRandom } from "./random.ts";
import type { SharedStore } from "./shared-store.ts";

export interface Surroundings {
  readonly agenda: Agenda;
  readonly network: Network;
  readonly random: SeededRandom;
  readonly chunkRows: number;
  /** Handoffs of a node at once; absent: as many as the ring's size gives. */
  readonly handoffs: number | undefined;
  /** Attempts of one app at once on one node. */
  readonly running: number;
  /** Absent: each host keeps its rows on its own disk. */
  readonly store?: SharedStore | undefined;
  hostAt(host: string): Host | undefined;
  hostOf(name: NodeName): Host | undefined;
  diskOf(name: NodeName): Disk | undefined;
  /** A consent is on its way: the ring is in the middle of a change. */
  consented(): void;
  /** What the handler of an attempt comes to, where that is not the usual. */
  endOf?(attempt: Attempt): AttemptEnd | undefined;
  /** For checkers. */
  observe(fact: Fact): void;
  outcome(origin: number, token: number, outcome: import("../../ring/tasks/task.ts").SubmitOutcome): void;
}

export type Fact =
  | { readonly type: "document"; readonly node: NodeName; readonly document: RingDocument }
  | { readonly type: "attempt-start"; readonly node: NodeName; readonly attempt: Attempt; readonly life: number }
  | {
      readonly type: "attempt-end";
      readonly node: NodeName;
      readonly attemptId: number;
      readonly life: number;
      readonly done: boolean;
    }
  | { readonly type: "life-over"; readonly node: NodeName; readonly life: number }
  | { readonly type: "note"; readonly node: NodeName; readonly what: string; readonly detail: string };

export class Host {
  readonly name: NodeName;
  readonly address: string;
  readonly disk: Disk;
  readonly #world: Surroundings;
  readonly #member: Omit<Member, "status">;
  readonly #drift: number;
  readonly #offset: number;
  machine: NodeMachine | undefined;
  #engineOf: TaskEngine | undefined;
  life: number = 0;
  #pausedUntil = 0;
  #wakeAt: number | undefined;
  #linksUp = new Set<NodeName>();
  #linksWanted = new Set<NodeName>();
  readonly #streams = new Map<number, { readonly from: Host; readonly exchange: number; readonly fromLife: number }>();
  #stream = 0;
  #adopted = new Map<NodeName, Disk>();
  #attempts = new Map<number, Attempt>();
  #flushing = false;
  /** The shared store does and answers what it is asked by one process in that order. */
  #storeDoneAt = 0;
  #storeAnsweredAt = 0;
  /** Of the newest register value that was given to the own disk. */
  #registerSequence = 0;
  /** Commits on their way to a disk. */
  readonly #underWay = new Set<() => void>();
  syncFails = false;
  exited: string | undefined;
  upSince: number = 0;

  constructor(world: Surroundings, options: { member: Omit<Member, "status">; index: number; drift: number }) {
    this.#world = world;
    this.name = options.member.name;
    this.address = `10.0.0.${options.index}`;
    this.#member = options.member;
    this.#drift = options.drift;
    this.#offset = options.index * 1_000_000;
    this.disk = new Disk(this.name, options.member.id);
  }

  get up(): boolean {
    return this.machine !== undefined;
  }

  get paused(): boolean {
    return this.#pausedUntil > this.#world.agenda.now;
  }

  /** The node's own monotonic clock. */
  get clock(): number {
    return this.#world.agenda.now * (1 + this.#drift) + this.#offset;
  }

  /** What it says of itself in gossip. */
  say(health: string): void {
    const tags = this.machine?.members()[0]?.tags;
    if (tags === undefined) return;
    this.step({ type: "swim", event: { type: "set-tags", tags: new Map([...tags, ["health", health]]) } });
  }

  /** Starts a process; waits while another holds the directory's lock. `seeds`: hosts to join through. */
  start(options: { readonly founding?: RingDocument; readonly seeds: readonly string[] }): void {
    if (this.up) return;
    if (this.disk.lockedBy !== undefined) {
      this.#world.agenda.after(200, () => this.start(options));
      return;
    }
    this.life++;
    this.upSince = this.#world.agenda.now;
    this.exited = undefined;
    this.syncFails = false;
    this.disk.lockedBy = this.#holder();
    this.disk.planned = false;
    this.#registerSequence = 0;
    const { random } = this.#world;
    const register: RegisterState = this.disk.register ?? {
      version: 1,
      member: this.name,
      memberId: this.#member.id,
      starts: 0,
      document: options.founding,
      promised: undefined,
      accepted: undefined,
    };
    const apps = new SimulatedApps({ running: this.#world.running });
    this.#engineOf = new TaskEngine({ apps, random });
    const tags = new Map([
      ["id", idTag(this.#member.id)],
      ["starts", String(this.life)],
    ]);
    const swim = new Swim({
      name: this.name,
      address: { host: this.address, port: 7946 },
      tags,
      profile: PROFILES.lan,
      random,
      supersedes: (known, claimed) =>
        known.get("id") === claimed.get("id") && Number(claimed.get("starts")) > Number(known.get("starts")),
    });
    this.machine = new NodeMachine({
      member: this.#member,
      version: "sim",
      swim,
      register,
      copies: this.#world.store === undefined ? this.disk.copies() : [],
      engine: this.#engineOf,
      apps,
      random,
      leaseMs: LEASE_MS,
      autoJoin: true,
      chunkRows: this.#world.chunkRows,
      ...(this.#world.store === undefined ? {} : { sharedStore: true }),
      ...(this.disk.givenFor === undefined ? {} : { givenFor: this.disk.givenFor }),
    });
    this.#linksUp = new Set();
    this.#linksWanted = new Set();
    this.#dialing = new Set();
    this.step({ type: "start", wallOffsetMs: WALL_START - this.#offset });
    if (this.#world.handoffs !== undefined) {
      const request = { type: "transfer-limit", limit: this.#world.handoffs } as const;
      this.step({ type: "ask", askId: 0, request, deadlineMs: 1_000 });
    }
    if (this.#world.store !== undefined) this.#renew(this.#world.store);
    const seeds = options.seeds.filter((seed) => seed !== this.address).map((host) => ({ host, port: 7946 }));
    if (seeds.length > 0) this.#join(seeds);
  }

  /** As the program: again for as long as it has no company. */
  #join(seeds: readonly { readonly host: string; readonly port: number }[]): void {
    if (this.machine!.members().length < 2) this.step({ type: "swim", event: { type: "join", addresses: seeds } });
    this.#later(JOIN_EVERY_MS, () => this.#join(seeds));
  }

  /** The process is gone, with everything not synced. */
  crash(): void {
    if (!this.up) return;
    // What is on its way to a disk may get there although nobody hears of it, from the first of it on.
    if (this.#underWay.size > 0 && this.#world.random.chance(0.5))
      for (const apply of this.#underWay) {
        apply();
        if (this.#world.random.chance(0.3)) break;
      }
    this.#underWay.clear();
    this.#world.observe({ type: "life-over", node: this.name, life: this.life });
    this.machine = undefined;
    this.#pausedUntil = 0;
    this.#wakeAt = undefined;
    this.#attempts = new Map();
    this.#flushing = false;
    this.disk.lockedBy = undefined;
    for (const disk of this.#adopted.values()) disk.lockedBy = undefined;
    this.#adopted = new Map();
    for (const peer of [...this.#linksUp]) this.#world.hostOf(peer)?.linkBroke(this.name, 1);
    this.#linksUp = new Set();
  }

  stop(graceMs: number): void {
    this.step({ type: "stop", graceMs });
  }

  pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#world.agenda.now + ms);
  }

  /** Runs now, or when the process is awake again; nothing of a former life. */
  #later(delayMs: number, run: () => void): void {
    const { life } = this;
    const attempt = (): void => {
      if (this.life !== life || !this.up) return;
      if (this.paused) this.#world.agenda.at(this.#pausedUntil + 0.01, attempt);
      else run();
    };
    this.#world.agenda.after(delayMs, attempt);
  }

  /** As `#later`; what one disk is asked for, it does in that order. */
  #onDisk(disk: Disk, delayMs: number, run: () => void): void {
    const { now } = this.#world.agenda;
    disk.busyUntil = Math.max(now + delayMs + this.#slowness(disk), disk.busyUntil + 0.001);
    this.#later(disk.busyUntil - now, run);
  }

  #commit(disk: Disk, groups: readonly RowGroup[], run: () => void): void {
    const apply = (): void => {
      if (disk === this.disk || disk.lockedBy === this.#holder()) disk.commit(groups);
    };
    this.#underWay.add(apply);
    this.#onDisk(disk, 0.2 + this.#world.random() * 1.5, () => {
      this.#underWay.delete(apply);
      run();
    });
  }

  #slowness({ slowMs }: Disk): number {
    return slowMs > 0 ? this.#world.random() * slowMs : 0;
  }

  /** What was asked of a shared store is done, whatever becomes of the asker meanwhile; while it is away it is asked again. */
  #onStore(store: SharedStore, run: () => NodeEvent | undefined): void {
    const { agenda, random } = this.#world;
    const { life } = this;
    const attempt = (): void => {
      if (store.isAway(this.name)) {
        if (this.life === life && this.up) agenda.after(50, attempt);
        return;
      }
      const event = run();
      this.#storeAnsweredAt = Math.max(this.#storeAnsweredAt + 0.001, agenda.now + 0.1 + random());
      if (event !== undefined) this.#later(this.#storeAnsweredAt - agenda.now, () => this.step(event));
    };
    this.#storeDoneAt = Math.max(this.#storeDoneAt + 0.001, agenda.now + 0.1 + random());
    agenda.at(this.#storeDoneAt, attempt);
  }

  #renew(store: SharedStore): void {
    const askedAt = this.clock;
    this.#onStore(store, () => {
      const { others, seat } = store.renew(this.name, LEASE_MS);
      return { type: "store-lease", heldUntil: askedAt + LEASE_MS, others, ...(seat && { seat }) };
    });
    this.#later(LEASE_MS * 0.3, () => this.#renew(store));
  }

  /** As the real opening: a newer owner may be first, before its document is known here. */
  #openShared(store: SharedStore, effect: Extract<NodeEffect, { type: "open" }>): void {
    this.#onStore(store, () => {
      const term = store.open(effect.partition, effect);
      if (term !== undefined) return { type: "opened", partition: effect.partition, term };
      this.#later(500, () => {
        const { document } = this.machine!;
        const { partition, generation } = effect;
        if (document?.owners[partition] === this.name && document.generations[partition] === generation)
          this.#openShared(store, effect);
      });
      return undefined;
    });
  }

  /** In the shared store; own rows of a node are on its disk. True: done. */
  #performShared(store: SharedStore, effect: NodeEffect): boolean {
    switch (effect.type) {
      case "commit":
        this.#onStore(store, () => {
          const own = effect.groups.filter(({ partition }) => partition === NODE_ROWS);
          this.disk.commit(own);
          const refused = store.rows.commit(effect.groups.filter(({ partition }) => partition !== NODE_ROWS));
          return { type: "committed", group: effect.group, refused };
        });
        return true;
      case "commit-adopted":
        this.#onStore(store, () => {
          for (const { partition, term, changes } of effect.groups) {
            const opened = store.open(partition, term);
            if (opened !== undefined) store.rows.commit([{ partition, term: opened, changes }]);
          }
          return { type: "adopted-committed", writeId: effect.writeId };
        });
        return true;
      case "open":
        this.#openShared(store, effect);
        return true;
      case "read":
        if (effect.request.partition === NODE_ROWS) return false;
        this.#onStore(store, () => {
          const page = effect.directory.type === "own" ? store.rows.page(effect.request) : { rows: [] };
          return { type: "rows", readId: effect.readId, ...page };
        });
        return true;
      case "drop":
        this.#later(1, () => this.step({ type: "dropped", directory: effect.directory, partition: effect.partition }));
        return true;
      case "claim-seat":
        this.#onStore(store, () => ({
          type: "seat",
          of: effect.claim.of,
          result: store.claim({ name: this.name, id: this.#member.id }, effect.claim),
        }));
        return true;
      case "leave-seat":
        this.#onStore(store, () => {
          store.leave(effect.token);
          return undefined;
        });
        return true;
      case "persist-register": {
        const { of, sequence, seat } = effect;
        const { life } = this;
        const write = (): void => {
          if (this.life !== life || this.#registerSequence > sequence) return;
          this.#registerSequence = sequence;
          this.#onRegister(this.disk, () => {
            this.disk.register = effect.state;
            this.step({ type: "register-persisted", of, sequence });
          });
        };
        if (seat === undefined) {
          if (of === this.name) write();
          return of === this.name;
        }
        this.#onStore(store, () => {
          if (!store.write(seat)) return { type: "seat-refused", seat: seat.token };
          if (of !== this.name) return { type: "register-persisted", of, sequence, seat: seat.token };
          write(); // its own disk comes next, if it still lives
          return undefined;
        });
        return true;
      }
      default:
        return false;
    }
  }

  /** One write of a register file after another; now and then one takes as long as decisions take. */
  #onRegister(disk: Disk | undefined, run: () => void): void {
    const { agenda, random } = this.#world;
    const writeMs = random() < 0.05 ? random() * 300 : 0.2 + random() * 1.5;
    const slowMs = disk === undefined ? 0 : this.#slowness(disk);
    const until = Math.max(agenda.now, disk?.registerBusyUntil ?? 0) + writeMs + slowMs;
    if (disk !== undefined) disk.registerBusyUntil = until;
    this.#later(until - agenda.now, run);
  }

  /** Work on an adopted directory finds its disk full. */
  #refusedFor(member: NodeName, disk: Disk, { passing }: { readonly passing: boolean } = { passing: true }): boolean {
    if (disk.fullUntil <= this.#world.agenda.now) return false;
    this.step({ type: "adopted-failed", member, passing, detail: "the disk is full" });
    return true;
  }

  step(event: NodeEvent): void {
    if (this.machine === undefined) return;
    if (this.paused) return this.#later(0, () => this.step(event));
    for (const effect of this.machine.step(this.clock, event)) this.#perform(effect);
    this.#schedule();
  }

  #schedule(): void {
    const deadline = this.machine?.nextDeadline();
    if (deadline === undefined || deadline === Number.POSITIVE_INFINITY) return;
    const at = Math.max(this.#world.agenda.now, (deadline - this.#offset) / (1 + this.#drift) + 0.001);
    if (this.#wakeAt !== undefined && this.#wakeAt <= at && this.#wakeAt > this.#world.agenda.now) return;
    this.#wakeAt = at;
    this.#later(at - this.#world.agenda.now, () => {
      if (this.#wakeAt !== undefined && this.#wakeAt <= this.#world.agenda.now + 0.001) this.#wakeAt = undefined;
      const due = this.machine?.nextDeadline();
      if (due !== undefined && due <= this.clock) this.step({ type: "tick" });
      else this.#schedule();
    });
  }

  #perform(effect: NodeEffect): void {
    const { random, store } = this.#world;
    if (store !== undefined && this.#performShared(store, effect)) return;
    switch (effect.type) {
      case "flush-soon":
        if (this.#flushing) return;
        this.#flushing = true;
        return this.#later(0.05, () => {
          this.#flushing = false;
          this.step({ type: "flush" });
        });
      case "send":
        return this.#send(effect.to, effect.message);
      case "swim":
        return this.#swim(effect.effect);
      case "commit":
        return this.#commit(this.disk, effect.groups, () => {
          if (this.syncFails) return this.step({ type: "store-broken", detail: "fsync: EIO" });
          this.step({ type: "committed", group: effect.group, refused: this.disk.commit(effect.groups) });
        });
      case "persist-register": {
        const disk = effect.of === this.name ? this.disk : this.#adopted.get(effect.of);
        return this.#onRegister(disk, () => {
          if (disk === undefined || disk.lockedBy !== this.#holder()) return;
          if (this.syncFails) return this.step({ type: "store-broken", detail: "fsync: EIO" });
          if (effect.of !== this.name && this.#refusedFor(effect.of, disk, { passing: false })) return;
          disk.register = effect.state;
          this.step({ type: "register-persisted", of: effect.of, sequence: effect.sequence });
        });
      }
      case "commit-adopted": {
        const disk = this.#adopted.get(effect.member);
        if (disk === undefined) return;
        return this.#commit(disk, effect.groups, () => {
          if (this.#adopted.get(effect.member) !== disk || this.#refusedFor(effect.member, disk)) return;
          disk.commit(effect.groups);
          this.step({ type: "adopted-committed", writeId: effect.writeId });
        });
      }
      case "open":
        return this.#onDisk(this.disk, 0.2 + random(), () => {
          this.step({ type: "opened", partition: effect.partition, term: this.disk.open(effect.partition, effect) });
        });
      case "read": {
        const disk = effect.directory.type === "own" ? this.disk : this.#adopted.get(effect.directory.member);
        return this.#later(random() * 0.5, () => {
          const page = disk?.page(effect.request) ?? { rows: [] };
          this.#later(random() * 0.5, () => this.step({ type: "rows", readId: effect.readId, ...page }));
        });
      }
      case "drop": {
        const disk = effect.directory.type === "own" ? this.disk : this.#adopted.get(effect.directory.member);
        if (disk === undefined) return;
        const { directory } = effect;
        return this.#onDisk(disk, 0.2 + random(), () => {
          if (directory.type === "adopted" && this.#refusedFor(directory.member, disk)) return;
          disk.drop(effect.partition);
          this.step({ type: "dropped", directory: effect.directory, partition: effect.partition });
        });
      }
      case "try-lock":
        return this.#later(random(), () => this.#tryLock(effect.member));
      case "release-lock": {
        const disk = this.#adopted.get(effect.member);
        if (disk !== undefined) disk.lockedBy = undefined;
        this.#adopted.delete(effect.member);
        return;
      }
      case "start":
        for (const attempt of effect.attempts) this.#start(attempt);
        return;
      case "abort": {
        const attempt = this.#attempts.get(effect.attemptId);
        if (attempt !== undefined && attempt.resident !== undefined)
          this.#later(1, () => this.#end(effect.attemptId, false));
        return;
      }
      case "outcomes":
        for (const [index, token] of effect.tokens.entries())
          this.#world.outcome(effect.origin, token, effect.outcomes[index]!);
        return;
      case "answered":
        this.onAnswer?.(effect.askId, effect.answer);
        return;
      case "links":
        return this.#links(effect.to);
      case "document":
        this.#world.observe({ type: "document", node: this.name, document: this.machine!.document! });
        return;
      case "note":
        this.#world.observe({ type: "note", node: this.name, what: effect.what, detail: effect.detail });
        return;
      case "mark-stopping":
        return this.#later(0.5, () => {
          this.disk.planned = true;
          this.step({ type: "marked" });
        });
      case "exit":
        this.exited = `${effect.code} ${effect.reason}`;
        this.#world.observe({ type: "note", node: this.name, what: "exit", detail: this.exited });
        return this.#later(0, () => this.crash());
      case "mark-given":
        return this.#later(0.5, () => {
          this.disk.givenFor = effect.epoch;
          this.step({ type: "given-marked", epoch: effect.epoch });
        });
      case "quarantine":
      case "task-events":
      case "claim-seat":
      case "leave-seat":
        return;
    }
  }
  onAnswer: ((askId: number, answer: import("../../ring/node/requests.ts").NodeAnswer) => void) | undefined;

  // Handlers.

  #start(attempt: Attempt): void {
    this.#attempts.set(attempt.attemptId, attempt);
    this.#world.observe({ type: "attempt-start", node: this.name, attempt, life: this.life });
    if (attempt.resident !== undefined) return;
    this.#later(this.#world.random() * 20, () => this.#end(attempt.attemptId, true));
  }

  #end(attemptId: number, done: boolean): void {
    const attempt = this.#attempts.get(attemptId);
    if (attempt === undefined) return;
    this.#attempts.delete(attemptId);
    const failed = !done || this.#world.random.chance(0.02);
    const end = (failed ? undefined : this.#world.endOf?.(attempt)) ?? handlerEnd(attempt, failed);
    const isDone = end.outcome.type === "done";
    this.#world.observe({ type: "attempt-end", node: this.name, attemptId, life: this.life, done: isDone });
    this.step({ type: "ended", ends: [end] });
  }

  // Network.

  #send(to: NodeName, message: NodeMessage): void {
    if (message.type === "consent") this.#world.consented();
    if (!this.#linksUp.has(to)) return;
    const target = this.#world.hostOf(to);
    if (target === undefined) return;
    const life = target.life;
    this.#world.network.stream(this.name, to, () => {
      if (target.life === life && target.up) target.step({ type: "messages", from: this.name, messages: [message] });
    });
  }

  #links(wanted: readonly NodeName[]): void {
    this.#linksWanted = new Set(wanted);
    for (const peer of wanted) this.#dial(peer);
  }

  #dialing = new Set<NodeName>();
  #dial(peer: NodeName): void {
    if (this.#linksUp.has(peer) || this.#dialing.has(peer)) return;
    this.#dialing.add(peer);
    const { life } = this;
    this.#later(1 + this.#world.random() * 3, () => {
      this.#dialing.delete(peer);
      if (this.life !== life || !this.#linksWanted.has(peer) || this.#linksUp.has(peer)) return;
      const target = this.#world.hostOf(peer);
      if (target?.up !== true || target.paused || !this.#world.network.joined(this.name, peer)) {
        this.#dialing.add(peer);
        return this.#later(200 + this.#world.random() * 300, () => {
          this.#dialing.delete(peer);
          this.#dial(peer);
        });
      }
      this.#linksUp.add(peer);
      this.step({ type: "link", peer, up: true });
      this.#watchLink(peer, target.life);
    });
  }

  /** Keepalive: a stream over a cut or to a silent process breaks after 3 s. */
  #watchLink(peer: NodeName, peerLife: number): void {
    this.#later(1_000, () => {
      if (!this.#linksUp.has(peer)) return;
      const target = this.#world.hostOf(peer);
      const alive =
        target?.up === true &&
        target.life === peerLife &&
        !target.paused &&
        this.#world.network.joined(this.name, peer);
      if (alive) this.#watchLink(peer, peerLife);
      else this.linkBroke(peer, target?.up === true && target.life === peerLife ? 2_000 : 1);
    });
  }

  linkBroke(peer: NodeName, afterMs: number): void {
    this.#later(afterMs, () => {
      if (!this.#linksUp.delete(peer)) return;
      this.step({ type: "link", peer, up: false });
      if (this.#linksWanted.has(peer)) this.#dial(peer);
    });
  }

  #swim(effect: SwimEffect): void {
    const { network } = this.#world;
    const from = { host: this.address, port: 7946 };
    switch (effect.type) {
      case "send": {
        const target = this.#world.hostAt(effect.to.host);
        if (target !== undefined)
          network.datagram(this.name, target.name, () =>
            target.step({ type: "swim", event: { type: "received", from, messages: effect.messages } }),
          );
        return;
      }
      case "exchange": {
        const target = this.#world.hostAt(effect.to.host);
        const { life } = this;
        if (target?.up !== true)
          return this.#later(1, () =>
            this.step({
              type: "swim",
              event: { type: "exchange-failed", exchange: effect.exchange, reason: "refused" },
            }),
          );
        network.stream(this.name, target.name, () => target.#request(this, life, effect.exchange, effect.request));
        return this.#later(effect.timeoutMs, () =>
          this.step({ type: "swim", event: { type: "exchange-failed", exchange: effect.exchange, reason: "timeout" } }),
        );
      }
      case "reply": {
        const asked = this.#streams.get(effect.stream);
        this.#streams.delete(effect.stream);
        if (asked === undefined) return;
        network.stream(this.name, asked.from.name, () => {
          if (asked.from.life === asked.fromLife)
            asked.from.step({
              type: "swim",
              event: { type: "exchange-replied", exchange: asked.exchange, response: effect.response },
            });
        });
        return;
      }
      case "refuse":
        this.#streams.delete(effect.stream);
        return;
      default:
        return;
    }
  }

  #request(
    from: Host,
    fromLife: number,
    exchange: number,
    request: Extract<SwimEffect, { type: "exchange" }>["request"],
  ): void {
    if (!this.up) return;
    const stream = ++this.#stream;
    this.#streams.set(stream, { from, exchange, fromLife });
    this.step({
      type: "swim",
      event: { type: "stream-request", stream, from: { host: from.address, port: 7946 }, request },
    });
  }

  #tryLock(member: NodeName): void {
    const disk = this.#world.diskOf(member);
    if (disk === undefined || disk.lockedBy !== undefined)
      return this.step({ type: "lock", member, result: { type: "refused", detail: "held" } });
    disk.lockedBy = this.#holder();
    this.#adopted.set(member, disk);
    this.step({
      type: "lock",
      member,
      result: {
        type: "held",
        memberId: disk.memberId,
        planned: disk.planned,
        register: disk.register,
        copies: this.#world.store === undefined ? disk.copies() : [],
      },
    });
  }

  #holder(): string {
    return `${this.name}#${this.life}`;
  }

  partitionsActive(): readonly Partition[] {
    return this.machine === undefined || this.paused ? [] : this.machine.active(this.clock);
  }
}

const LEASE_MS = 5_000;
/** Of the program (`services/host/node-host.ts`). */
const JOIN_EVERY_MS = 1_000;
const WALL_START = 1_700_000_000_000;
