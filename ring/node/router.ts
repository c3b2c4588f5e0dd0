/**
 * Brings each submitted task to its partition's owner, here or on a peer, and its outcome back to who submitted it.
 *
 * R1  Tasks of one partition that came through this node reach the owner in the order they came: while some wait or are
 *     answered NOT_OWNER, later ones queue behind them.
 * R2  A forwarded task is never forwarded again (reliability rule 13): if it is not ours, its sender gets NOT_OWNER.
 * R3  Every task gets one outcome, at the latest when its deadline, or that of its forward, has passed; a link that breaks sends its tasks again
 *     (the owner deduplicates by id).
 * R4  What waits here and what is on its way is bounded by bytes as well as by tasks, and one forward holds about
 *     `FORWARD_BYTES`: however much waited for an owner, it reaches it in messages that a link takes. What waits is a copy: it
 *     would keep the message alive that it came in, most of which is for other owners.
 * R5  What a peer forwarded waits here while this node has no lease, or does not know the document yet by which the peer chose
 *     it: refused, it would come back behind what the peer sent after it and what is taken by then (R1).
 * R6  What a peer refused waits for a newer document, or for a moment: by the same one it would go to the same peer, and come
 *     back, as fast as the link carries it.
 * R7  What waits for one owner is not looked at for each answer of another: thousands may wait, and answers come by the thousand a
 *     second.
 * R8  Of what the others leave one owner may have all but a part on its way: one that stands still does not stop what is for others.
 * R9  So may one app of what waits here (promise P4).
 * R10 What an owner was sent and has not refused for certain is perhaps accepted: whoever refuses it afterwards, its submitter is
 *     told that it is not known.
 * R11 A forward has a number that none of the process before had: an owner's late word on one of those would acknowledge this one.
 */

import { partitionOfHash } from "../hash.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { bytesOf, detachRecord } from "../tasks/record.ts";
import type { SubmitOutcome, TaskRecord } from "../tasks/task.ts";
import type { Here } from "./here.ts";
import type { Forwarded } from "./messages.ts";
import {
  DISK_FULL,
  DRAINING,
  FULL,
  LINK_FULL,
  NO_OWNER,
  NO_RING,
  NOT_OWNER,
  NOT_READY,
  REROUTED,
  unsureOf,
} from "./refusals.ts";

/** Takes outcomes one by one; must not submit from inside. */
export interface OutcomeSink {
  settle(token: number, outcome: SubmitOutcome): void;
  /** Its tasks came from a peer. */
  readonly forwarded: boolean;
  /** Of that peer, when it sent them. */
  readonly epoch?: number;
  readonly origin: "client" | "child";
}

/** What the local vnode says of a partition that this node owns. */
export type Admission = "serve" | "wait" | "no-lease" | "draining" | "disk-full";

export interface LocalOwner {
  admission(partition: Partition): Admission;
  submit(partition: Partition, record: TaskRecord, sink: OutcomeSink, token: number): void;
}

interface Item {
  sink: OutcomeSink;
  readonly token: number;
  record: TaskRecord;
  readonly partition: Partition;
  readonly sequence: number;
  readonly deadline: Instant;
  /** It was let in and has not left since: others that came meanwhile do not turn it out. */
  waits?: boolean;
  /** R6: by which document, and until when it waits. */
  refused?: { readonly epoch: number; readonly until: Instant };
  /** R10 */
  inDoubt?: boolean;
}

/** What some tasks come to (R4). */
interface Load {
  tasks: number;
  bytes: number;
}

export class Router {
  readonly #here: Here;
  readonly #local: LocalOwner;
  #sequence = 0;
  #forwardId: number;
  readonly #queued: Load = { tasks: 0, bytes: 0 };
  /** On the way to peers, or about to leave at the end of this call. */
  readonly #underWay: Load = { tasks: 0, bytes: 0 };
  readonly #queues = new Map<Partition, Item[]>();
  /** The part of each peer (R8). */
  readonly #toPeers = new Map<NodeName, Load>();
  /** Tasks of a partition on their way to a peer. */
  readonly #outstanding = new Map<Partition, { to: NodeName; count: number; readonly toPeer: Load }>();
  readonly #inFlight = new Map<
    number,
    { readonly to: NodeName; readonly epoch: number; readonly items: readonly Item[]; readonly since: Instant }
  >();
  #batches = new Map<NodeName, Item[]>();
  #nextDrain: Instant | undefined;
  /** The part of each app of what is queued (R9). */
  readonly #ofApps = new Map<string, Load>();

  constructor(here: Here, local: LocalOwner, { numbersFrom }: { readonly numbersFrom: number }) {
    this.#here = here;
    this.#local = local;
    this.#forwardId = numbersFrom;
  }

  nextDeadline(): Instant | undefined {
    return this.#nextDrain;
  }

  tick(): void {
    if (this.#nextDrain !== undefined && this.#nextDrain <= this.#here.now) this.drain();
  }

  submit(sink: OutcomeSink, tokens: readonly number[], records: readonly TaskRecord[]): void {
    const document = this.#here.document;
    for (let index = 0; index < records.length; index++) {
      const record = records[index]!;
      const token = tokens[index]!;
      if (document === undefined) {
        sink.settle(token, NO_RING);
        continue;
      }
      const partition = partitionOfHash(record.hash, document.ringSize) as Partition;
      const owner = document.owners[partition];
      if (owner === this.#here.self && !this.#queues.has(partition) && !this.#outstanding.has(partition)) {
        const admission = this.#local.admission(partition);
        if (admission === "serve") {
          this.#local.submit(partition, record, sink, token);
          continue;
        }
        if (admission === "draining" || admission === "disk-full") {
          sink.settle(token, admission === "draining" ? DRAINING : DISK_FULL);
          continue;
        }
      }
      this.#route({
        sink,
        token,
        record,
        partition,
        sequence: ++this.#sequence,
        deadline: this.#here.now + ROUTE_DEADLINE_MS,
      });
    }
    this.#sendBatches();
  }

  forwarded(from: NodeName, message: Forwarded): void {
    const flight = this.#inFlight.get(message.forwardId);
    if (flight === undefined || flight.to !== from || message.outcomes.length !== flight.items.length) return;
    this.#inFlight.delete(message.forwardId);
    const wasFull = !hasRoom(loadIn(this.#toPeers, from), this.#underWay, UNDER_WAY_LIMIT);
    this.#landed(flight.items);
    for (let index = 0; index < flight.items.length; index++) {
      const item = flight.items[index]!;
      const outcome = message.outcomes[index]!;
      if (outcome.type === "refused" && REROUTED.has(outcome.code)) {
        item.refused = { epoch: flight.epoch, until: this.#here.now + DRAIN_EVERY_MS };
        if (outcome.code === "NO_OWNER") doubt(item);
        this.#enqueue(item, outcome);
      } else item.sink.settle(item.token, outcome);
    }
    const partitions = new Set(flight.items.map(({ partition }) => partition)); // R7
    const owners = this.#here.document?.owners;
    if (wasFull) for (const each of this.#queues.keys()) if (owners?.[each] === from) partitions.add(each);
    this.#drainQueues(partitions);
    this.#sendBatches();
  }

  /** The link to the peer took no forward with that number: it is full. Later ones may pass, so these are not kept here. */
  unsent(to: NodeName, forwardId: number): void {
    const flight = this.#inFlight.get(forwardId);
    if (flight === undefined || flight.to !== to) return;
    this.#inFlight.delete(forwardId);
    this.#landed(flight.items);
    for (const item of flight.items) item.sink.settle(item.token, LINK_FULL);
  }

  linkDown(peer: NodeName): void {
    for (const [forwardId, flight] of this.#inFlight) {
      if (flight.to === peer) this.#giveBack(forwardId, flight.items);
    }
  }

  /** Routes what waits, as far as it can go now: after a change of ring, partition or link, and every 100 ms while any waits. */
  drain(): void {
    const now = this.#here.now;
    for (const [forwardId, flight] of this.#inFlight) {
      if (now - flight.since > FORWARD_DEADLINE_MS) this.#giveBack(forwardId, flight.items);
    }
    this.#drainQueues([...this.#queues.keys()]);
    this.#sendBatches();
    this.#nextDrain = this.#queued.tasks > 0 || this.#inFlight.size > 0 ? now + DRAIN_EVERY_MS : undefined;
  }

  #drainQueues(partitions: Iterable<Partition>): void {
    const now = this.#here.now;
    for (const partition of partitions) {
      const items = this.#queues.get(partition);
      if (items === undefined) continue;
      this.#queues.delete(partition);
      for (const item of items) this.#dequeued(item);
      items.sort((a, b) => a.sequence - b.sequence);
      for (const item of items) {
        if (now < item.deadline) this.#route(item);
        else
          item.sink.settle(
            item.token,
            this.#here.document?.owners[partition] === this.#here.self ? NOT_READY : NO_OWNER,
          );
      }
    }
  }

  #route(item: Item): void {
    const { partition } = item;
    const owner = this.#here.document?.owners[partition];
    if (this.#queues.has(partition)) return this.#enqueue(item);
    if (owner === this.#here.self) {
      const onWay = this.#outstanding.get(partition);
      const admission = onWay === undefined ? this.#local.admission(partition) : "wait";
      if (admission === "serve") this.#local.submit(partition, item.record, item.sink, item.token);
      else if (admission === "draining") item.sink.settle(item.token, DRAINING);
      else if (admission === "disk-full") item.sink.settle(item.token, DISK_FULL);
      else this.#enqueue(item);
      return;
    }
    if ((item.sink.epoch ?? 0) > (this.#here.document?.epoch ?? 0)) return this.#enqueue(item); // R5
    if (item.sink.forwarded) return item.sink.settle(item.token, NOT_OWNER);
    if (item.refused?.epoch === this.#here.document?.epoch && this.#here.now < (item.refused?.until ?? 0))
      return this.#enqueue(item); // R6
    if (owner === undefined || !this.#here.linked(owner)) return this.#enqueue(item);
    const onWay = this.#outstanding.get(partition);
    if (onWay !== undefined && onWay.to !== owner) return this.#enqueue(item);
    const toPeer = onWay?.toPeer ?? loadIn(this.#toPeers, owner);
    if (!hasRoom(toPeer, this.#underWay, UNDER_WAY_LIMIT)) return this.#enqueue(item); // R8
    if (onWay === undefined) this.#outstanding.set(partition, { to: owner, count: 1, toPeer });
    else onWay.count++;
    put(this.#underWay, item);
    put(toPeer, item);
    item.waits = false;
    const batch = this.#batches.get(owner);
    if (batch === undefined) this.#batches.set(owner, [item]);
    else batch.push(item);
  }

  #enqueue(item: Item, refusal?: SubmitOutcome): void {
    const { app } = item.record;
    const ofApp = this.#ofApps.get(app) ?? { tasks: 0, bytes: 0 };
    if (item.waits !== true && !hasRoom(ofApp, this.#queued, QUEUE_LIMIT)) return item.sink.settle(item.token, FULL); // R9
    if (item.deadline <= this.#here.now) return item.sink.settle(item.token, refusal ?? NO_OWNER);
    item.record = detachRecord(item.record); // R4
    item.waits = true;
    this.#ofApps.set(app, ofApp);
    put(this.#queued, item);
    put(ofApp, item);
    const queue = this.#queues.get(item.partition);
    if (queue === undefined) this.#queues.set(item.partition, [item]);
    else queue.push(item);
    this.#nextDrain ??= this.#here.now + DRAIN_EVERY_MS;
  }

  #sendBatches(): void {
    if (this.#batches.size === 0) return;
    const batches = this.#batches;
    this.#batches = new Map();
    const epoch = this.#here.document!.epoch;
    for (const [to, items] of batches) {
      for (const origin of ["client", "child"] as const)
        for (const some of portions(items.filter((item) => item.sink.origin === origin))) {
          const forwardId = ++this.#forwardId;
          this.#inFlight.set(forwardId, { to, epoch, items: some, since: this.#here.now });
          const records = some.map((item) => item.record);
          this.#here.send(to, { type: "forward", forwardId, epoch, origin, records });
        }
    }
    this.#nextDrain ??= this.#here.now + DRAIN_EVERY_MS;
  }

  #giveBack(forwardId: number, items: readonly Item[]): void {
    this.#inFlight.delete(forwardId);
    this.#landed(items);
    for (const item of items) {
      doubt(item);
      this.#enqueue(item);
    }
  }

  #landed(items: readonly Item[]): void {
    for (const item of items) {
      take(this.#underWay, item);
      const onWay = this.#outstanding.get(item.partition);
      if (onWay === undefined) continue;
      take(onWay.toPeer, item);
      if (onWay.toPeer.tasks === 0) this.#toPeers.delete(onWay.to);
      if (--onWay.count === 0) this.#outstanding.delete(item.partition);
    }
  }

  #dequeued(item: Item): void {
    const { app } = item.record;
    const ofApp = loadIn(this.#ofApps, app);
    take(this.#queued, item);
    take(ofApp, item);
    if (ofApp.tasks === 0) this.#ofApps.delete(app);
  }
}

function loadIn<Name>(loads: Map<Name, Load>, name: Name): Load {
  let load = loads.get(name);
  if (load === undefined) {
    load = { tasks: 0, bytes: 0 };
    loads.set(name, load);
  }
  return load;
}

/** R10 */
function doubt(item: Item): void {
  if (item.inDoubt === true) return;
  const { sink } = item;
  item.inDoubt = true;
  item.sink = {
    forwarded: sink.forwarded,
    origin: sink.origin,
    settle: (token, outcome) => sink.settle(token, outcome.type === "refused" ? unsureOf(outcome) : outcome),
  };
}

function put(load: Load, { record }: Item): void {
  load.tasks += 1;
  load.bytes += bytesOf(record);
}

function take(load: Load, { record }: Item): void {
  load.tasks -= 1;
  load.bytes -= bytesOf(record);
}

/** For one more of that part (R8, R9). */
function hasRoom(part: Readonly<Load>, all: Readonly<Load>, limit: Readonly<Load>): boolean {
  return part.tasks < (limit.tasks - all.tasks) * SHARE && part.bytes < (limit.bytes - all.bytes) * SHARE;
}

/** In their order, about `FORWARD_BYTES` each (R4). */
function portions(items: readonly Item[]): readonly (readonly Item[])[] {
  const all: Item[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    bytes += bytesOf(item.record);
    if (bytes > FORWARD_BYTES) {
      all.push([]);
      bytes = bytesOf(item.record);
    }
    all.at(-1)!.push(item);
  }
  return all;
}

/** How long a task may look for its owner before its submitter is told to retry. Longer than a cut-over, shorter than a failover. */
const ROUTE_DEADLINE_MS = 5_000;
/** A forward without an answer is given up after this: its submitters are told to try again, and the owner deduplicates. */
const FORWARD_DEADLINE_MS = 10_000;
const DRAIN_EVERY_MS = 100;
/** Record bytes of one forward, about: a quarter of what a link takes as one message; one task may be larger. */
const FORWARD_BYTES = 1_048_576;
/** What waits for its owner at one node; of one app four fifths. */
const QUEUE_LIMIT: Load = { tasks: 25_000, bytes: 41_943_040 };
/** What is on its way to peers from one node; to one of them four fifths, which is half of what waits for one link at most. */
const UNDER_WAY_LIMIT: Load = { tasks: 62_500, bytes: 41_943_040 };
/** As in `ring/tasks/fullness.ts`. */
const SHARE = 4;
