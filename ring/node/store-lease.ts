/**
 * The right to run tasks on a store that all nodes share: a lease in the store itself, beside that of the voters.
 *
 * With a store of its own a node needs none, and nothing here does anything.
 * S1  Nothing starts without it: a node that cannot reach the store cannot end a task, so it should not begin one.
 * S2  A node that has lost it while another still has it gives its partitions up: it asks around, and whoever has held the
 *     lease for a while answers. If nobody does, the store is away from all, and everything stays where it is.
 * S3  Such a consent is marked on the node's own disk before it is given (ownership rule 13: the seal cannot be written
 *     into a store that is out of reach), and until the document of its epoch is known nothing starts here.
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Here } from "./here.ts";
import type { Giving } from "./messages.ts";

export interface StoreLeaseHooks {
  /** It began or ended, or what was given up is decided. */
  changed(): void;
  /** Handlers under way cannot end: tell them. */
  abortAll(): void;
}

export class StoreLease {
  readonly #here: Here;
  readonly #hooks: StoreLeaseHooks;
  readonly #steadyMs: number;
  #heldUntil: Instant | undefined;
  #heldSince: Instant = 0;
  #others: ReadonlySet<NodeName> = new Set();
  #askAt: Instant | undefined;
  #turn = 0;
  #given: { readonly epoch: number; marked: boolean } | undefined;

  constructor(
    here: Here,
    options: { readonly leaseMs: number; readonly givenFor: number | undefined; readonly hooks: StoreLeaseHooks },
  ) {
    this.#here = here;
    this.#hooks = options.hooks;
    this.#steadyMs = options.leaseMs;
    if (options.givenFor !== undefined) this.#given = { epoch: options.givenFor, marked: true };
  }

  /** S1, S3 */
  get mayServe(): boolean {
    return this.mayServeAt(this.#here.now);
  }

  mayServeAt(now: Instant): boolean {
    if (!this.#shared) return true;
    return this.#heldUntil !== undefined && this.#heldUntil > now && this.doubt === undefined;
  }

  get held(): boolean {
    return this.heldAt(this.#here.now);
  }

  heldAt(now: Instant): boolean {
    return !this.#shared || (this.#heldUntil !== undefined && this.#heldUntil > now);
  }

  /** The epoch for which everything was given up and that is not known yet. */
  get doubt(): number | undefined {
    const epoch = this.#given?.epoch;
    return epoch !== undefined && (this.#here.document?.epoch ?? 0) < epoch ? epoch : undefined;
  }

  /** As far as this node can see, the member can reach the store. */
  holds(name: NodeName): boolean {
    return !this.#shared || (name === this.#here.self ? this.held : this.held && this.#others.has(name));
  }

  nextDeadline(): Instant | undefined {
    if (!this.#shared) return undefined;
    return this.#askAt ?? this.#heldUntil;
  }

  /** From the driver, after each answer of the store. */
  learned(heldUntil: Instant | undefined, others: readonly NodeName[]): void {
    if (!this.#shared) return;
    const before = this.held;
    this.#others = new Set(others);
    this.#heldUntil = heldUntil;
    if (!this.held) return this.tick();
    this.#askAt = undefined;
    if (before && this.#heldSince > 0) return;
    this.#heldSince = this.#here.now;
    this.#here.note("store-lease", "the shared store can be reached");
    this.#hooks.changed();
  }

  tick(): void {
    if (!this.#shared) return;
    const { now } = this.#here;
    if (this.held) return;
    if (this.#heldUntil !== undefined) {
      this.#heldUntil = undefined;
      this.#askAt = now;
      this.#here.note("store-lease-lost", "the shared store cannot be reached");
      this.#hooks.changed();
      this.#hooks.abortAll();
    }
    if (this.#askAt === undefined || this.#askAt > now) return;
    this.#askAt = now + ASK_EVERY_MS;
    this.#ask();
  }

  follow(document: RingDocument): void {
    if (this.#given === undefined || document.epoch < this.#given.epoch) return;
    this.#given = undefined;
    this.#hooks.changed();
  }

  /** Another node asks who can still reach the store. */
  asked(from: NodeName, epoch: number): void {
    if (this.steady && this.#here.document?.epoch === epoch) this.#here.send(from, { type: "store-kept", epoch });
  }

  /** S2: `from` can take over. */
  answered(from: NodeName, epoch: number): void {
    const { document } = this.#here;
    if (!this.#shared || this.held || document === undefined || document.epoch !== epoch) return;
    if (this.#given?.epoch === epoch + 1) {
      if (this.#given.marked) this.#consent(from, document);
      return;
    }
    this.#given = { epoch: epoch + 1, marked: false };
    this.#here.note("store-lost", `${from} can reach the shared store, this node cannot: its partitions are given up`);
    this.#here.emit({ type: "mark-given", epoch: epoch + 1 }); // S3
  }

  marked(epoch: number): void {
    if (this.#given?.epoch === epoch) this.#given.marked = true;
  }

  /** Held for so long that it is not the others' turn to come back, too. */
  get steady(): boolean {
    return this.#shared && this.held && this.#here.now - this.#heldSince >= this.#steadyMs;
  }

  get #shared(): boolean {
    return this.#here.sharedStore === true;
  }

  #ask(): void {
    const { document, self } = this.#here;
    if (document === undefined || !document.owners.includes(self)) return;
    const peers = document.members.filter(({ name }) => name !== self && this.#here.linked(name));
    const peer = peers[this.#turn++ % Math.max(1, peers.length)];
    if (peer !== undefined) this.#here.send(peer.name, { type: "store-lost", epoch: document.epoch });
  }

  #consent(to: NodeName, document: RingDocument): void {
    const { self } = this.#here;
    const partitions: Partition[] = [];
    document.owners.forEach((owner, partition) => {
      if (owner === self) partitions.push(partition as Partition);
    });
    const gives: Giving = { type: "all", partitions, adopter: to };
    this.#here.send(to, { type: "consent", member: self, epoch: (document.epoch + 1) as Epoch, gives });
  }
}

const ASK_EVERY_MS = 250;
