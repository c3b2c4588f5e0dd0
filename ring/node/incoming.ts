/**
 * Receives partitions: rows of a handoff go to disk under the offered generation, stranded rows are absorbed by the
 * vnode that already serves the partition.
 *
 * I1  An acknowledgement says "durable here", never "received" (reliability rule 3).
 * I2  `complete` is said only when count and hash of the whole stream are equal; a handoff's copy is then marked as good
 *     for the next generation, in the same commit.
 * I3  A copy that was said to be complete is kept until the ring or its sender says otherwise, however long that takes: the
 *     sender may have consented by now.
 * I5  That a handoff is complete is said only when no document that is still to be followed here can have given it up before
 *     the one that its sender knew: following that one would drop the copy.
 * I6  Of several adopted directories with rows of one partition the newest comes first: it knows what has become of the rows of
 *     the others, which its owner may have absorbed and run (hosting.ts, H6).
 * I7  Stranded rows are absorbed by an owner whose document lists them, so of a generation after theirs: one that was the owner
 *     before them as well, and does not know yet what happened since, would drop them with its old copy.
 * I10 And for as long as they are listed: after that the owner takes its own state for the newest.
 * I8  They are absorbed while the partition is in service: what comes during a cut-over, or while its seal is in doubt, may lie here
 *     alone when the ring has given the partition away, and this node would have said that they are absorbed.
 * I11 What was absorbed is not called durable while older state that is to give way to it is still looked up (older-state.ts, M3).
 * I4  Nothing is acknowledged of what came before the partition was closed or opened anew: it may never reach the disk.
 */

import type { RingDocument, Stranded } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Row, Term } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { Commits } from "./commits.ts";
import { liesIn } from "./copies.ts";
import type { Here } from "./here.ts";
import type { Hosting } from "./hosting.ts";
import { setAside } from "./loading-ahead.ts";
import type { Absorption, TransferId, TransferMessage } from "./messages.ts";
import { arrivedChange } from "./rows.ts";
import { hashChanges } from "./stream.ts";
import { countBegun, handoffKey, strandedKey, type TransferLimit } from "./transfer.ts";

interface Arrival {
  readonly id: TransferId;
  readonly from: NodeName;
  readonly stranded: Stranded | undefined;
  /** Under which its rows are written (I4). */
  readonly term: Term | undefined;
  sequence: number;
  changes: number;
  hash: number;
  /** Count and hash of the whole are equal (I3). */
  whole: boolean;
  /** I5: the epoch that its sender knew, and what is not acknowledged before. */
  plannedAt: number;
  /** What it has said about its state (engine-contract.ts). */
  readonly marks: Map<string, number>;
  readonly owed: { readonly sequence: number; readonly complete: boolean }[];
  lastProgress: Instant;
}

export interface IncomingHooks {
  /** All rows of these entries are durable here: their removal may be proposed. */
  absorbed(absorption: Absorption): void;
  /** A reason to refuse any transfer now. */
  busy(): string | undefined;
}

export interface IncomingParts {
  readonly engine: TaskEngineContract;
  readonly hosting: Hosting;
  readonly commits: Commits;
  readonly limit: TransferLimit;
  readonly hooks: IncomingHooks;
}

export class Incoming {
  readonly #here: Here;
  readonly #engine: TaskEngineContract;
  readonly #hosting: Hosting;
  readonly #commits: Commits;
  readonly #hooks: IncomingHooks;
  readonly #arrivals = new Map<string, Arrival>();
  /** Stranded entries whose rows are durable here, told again until the ring has removed them. */
  readonly #absorbed = new Map<string, { readonly entry: Stranded; readonly generation: number }>();
  readonly #limit: TransferLimit;
  #tellAt: Instant | undefined;

  constructor(here: Here, parts: IncomingParts) {
    this.#here = here;
    this.#engine = parts.engine;
    this.#hosting = parts.hosting;
    this.#commits = parts.commits;
    this.#limit = parts.limit;
    this.#hooks = parts.hooks;
  }

  /** Transfers under way to this node. */
  get count(): number {
    return this.#arrivals.size;
  }

  nextDeadline(): Instant | undefined {
    let earliest = this.#tellAt;
    for (const arrival of this.#arrivals.values()) {
      if (!arrival.whole && (earliest === undefined || arrival.lastProgress + STALL_MS < earliest))
        earliest = arrival.lastProgress + STALL_MS;
    }
    return earliest;
  }

  /** Gives the slots of senders that fell silent free again. */
  tick(): void {
    const { now } = this.#here;
    for (const [key, arrival] of this.#arrivals)
      if (!arrival.whole && arrival.lastProgress + STALL_MS <= now) this.#end(key, arrival, false); // I3
    if (this.#tellAt === undefined || this.#tellAt > now) return;
    this.#tellAt = now + TELL_EVERY_MS;
    this.#tell([...this.#absorbed.values()]);
  }

  /** The entry's rows are in the partition that this node serves. */
  settle(entry: Stranded): void {
    const key = strandedKey(entry);
    if (this.#absorbed.has(key)) return;
    const absorbed = { entry, generation: this.#here.document!.generations[entry.partition]! };
    this.#absorbed.set(key, absorbed);
    this.#hosting.absorbed(entry.partition, (other) => this.#absorbed.has(strandedKey(other)));
    this.#tellAt ??= this.#here.now + TELL_EVERY_MS;
    this.#tell([absorbed]);
  }

  #tell(absorbed: readonly { readonly entry: Stranded; readonly generation: number }[]): void {
    this.#hooks.absorbed({
      entries: absorbed.map(({ entry }) => entry),
      generations: absorbed.map(({ generation }) => generation),
    });
  }

  receive(from: NodeName, message: TransferMessage): void {
    switch (message.type) {
      case "transfer-offer":
        return this.#offered(from, message.transfer, message.stranded);
      case "transfer-chunk":
        return this.#chunk(from, message);
      case "transfer-abort": {
        const arrival = this.#arrivals.get(keyOf(message.transfer));
        if (arrival?.from === from) this.#end(keyOf(message.transfer), arrival, false);
        return;
      }
      default:
        return;
    }
  }

  follow(document: RingDocument): void {
    const listed = new Set(document.stranded.map(strandedKey));
    for (const [key, { entry, generation }] of this.#absorbed) {
      const { partition } = entry;
      const isOwner = document.owners[partition] === this.#here.self && document.generations[partition] === generation;
      if (isOwner && listed.has(key)) {
        if (!liesIn(entry, this.#here) || this.#hosting.loaded(partition)) continue;
      }
      this.#absorbed.delete(key);
    }
    if (this.#absorbed.size === 0) this.#tellAt = undefined;
    for (const [key, arrival] of this.#arrivals) {
      const { partition, generation } = arrival.id;
      if (arrival.stranded !== undefined) {
        if (document.owners[partition] !== this.#here.self || !listed.has(strandedKey(arrival.stranded)))
          this.#end(key, arrival, false); // I10
      } else if (document.owners[partition] === this.#here.self) this.#end(key, arrival, true);
      else if (document.next[partition] !== this.#here.self || document.generations[partition] !== generation) {
        if (arrival.owed.length > 0) this.#refuse(key, arrival, "the plan has changed");
        else this.#end(key, arrival, false);
      } else
        for (const { sequence, complete } of arrival.owed.splice(0)) this.#acknowledge(arrival, sequence, complete);
    }
  }

  /** One whose sender waits for a handler lets another go past it, up to what a node gives at once. */
  #hasRoom(kind: TransferId["kind"], document: RingDocument): boolean {
    const begun = [...this.#arrivals.values()];
    const busy = begun.filter(({ whole, lastProgress }) => whole || this.#here.now - lastProgress < IDLE_MS);
    return (
      this.#limit.allows(kind, "in", countBegun(busy), document) &&
      this.#limit.allows(kind, "out", countBegun(begun), document)
    );
  }

  #offered(from: NodeName, id: TransferId, stranded: Stranded | undefined): void {
    const wait = (reason: string): void => this.#here.send(from, { type: "transfer-wait", transfer: id, reason });
    const document = this.#here.document;
    if (document === undefined) return wait("the receiver has no ring yet");
    const busy = this.#hooks.busy();
    if (busy !== undefined) return wait(busy);
    for (const [key, arrival] of this.#arrivals) {
      if (arrival.from !== from || sourceOf(arrival.id, arrival.stranded) !== sourceOf(id, stranded)) continue;
      if (arrival.id.nonce >= id.nonce) return; // said twice, or late: an attempt that is over
      this.#end(key, arrival, false);
    }
    if (!this.#hasRoom(id.kind, document))
      return wait(`the receiver takes ${this.#limit.most(id.kind, "in", document)} at once`);
    const { partition } = id;
    if (stranded !== undefined) {
      if (document.owners[partition] !== this.#here.self) return wait("the receiver is not the owner");
      if (!document.stranded.some((other) => strandedKey(other) === strandedKey(stranded)))
        return wait("the receiver does not know of these rows"); // I7
      if (!this.#hosting.serving(partition)) return wait("the receiver does not serve the partition now"); // I8
      if (document.stranded.some((other) => this.#comesBefore(other, stranded)))
        return wait("newer rows of the partition come first");
    } else {
      if (document.next[partition] !== this.#here.self || document.owners[partition] !== from)
        return wait("the receiver knows another plan");
      const room = this.#hosting.expect(partition, { history: document.history, generation: id.generation, opens: 0 });
      if (room !== "ready")
        return wait(
          room === "clearing" ? "the receiver clears an old copy" : "the receiver still holds older tasks of it",
        );
    }
    const term = this.#hosting.termOf(partition);
    this.#arrivals.set(keyOf(id), {
      id,
      from,
      stranded,
      term,
      sequence: 0,
      changes: 0,
      hash: 0,
      whole: false,
      plannedAt: 0,
      marks: new Map(),
      owed: [],
      lastProgress: this.#here.now,
    });
    this.#here.send(from, { type: "transfer-begin", transfer: id });
  }

  /** I6 */
  #comesBefore(other: Stranded, entry: Stranded): boolean {
    return (
      other.partition === entry.partition &&
      other.generation > entry.generation &&
      other.where.type === "adopter" &&
      entry.where.type === "adopter" &&
      !liesIn(other, this.#here) &&
      !this.#absorbed.has(strandedKey(other))
    );
  }

  #chunk(from: NodeName, message: Extract<TransferMessage, { type: "transfer-chunk" }>): void {
    const key = keyOf(message.transfer);
    const arrival = this.#arrivals.get(key);
    if (arrival === undefined || arrival.from !== from)
      return this.#here.send(from, {
        type: "transfer-abort",
        transfer: message.transfer,
        reason: "the receiver does not know the transfer",
      });
    if (!this.#standing(arrival)) return this.#refuse(key, arrival, "the receiver opens the partition anew"); // I4
    if (arrival.stranded !== undefined && !this.#hosting.serving(arrival.id.partition))
      return this.#refuse(key, arrival, "the receiver hands the partition over"); // I8
    if (message.sequence <= arrival.sequence) return; // said twice
    if (arrival.whole && message.sequence > arrival.sequence + 1) return; // I3: what comes later does not make it less
    if (message.sequence !== arrival.sequence + 1)
      return this.#refuse(key, arrival, `chunk ${message.sequence} after ${arrival.sequence}`);
    arrival.sequence = message.sequence;
    arrival.lastProgress = this.#here.now;
    if (arrival.stranded === undefined)
      this.#hosting.arriving(arrival.id.partition, message.changes, message.sequence === 1);
    arrival.changes += message.changes.length;
    arrival.hash = hashChanges(arrival.hash, message.changes);
    const { partition } = arrival.id;
    if (message.changes.length > 0 || message.last !== undefined) {
      if (arrival.stranded === undefined) for (const change of message.changes) this.#commits.add(partition, change);
      else {
        const rows: Row[] = [];
        for (const { key: rowKey, value } of message.changes)
          if (value !== undefined) rows.push({ key: rowKey, value });
        const unreadable = this.#engine.absorb(this.#here.now, partition, rows, {
          behind: arrival.stranded.where.type === "away" || this.#hosting.startedWithout(partition),
          generation: arrival.stranded.generation,
          marks: arrival.marks,
          isLast: message.last !== undefined,
        });
        setAside(this.#here, partition, unreadable);
      }
    }
    if (message.last !== undefined) {
      if (message.last.changes !== arrival.changes || message.last.hash !== arrival.hash) {
        this.#here.note("transfer-mismatch", `partition ${partition} from ${from}: count or hash differs`);
        return this.#refuse(key, arrival, "count or hash differs");
      }
      arrival.whole = true;
      arrival.plannedAt = message.last.epoch;
      if (arrival.stranded === undefined) this.#commits.add(partition, arrivedChange(arrival.id.generation + 1)); // I2
    }
    const { sequence } = message;
    const complete = message.last !== undefined;
    this.#commits.whenSynced(() => {
      if (this.#arrivals.get(key) !== arrival) return;
      if (!this.#standing(arrival)) return this.#refuse(key, arrival, "the receiver opens the partition anew"); // I4
      const replacing = arrival.stranded === undefined ? 0 : this.#engine.replacing(partition);
      if (replacing > (complete ? 0 : REPLACING_MOST))
        return this.#refuse(key, arrival, "the receiver sets older state aside"); // I11
      this.#acknowledge(arrival, sequence, complete);
      if (!complete) return;
      if (arrival.stranded === undefined) return this.#hosting.arrived(arrival.id.partition);
      this.#arrivals.delete(key);
      this.settle(arrival.stranded);
    });
  }

  #acknowledge(arrival: Arrival, sequence: number, complete: boolean): void {
    const { document } = this.#here;
    const isBehind = arrival.stranded === undefined && (document?.epoch ?? 0) + 1 < arrival.plannedAt;
    if (isBehind)
      arrival.owed.push({ sequence, complete }); // I5
    else this.#here.send(arrival.from, { type: "transfer-ack", transfer: arrival.id, sequence, complete });
  }

  /** The store refused rows of the partition: what was said of them is void. */
  fenced(partition: Partition): void {
    for (const [key, arrival] of this.#arrivals)
      if (arrival.id.partition === partition) this.#refuse(key, arrival, "the receiver's disk knows a newer owner");
  }

  /** Still written under the term that it began with, into a partition that takes rows. */
  #standing(arrival: Arrival): boolean {
    const { partition } = arrival.id;
    return (
      this.#hosting.termOf(partition) === arrival.term &&
      (arrival.stranded === undefined || this.#hosting.loaded(partition))
    );
  }

  #refuse(key: string, arrival: Arrival, reason: string): void {
    this.#here.send(arrival.from, { type: "transfer-abort", transfer: arrival.id, reason });
    this.#end(key, arrival, false);
  }

  #end(key: string, arrival: Arrival, kept: boolean): void {
    this.#arrivals.delete(key);
    if (!kept && arrival.stranded === undefined) this.#hosting.unexpect(arrival.id.partition);
  }
}

/** What a transfer moves. A sender may hold several directories with rows of one partition. */
function sourceOf(id: TransferId, stranded: Stranded | undefined): string {
  return stranded === undefined ? handoffKey(id.partition) : strandedKey(stranded);
}

function keyOf(id: TransferId): string {
  return `${id.kind} ${id.partition} ${id.nonce}`;
}

const STALL_MS = 30_000;
const IDLE_MS = 1_000;
const TELL_EVERY_MS = 500;
/** Keys of one partition. */
const REPLACING_MOST = 1_000;
