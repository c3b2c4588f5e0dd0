/**
 * One simulated process at a time on one simulated machine: performs the effects of a node machine in virtual time.
 *
 * A life is one process: a crash ends it with everything that was not synced; a pause delays what it would do.
 */

import type { Member, RingDocument } from "../../ring/document.ts";
import type { NodeName, Partition } from "../../ring/ids.ts";
import { PROFILES } from "../../ring/membership/profile.ts";
import { Swim } from "../../ring/membership/swim.ts";
import type { NodeEffect, NodeEvent } from "../../ring/node/effects.ts";
import { idTag } from "../../ring/node/neighbours.ts";
import { NodeMachine } from "../../ring/node/node.ts";
import type { NodeAnswer } from "../../ring/node/requests.ts";
import type { RegisterState } from "../../ring/register/messages.ts";
import { TaskEngine } from "../../ring/tasks/engine.ts";

import { AdoptedDisks } from "./adopted-disks.ts";
import { Disk } from "./disk.ts";
import { DiskWork } from "./disk-work.ts";
import type { Handlers, RowsElsewhere, Surroundings } from "./surroundings.ts";
import { Wires } from "./wires.ts";

export class Host {
  readonly name: NodeName;
  readonly address: string;
  readonly disk: Disk;
  readonly wires: Wires;
  readonly work: DiskWork;
  readonly #adopted: AdoptedDisks;
  readonly #rows: RowsElsewhere | undefined;
  readonly #world: Surroundings;
  readonly #member: Omit<Member, "status">;
  readonly #drift: number;
  readonly #offset: number;
  machine: NodeMachine | undefined;
  /** Of the process that runs. */
  engine: TaskEngine | undefined;
  life: number = 0;
  #pausedUntil = 0;
  #wakeAt: number | undefined;
  #handlers: Handlers | undefined;
  #flushing = false;
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
    this.wires = new Wires(this, world);
    this.work = new DiskWork(this, world);
    this.#adopted = new AdoptedDisks(this, world);
    this.#rows = world.rowsOf?.(this);
  }

  get keepsRows(): boolean {
    return this.#rows === undefined;
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
    if (this.disk.lockedBy !== undefined || this.disk.stillUntil > this.#world.agenda.now) {
      this.#world.agenda.after(200, () => this.start(options));
      return;
    }
    this.life++;
    this.upSince = this.#world.agenda.now;
    this.exited = undefined;
    this.syncFails = false;
    this.disk.lockedBy = this.holder;
    this.disk.planned = false;
    this.#rows?.begin();
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
    const { apps, handlers } = this.#world.processOf(this);
    this.#handlers = handlers;
    this.engine = new TaskEngine({ apps, random });
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
      copies: this.#rows === undefined ? this.disk.copies() : [],
      engine: this.engine,
      apps,
      random,
      leaseMs: LEASE_MS,
      autoJoin: true,
      chunkRows: this.#world.chunkRows,
      ...(this.#rows === undefined ? {} : { sharedStore: true }),
      ...(this.disk.givenFor === undefined ? {} : { givenFor: this.disk.givenFor }),
    });
    this.wires.begin();
    this.step({ type: "start", wallOffsetMs: WALL_START - this.#offset });
    if (this.#world.handoffs !== undefined) {
      const request = { type: "transfer-limit", limit: this.#world.handoffs } as const;
      this.step({ type: "ask", askId: 0, request, deadlineMs: 1_000 });
    }
    this.#rows?.started();
    const seeds = options.seeds.filter((seed) => seed !== this.address).map((host) => ({ host, port: 7946 }));
    if (seeds.length > 0) this.#join(seeds);
  }

  /** As the program: again for as long as it has no company. */
  #join(seeds: readonly { readonly host: string; readonly port: number }[]): void {
    if (this.machine!.members().length < 2) this.step({ type: "swim", event: { type: "join", addresses: seeds } });
    this.later(JOIN_EVERY_MS, () => this.#join(seeds));
  }

  /** The process is gone, with everything not synced. */
  crash(): void {
    if (!this.up) return;
    this.work.crash();
    this.#world.observe({ type: "life-over", node: this.name, life: this.life });
    this.machine = undefined;
    this.#pausedUntil = 0;
    this.#wakeAt = undefined;
    this.#handlers?.over();
    this.#handlers = undefined;
    this.#flushing = false;
    this.disk.lockedBy = undefined;
    this.#adopted.crash();
    this.wires.end();
  }

  stop(graceMs: number): void {
    this.step({ type: "stop", graceMs });
  }

  pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#world.agenda.now + ms);
  }

  /** Runs now, or when the process is awake again; nothing of a former life. */
  later(delayMs: number, run: () => void): void {
    const { life } = this;
    const attempt = (): void => {
      if (this.life !== life || !this.up) return;
      if (this.paused) this.#world.agenda.at(this.#pausedUntil + 0.01, attempt);
      else run();
    };
    this.#world.agenda.after(delayMs, attempt);
  }

  /** The lock of the disk's directory is held by this process. */
  holds(disk: Disk): boolean {
    return disk === this.disk || disk.lockedBy === this.holder;
  }

  step(event: NodeEvent): void {
    if (this.machine === undefined) return;
    if (this.paused) return this.later(0, () => this.step(event));
    for (const effect of this.machine.step(this.clock, event)) this.#perform(effect);
    this.#schedule();
  }

  #schedule(): void {
    const deadline = this.machine?.nextDeadline();
    if (deadline === undefined || deadline === Number.POSITIVE_INFINITY) return;
    const at = Math.max(this.#world.agenda.now, (deadline - this.#offset) / (1 + this.#drift) + 0.001);
    if (this.#wakeAt !== undefined && this.#wakeAt <= at && this.#wakeAt > this.#world.agenda.now) return;
    this.#wakeAt = at;
    this.later(at - this.#world.agenda.now, () => {
      if (this.#wakeAt !== undefined && this.#wakeAt <= this.#world.agenda.now + 0.001) this.#wakeAt = undefined;
      const due = this.machine?.nextDeadline();
      if (due !== undefined && due <= this.clock) this.step({ type: "tick" });
      else this.#schedule();
    });
  }

  #perform(effect: NodeEffect): void {
    const { random } = this.#world;
    const ownFailed = this.#failing(this.name);
    if (this.#rows?.perform(effect) === true) return;
    switch (effect.type) {
      case "flush-soon":
        if (this.#flushing) return;
        this.#flushing = true;
        return this.later(0.05, () => {
          this.#flushing = false;
          this.step({ type: "flush" });
        });
      case "send":
        return this.wires.send(effect.to, effect.message);
      case "swim":
        return this.wires.swim(effect.effect);
      case "commit":
        return this.work.commit(
          this.disk,
          effect.groups,
          () => {
            if (this.syncFails) return this.step({ type: "store-broken", detail: "fsync: EIO" });
            this.step({ type: "committed", group: effect.group, refused: this.disk.commit(effect.groups) });
          },
          ownFailed,
        );
      case "persist-register":
        return this.#persist(effect);
      case "commit-adopted": {
        const { member, groups, writeId } = effect;
        const disk = this.#adopted.of(member);
        if (disk === undefined) return;
        const done = (): void => {
          if (this.#adopted.refuses(member, disk)) return;
          disk.commit(groups);
          this.step({ type: "adopted-committed", writeId });
        };
        return this.work.commit(disk, groups, done, this.#failing(member));
      }
      case "open": {
        const done = (): void =>
          this.step({ type: "opened", partition: effect.partition, term: this.disk.open(effect.partition, effect) });
        return this.work.ask(this.disk, 0.2 + random(), done, ownFailed);
      }
      case "read": {
        const { directory, readId, request } = effect;
        const disk = directory.type === "own" ? this.disk : this.#adopted.of(directory.member);
        return this.work.read(disk, random() * 0.5, () => {
          const answerMs = random() * 0.5;
          if (directory.type === "adopted" && this.#adopted.refuses(directory.member, disk, { writes: false })) return;
          const page = disk!.page(request);
          this.later(answerMs, () => this.step({ type: "rows", readId, ...page }));
        });
      }
      case "drop": {
        const { directory, partition } = effect;
        const of = directory.type === "own" ? this.name : directory.member;
        const disk = of === this.name ? this.disk : this.#adopted.of(of);
        if (disk === undefined) return;
        const done = (): void => {
          if (of !== this.name && this.#adopted.refuses(of, disk)) return;
          disk.drop(partition);
          this.step({ type: "dropped", directory, partition });
        };
        return this.work.ask(disk, 0.2 + random(), done, this.#failing(of));
      }
      case "try-lock":
        return this.later(random(), () => this.#adopted.tryLock(effect.member));
      case "release-lock":
        return this.#adopted.release(effect.member);
      case "start":
        return this.#handlers?.start(effect.attempts);
      case "abort":
        return this.#handlers?.abort(effect.attemptId, effect.reason);
      case "outcomes":
        for (const [index, token] of effect.tokens.entries())
          this.#world.outcome(effect.origin, token, effect.outcomes[index]!);
        return;
      case "answered":
        this.onAnswer?.(effect.askId, effect.answer);
        return;
      case "links":
        return this.wires.links(effect.to);
      case "document":
        this.#world.observe({ type: "document", node: this.name, document: this.machine!.document! });
        return;
      case "note":
        this.#world.observe({ type: "note", node: this.name, what: effect.what, detail: effect.detail });
        return;
      case "mark-stopping":
        return this.later(0.5, () => {
          this.disk.planned = true;
          this.step({ type: "marked" });
        });
      case "exit":
        this.exited = `${effect.code} ${effect.reason}`;
        this.#world.observe({ type: "note", node: this.name, what: "exit", detail: this.exited });
        return this.later(0, () => this.crash());
      case "mark-given":
        return this.later(0.5, () => {
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
  onAnswer: ((askId: number, answer: NodeAnswer) => void) | undefined;

  /** Work on a member's disk has failed. */
  #failing(member: NodeName): (detail: string) => void {
    return (detail) =>
      member === this.name ? this.step({ type: "store-broken", detail }) : this.#adopted.failed(member, detail);
  }

  #persist({ of, state, sequence }: Extract<NodeEffect, { readonly type: "persist-register" }>): void {
    const disk = of === this.name ? this.disk : this.#adopted.of(of);
    const apply = (): void => {
      disk!.register = state;
    };
    const done = (): void => {
      if (disk === undefined || disk.lockedBy !== this.holder) return;
      if (this.syncFails) return this.step({ type: "store-broken", detail: "fsync: EIO" });
      if (of !== this.name && this.#adopted.refuses(of, disk, { passing: false })) return;
      apply();
      this.step({ type: "register-persisted", of, sequence });
    };
    this.work.register(disk, done, { failed: this.#failing(of), apply });
  }

  /** As it stands in locks. */
  get holder(): string {
    return `${this.name}#${this.life}`;
  }

  partitionsActive(): readonly Partition[] {
    return this.machine === undefined || this.paused ? [] : this.machine.active(this.clock);
  }
}

export const LEASE_MS = 5_000;
/** Of the program (`services/host/node-host.ts`). */
const JOIN_EVERY_MS = 1_000;
export const WALL_START = 1_700_000_000_000;
