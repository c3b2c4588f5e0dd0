/**
 * The pipe part of one node: all runs that have work here, the routes that the ring document gives, and the channels to peers.
 *
 * A machine with the time given by its host. `runSome` does a bounded part of the work, `flush` lets go what was said meanwhile;
 * so inputs and acknowledgements of one turn travel together.
 * N1  Inputs go where the newest known document says; a peer that the document drops, or that has forgotten us, is lost, and
 *     what it had is sent again.
 * N2  A run whose coordinator is lost, or says that it knows nothing of it, is dropped here, and its other peers are told.
 * N3  A node takes part in a run only with a pipeline of the coordinator's shape: while nodes are given a new version one by one,
 *     outputs of one fitting would come to the other version's, or to none, and the run look complete.
 */

import { RingError } from "../ring/errors.ts";
import type { NodeName } from "../ring/ids.ts";
import type { Runnable } from "./call.ts";
import { Channel } from "./channel.ts";
import { type Pipeline, shapeOf } from "./fitting.ts";
import { Home, type HomeEvents } from "./home.ts";
import type { PipeHost, Routes } from "./host.ts";
import {
  CALL_OUTPUTS,
  CALL_OUTPUTS_WITH_PEERS,
  ENDED_KEPT,
  RETRY_FIRST_MS,
  RETRY_MOST_MS,
  RUNS_MOST,
  SPAN_RATIO_DEFAULT,
  WINDOW_CHARACTERS,
  WINDOW_INPUTS,
} from "./limits.ts";
import type { PeerRun } from "./link.ts";
import { Ready } from "./ready.ts";
import { Run } from "./run.ts";
import { hasRunRoom } from "./run-room.ts";
import { Sink } from "./sink.ts";
import { Samples, type Traceparent } from "./span.ts";
import { Timers } from "./timers.ts";
import { errorTextOf } from "./token.ts";
import { Usage } from "./usage.ts";
import type { RunSummary, TraceEvent, WorkerStatus } from "./views.ts";
import type { WindowLimits } from "./window.ts";
import { decodeMessages, encodeMessage, type PipeMessage } from "./wire.ts";

export class PipeNode {
  readonly self: NodeName;
  readonly host: PipeHost;
  readonly runs: Map<string, Run> = new Map();
  readonly usage: Usage = new Usage();
  /** Before the first document: a guess that nothing is routed by. */
  ringSize: number;
  readonly graceMs: number;
  readonly window: WindowLimits;
  /** This process among all of the ring's life. */
  readonly life: number;
  epoch = 0;
  garbage = 0;
  #owners: Int32Array;
  #ownerPeers: readonly number[] = [];
  readonly #names: NodeName[];
  readonly #peers = new Map<string, number>();
  readonly #channels: (Channel | undefined)[] = [];
  readonly #ready = new Ready();
  #awake = false;
  #alive: ReadonlySet<string> = new Set();
  #pingAt = 0;
  readonly #waitsForRing: boolean;
  #dirty = new Set<PeerRun>();
  #spoken = new Set<number>();
  readonly #timers = new Timers();
  readonly #ended = new Set<string>();
  #batch = 0;
  #askId = 0;
  readonly #asks = new Map<number, (workers: readonly WorkerStatus[]) => void>();

  constructor(options: {
    readonly self: NodeName;
    readonly host: PipeHost;
    /** Absent: no run is opened before a document is known. */
    readonly ringSize?: number;
    readonly graceMs?: number;
    /** Inputs of one fitting that one peer may have unacknowledged. Default 4,096. */
    readonly windowInputs?: number;
    /** Of the messages that hold them. Default 16 Mi. */
    readonly windowCharacters?: number;
  }) {
    this.self = options.self;
    this.host = options.host;
    this.life = options.host.newSession();
    this.ringSize = options.ringSize ?? 64;
    this.#waitsForRing = options.ringSize === undefined;
    this.graceMs = options.graceMs ?? GRACE_MS;
    this.window = {
      inputs: options.windowInputs ?? WINDOW_INPUTS,
      characters: options.windowCharacters ?? WINDOW_CHARACTERS,
    };
    this.#names = [options.self];
    this.#peers.set(options.self, 0);
    this.#owners = new Int32Array(this.ringSize);
  }

  /** Throws `QUEUE_FULL`; `INVALID_ARGUMENT` for an id that was used. The pipeline is the one that `host.find` gives on the other nodes. */
  open(
    options: {
      readonly id: string;
      readonly pipeline: Pipeline;
      /** Whose it is (P4). Default: the pipeline's name. */
      readonly app?: string;
      readonly attempt?: number;
      readonly drains?: boolean;
      readonly total?: number;
      /** Of what the run is for, and which part of its inputs has spans. */
      readonly above?: Traceparent | undefined;
      readonly spanRatio?: number | undefined;
    },
    events: HomeEvents,
  ): Home {
    if (this.#waitsForRing && this.epoch === 0)
      throw new RingError("NO_OWNER", `${this.self} is not part of a ring yet`, { retryAfterMs: 500 });
    const { id, pipeline, app = pipeline.name, attempt = 1, drains = false } = options;
    if (!hasRunRoom(this.runs, app))
      throw new RingError("QUEUE_FULL", `no room for a run of ${app}: at most ${RUNS_MOST} at once`, {
        retryAfterMs: 1_000,
      });
    // Peers know it as ended, and would wait for it no more.
    if (this.runs.has(id) || this.#ended.has(id))
      throw new RingError("INVALID_ARGUMENT", `run id ${id} was used before`);
    const run = new Run(this, { id, pipeline, app, coordinator: this.self, attempt, sink: new Sink(drains) });
    const home = new Home(run, events);
    home.total = options.total;
    const { above, spanRatio = above?.sampled === true ? SPAN_RATIO_DEFAULT : 0 } = options;
    if (spanRatio > 0) home.samples = new Samples(spanRatio, above);
    run.home = home;
    this.runs.set(id, run);
    return home;
  }

  // Work.

  soon(runnable: Runnable): void {
    this.#ready.push(runnable);
    if (!this.#awake) this.#wake();
  }

  /** Does about `budget` inputs of work. False: there is no more for now. */
  runSome(budget: number): boolean {
    this.#awake = true;
    return this.#ready.run(budget);
  }

  /** Lets go what was said since the last time; the next `soon` wakes the host again. */
  flush(): void {
    // New sets, and none that is cleared again and again: see `Roster`. What is said meanwhile goes as well.
    while (this.#dirty.size > 0) {
      const dirty = this.#dirty;
      this.#dirty = new Set();
      for (const peer of dirty) if (!peer.run.over) peer.flush();
    }
    if (this.#spoken.size > 0) {
      const now = this.host.now();
      for (const peer of this.#spoken) this.#channels[peer]?.flush(now);
      this.#spoken = new Set();
    }
    this.#awake = false;
  }

  dirty(peer: PeerRun): void {
    this.#dirty.add(peer);
    if (!this.#awake) this.#wake();
  }

  /** False: it is too large to be sent. */
  say(peer: number, message: string): boolean {
    const taken = this.channel(peer).push(message);
    this.#spoken.add(peer);
    if (!this.#awake) this.#wake();
    return taken;
  }

  /** Never the same twice, so that a late acknowledgement cannot hit another batch. */
  nextBatch(): number {
    this.#batch += 1;
    return this.#batch;
  }

  later(attempt: number, run: () => void): void {
    this.after(Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt - 1, 20)), run);
  }

  after(delayMs: number, run: () => void): void {
    this.#timers.add(this.host.now() + delayMs, run);
    this.host.wake();
  }

  nextDeadline(): number | undefined {
    let { first } = this.#timers;
    for (const channel of this.#channels)
      if (channel?.waits === true) first = Math.min(first, this.host.now() + REPEAT_LOOK_MS);
    for (const run of this.runs.values()) {
      if (run.home !== undefined) continue;
      first = Math.min(first, Math.max(this.#pingAt, this.host.now() + 1));
      break;
    }
    return first === Number.POSITIVE_INFINITY ? undefined : first;
  }

  tick(): void {
    const now = this.host.now();
    this.#timers.run(now);
    for (const channel of this.#channels) channel?.tick(now);
    if (now < this.#pingAt) return;
    this.#pingAt = now + PING_MS;
    for (const run of this.runs.values())
      if (run.home === undefined && !this.channel(run.coordinatorPeer).stands)
        run.peer(run.coordinatorPeer).say(["ping", run.id]);
  }

  // Routes.

  /** 0: this node. */
  ownerOf(partition: number): number {
    return this.#owners[partition] ?? 0;
  }

  ownerPeers(): readonly number[] {
    return this.#ownerPeers;
  }

  nameOf(peer: number): NodeName {
    return this.#names[peer] as NodeName;
  }

  peerOf(name: string): number {
    const known = this.#peers.get(name);
    if (known !== undefined) return known;
    const peer = this.#names.length;
    this.#names.push(name as NodeName);
    this.#peers.set(name, peer);
    return peer;
  }

  route(routes: Routes): void {
    if (routes.epoch <= this.epoch && this.epoch !== 0) return;
    this.epoch = routes.epoch;
    this.ringSize = routes.ringSize;
    this.#alive = routes.alive;
    const before = this.#owners;
    this.#owners = Int32Array.from(routes.owners, (name) => (name === undefined ? 0 : this.peerOf(name)));
    this.#ownerPeers = [...new Set(this.#owners)].filter((peer) => peer !== 0);
    const gone = this.#names.flatMap((name, peer) => (peer === 0 || routes.alive.has(name) ? [] : [peer]));
    for (const peer of gone) {
      const channel = this.#channels[peer];
      if (channel === undefined) continue;
      channel.forget();
      this.#lost(peer);
    }
    for (const run of [...this.runs.values()]) if (!run.over) run.rerouted(before);
  }

  // Peers.

  receive(from: NodeName, bytes: Uint8Array): void {
    const peer = this.peerOf(from);
    this.channel(peer).take(bytes);
    this.#spoken.add(peer);
    if (!this.#awake) this.#wake();
  }

  linkUp(name: NodeName): void {
    const peer = this.#peers.get(name);
    if (peer !== undefined) this.#channels[peer]?.repeat(this.host.now());
  }

  channel(peer: number): Channel {
    let channel = this.#channels[peer];
    if (channel === undefined) {
      const name = this.nameOf(peer);
      channel = new Channel({
        newSession: () => this.host.newSession(),
        send: (bytes) => this.host.send(name, bytes),
        receive: (body) => this.#take(peer, body),
        lost: () => this.#lost(peer),
      });
      this.#channels[peer] = channel;
    }
    return channel;
  }

  ended(run: Run): void {
    this.runs.delete(run.id);
    this.#ended.add(run.id);
    if (this.#ended.size > ENDED_KEPT) this.#ended.delete(this.#ended.values().next().value as string);
  }

  // Looking.

  summaries(): RunSummary[] {
    return [...this.runs.values()].map((run) => ({
      run: run.id,
      pipeline: run.pipeline.name,
      coordinator: run.coordinator,
      progress: run.home?.progress(),
    }));
  }

  /** The run's workers on a peer. The caller gives up by itself. */
  askStatus(name: NodeName, run: string, answer: (workers: readonly WorkerStatus[]) => void): () => void {
    const ask = ++this.#askId;
    this.#asks.set(ask, answer);
    this.say(this.peerOf(name), encodeMessage(["ask", ask, run]));
    return () => void this.#asks.delete(ask);
  }

  /** Somebody waits for what `wake` was called for. */
  hurry(): void {
    if (!this.#ready.running) this.host.hurry?.();
  }

  /** What one call may have made without an end of it. */
  get callOutputs(): number {
    return this.#ownerPeers.length === 0 ? CALL_OUTPUTS : CALL_OUTPUTS_WITH_PEERS;
  }

  #wake(): void {
    this.#awake = true;
    this.host.wake();
  }

  #take(peer: number, body: string): void {
    const { messages, garbage } = decodeMessages(body);
    this.garbage += garbage;
    for (const message of messages) {
      try {
        this.#message(peer, message);
      } catch (error) {
        // It may have been obeyed in part: its run is not to end as if it had been.
        this.garbage += 1;
        this.runs
          .get(String(message[1]))
          ?.fail("RUN_FAILED", `${message[0]} of ${this.nameOf(peer)}: ${errorTextOf(error)}`);
      }
    }
  }

  #message(peer: number, message: PipeMessage): void {
    switch (message[0]) {
      case "open":
        return this.#open(message);
      case "ask": {
        const workers = this.runs.get(message[2])?.status() ?? [];
        let shown = workers.length;
        while (!this.say(peer, encodeMessage(["answer", message[1], workers.slice(0, shown)]))) shown >>>= 1;
        return;
      }
      case "answer":
        this.#asks.get(message[1])?.(message[2] as readonly WorkerStatus[]);
        this.#asks.delete(message[1]);
        return;
      default:
    }
    const run = this.runs.get(message[1]);
    if (run === undefined) {
      if (message[0] === "ping") this.say(peer, encodeMessage(["gone", message[1], 0]));
      if (message[0] === "in" && !this.#ended.has(message[1]))
        this.say(peer, encodeMessage(["gone", message[1], message[2]]));
      return;
    }
    switch (message[0]) {
      case "close":
        if (run.home === undefined && peer === run.coordinatorPeer) run.close();
        return;
      case "trace":
        return run.trace.asked(peer, message[2]);
      case "traced":
        for (const event of message[2]) run.trace.heard(event as TraceEvent);
        return;
      default:
        return run.take(peer, message);
    }
  }

  #open(message: Extract<PipeMessage, readonly ["open", ...unknown[]]>): void {
    const [, id, name, coordinator, attempt, shape] = message;
    if (this.runs.has(id) || this.#ended.has(id) || (this.epoch > 0 && !this.#alive.has(coordinator))) return;
    const refuse = (code: "APP_NOT_HERE" | "QUEUE_FULL", why: string): void => {
      this.say(this.peerOf(coordinator), encodeMessage(["fail", id, code, `${this.self} has ${why}`]));
      this.#ended.add(id);
    };
    const pipeline = this.host.find(name);
    if (pipeline === undefined) return refuse("APP_NOT_HERE", `not loaded pipeline ${name}`);
    // N3
    if (shape !== shapeOf(pipeline))
      return refuse("APP_NOT_HERE", `loaded pipeline ${name} with other fittings than ${coordinator}`);
    if (!hasRunRoom(this.runs, name)) return refuse("QUEUE_FULL", `no room for a run of ${name}`);
    this.runs.set(
      id,
      new Run(this, { id, pipeline, app: name, coordinator: coordinator as NodeName, attempt, sink: undefined }),
    );
  }

  #lost(peer: number): void {
    for (const run of [...this.runs.values()]) {
      if (run.home === undefined && run.coordinatorPeer === peer) {
        // N2
        for (const other of run.peers.values())
          if (other.peer !== peer) this.say(other.peer, encodeMessage(["gone", run.id, 0]));
        run.close();
        this.#ended.delete(run.id);
      } else run.lost(peer);
    }
  }
}

const GRACE_MS = 25_000;
/** A run whose coordinator knows nothing of it is gone after this. */
const PING_MS = 2_000;
const REPEAT_LOOK_MS = 250;
