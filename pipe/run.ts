/** One run on one node: its stages, its links to peers, and at the coordinator its sink and its `Home`. */

import type { ErrorCode } from "../ring/errors.ts";
import type { NodeName } from "../ring/ids.ts";
import { startOf } from "../ring/tasks/shared-text.ts";
import type { Pipeline } from "./fitting.ts";
import type { Home } from "./home.ts";
import { PeerRun, type PeerStage } from "./link.ts";
import type { PipeNode } from "./node.ts";
import { Resumed } from "./resumed.ts";
import { Roster } from "./roster.ts";
import { type Sink, SinkTarget } from "./sink.ts";
import { Branch, parseTraceparent, TraceContext } from "./span.ts";
import { Stage, type Target } from "./stage.ts";
import { Stamped } from "./stamp.ts";
import { settle, Token, type TokenOwner } from "./token.ts";
import { RunTrace } from "./trace.ts";
import type { TraceEvent, WorkerStatus } from "./views.ts";
import { type PipeMessage, UNREADABLE, valueOfWire } from "./wire.ts";
import type { Worker } from "./worker.ts";

export interface RunOptions {
  readonly id: string;
  readonly pipeline: Pipeline;
  /** Whose it is, as far as is known here, or else its pipeline's name. */
  readonly app: string;
  readonly coordinator: NodeName;
  readonly attempt: number;
  readonly sink: Sink | undefined;
}

export class Run {
  readonly node: PipeNode;
  readonly id: string;
  readonly pipeline: Pipeline;
  readonly app: string;
  readonly coordinator: NodeName;
  readonly attempt: number;
  readonly sink: Sink | undefined;
  readonly stages: readonly Stage[];
  readonly targets: readonly Target[];
  readonly peers: Map<number, PeerRun> = new Map();
  home: Home | undefined = undefined;
  over = false;
  /** Spans that have not ended, of this node. */
  readonly branches: Roster<Branch> = new Roster();
  readonly trace: RunTrace = new RunTrace(this);
  readonly #sinkTarget: SinkTarget;

  constructor(node: PipeNode, options: RunOptions) {
    this.node = node;
    this.id = options.id;
    this.pipeline = options.pipeline;
    this.app = options.app;
    this.coordinator = options.coordinator;
    this.attempt = options.attempt;
    this.sink = options.sink;
    this.stages = options.pipeline.fittings.map((_, index) => new Stage(this, index));
    this.#sinkTarget = new SinkTarget(this, this.stages.length);
    this.targets = [...this.stages, this.#sinkTarget];
  }

  get coordinatorPeer(): number {
    return this.node.peerOf(this.coordinator);
  }

  /** Calls `look`, which reads a value that came of `fitting` and so may run its code, in its context. */
  look<T>(fitting: string, look: () => T): T {
    const { host } = this.node;
    return host.look === undefined ? look() : host.look({ pipeline: this.pipeline.name, fitting, run: this.id }, look);
  }

  peer(peer: number): PeerRun {
    let known = this.peers.get(peer);
    if (known === undefined) {
      known = new PeerRun(this, peer);
      this.peers.set(peer, known);
    }
    return known;
  }

  linkTo(peer: number, stage: number): PeerStage {
    return this.peer(peer).stage(stage);
  }

  fail(code: ErrorCode, detail: string): void {
    if (this.over) return;
    if (this.home !== undefined) return this.home.fail(code, detail);
    const coordinator = this.peer(this.coordinatorPeer);
    this.close();
    coordinator.say(["fail", this.id, code, startOf(detail, DETAIL_CHARACTERS)]);
  }

  /** A message about this run. */
  take(peer: number, message: PipeMessage): void {
    const from = this.peer(peer); // Acknowledgements go to peers that are known and not lost since.
    switch (message[0]) {
      case "in": {
        const [, , batch, index, epoch, partitions, values, cursor, origins, traces] = message;
        const token = new Token(new Arrived(from, batch), values.length);
        if (values.length === 0) return from.acknowledge(batch, token);
        const stage = this.stages[index];
        if (stage === undefined && this.sink === undefined) return;
        let traced = 0;
        for (let at = 0; at < values.length; at++) {
          const plain = valueOfWire(values[at]);
          const given = traces[traced] === at ? this.#traced(token, traces[traced + 1]) : token;
          if (given !== token) traced += 2;
          if (plain === UNREADABLE) {
            this.#unreadable(index, partitions[at] as number, given);
            continue;
          }
          const value =
            origins.length > 0
              ? new Stamped(plain, origins[at * 2] as number, origins[at * 2 + 1] as number)
              : cursor === null
                ? plain
                : new Resumed(plain, cursor);
          if (stage === undefined) this.#sinkTarget.arrive(value, given);
          else stage.arrive(value, given, partitions[at] as number, epoch);
        }
        return;
      }
      case "archive": {
        const [, , batch, index, partition, inputs, state] = message;
        const token = new Token(new Arrived(from, batch), 1);
        return this.stages[index]?.absorb(partition, { state, inputs }, token);
      }
      case "load": {
        const [, , ask, stage, partition] = message;
        return this.home?.keeper.load({ stage, partition }, peer, (kept) =>
          this.peer(peer).say(["loaded", this.id, ask, stage, partition, kept.inputs, kept.marks, kept.state ?? null]),
        );
      }
      case "loaded": {
        const [, , ask, index, partition, inputs, marks, state] = message;
        return this.stages[index]?.keeping?.loaded(partition, ask, { inputs, marks, state });
      }
      case "keep": {
        const [, , id, stage, partition, inputs, marks, state, release] = message;
        if (this.home?.keeper.keep({ stage, partition }, peer, { kept: { inputs, marks, state }, release }) === true)
          this.peer(peer).say(["kept", this.id, stage, id]);
        return;
      }
      case "kept":
        return this.stages[message[2]]?.keeping?.kept(message[3]);
      case "release":
        return this.home?.keeper.release({ stage: message[2], partition: message[3] }, peer);
      case "ack":
        for (const batch of message[2]) this.peer(peer).acknowledged(batch, undefined);
        return;
      case "nack": {
        const failures = message[4].map(([fitting, partition, input, error]) => ({ fitting, partition, input, error }));
        return this.peer(peer).acknowledged(message[2], { failed: message[3], failures, resent: message[5] });
      }
      case "cursor":
        return this.peer(peer).cursor(message[2], message[3]);
      case "quiesce": {
        const [, , index] = message;
        return this.stages[index]?.quiesce(message[3], () => {
          if (!this.over) this.peer(peer).say(["quiet", this.id, index, this.node.epoch]);
        });
      }
      case "end": {
        const stage = this.stages[message[2]];
        return stage?.end(new Token(new Ended(this, peer, stage), 1));
      }
      case "ping":
        return;
      case "gone":
        if (this.home === undefined && peer === this.coordinatorPeer) return this.close();
        if (this.peers.get(peer)?.has(message[2]) === true) this.lost(peer);
        return;
      default:
        return this.home?.take(peer, message);
    }
  }

  /** W2 of the wire: it costs that input. */
  #unreadable(stage: number, partition: number, token: Token): void {
    const fitting = this.pipeline.fittings[stage]?.name ?? "sink";
    token.fail({ fitting, partition, input: "", error: "what a node sent cannot be read" });
    settle(token, 1);
  }

  /** One input of a batch, below the span that it had where it comes from. */
  #traced(batch: Token, text: unknown): Token {
    const above = parseTraceparent(String(text));
    return above === undefined ? batch : new Branch(this, batch, new TraceContext(above, undefined)).token;
  }

  /** The peer has nothing of this run any more. */
  lost(peer: number): void {
    const known = this.peers.get(peer);
    this.peers.delete(peer);
    this.trace.lost(peer);
    this.home?.lost(peer);
    if (this.over) return;
    known?.resend();
  }

  /** `before`: who owned each partition until now. */
  rerouted(before: Int32Array): void {
    this.trace.rerouted();
    for (const stage of this.stages) stage.rerouted(before);
    this.home?.rerouted();
  }

  /** For `Context.trace` and the machinery; costs nothing while nobody listens. */
  note(worker: Worker, type: TraceEvent["type"], text: string): void {
    if (!this.trace.isHeard) return;
    this.trace.happened({
      node: this.node.self,
      fitting: worker.stage.fitting.name,
      partition: worker.partition,
      type,
      text: startOf(String(text), DETAIL_CHARACTERS),
      atMs: this.node.host.now(),
    });
  }

  status(): WorkerStatus[] {
    const views: WorkerStatus[] = [];
    for (const stage of this.stages) {
      for (const worker of stage.workers) {
        if (worker === undefined) continue;
        views.push({
          node: this.node.self,
          fitting: stage.fitting.name,
          partition: worker.partition,
          state: worker.leaving ? "leaving" : worker.busy ? "working" : worker.queue.length > 0 ? "ready" : "waiting",
          queue: worker.queue.length,
          queueLimit: stage.fitting.queueLimit,
          blocked: worker.waiters.length,
          blockedMs: Math.round(worker.blockedMs()),
          ...worker.times(),
          processed: worker.processed,
          failures: worker.failures,
        });
      }
    }
    return views;
  }

  /** Senders parked on this node before each fitting, and before the sink. */
  blocked(): number[] {
    const blocked = this.stages.map((stage) => {
      let waiting = 0;
      for (const worker of stage.workers) waiting += worker?.waiters.length ?? 0;
      for (const peer of this.peers.values()) waiting += peer.stages[stage.index]?.blocked ?? 0;
      return waiting;
    });
    const last = this.stages.length;
    let atSink = this.sink?.blocked ?? 0;
    for (const peer of this.peers.values()) atSink += peer.stages[last]?.blocked ?? 0;
    return [...blocked, atSink];
  }

  /** Nothing remains: no worker, queue, waiter or call. */
  close(): void {
    if (this.over) return;
    this.over = true;
    for (const stage of this.stages) stage.close();
    this.sink?.close();
    for (const branch of this.branches.all()) branch.end("the run has ended");
    this.peers.clear();
    this.node.ended(this);
  }
}

/**
 * A batch that came from a peer: its end is told to that peer, unless it was lost meanwhile. Whoever has its name then may be
 * another process, whose batches have the same numbers.
 */
class Arrived implements TokenOwner {
  readonly #from: PeerRun;
  readonly #batch: number;

  constructor(from: PeerRun, batch: number) {
    this.#from = from;
    this.#batch = batch;
  }

  settled(token: Token): void {
    if (this.#isThere) this.#from.acknowledge(this.#batch, token);
  }

  checkpointed(_token: Token, cursor: unknown): void {
    if (this.#isThere) this.#from.say(["cursor", this.#from.run.id, this.#batch, cursor ?? null]);
  }

  get #isThere(): boolean {
    const { run, peer } = this.#from;
    return !run.over && run.peers.get(peer) === this.#from;
  }
}

/** All `done`s of a stage on this node are over. */
class Ended implements TokenOwner {
  readonly #run: Run;
  readonly #peer: number;
  readonly #stage: Stage;

  constructor(run: Run, peer: number, stage: Stage) {
    this.#run = run;
    this.#peer = peer;
    this.#stage = stage;
  }

  settled(token: Token): void {
    const { failed, failures, resent } = token;
    const said = failures.map((one) => [one.fitting, one.partition, one.input, one.error] as const);
    if (!this.#run.over)
      this.#run
        .peer(this.#peer)
        .say(["ended", this.#run.id, this.#stage.index, failed, said, resent, [...this.#stage.archivedTo]]);
  }

  checkpointed(): void {}
}

/** Of a text between nodes, which takes no more than 4,096. */
const DETAIL_CHARACTERS = 1_000;
