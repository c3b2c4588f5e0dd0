/** Looking at runs and ending them: `ring.pipes`. To start one, see `RingClient.run`. */

import type { Report, TraceEvent, WorkerStatus } from "../../pipe/views.ts";
import type { Caller, CallOptions } from "./caller.ts";

export interface RemoteProgress {
  readonly accepted: number;
  readonly acknowledged: number;
  readonly inFlight: number;
  readonly emitted: number;
  readonly failed: number;
  readonly perSecond: number;
  /** 0: not known. */
  readonly etaMs: number;
}

export interface PipeList {
  readonly pipes: readonly { readonly name: string; readonly fittings: readonly string[] }[];
  readonly runs: readonly {
    readonly run: string;
    readonly pipeline: string;
    readonly coordinator: string;
    readonly progress: RemoteProgress | null;
  }[];
}

export interface PipeStatus {
  readonly workers: readonly WorkerStatus[];
  readonly unreachable: readonly string[];
  readonly bottleneck: string;
  readonly progress: RemoteProgress | null;
  readonly report: (Omit<Report, "error"> & { readonly errorCode: string; readonly errorDetail: string }) | null;
}

export interface TraceOptions extends CallOptions {
  readonly fittings?: readonly string[];
  readonly types?: readonly string[];
  /** It stops by itself after this. Default 30,000. */
  readonly forMs?: number;
}

export class PipeCalls {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  list(options?: CallOptions): Promise<PipeList> {
    return this.#caller.unary(PIPES, "List", {}, options);
  }

  status(run: string, options?: CallOptions): Promise<PipeStatus> {
    return this.#caller.unary(PIPES, "Status", { run }, options);
  }

  trace(
    run: string,
    { fittings = [], types = [], forMs = 0, ...options }: TraceOptions = {},
  ): AsyncIterable<TraceEvent> {
    return this.#caller.stream(PIPES, "Trace", { run, fittings, types, forMs }, options);
  }

  cancel(run: string, options?: CallOptions): Promise<object> {
    return this.#caller.unary(PIPES, "Cancel", { run }, options);
  }
}

const PIPES = "taskring.v1.Pipes";
