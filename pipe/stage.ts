/**
 * One fitting of a run on this node: its workers, and where an input for it goes (`deliver`).
 *
 * G1  An input goes to the worker of its partition if this node owns the partition, else to the owner over its link.
 * G2  When a partition moves away, its worker takes nothing more; what it has queued goes to the new owner under the same
 *     tokens, its state as an archive before that. Nobody sends anything again.
 * G3  What one sender gives for one partition is begun in that order, while it moves as well (`Holds`).
 * G4  Where a worker cannot start, its inputs go to the next partition, `nval` partitions in all; a stateful fitting does not
 *     survive that such a partition moves: its state would be in two places.
 */

import { partitionOfHash } from "../ring/hash.ts";
import { Broadcast } from "./broadcast.ts";
import { Keeping } from "./checkpoint.ts";
import type { Fitting } from "./fitting.ts";
import { Holds } from "./hold.ts";
import { inRow } from "./in-row.ts";
import { hashOfGiven, hashOfKey } from "./partition.ts";
import { ParkedItem, type Room } from "./room.ts";
import type { Run } from "./run.ts";
import { Stamped } from "./stamp.ts";
import { archived, stateOf } from "./state.ts";
import { errorTextOf, failureOf, settle, Token, type TokenOwner } from "./token.ts";
import { Worker } from "./worker.ts";

/** Where outputs of a fitting go: the next stage, or the sink. */
export interface Target {
  /** Partition of the output that was refused last; needed to give it again. */
  readonly blockedAt: number;
  /** `undefined`: taken. Else it is full: park there. `from`: the partition it comes from. `plain`: it, without its cursor. */
  deliver(value: unknown, token: Token, from: number, plain?: unknown): Room | undefined;
}

export class Stage implements Target, TokenOwner {
  readonly run: Run;
  readonly index: number;
  readonly fitting: Fitting;
  readonly workers: (Worker | undefined)[] = [];
  /** Of a fitting with `checkpointEvery`. */
  readonly keeping: Keeping | undefined;
  readonly holds: Holds;
  blockedAt = 0;
  /** No input comes any more, but from `done` and transfers. */
  ended = false;
  blockedCount = 0;
  /** Archives on their way. */
  #transfers = 0;
  /** Told to the coordinator with the end: who has got archives. */
  readonly archivedTo: Set<string> = new Set();
  #afterTransfers: Token[] = [];
  #quiesce: { readonly epoch: number; readonly quiet: () => void } | undefined = undefined;
  #turn = 0;
  #broadcast: Broadcast | undefined = undefined;
  readonly #partition: Fitting["partition"];
  readonly #ordered: boolean;
  /** Stamps given, for each partition. */
  readonly #numbers: number[] = [];
  /** Partitions of this node whose worker cannot start (G4). */
  readonly #unstartable = new Set<number>();

  constructor(run: Run, index: number) {
    this.run = run;
    this.index = index;
    this.fitting = run.pipeline.fittings[index] as Fitting;
    this.#partition = this.fitting.partition;
    this.#ordered = this.fitting.concurrency === 1 && this.#partition.type !== "spread";
    this.keeping = this.fitting.checkpointEvery > 0 ? new Keeping(this) : undefined;
    this.holds = new Holds({ place: (value, token, partition) => this.again(value, token, partition) });
  }

  get next(): Target {
    return this.run.targets[this.index + 1] as Target;
  }

  deliver(value: unknown, token: Token, from: number, plain: unknown = value): Room | undefined {
    let partition: number;
    const by = this.#partition;
    try {
      switch (by.type) {
        case "key":
          partition = partitionOfHash(hashOfKey(by.keyOf(plain as never)), this.run.node.ringSize);
          break;
        case "hash":
          partition = partitionOfHash(hashOfGiven(by.hashOf(plain as never)), this.run.node.ringSize);
          break;
        case "constant":
          partition = by.partition % this.run.node.ringSize;
          break;
        case "follow":
          partition = from;
          break;
        case "spread":
          partition = this.#lessLoaded();
          break;
        case "broadcast":
          this.#broadcast ??= new Broadcast(this);
          return this.#broadcast.deliver(value, token);
      }
    } catch (error) {
      const at = { fitting: this.fitting.name, partition: from };
      token.fail(this.run.look(at.fitting, () => failureOf(at, plain, error)));
      settle(token, 1);
      return undefined;
    }
    return this.place(value, token, partition);
  }

  /** As `deliver`, where the partition is known. */
  place(value: unknown, token: Token, partition: number): Room | undefined {
    if (this.holds.size > 0) {
      const hold = this.holds.at(partition);
      if (hold !== undefined) {
        this.blockedAt = partition;
        return hold;
      }
    }
    const peer = this.run.node.ownerOf(partition);
    if (peer === 0) {
      const worker = this.workers[partition] ?? this.worker(partition);
      if (worker === undefined) return this.run.over ? undefined : this.place(value, token, this.#next(partition));
      if (worker.offer(value, token)) return undefined;
      this.blockedAt = partition;
      return worker;
    }
    const link = this.run.linkTo(peer, this.index);
    if (link.offer(value, token, partition)) return undefined;
    this.blockedAt = partition;
    return link;
  }

  /** An input whose sender will not wait: it is parked itself if there is no room. */
  arrive(value: unknown, token: Token, partition: number, epoch: number): void {
    if (epoch > this.run.node.epoch) {
      // Whoever sent it knows a ring that is not known here yet, in which the partition is this node's.
      const worker = this.workers[partition] ?? this.worker(partition);
      if (worker !== undefined) worker.ownedAt = Math.max(worker.ownedAt, epoch);
      return this.#toWorker(value, token, partition);
    }
    if (this.holds.size > 0 && this.holds.parkArrived(partition, new ParkedItem(value, token, partition))) return;
    this.again(value, token, partition);
  }

  /** To where the ring says now, before anything that is held. */
  again(value: unknown, token: Token, partition: number): void {
    const peer = this.run.node.ownerOf(partition);
    if (peer === 0) this.#toWorker(value, token, partition);
    else this.run.linkTo(peer, this.index).force(value, token, partition);
  }

  /** True: it is held, behind what came before it. */
  waits(value: unknown, token: Token, partition: number): boolean {
    const hold = this.holds.at(partition);
    hold?.park(new ParkedItem(value, token, partition));
    return hold !== undefined;
  }

  /** With who sent it and as its how-manieth, where that is needed. */
  stamped(value: unknown, partition: number): unknown {
    if (this.keeping === undefined || value instanceof Stamped) return value;
    const number = (this.#numbers[partition] ?? 0) + 1;
    this.#numbers[partition] = number;
    return new Stamped(value, this.run.node.life, number);
  }

  /** Undefined: it cannot start. */
  worker(partition: number): Worker | undefined {
    const known = this.workers[partition];
    if (known !== undefined) return known;
    if (this.#unstartable.has(partition)) return undefined;
    const worker = new Worker(this, partition);
    this.workers[partition] = worker;
    try {
      worker.state = stateOf(this.fitting);
    } catch (error) {
      this.cannotStart(worker, error);
      return undefined;
    }
    this.keeping?.load(worker);
    return worker;
  }

  /** What the worker has goes to the next partition (G4). */
  cannotStart(worker: Worker, error: unknown): void {
    const { run, fitting } = this;
    const { partition, queue, overflow, waiters } = worker;
    const why = `${fitting.name}: a worker cannot start: ${errorTextOf(error)}`;
    if (fitting.nval === 1) return run.fail("RUN_FAILED", why);
    this.workers[partition] = undefined;
    run.node.usage.spent(run, fitting.name, worker.blockedMs());
    this.#unstartable.add(partition);
    const { ringSize } = run.node;
    // At once: until the coordinator had said so, inputs would go round and round where this node has all partitions.
    if (inRow(partition, (one) => this.#unstartable.has(one), { ringSize, most: fitting.nval }) >= fitting.nval)
      return run.fail("RUN_FAILED", `${why}; nor can any of ${fitting.nval} partitions in a row`);
    run.note(worker, "failed", why);
    this.keeping?.abandon(worker);
    if (run.home === undefined) run.peer(run.coordinatorPeer).say(["unstartable", run.id, this.index, partition, why]);
    else run.home.unstartable({ stage: this.index, partition, peer: 0 }, why);
    const next: Room = {
      force: (value, token) => this.again(value, token, this.#next(partition)),
      park: (sender) => worker.park(sender),
    };
    for (const from of [overflow, queue])
      while (from.length > 0 && !run.over) {
        const token = from.token();
        next.force(from.take(), token, partition);
      }
    for (let sender = waiters.shift(); sender !== undefined && !run.over; sender = waiters.shift()) sender.resume(next);
  }

  /** `quiet` is called once: when this node knows the ring of `epoch` and none of its archives is on its way. */
  quiesce(epoch: number, quiet: () => void): void {
    this.#quiesce = { epoch, quiet };
    this.#checkQuiet();
  }

  /** The coordinator says so when all inputs are acknowledged. `token` is settled when every `done` is. */
  end(token: Token): void {
    this.ended = true;
    if (this.#transfers > 0) {
      token.pending += 1;
      this.#afterTransfers.push(token);
    }
    for (const worker of this.workers) worker?.finish(token);
    settle(token, 1);
  }

  blocked(worker: Worker): void {
    this.blockedCount += 1;
    this.run.note(worker, "blocked", "");
  }

  /** The ring has changed (G2). */
  rerouted(before: Int32Array = NOBODY): void {
    if (this.#ordered) this.#holdMoved(before);
    for (const partition of this.#unstartable) {
      if (this.run.node.ownerOf(partition) === 0) continue;
      this.#unstartable.delete(partition);
      if (this.fitting.stateful)
        return this.run.fail("STATE_LOST", `${this.fitting.name}: partition ${partition} has moved, its state has not`);
    }
    for (const worker of this.workers) {
      if (worker === undefined || worker.leaving || this.run.node.ownerOf(worker.partition) === 0) continue;
      if (worker.ownedAt > this.run.node.epoch) continue;
      if (this.ended && this.fitting.stateful) continue; // What it has absorbed comes out here, once.
      worker.leaving = true;
      if (worker.busy) {
        if (this.#ordered) this.holds.untilLeft(worker.partition);
        this.run.node.after(this.run.node.graceMs, () => this.#graceOver(worker));
      } else this.left(worker);
    }
    this.#checkQuiet();
  }

  /** No call is under way on a worker whose partition is another's now. */
  left(worker: Worker): void {
    const { partition, queue, overflow } = worker;
    const peer = this.run.node.ownerOf(partition);
    worker.leaving = false;
    if (peer === 0 || worker.ownedAt > this.run.node.epoch) {
      worker.wake(); // It has come back meanwhile, or will.
      this.holds.left(partition);
      return this.#checkQuiet();
    }
    this.workers[partition] = undefined;
    this.run.node.usage.spent(this.run, this.fitting.name, worker.blockedMs());
    const link = this.run.linkTo(peer, this.index);
    if (this.keeping !== undefined) {
      this.#transfers += 1;
      this.keeping.giveBack(worker, () => this.settled());
      if (this.run.over) return;
    } else if (this.fitting.stateful && worker.absorbed > 0) {
      const state = archived(worker);
      if (state === undefined) return;
      this.#transfers += 1;
      this.archivedTo.add(link.peerName);
      this.run.note(worker, "archived", link.peerName);
      link.archive(partition, state, new Token(this, 1));
      if (this.run.over) return;
    }
    for (const from of [overflow, queue])
      while (from.length > 0) {
        const token = from.token();
        link.force(from.take(), token, partition);
      }
    const forward: Room = {
      force: (value, token) => link.force(value, token, partition),
      park: (sender) => link.park(sender),
    };
    for (let sender = worker.waiters.shift(); sender !== undefined; sender = worker.waiters.shift())
      sender.resume(forward);
    this.holds.left(partition);
    this.#checkQuiet();
  }

  /** An archive has arrived. The token is settled when the state is this worker's, and told if the end has been. */
  absorb(partition: number, moved: { readonly state: unknown; readonly inputs: number }, token: Token): void {
    const worker = this.worker(partition);
    if (worker === undefined) return this.run.fail("STATE_LOST", `${this.fitting.name}: no worker for what has moved`);
    if (!worker.absorb(moved.state, moved.inputs)) return;
    if (this.ended) worker.finish(token);
    settle(token, 1);
    if (this.run.node.ownerOf(partition) !== 0 && !worker.leaving) this.rerouted();
  }

  /** A transfer is acknowledged. */
  settled(): void {
    this.#transfers -= 1;
    if (this.#transfers > 0) return;
    this.#checkQuiet();
    const waiting = this.#afterTransfers;
    this.#afterTransfers = [];
    for (const token of waiting) settle(token, 1);
  }

  checkpointed(): void {}

  close(): void {
    for (const worker of this.workers) {
      if (worker === undefined) continue;
      this.run.node.usage.spent(this.run, this.fitting.name, worker.blockedMs());
      worker.abort();
      worker.queue.clear();
      worker.overflow.clear();
      worker.waiters.clear();
    }
    this.workers.length = 0;
    this.holds.clear();
  }

  /** Calls that did not return in time: their inputs start anew at the new owner. Those that wait for room go on here. */
  #graceOver(worker: Worker): void {
    if (!worker.leaving || this.run.over || !worker.busy) return;
    const calls = worker.calls.all();
    worker.abortSignal();
    for (const call of calls) {
      if (call.parked || call.last) continue; // The output of `done` is the worker's whole state: it ends where it is.
      call.token.resent += 1;
      worker.overflow.push(call.withdraw(), call.token);
      worker.calls.delete(call);
    }
    if (worker.busy) this.run.node.after(this.run.node.graceMs, () => this.#graceOver(worker));
    else this.left(worker);
  }

  #toWorker(value: unknown, token: Token, partition: number): void {
    const worker = this.workers[partition] ?? this.worker(partition);
    if (worker === undefined) {
      if (!this.run.over) this.again(value, token, this.#next(partition));
    } else if (!worker.offer(value, token)) worker.park(new ParkedItem(value, token, partition));
  }

  #next(partition: number): number {
    return (partition + 1) % this.run.node.ringSize;
  }

  /** What was given to owners that are none any more goes before what comes now (G3). */
  #holdMoved(before: Int32Array): void {
    const { node, peers } = this.run;
    const moved = new Set<number>();
    for (let partition = 0; partition < before.length; partition++)
      if (before[partition] !== 0 && before[partition] !== node.ownerOf(partition)) moved.add(partition);
    if (moved.size === 0) return;
    for (const peer of peers.values()) {
      peer.stages[this.index]?.flush();
      for (const [id, batch] of peer.sent) {
        if (batch.stage !== this.index || batch.archive !== undefined) continue;
        for (const partition of batch.partitions)
          if (moved.has(partition) && node.ownerOf(partition) !== peer.peer)
            this.holds.untilAcknowledged(partition, id);
      }
    }
  }

  #checkQuiet(): void {
    const asked = this.#quiesce;
    if (asked === undefined || this.run.node.epoch < asked.epoch || this.#transfers > 0) return;
    if (this.workers.some((worker) => worker?.leaving === true)) return;
    this.#quiesce = undefined;
    asked.quiet();
  }

  #lessLoaded(): number {
    const size = this.run.node.ringSize;
    const first = this.#turn++ % size;
    const second = (first + (size >> 1)) % size;
    return this.#load(first) <= this.#load(second) ? first : second;
  }

  #load(partition: number): number {
    const peer = this.run.node.ownerOf(partition);
    if (peer !== 0) return this.run.linkTo(peer, this.index).load;
    const worker = this.workers[partition];
    return worker === undefined ? 0 : worker.queue.length;
  }
}

const NOBODY = new Int32Array(0);
