/**
 * Drives the pipe part of a node: gives it turns of the event loop, waits for what fitting code promises, and keeps its timers.
 *
 * E1  Work is done in slices of `SLICE_MS`; after each the event loop has its turn, so that sockets and timers stay alive. Small
 *     amounts are done in a microtask, for the latency of a single input; when there are many of them in a turn, they are put
 *     together until somebody waits for them, for a source of single outputs.
 */

import { AsyncResource } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import type { RingDocument } from "../../ring/document.ts";
import { RingError } from "../../ring/errors.ts";
import type { NodeName } from "../../ring/ids.ts";
import { isPipeline, type Pipeline } from "../fitting.ts";
import type { PipeHost, Pulled, Settled } from "../host.ts";
import { PipeNode } from "../node.ts";
import type { PipeSpan } from "../span.ts";
import type { FittingUsage } from "../usage.ts";
import type { Report, RunSummary, TraceEvent, WorkerStatus } from "../views.ts";
import { openRun, type PipeRun, type RunOptions } from "./run.ts";

export interface PipeEngineOptions {
  readonly self: NodeName;
  /** Absent: from the ring document, before which no run is opened. */
  readonly ringSize?: number;
  /** The pipelines that this node has loaded. */
  readonly find: (name: string) => Pipeline | undefined;
  readonly names?: () => readonly string[];
  /** To the pipe engine of another node; false: it will not arrive. */
  readonly send: (to: NodeName, bytes: Uint8Array) => boolean;
  readonly graceMs?: number;
  /** A run that this node opened has ended. */
  readonly onReport?: (report: Report) => void;
  /** Spans of sampled inputs that have ended on this node. Absent: none are made here. */
  readonly onSpan?: ((span: PipeSpan) => void) | undefined;
  /** Leaves the async context of a fitting's code, for what that code makes the engine do. */
  readonly outside?: (call: () => void) => void;
  /** Enters it, for what the engine reads of that code's values. */
  readonly look?: PipeHost["look"];
}

export class PipeEngine implements Disposable {
  readonly node: PipeNode;
  readonly #options: PipeEngineOptions;
  readonly #local = new Map<string, Pipeline>();
  readonly #reports = new Map<string, Report>();
  /** A microtask, a turn of the event loop: is it coming? */
  #soon = false;
  #later = false;
  #turnAt = 0;
  /** Microtasks since the last turn. */
  #pumps = 0;
  #pulls = 0;
  /** Pulls that wait for the next turn. */
  readonly #waiting: (() => void)[] = [];
  #closed = false;
  #timer: NodeJS.Timeout | undefined = undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  /** Less garbage than `queueMicrotask`, which makes an async resource each time. */
  readonly #pumpSoon = (): void => void NOW.then(this.#pump);
  readonly #turnSoon = (): void => void setImmediate(this.#turn);
  readonly #outside: (call: () => void) => void;

  constructor(options: PipeEngineOptions) {
    this.#options = options;
    this.#outside = options.outside ?? ((call) => call());
    const host: PipeHost = {
      now: () => performance.now(),
      newSession,
      wake: () => this.#wake(),
      hurry: () => this.#hurry(),
      send: options.send,
      settle,
      pull: (iterator, call) => this.#pull(iterator, call),
      close: closeIterator,
      bound: (call) => AsyncResource.bind(call),
      find: (name) => options.find(name) ?? this.#local.get(name),
      ...(options.look === undefined ? {} : { look: options.look }),
      spans: options.onSpan === undefined ? undefined : { newId, ended: options.onSpan },
    };
    this.node = new PipeNode({
      self: options.self,
      host,
      ...(options.ringSize === undefined ? {} : { ringSize: options.ringSize }),
      ...(options.graceMs === undefined ? {} : { graceMs: options.graceMs }),
    });
  }

  /** Opens a run that this node coordinates. Throws `PIPELINE_UNKNOWN`, `QUEUE_FULL`, `CANCELLED`, `INVALID_ARGUMENT`. */
  run<In, Out>(pipeline: Pipeline<In, Out> | string, options: RunOptions<Out> = {}): PipeRun<In, Out> {
    if (this.#closed) throw new RingError("DRAINING", "the node is stopping");
    const found = typeof pipeline === "string" ? this.find(pipeline) : pipeline;
    if (!isPipeline(found))
      throw new RingError(
        "PIPELINE_UNKNOWN",
        typeof pipeline === "string"
          ? `no pipeline ${JSON.stringify(pipeline.slice(0, 80))} is loaded here`
          : `expected a name, or what pipeline() returns, not ${typeof pipeline}`,
      );
    if (typeof pipeline !== "string") this.#remember(found);
    return openRun<In, Out>(this.node, found, { ...options, onReport: (report) => this.#keep(report) });
  }

  find(name: string): Pipeline | undefined {
    return this.#options.find(name) ?? this.#local.get(name);
  }

  names(): readonly string[] {
    return [...new Set([...(this.#options.names?.() ?? []), ...this.#local.keys()])].sort();
  }

  summaries(): readonly RunSummary[] {
    return this.node.summaries();
  }

  /** Of a run that ended here; the last 1,000 are kept. */
  report(run: string): Report | undefined {
    return this.#reports.get(run);
  }

  usage(): readonly FittingUsage[] {
    return this.node.usage.now(this.node.runs.values());
  }

  /**
   * Where the run is held up: the last fitting that senders wait for, or `sink`, also when its reader alone has outputs. When
   * nobody waits just now, the fitting with the most inputs in queues, or that was waited for longest.
   */
  bottleneck(id: string, workers: readonly WorkerStatus[]): string {
    const run = this.node.runs.get(id);
    const names = run?.pipeline.fittings.map((fitting) => fitting.name) ?? [
      ...new Set(workers.map(({ fitting }) => fitting)),
    ];
    const here = run?.blocked() ?? [];
    if ((here[names.length] ?? 0) > 0) return "sink";
    const of = (name: string, value: (worker: WorkerStatus) => number): number =>
      workers.reduce((sum, worker) => sum + (worker.fitting === name ? value(worker) : 0), 0);
    const last = names.findLast((name, at) => (here[at] ?? 0) + of(name, ({ blocked }) => blocked) > 0);
    if (last !== undefined) return last;
    const sink = run?.sink;
    if (sink !== undefined && sink.received > sink.acknowledged) return "sink"; // Its reader has what there is.
    const most = (value: (worker: WorkerStatus) => number): string =>
      names
        .map((name) => [name, of(name, value)] as const)
        .reduce((left, right) => (right[1] > left[1] ? right : left), ["", 0] as const)[0];
    // A source that stands because of what it has made already is parked nowhere: what it waits for is in queues.
    return most(({ queue }) => queue) || most(({ blockedMs }) => blockedMs);
  }

  /** Workers of a run on all nodes; those that do not answer in time are named. */
  async status(
    run: string,
    options: { readonly deadlineMs: number },
  ): Promise<{ readonly workers: readonly WorkerStatus[]; readonly silent: readonly string[] }> {
    const here = this.node.runs.get(run)?.status() ?? [];
    const peers = this.node.ownerPeers().map((peer) => this.node.nameOf(peer));
    const silent: string[] = [];
    const there = await Promise.all(
      peers.map(
        (name) =>
          new Promise<readonly WorkerStatus[]>((resolve) => {
            const timer = setTimeout(() => {
              forget();
              silent.push(name);
              resolve([]);
            }, options.deadlineMs);
            const forget = this.node.askStatus(name, run, (workers) => {
              clearTimeout(timer);
              resolve(workers);
            });
          }),
      ),
    );
    return { workers: [...here, ...there.flat()], silent };
  }

  trace(id: string, listener: (event: TraceEvent) => void): () => void {
    const run = this.node.runs.get(id);
    if (run === undefined) throw new RingError("NOT_FOUND", `no run ${id} is open here`);
    return run.trace.listen(listener);
  }

  /** False: there is no such run here. */
  cancel(id: string, detail = "cancelled by an operator"): boolean {
    const run = this.node.runs.get(id);
    if (run === undefined) return false;
    run.fail("CANCELLED", detail);
    return true;
  }

  document(document: RingDocument): void {
    const alive = new Set<string>(
      document.members.flatMap((member) => (member.status === "down" ? [] : [member.name])),
    );
    this.node.route({
      epoch: document.history * HISTORY_STEP + document.epoch,
      ringSize: document.ringSize,
      owners: document.owners,
      alive,
    });
  }

  receive(from: NodeName, bytes: Uint8Array): void {
    if (!this.#closed) this.node.receive(from, bytes);
  }

  linkUp(name: NodeName): void {
    if (!this.#closed) this.node.linkUp(name);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    for (const run of [...this.node.runs.values()])
      if (run.home !== undefined) run.fail("DRAINING", "the node that opened the run is stopping");
    this.node.flush();
    this.#closed = true;
    for (const run of [...this.node.runs.values()]) run.close();
    clearTimeout(this.#timer);
  }

  #remember(pipeline: Pipeline): void {
    if (this.#local.size >= LOCAL_MOST && !this.#local.has(pipeline.name))
      this.#local.delete(this.#local.keys().next().value as string);
    this.#local.set(pipeline.name, pipeline);
  }

  #keep(report: Report): void {
    this.#options.onReport?.(report);
    this.#reports.set(report.run, report);
    if (this.#reports.size > REPORTS_KEPT) this.#reports.delete(this.#reports.keys().next().value as string);
  }

  #wake(): void {
    if (this.#soon || this.#later || this.#closed) return;
    if (this.#pumps < PUMPS_MOST) this.#hurry();
    else this.#nextTurn();
  }

  #hurry(): void {
    if (this.#soon || this.#closed) return;
    if (performance.now() - this.#turnAt >= SLICE_MS) return this.#nextTurn();
    this.#soon = true;
    this.#pumps += 1;
    this.#outside(this.#pumpSoon);
  }

  /** A source whose outputs have their end at once would else go on in microtasks for ever (E1). */
  #pull(iterator: AsyncIterator<unknown>, call: Pulled): void {
    this.#pulls += 1;
    if (this.#pulls % PULLS_UNSEEN > 0 || performance.now() - this.#turnAt < SLICE_MS) return pull(iterator, call);
    this.#waiting.push(() => pull(iterator, call));
    this.#nextTurn();
  }

  #nextTurn(): void {
    if (this.#later) return;
    this.#later = true;
    this.#outside(this.#turnSoon);
  }

  readonly #turn = (): void => {
    this.#later = false;
    this.#turnAt = performance.now();
    this.#pumps = 0;
    if (this.#waiting.length > 0 && !this.#closed) for (const go of this.#waiting.splice(0)) go();
    this.#pump();
  };

  readonly #pump = (): void => {
    this.#soon = false;
    if (this.#closed) return;
    const { node } = this;
    let more = node.runSome(BUDGET);
    while (more && performance.now() - this.#turnAt < SLICE_MS) more = node.runSome(BUDGET);
    node.flush();
    if (more) this.#nextTurn();
    this.#schedule();
  };

  #schedule(): void {
    const deadline = this.node.nextDeadline() ?? Number.POSITIVE_INFINITY;
    if (deadline >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        if (this.#closed) return;
        this.node.tick();
        this.node.flush();
        this.#schedule();
      },
      Math.max(1, deadline - performance.now()),
    );
    this.#timer.unref();
  }
}

function newId(digits: 16 | 32): string {
  return randomBytes(digits / 2).toString("hex");
}

/** 52 random bits, never 0. */
function newSession(): number {
  const bytes = randomBytes(8);
  return bytes.readUInt32BE(0) * 2 ** 20 + (bytes.readUInt32BE(4) >>> 12) + 1;
}

/** A foreign thenable may throw, or settle twice: a promise of ours in between does not. */
function settle(promise: PromiseLike<unknown>, call: Settled): void {
  Promise.resolve(promise).then(
    (value) => call.resolved(value),
    (error: unknown) => call.rejected(error),
  );
}

function pull(iterator: AsyncIterator<unknown>, call: Pulled): void {
  let next: Promise<IteratorResult<unknown>>;
  try {
    next = iterator.next();
  } catch (error) {
    return call.onRejected(error);
  }
  Promise.resolve(next).then(call.onPulled, call.onRejected);
}

function closeIterator(iterator: Iterator<unknown> | AsyncIterator<unknown>): void {
  try {
    Promise.resolve(iterator.return?.()).catch(() => {});
  } catch {
    // It is being given up: what its clean-up throws changes nothing.
  }
}

const BUDGET = 2_048;
const SLICE_MS = 5;
const PUMPS_MOST = 64;
/** Pulls between two looks at the clock. */
const PULLS_UNSEEN = 64;
const NOW: Promise<void> = Promise.resolve();
const LOCAL_MOST = 1_000;
const REPORTS_KEPT = 1_000;
/** A later history is later than any epoch of an earlier one. */
const HISTORY_STEP = 2 ** 32;
