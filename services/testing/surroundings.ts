/** What a simulated host is given, and what it tells. */

import type { RingDocument } from "../../ring/document.ts";
import type { NodeName } from "../../ring/ids.ts";
import type { AppSource } from "../../ring/node/app-source.ts";
import type { NodeEffect } from "../../ring/node/effects.ts";
import type { AbortReason, Attempt, SubmitOutcome } from "../../ring/tasks/task.ts";
import type { Agenda } from "./agenda.ts";
import type { Disk } from "./disk.ts";
import type { Host } from "./host.ts";
import type { WiresWorld } from "./wires.ts";

/** Runs the attempts of one process. */
export interface Handlers {
  start(attempts: readonly Attempt[]): void;
  abort(attemptId: number, reason: AbortReason): void;
  /** The process is gone, and with it all that they would still do. */
  over(): void;
}

/** Where a host keeps its rows, if not on its own disk. */
export interface RowsElsewhere {
  begin(): void;
  started(): void;
  /** True: done. */
  perform(effect: NodeEffect): boolean;
}

export interface Surroundings extends WiresWorld {
  readonly agenda: Agenda;
  readonly chunkRows: number;
  /** Handoffs of a node at once; absent: as many as the ring's size gives. */
  readonly handoffs: number | undefined;
  hostAt(host: string): Host | undefined;
  hostOf(name: NodeName): Host | undefined;
  diskOf(name: NodeName): Disk | undefined;
  /** What a process that begins runs. */
  processOf(host: Host): { readonly apps: AppSource; readonly handlers: Handlers };
  /** Absent: each host keeps its rows on its own disk. */
  rowsOf?(host: Host): RowsElsewhere | undefined;
  /** For checkers. */
  observe(fact: Fact): void;
  outcome(origin: number, token: number, outcome: SubmitOutcome): void;
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
