/**
 * Sends partitions away: handoffs of those this node serves, and stranded rows of directories it holds.
 *
 * Phases of a handoff: waiting → offered → snapshot → catch-up → cut-over (`cut-over.ts`) → done; stranded rows never
 * change, so theirs end with the snapshot.
 * O1  Submits wait for what has changed since the snapshot, not for the snapshot: cut-over begins when nearly all of it
 *     is on the receiver's disk.
 * O2  What waits to be sent is bounded: when rows change faster than the receiver takes them, submits wait.
 * O4  While the ring decides over a partition of this node no other one is parked: its consent would be for the epoch that is
 *     being decided, void before it is given, and its keys would wait for two decisions.
 * O5  Nor is one while the voters are about to change, for a while: those epochs would come first.
 * O6  Those that begin together are parked together, so that one decision does for all: which costs no key a wait, as long as
 *     nothing is parked.
 * O3  In a shared store the rows are there already: a handoff is a cut-over with an empty stream.
 * O7  Of a directory that was given back meanwhile nothing is known, least of all that nothing of the partition is in it.
 */

import type { RingDocument, Stranded } from "../document.ts";
import type { Epoch, NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Row, RowChanges } from "../store.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import { votersAreDue } from "../voters.ts";
import type { CommitListener, Commits } from "./commits.ts";
import type { CopyFor } from "./copies.ts";
import { CutOver } from "./cut-over.ts";
import type { Directory } from "./effects.ts";
import type { Here } from "./here.ts";
import type { Hosting } from "./hosting.ts";
import type { TransferMessage } from "./messages.ts";
import type { TransferView } from "./requests.ts";
import { RowStream } from "./row-stream.ts";
import { splitRows } from "./rows.ts";
import {
  acknowledge,
  BACKLOG_MOST,
  changesBehind,
  countBegun,
  handoffKey,
  isClose,
  keyOf,
  NEAR_CHANGES,
  newTransfer,
  strandedKey,
  strandedWanted,
  type Transfer,
  type TransferLimit,
  type TransferWish,
  watched,
} from "./transfer.ts";

export interface OutgoingHooks {
  /** Give this consent to whoever proposes the epoch. */
  consent(epoch: Epoch, partition: Partition, to: NodeName, insist: boolean): void;
  nextReadId(): number;
  nonce(): number;
  /** Of a member's directory that this node holds. */
  holds(entry: Stranded): Directory | undefined;
  /** Of a directory that is held: whether it has the rows that the entry lists, or others of its partition. */
  copyFor(entry: Stranded): CopyFor;
}

export interface OutgoingParts {
  readonly engine: TaskEngineContract;
  readonly hosting: Hosting;
  readonly commits: Commits;
  readonly limit: TransferLimit;
  readonly hooks: OutgoingHooks;
  /** Rows of one message, at most. Default 250. */
  readonly chunkRows?: number | undefined;
}

export class Outgoing implements CommitListener {
  readonly #here: Here;
  readonly #hosting: Hosting;
  readonly #limit: TransferLimit;
  readonly #hooks: OutgoingHooks;
  readonly #stream: RowStream;
  readonly #cutOver: CutOver;
  readonly #transfers = new Map<string, Transfer>();
  /** Of the newest document that was followed. */
  #epoch: Epoch | undefined;
  /** O5: when that has been waited for long enough. */
  #votersBy: Instant | undefined;
  paused: boolean = false;

  constructor(here: Here, parts: OutgoingParts) {
    this.#here = here;
    this.#hosting = parts.hosting;
    this.#limit = parts.limit;
    this.#hooks = parts.hooks;
    this.#stream = new RowStream(here, { nextReadId: parts.hooks.nextReadId, chunkRows: parts.chunkRows });
    this.#cutOver = new CutOver(here, {
      ...parts,
      sendLast: (transfer) => this.#stream.sendLast(transfer),
      all: () => this.#transfers.values(),
      isCurrent: (transfer) => this.#transfers.get(keyOf(transfer)) === transfer,
    });
  }

  nextDeadline(): Instant | undefined {
    let earliest: Instant | undefined;
    for (const transfer of this.#transfers.values()) {
      const at = transfer.retryAt ?? (watched(transfer) ? transfer.lastProgress + patienceMs(transfer) : undefined);
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  views(): TransferView[] {
    return [...this.#transfers.values()].map((transfer) => ({
      partition: transfer.id.partition,
      kind: transfer.id.kind,
      from: transfer.stranded?.member ?? this.#here.self,
      to: transfer.to,
      phase: transfer.phase,
      reason: transfer.reason,
      rows: transfer.changes,
      bytes: transfer.bytes,
      sinceMs: Math.round(this.#here.now - transfer.startedAt),
    }));
  }

  /** Overrides a handler that does not return (ownership rule 21). */
  force(partition: Partition): boolean {
    const transfer = this.#transfers.get(handoffKey(partition));
    if (transfer?.cut !== "draining") return false;
    transfer.forced = true;
    this.#here.note("transfer-forced", `partition ${partition}: handlers still run here`);
    this.#advance(transfer);
    return true;
  }

  /** What the document asks for, begun; what it no longer asks for, ended. */
  follow(document: RingDocument): void {
    const gap = this.#epoch !== undefined && document.epoch > this.#epoch + 1;
    this.#epoch = document.epoch;
    this.#votersBy = votersAreDue(document) ? (this.#votersBy ?? this.#here.now + VOTERS_MS) : undefined;
    for (const [key, transfer] of this.#transfers) {
      if (transfer.stranded === undefined ? !this.#wanted(transfer, document) : !strandedWanted(transfer, document))
        this.#end(key, transfer);
      else if (gap && transfer.whole && transfer.stranded === undefined && !this.#here.linked(transfer.to))
        this.#restart(transfer, "the link broke");
      else this.#cutOver.follow(transfer, document.epoch, gap && transfer.stranded === undefined);
    }
    for (let index = 0; index < document.ringSize; index++) {
      const to = document.next[index];
      const partition = index as Partition;
      if (to === undefined || document.owners[index] !== this.#here.self || this.#transfers.has(handoffKey(partition)))
        continue;
      const generation = document.generations[index]!;
      const id = { partition, kind: "handoff", generation, nonce: this.#hooks.nonce() } as const;
      this.#add({ id, to, source: { type: "own" }, stranded: undefined, ownedSince: generation });
    }
    for (const entry of document.stranded) {
      const to = document.owners[entry.partition];
      const key = strandedKey(entry);
      if (to === undefined || this.#transfers.has(key)) continue;
      const source = this.#hooks.holds(entry);
      if (source === undefined) continue;
      if (source.type === "own" && to === this.#here.self) continue; // lies where it is needed
      const { partition, generation } = entry;
      const id = { partition, kind: "stranded", generation, nonce: this.#hooks.nonce() } as const;
      this.#add({ id, to, source, stranded: entry, ownedSince: document.generations[partition]! });
    }
    this.#advanceClose(); // O4
    this.pump();
  }

  /** Offers waiting transfers as far as the limit allows, and watches those under way. */
  pump(): void {
    const { now, document } = this.#here;
    let beside = countBegun([...this.#transfers.values()].filter(({ phase }) => phase !== "waiting"));
    for (const transfer of this.#transfers.values()) {
      if (transfer.phase === "waiting") {
        if (transfer.retryAt !== undefined && transfer.retryAt > now) continue;
        const hasPlace = this.#limit.allows(transfer.id.kind, "out", beside, document);
        const reason = this.#notYet(transfer, hasPlace);
        if (reason !== undefined) {
          transfer.reason = reason;
          // Whatever frees a place pumps again; the other reasons have to be looked at.
          transfer.retryAt = hasPlace ? now + RETRY_MS : undefined;
          continue;
        }
        beside = { ...beside, moving: beside.moving + 1 };
        transfer.phase = "offered";
        transfer.reason = "waiting for the receiver";
        transfer.retryAt = undefined;
        transfer.lastProgress = now;
        const stranded = transfer.stranded;
        this.#send(transfer, {
          type: "transfer-offer",
          transfer: transfer.id,
          epoch: this.#here.document!.epoch,
          ...(stranded === undefined ? {} : { stranded }),
        });
      } else if (transfer.retryAt !== undefined && transfer.retryAt <= now) {
        transfer.retryAt = undefined;
        this.#advance(transfer);
      } else if (watched(transfer) && transfer.lastProgress + patienceMs(transfer) <= now) {
        this.#restart(transfer, `no progress for ${patienceMs(transfer) / 1_000} s`);
      }
    }
  }

  receive(from: NodeName, message: TransferMessage): void {
    const transfer = this.#find(message.transfer);
    if (transfer === undefined || transfer.to !== from) return;
    switch (message.type) {
      case "transfer-wait":
        if (transfer.phase === "offered") this.#putOff(transfer, message.reason);
        return;
      case "transfer-abort":
        if (transfer.cut !== "consented") this.#restart(transfer, message.reason);
        return;
      case "transfer-begin":
        if (transfer.phase !== "offered" || this.#isGivenBack(transfer)) return;
        transfer.phase = "snapshot";
        transfer.reason = "sending rows";
        transfer.lastProgress = this.#here.now;
        if (this.#hasRows(transfer)) return this.#stream.read(transfer);
        transfer.scanned = true;
        return this.#advance(transfer);
      case "transfer-ack":
        if (!acknowledge(transfer, message.sequence)) return;
        transfer.lastProgress = this.#here.now;
        if (message.complete && transfer.cut === "last-sent" && message.sequence >= transfer.lastSequence)
          transfer.whole = true;
        this.#advance(transfer);
        if (transfer.whole) this.pump();
        return;
      default:
        return;
    }
  }

  linkDown(peer: NodeName): void {
    for (const transfer of this.#transfers.values()) {
      // A handoff that the receiver said to be whole it keeps (incoming.ts, I3); that it absorbed something it may have forgotten.
      const isKept = transfer.whole && transfer.stranded === undefined;
      if (transfer.to === peer && transfer.phase !== "waiting" && !isKept) this.#restart(transfer, "the link broke");
    }
  }

  rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): boolean {
    for (const transfer of this.#transfers.values()) {
      if (transfer.reading?.readId !== readId) continue;
      if (this.#isGivenBack(transfer)) return true;
      const { stranded, cursor } = transfer;
      // Of a copy that did not arrive whole nothing is the member's.
      const isPartial = stranded !== undefined && cursor === undefined && this.#isPartial(stranded, rows);
      this.#stream.arrived(transfer, isPartial ? [] : rows, isPartial ? undefined : next);
      this.#advance(transfer);
      return true;
    }
    return false;
  }

  /** These changes are on their way to the disk; `synced` tells the same ones. */
  leaving(partition: Partition, changes: RowChanges): void {
    if (this.#transfers.size === 0) return;
    const transfer = this.#transfers.get(handoffKey(partition));
    if (transfer?.cut !== "flushing") return;
    this.#stream.add(transfer, changes);
    this.#cutOver.leaving(transfer, changes);
  }

  synced(partition: Partition, changes: RowChanges): void {
    if (this.#transfers.size === 0) return;
    const transfer = this.#transfers.get(handoffKey(partition));
    if (transfer === undefined || transfer.phase === "waiting" || transfer.phase === "offered") return;
    if (!watched(transfer)) transfer.lastProgress = this.#here.now;
    if (transfer.sentAhead !== changes) this.#stream.add(transfer, changes);
    transfer.sentAhead = undefined;
    if (transfer.scanned || transfer.backlog.length <= BACKLOG_MOST) return this.#advance(transfer);
    this.#restart(transfer, "rows change faster than the receiver takes them");
  }

  /** Attempts ended: a cut-over may wait for that. */
  attemptsEnded(): void {
    for (const transfer of this.#transfers.values()) if (transfer.cut === "draining") this.#advance(transfer);
  }

  /** The store refused rows of the partition: what was begun to send is no longer what is there. */
  fenced(partition: Partition): void {
    const transfer = this.#transfers.get(handoffKey(partition));
    if (transfer === undefined) return;
    transfer.sentAhead = undefined; // of the group that was refused
    if (transfer.phase !== "waiting" && transfer.cut !== "consented")
      this.#restart(transfer, "the store knows a newer owner");
  }

  #hasRows({ stranded }: Transfer): boolean {
    if (this.#here.sharedStore === true) return false; // O3
    return stranded === undefined || this.#hooks.copyFor(stranded) !== "none";
  }

  #notHeld(entry: Stranded): string | undefined {
    return this.#hooks.holds(entry) === undefined ? `the directory of ${entry.member} is not held here` : undefined;
  }

  /** O7 */
  #isGivenBack(transfer: Transfer): boolean {
    const reason = transfer.stranded === undefined ? undefined : this.#notHeld(transfer.stranded);
    if (reason === undefined) return false;
    this.#restart(transfer, reason);
    return true;
  }

  #isPartial(entry: Stranded, firstRows: readonly Row[]): boolean {
    return this.#hooks.copyFor(entry) === "arrived" && splitRows(firstRows).node.arrivedFor !== entry.generation;
  }

  #add(wish: TransferWish): Transfer {
    const transfer = newTransfer(wish, this.#here.now);
    this.#transfers.set(keyOf(transfer), transfer);
    return transfer;
  }

  #find(id: Transfer["id"]): Transfer | undefined {
    for (const transfer of this.#transfers.values())
      if (transfer.id.nonce === id.nonce && transfer.id.partition === id.partition) return transfer;
    return undefined;
  }

  #notYet(transfer: Transfer, hasPlace: boolean): string | undefined {
    if (this.paused) return "transfers are paused";
    if (!hasPlace) return `${this.#limit.most(transfer.id.kind, "out", this.#here.document)} transfers at once`;
    if (!this.#here.linked(transfer.to)) return `${transfer.to} cannot be reached`;
    if (transfer.stranded !== undefined) return this.#notHeld(transfer.stranded);
    if (!this.#hosting.serving(transfer.id.partition))
      return this.#hosting.waitsFor(transfer.id.partition) ?? "not served";
    if (this.#here.document!.stranded.some((entry) => this.#comesFirst(entry, transfer)))
      return "stranded tasks come first";
    return undefined;
  }

  /** Tasks that are about to be absorbed, or that lie where the partition is to go. Those of an absent machine find the new owner as well. */
  #comesFirst(entry: Stranded, transfer: Transfer): boolean {
    if (entry.partition !== transfer.id.partition) return false;
    if (entry.where.type === "adopter") return true;
    return isMember(this.#here.document!, entry) && (entry.member === transfer.to || this.#here.linked(entry.member));
  }

  #advance(transfer: Transfer): void {
    if (transfer.phase === "waiting" || transfer.phase === "offered") return;
    this.#stream.send(transfer);
    if (!transfer.scanned) return this.#stream.read(transfer);
    if (transfer.stranded !== undefined) return this.#finishStranded(transfer);
    if (transfer.cut === "no") {
      transfer.phase = "catch-up";
      if (!isClose(transfer, this.#here.now) || this.#awaitsRing(transfer) || this.#awaitsOthers(transfer)) return;
      this.#cutOver.begin(transfer);
      this.#advanceClose();
    }
    this.#cutOver.advance(transfer);
  }

  /** O4, O5; O2 comes first. */
  #awaitsRing(transfer: Transfer): boolean {
    if (transfer.backlog.length > BACKLOG_MOST) return false;
    const [by, { now }] = [this.#votersBy, this.#here];
    if (by !== undefined && now < by) transfer.retryAt = by;
    else if (![...this.#transfers.values()].some(({ cut }) => cut === "consented")) return false;
    return this.#waits(transfer, "waiting for the ring");
  }

  /** O6; O2 comes first. */
  #awaitsOthers(transfer: Transfer): boolean {
    if (transfer.backlog.length > BACKLOG_MOST) return false;
    transfer.closeAt ??= this.#here.now;
    const by = transfer.closeAt + GATHER_MS;
    if (this.#here.now >= by || ![...this.#transfers.values()].some((other) => this.#comesSoon(other))) return false;
    transfer.retryAt = by;
    return this.#waits(transfer, "waiting for others to cut over with");
  }

  /** It was close; whether it still is when it may be parked is looked at then. */
  #waits(transfer: Transfer, reason: string): true {
    transfer.reason = reason;
    if (changesBehind(transfer) > NEAR_CHANGES) transfer.caughtUpAt = undefined;
    return true;
  }

  #comesSoon(other: Transfer): boolean {
    if (other.stranded !== undefined || other.phase === "waiting" || other.cut !== "no") return false;
    return !other.scanned || !isClose(other, this.#here.now);
  }

  #advanceClose(): void {
    for (const other of this.#transfers.values()) if (other.phase === "catch-up") this.#advance(other);
  }

  #finishStranded(transfer: Transfer): void {
    if (transfer.backlog.length > 0) return;
    if (transfer.cut === "no") this.#stream.sendLast(transfer);
    else if (transfer.whole) transfer.reason = "absorbed; waiting for the ring to say so";
  }

  #send(transfer: Transfer, message: TransferMessage): void {
    this.#here.send(transfer.to, message);
  }

  /** The receiver has something else to do first. Keys wait for stranded rows: mostly it is about to open the partition. */
  #putOff(transfer: Transfer, reason: string): void {
    const again = this.#restart(transfer, reason);
    again.waits = transfer.waits + 1;
    if (again.stranded !== undefined)
      again.retryAt = this.#here.now + Math.min(RETRY_MS, WAIT_MS * 2 ** transfer.waits);
  }

  #restart(transfer: Transfer, reason: string): Transfer {
    this.#cutOver.breakOff(transfer);
    const again = this.#add({ ...wishOf(transfer), id: { ...transfer.id, nonce: this.#hooks.nonce() } });
    again.reason = reason;
    again.retryAt = this.#here.now + RETRY_MS;
    return again;
  }

  #wanted(transfer: Transfer, document: RingDocument): boolean {
    const { partition, generation } = transfer.id;
    return (
      document.owners[partition] === this.#here.self &&
      document.next[partition] === transfer.to &&
      document.generations[partition] === generation
    );
  }

  #end(key: string, transfer: Transfer): void {
    this.#transfers.delete(key);
    if (transfer.stranded !== undefined || transfer.phase === "waiting") return;
    const still = this.#here.document?.owners[transfer.id.partition] === this.#here.self;
    if (still) {
      // Not taken, and the document that says so is known.
      this.#send(transfer, { type: "transfer-abort", transfer: transfer.id, reason: "the plan changed" });
      this.#cutOver.breakOff(transfer);
    } else if (transfer.cut !== "no") {
      this.#here.note(
        "handoff-done",
        `partition ${transfer.id.partition} to ${transfer.to}: ${transfer.changes} rows, submits waited ${Math.round(this.#here.now - transfer.parkedAt)} ms`,
      );
    }
  }
}

function wishOf({ id, to, source, stranded, ownedSince }: Transfer): TransferWish {
  return { id, to, source, stranded, ownedSince };
}

/** An offer is answered at once, unless the receiver's link back was not up yet. */
function patienceMs(transfer: Transfer): number {
  return transfer.phase === "offered" ? OFFER_MS : STALL_MS;
}

/** A change of voters takes some epochs of a few round trips each. */
const VOTERS_MS = 1_000;
/** O6 */
const GATHER_MS = 200;
const RETRY_MS = 250;
/** The first of the waits for a receiver, each twice as long as the one before. */
const WAIT_MS = 20;
const STALL_MS = 10_000;
const OFFER_MS = 3_000;

/** Not a namesake with another directory (ownership rule 4). */
function isMember(document: RingDocument, { member, memberId }: Stranded): boolean {
  return document.members.some(({ name, id }) => name === member && id === memberId);
}
