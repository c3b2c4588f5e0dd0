/** One partition on its way to another node, as its sender keeps track of it. */

import type { RingDocument, Stranded } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { RowChange, RowChanges } from "../store.ts";
import type { Directory } from "./effects.ts";
import type { TransferId } from "./messages.ts";
import { changesBytes } from "./stream.ts";

export interface Transfer {
  readonly id: TransferId;
  readonly to: NodeName;
  readonly source: Directory;
  readonly stranded: Stranded | undefined;
  /** The partition's generation then: what the receiver absorbs as its owner is gone with that. */
  readonly ownedSince: number;
  readonly startedAt: Instant;
  phase: "waiting" | "offered" | "snapshot" | "catch-up" | "cut-over";
  reason: string;
  /** How often the receiver has put it off, one time after the other. */
  waits: number;
  retryAt: Instant | undefined;
  reading: { readonly readId: number; readonly touched: Set<string> } | undefined;
  scanned: boolean;
  /** When that was seen first with changes left. */
  scannedAt: Instant | undefined;
  cursor: Uint8Array | undefined;
  /** Changes to send, in order. */
  backlog: RowChange[];
  sequence: number;
  acked: number;
  /** Sent: all, what was acknowledged, and what was sent up to each chunk that is not. */
  changes: number;
  changesAcked: number;
  bytes: number;
  bytesAcked: number;
  readonly sentAt: Map<number, { readonly changes: number; readonly bytes: number }>;
  hash: number;
  lastProgress: Instant;
  /** When the receiver had everything but what has changed since the snapshot was read. */
  caughtUpAt: Instant | undefined;
  /** When it could have been parked. */
  closeAt: Instant | undefined;
  cut: "no" | "draining" | "flushing" | "last-sent" | "consented";
  /** When the partition was parked for the cut-over. */
  parkedAt: Instant;
  /** All of it is sent or waits to be sent. */
  left: boolean;
  /** Of the newest chunk that said that it was all; 0: none yet. */
  lastSequence: number;
  /** All of it is durable at the receiver, count and hash equal. */
  whole: boolean;
  /** 0: not sealed. */
  sealedFor: number;
  /** The seal is durable here. */
  sealed: boolean;
  /** When it could have been consented to. */
  readyAt: Instant | undefined;
  /** The commit whose changes were sent before it was synced. */
  sentAhead: RowChanges | undefined;
  forced: boolean;
}

export interface TransferWish {
  readonly id: TransferId;
  readonly to: NodeName;
  readonly source: Directory;
  readonly stranded: Stranded | undefined;
  readonly ownedSince: number;
}

export function newTransfer(wish: TransferWish, now: Instant): Transfer {
  return {
    ...wish,
    startedAt: now,
    phase: "waiting",
    reason: "",
    waits: 0,
    retryAt: undefined,
    reading: undefined,
    scanned: false,
    scannedAt: undefined,
    cursor: undefined,
    backlog: [],
    sequence: 0,
    acked: 0,
    changes: 0,
    changesAcked: 0,
    bytes: 0,
    bytesAcked: 0,
    sentAt: new Map(),
    hash: 0,
    lastProgress: now,
    caughtUpAt: undefined,
    closeAt: undefined,
    cut: "no",
    parkedAt: now,
    left: false,
    lastSequence: 0,
    whole: false,
    sealedFor: 0,
    sealed: false,
    readyAt: undefined,
    sentAhead: undefined,
    forced: false,
  };
}

/** False if the acknowledgement says nothing new. */
export function acknowledge(transfer: Transfer, sequence: number): boolean {
  if (sequence > transfer.sequence || sequence <= transfer.acked) return false;
  for (let each = transfer.acked + 1; each <= sequence; each++) {
    const sent = transfer.sentAt.get(each);
    if (sent !== undefined) [transfer.changesAcked, transfer.bytesAcked] = [sent.changes, sent.bytes];
    transfer.sentAt.delete(each);
  }
  transfer.acked = sequence;
  return true;
}

/** What waits to be sent may leave at once: a link holds no more than its queue. */
export function backlogFits(transfer: Transfer): boolean {
  let bytes = 0;
  for (const change of transfer.backlog) {
    bytes += changesBytes(change);
    if (bytes > AT_ONCE_BYTES) return false;
  }
  return true;
}

/** Changes that are not durable at the receiver. */
export function changesBehind(transfer: Transfer): number {
  return transfer.backlog.length + transfer.changes - transfer.changesAcked;
}

/**
 * The cut-over may begin (outgoing.ts, O1, O2). Under a load that always leaves some changes behind, waiting makes them no fewer,
 * however many they are: what is under way to the receiver's disk and back.
 */
export function isClose(transfer: Transfer, now: Instant): boolean {
  const behind = changesBehind(transfer);
  if (behind <= CLOSE_CHANGES || transfer.backlog.length > BACKLOG_MOST) return true;
  transfer.scannedAt ??= now;
  if (behind <= NEAR_CHANGES) transfer.caughtUpAt ??= now;
  if (now - transfer.scannedAt >= CATCH_UP_MS) return true;
  return transfer.caughtUpAt !== undefined && now - transfer.caughtUpAt >= NEAR_MS;
}

/**
 * Transfers of one node at once, unless an operator says otherwise.
 *
 * Handoffs: a thirty-second of the ring, 2 to 8, so that many small partitions do not take turns for minutes. Those that begin
 * together cut over together, and pause each other: so a node takes half as many as it gives, because one that has just joined is
 * slow, and those that wait for the ring keep their places: with others beside them they wait twice as long (both measured).
 * Stranded entries pause nobody, and the keys of all of them wait: the tasks of those that are whole would run in the time that
 * the others need, and the last key would wait for most of them (measured).
 */
export class TransferLimit {
  #asked: number | undefined;

  /** How many handoffs, or stranded entries: nobody waits while those move. */
  most(kind: TransferId["kind"], way: Way, document: RingDocument | undefined): number {
    if (kind === "stranded") return this.#asked === undefined ? STRANDED_MOST : 2 * this.#asked;
    const most = this.#asked ?? Math.min(8, Math.max(2, Math.floor((document?.ringSize ?? 0) / 32)));
    return way === "in" && this.#asked === undefined ? most / 2 : most;
  }

  /** One more may begin beside these. Nobody waits for stranded rows that were absorbed but by the ring's word. */
  allows(kind: TransferId["kind"], way: Way, { moving, whole }: Beside, document: RingDocument | undefined): boolean {
    return (kind === "stranded" ? moving : moving + whole) < this.most(kind, way, document);
  }

  /** From 1 to 64. */
  ask(transfers: number): void {
    this.#asked = transfers;
  }
}

/** The other side owes the next step; the others wait for this node, or for the ring. */
export function watched(transfer: Transfer): boolean {
  if (transfer.phase === "waiting") return false;
  if (transfer.cut === "no") return !transfer.scanned || changesBehind(transfer) > 0;
  return transfer.left && !transfer.whole;
}

type Way = "in" | "out";

export interface Beside {
  readonly moving: number;
  readonly whole: number;
}

export function countBegun(begun: Iterable<{ readonly whole: boolean }>): Beside {
  let [moving, whole] = [0, 0];
  for (const each of begun) {
    if (each.whole) whole++;
    else moving++;
  }
  return { moving, whole };
}

export function keyOf(transfer: Transfer): string {
  return transfer.stranded === undefined ? handoffKey(transfer.id.partition) : strandedKey(transfer.stranded);
}

export function strandedWanted(transfer: Transfer, document: RingDocument): boolean {
  const entry = transfer.stranded!;
  return (
    document.owners[entry.partition] === transfer.to &&
    document.generations[entry.partition] === transfer.ownedSince &&
    document.stranded.some((other) => strandedKey(other) === strandedKey(entry))
  );
}

export function handoffKey(partition: Partition): string {
  return `handoff ${partition}`;
}

export function strandedKey(entry: Stranded): string {
  return `stranded ${entry.member} ${entry.partition} ${entry.generation}`;
}

/** With about a megabyte of each on its way at most: half of what waits for one peer (`ring/io/peer/limits.ts`). */
const STRANDED_MOST = 32;
/** Of each of the transfers that cut over together: far less than waits for one peer at most (`ring/io/peer/limits.ts`). */
const AT_ONCE_BYTES: number = 4 * 1024 * 1024;
/** Changes that wait for the receiver. */
export const BACKLOG_MOST: number = 20_000;
/** Cut over when at most this many changes are not durable at the receiver, */
const CLOSE_CHANGES = 100;
/** or at most this many for that long, */
export const NEAR_CHANGES: number = 500;
const NEAR_MS = 250;
/** or after this long. */
const CATCH_UP_MS = 5_000;
