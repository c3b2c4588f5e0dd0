/**
 * One node of the register model: a register over a disk that loses what was not synced, a drifting clock, and the seals
 * of an owner that gives partitions up.
 */

import type { RingDocument } from "../../../ring/document.ts";
import type { Epoch, MemberId, NodeName, Partition } from "../../../ring/ids.ts";
import type { RegisterEffect, RegisterEvent } from "../../../ring/register/events.ts";
import type { Consent, RegisterState } from "../../../ring/register/messages.ts";
import { Register } from "../../../ring/register/register.ts";
import { isMember } from "../../../ring/register/voting.ts";
import { type Checkers, Violation } from "./checkers.ts";
import { between, type Network, type Random, type Timeline } from "./world.ts";

export interface NodeOptions {
  readonly name: NodeName;
  readonly timeline: Timeline;
  readonly network: Network;
  readonly random: Random;
  readonly checkers: Checkers;
  readonly nodes: ReadonlyMap<NodeName, ModelNode>;
  /** Own milliseconds per true millisecond. */
  readonly clockRate: number;
  readonly timing: Timing;
  readonly disk: RegisterState;
  /** Outcomes that the workload waits for. */
  readonly onEffect: (node: ModelNode, effect: RegisterEffect) => void;
}

export interface Timing {
  readonly leaseMs: number;
  readonly finishAfterMs: number;
  readonly proposalTimeoutMs: number;
  readonly syncMs: number;
}

export class ModelNode {
  readonly name: NodeName;
  readonly #options: NodeOptions;
  disk: RegisterState;
  register: Register | undefined;
  /** Newest document that was synced and told. */
  document: RingDocument | undefined;
  heldUntil: number | undefined;
  isPaused = false;
  /** Counts losses of a lease while up, for the checker of healthy members. */
  leasesLost = 0;
  #clockOffset: number;
  #life = 0;
  #seals: Consent[] = [];
  #writes: { readonly sequence: number; readonly state: RegisterState }[] = [];
  #writtenAt = 0;
  #wakeAt: number | undefined;
  #backlog: RegisterEvent[] = [];

  constructor(options: NodeOptions) {
    this.#options = options;
    this.name = options.name;
    this.disk = options.disk;
    this.#clockOffset = between(options.random, 0, 1e6);
  }

  get isUp(): boolean {
    return this.register !== undefined;
  }

  /** Of the ring as it knows it, under its own id. */
  get isMember(): boolean {
    return this.document !== undefined && isMember(this.document, this.name, this.disk.memberId);
  }

  get isLeased(): boolean {
    return this.isUp && this.heldUntil !== undefined && this.#ownNow() < this.heldUntil;
  }

  start(): void {
    const { timing, random } = this.#options;
    this.#life += 1;
    this.document = this.disk.document;
    this.heldUntil = undefined;
    this.#clockOffset = between(random, 0, 1e6); // a monotonic clock starts anywhere
    this.register = new Register({ state: this.disk, random, ...timing });
    this.feed({ type: "start" });
  }

  /** What was being written may or may not have reached the disk. */
  crash(): void {
    const reached = Math.floor(this.#options.random() * (this.#writes.length + 1));
    for (const { state } of this.#writes.slice(0, reached)) this.#store(state);
    this.#life += 1;
    this.register = undefined;
    this.heldUntil = undefined;
    this.isPaused = false;
    this.#writes = [];
    this.#backlog = [];
    this.#wakeAt = undefined;
  }

  /** The directory is gone: the same name comes back as another member. */
  wipe(memberId: MemberId): void {
    this.disk = {
      version: 1,
      member: this.name,
      memberId,
      starts: 0,
      document: undefined,
      promised: undefined,
      accepted: undefined,
    };
    this.#seals = [];
  }

  resume(): void {
    this.isPaused = false;
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const event of backlog) this.feed(event);
    this.feed({ type: "tick" });
  }

  feed(event: RegisterEvent): void {
    if (this.register === undefined) return;
    if (this.isPaused) {
      this.#backlog.push(event);
      return;
    }
    for (const effect of this.register.step(this.#ownNow(), event)) this.#perform(effect);
    this.#planWake();
  }

  /** Seals partitions it owns for the next epoch; the consent is handed on once it is synced. */
  seal(partitions: readonly Partition[], onSynced: (consent: Consent) => void): void {
    if (this.document === undefined || !this.isUp || this.isPaused) return;
    const consent: Consent = { member: this.name, epoch: (this.document.epoch + 1) as Epoch, partitions };
    this.#seals.push(consent);
    const life = this.#life;
    this.#options.timeline.after(between(this.#options.random, 0, this.#options.timing.syncMs), () => {
      if (life === this.#life) onSynced(consent);
      else this.#seals = this.#seals.filter((seal) => seal !== consent); // lost with the crash before it was synced
    });
  }

  isSealed(partition: Partition): boolean {
    const epoch = (this.document?.epoch ?? 0) + 1;
    return this.#seals.some((seal) => seal.epoch === epoch && seal.partitions.includes(partition));
  }

  believes(partition: Partition): boolean {
    const { document } = this;
    if (document === undefined || !this.isLeased || document.owners[partition] !== this.name) return false;
    return isMember(document, this.name, this.disk.memberId) && !this.isSealed(partition);
  }

  #perform(effect: RegisterEffect): void {
    const { network, nodes, onEffect, checkers } = this.#options;
    switch (effect.type) {
      case "persist":
        this.#write(effect.sequence, effect.state);
        return;
      case "send": {
        const peer = nodes.get(effect.to);
        const { message } = effect;
        network.carry(this.name, effect.to, () => peer?.feed({ type: "message", from: this.name, message }));
        return;
      }
      case "foreseen":
        checkers.decided(effect.document);
        return;
      case "decided":
        checkers.decided(effect.document);
        this.document = effect.document;
        this.#seals = this.#seals.filter((seal) => seal.epoch > effect.document.epoch);
        checkers.exclusive(this, [...nodes.values()]);
        break;
      case "lease":
        if (effect.heldUntil === undefined) this.leasesLost += 1;
        this.heldUntil = effect.heldUntil;
        checkers.exclusive(this, [...nodes.values()]);
        break;
      case "restored":
      case "superseded":
      case "wrong-ring":
        throw new Violation(`${this.name}: ${effect.type}, though nothing of the kind happened`);
    }
    onEffect(this, effect);
  }

  #write(sequence: number, state: RegisterState): void {
    const { timeline, random, timing } = this.#options;
    const life = this.#life;
    this.#writes.push({ sequence, state });
    this.#writtenAt = Math.max(this.#writtenAt, timeline.now + between(random, 0, timing.syncMs));
    timeline.after(this.#writtenAt - timeline.now, () => {
      if (life !== this.#life) return;
      this.#writes = this.#writes.filter((write) => write.sequence !== sequence);
      this.#store(state);
      this.feed({ type: "persisted", sequence });
    });
  }

  #store(state: RegisterState): void {
    const { checkers } = this.#options;
    const isNewVote = state.accepted !== undefined && state.accepted !== this.disk.accepted;
    this.disk = state;
    checkers.knows(state.memberId, state.document);
    if (isNewVote && state.document !== undefined)
      checkers.voted(this.name, state.memberId, state.document, state.accepted!);
  }

  #planWake(): void {
    const deadline = this.register?.nextDeadline();
    if (deadline === undefined) return;
    const { timeline, clockRate } = this.#options;
    const at = (deadline - this.#clockOffset) / clockRate;
    if (this.#wakeAt !== undefined && this.#wakeAt <= at && this.#wakeAt > timeline.now) return;
    const wakeAt = Math.max(at, timeline.now + 0.001);
    this.#wakeAt = wakeAt;
    const life = this.#life;
    timeline.after(wakeAt - timeline.now, () => {
      if (life !== this.#life || this.#wakeAt !== wakeAt) return;
      this.#wakeAt = undefined;
      this.feed({ type: "tick" });
    });
  }

  #ownNow(): number {
    return this.#clockOffset + this.#options.timeline.now * this.#options.clockRate;
  }
}
