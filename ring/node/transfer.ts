/** One partition on its way to another node, as its sender keeps track of it. */

import type { RingDocument, Stranded } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { RowChange } from "../store.ts";
import type { Directory } from "./effects.ts";
import type { TransferId } from "./messages.ts";

export interface Transfer {
  readonly id: TransferId;
  readonly to: NodeName;
  readonly source: Directory;
  readonly stranded: Stranded | undefined;
  readonly startedAt: Instant;
  phase: "waiting" | "offered" | "snapshot" | "catch-up" | "cut-over";
  reason: string;
  retryAt: Instant | undefined;
  reading: { readonly readId: number; readonly touched: Set<string> } | undefined;
  scanned: boolean;
  cursor: Uint8Array | undefined;
  /** Changes to send, in order. */
  backlog: RowChange[];
  sequence: number;
  acked: number;
  changes: number;
  bytes: number;
  hash: number;
  lastProgress: Instant;
  cut: "no" | "draining" | "flushing" | "last-sent" | "complete" | "sealing" | "consented";
  sealedFor: number;
  forced: boolean;
}

/**
 * Handoffs of one node at once, each way, unless an operator says otherwise: a thirty-second of the ring, 2 to 8, so that
 * many small partitions do not take turns for minutes. Those that begin together cut over together, and pause each other.
 */
export function transferLimit(ringSize: number): number {
  return Math.min(8, Math.max(2, Math.floor(ringSize / 32)));
}

/** The other side owes the next step; the others wait for this node, or for the ring. */
export function watched(transfer: Transfer): boolean {
  return transfer.phase !== "waiting" && (transfer.cut === "no" || transfer.cut === "last-sent");
}

export function strandedWanted(transfer: Transfer, document: RingDocument): boolean {
  const entry = transfer.stranded!;
  return (
    document.owners[entry.partition] === transfer.to &&
    document.stranded.some((other) => strandedKey(other) === strandedKey(entry))
  );
}

export function handoffKey(partition: Partition): string {
  return `handoff ${partition}`;
}

export function strandedKey(entry: Stranded): string {
  return `stranded ${entry.member} ${entry.partition} ${entry.generation}`;
}
