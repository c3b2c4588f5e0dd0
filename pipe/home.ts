/**
 * A run's coordinator, on the node that opened it: takes the inputs, sees to the end of inputs, and reports.
 *
 * M1  An accepted input is counted as acknowledged when its whole tree has an end, with what failed in it. Nothing is taken
 *     after the report.
 * M2  A fitting with `done` is told the end when everything before it is acknowledged, one fitting after the other, on every
 *     node that may have a worker; who has got a worker's archive is asked as well (ownership rule 23).
 * M3  The loss of a node that may have held state fails the run with `STATE_LOST`: a short result never looks complete. With
 *     `checkpointEvery` the state is here: the partition's new owner goes on with it; after the end of inputs, this node does.
 */

import { type ErrorCode, isErrorCode } from "../ring/errors.ts";
import { inRow } from "./in-row.ts";
import { Keeper } from "./keeper.ts";
import { FAILURES_KEPT, SENDERS_MOST } from "./limits.ts";
import { Resumed } from "./resumed.ts";
import type { Room, Sender } from "./room.ts";
import type { Run } from "./run.ts";
import { Samples, type Traceparent } from "./span.ts";
import type { Stage } from "./stage.ts";
import { type Failure, type Outcome, settle, Token, type TokenOwner } from "./token.ts";
import type { Progress, Report } from "./views.ts";
import type { PipeMessage } from "./wire.ts";

export interface HomeEvents {
  readonly finished: (report: Report) => void;
  /** The cursor of the (single) input is safe: everything before it is acknowledged. */
  readonly checkpoint?: (cursor: unknown) => void;
}

export class Home implements TokenOwner {
  readonly run: Run;
  accepted = 0;
  acknowledged = 0;
  failed = 0;
  failures: Failure[] = [];
  resent = 0;
  total: number | undefined = undefined;
  report: Report | undefined = undefined;
  /** Absent: no input is sampled, but those that come with a context of their own. */
  samples: Samples | undefined = undefined;
  readonly keeper: Keeper = new Keeper();
  /** Ends of the phase's stage that are under way here. */
  #localEnds = 0;
  #ending = false;
  #phase = -1;
  /** The epoch that all are asked to know; -1 while nothing of the kind goes on. */
  #quiescing = -1;
  readonly #asked = new Set<number>();
  readonly #waiting = new Set<number>();
  /** Every peer that may have a worker of this run. */
  readonly #touched = new Set<number>();
  readonly #events: HomeEvents;
  readonly #startedAt: number;
  #senders = 0;
  /** Peer by stage and partition. */
  readonly #unstartable = new Map<number, number>();

  constructor(run: Run, events: HomeEvents) {
    this.run = run;
    this.#events = events;
    this.#startedAt = run.node.host.now();
    this.#touch();
  }

  get open(): number {
    return this.accepted - this.acknowledged;
  }

  /** False: there was no room; nothing was taken. */
  offer(value: unknown): Room | undefined {
    const token = this.sampled(new Token(this, 1), undefined);
    const room = this.run.targets[0]?.deliver(value, token, 0);
    if (room === undefined) {
      this.accepted += 1;
      return undefined;
    }
    this.samples?.undo();
    token.trace?.branch?.forget();
    return room;
  }

  /** Gives inputs as there is room, and calls `taken` when all are. Undefined: too many senders wait already. */
  send(values: readonly unknown[], taken: () => void, above?: Traceparent): PendingSend | undefined {
    if (this.#senders >= SENDERS_MOST) return undefined;
    this.#senders += 1;
    const done = (): void => {
      this.#senders -= 1;
      taken();
      if (this.#ending) this.#proceed();
    };
    const send = new ClientSend(this, { values, above }, done);
    send.advance();
    return send;
  }

  /** The token to give an input that has a leaf of `token`; `above`: it came with a context of its own. */
  sampled(token: Token, above: Traceparent | undefined): Token {
    if (this.samples === undefined) {
      if (above?.sampled !== true) return token;
      this.samples = new Samples(0, undefined);
    }
    return this.samples.next(this.run, token, above);
  }

  end(): void {
    this.#ending = true;
    this.#proceed();
  }

  settled(token: Token): void {
    this.acknowledged += token.inputs;
    if (token.failed > 0 || token.resent > 0) this.#add(token);
    if (this.#ending && this.acknowledged === this.accepted) this.#proceed();
  }

  checkpointed(_token: Token, cursor: unknown): void {
    this.#events.checkpoint?.(cursor);
  }

  take(peer: number, message: PipeMessage): void {
    if (message[0] === "fail") return this.fail(isErrorCode(message[2]) ? message[2] : "RUN_FAILED", message[3]);
    if (message[0] === "unstartable") {
      const [, , stage, partition, why] = message;
      return this.unstartable({ stage, partition, peer }, why);
    }
    if (message[0] === "quiet" && message[2] === this.#phase) return this.#quiet(peer, message[3]);
    if (message[0] === "ended" && message[2] === this.#phase) {
      const failures = message[4].map(([fitting, partition, input, error]) => ({ fitting, partition, input, error }));
      this.#ended(peer, { failed: message[3], failures, resent: message[5] }, message[6]);
    }
  }

  lost(peer: number): void {
    this.#waiting.delete(peer);
    if (this.report !== undefined) return;
    const forgets = this.run.stages.some(({ fitting, keeping }) => fitting.stateful && keeping === undefined);
    if (this.#touched.has(peer) && this.accepted > 0 && forgets)
      return this.fail("STATE_LOST", `${this.run.node.nameOf(peer)} was lost with what its workers had absorbed`); // M3
    this.keeper.lost(peer);
    if (this.#phase < 0) return;
    if (this.#quiescing < 0 && this.#adopt() > 0) this.#endHere();
    if (this.#waiting.size === 0) this.#nobodyLeft();
  }

  rerouted(): void {
    this.#touch();
    if (this.#phase >= 0 && this.report === undefined) for (const peer of this.run.node.ownerPeers()) this.#ask(peer);
    if (this.#quiescing >= 0 && this.#quiescing < this.run.node.epoch && this.report === undefined) this.#quiesce();
  }

  fail(code: ErrorCode, detail: string): void {
    this.#finish(code === "CANCELLED" ? "cancelled" : "failed", { code, detail });
  }

  /** A worker cannot start. When `nval` partitions in a row have none, nobody can do their work. */
  unstartable(at: { readonly stage: number; readonly partition: number; readonly peer: number }, why: string): void {
    const { node, stages } = this.run;
    const nval = stages[at.stage]?.fitting.nval ?? 1;
    this.#unstartable.set(at.stage * node.ringSize + at.partition, at.peer);
    const isOne = (partition: number): boolean =>
      this.#unstartable.get(at.stage * node.ringSize + partition) === node.ownerOf(partition);
    if (inRow(at.partition, isOne, { ringSize: node.ringSize, most: nval }) >= nval)
      this.fail("RUN_FAILED", `${why}; nor can any of ${nval} partitions in a row`);
  }

  progress(): Progress {
    const seconds = Math.max(0.001, (this.run.node.host.now() - this.#startedAt) / 1_000);
    const perSecond = this.acknowledged / seconds;
    const etaMs =
      this.total === undefined || perSecond === 0 ? undefined : ((this.total - this.acknowledged) / perSecond) * 1_000;
    return {
      accepted: this.accepted,
      acknowledged: this.acknowledged,
      inFlight: this.open,
      emitted: this.run.sink?.received ?? 0,
      failed: this.failed,
      perSecond: Math.round(perSecond),
      ...(etaMs === undefined ? {} : { etaMs: Math.max(0, Math.round(etaMs)) }),
    };
  }

  #proceed(): void {
    if (this.#phase < 0 && this.open === 0 && this.#senders === 0 && this.report === undefined) this.#nextPhase();
  }

  #nextPhase(): void {
    this.#phase += 1;
    const { stages } = this.run;
    while (this.#phase < stages.length && stages[this.#phase]?.fitting.done === undefined) this.#phase += 1;
    const stage = stages[this.#phase];
    if (stage === undefined) return this.#finish("done");
    this.#quiesce();
  }

  /** All nodes are to know the same ring and have no archive on its way; then a key's state is in one place (M2). */
  #quiesce(): void {
    const { node, stages, peers } = this.run;
    const [epoch, stage] = [node.epoch, this.#phase];
    this.#quiescing = epoch;
    this.#asked.clear();
    this.#waiting.clear();
    this.#asked.add(0);
    this.#waiting.add(0);
    for (const peer of [...node.ownerPeers(), ...peers.keys()]) this.#ask(peer);
    stages[stage]?.quiesce(epoch, () => this.#quiet(0, node.epoch));
  }

  #quiet(peer: number, epoch: number): void {
    if (this.report !== undefined || this.#quiescing < 0) return;
    // Newer than what was asked for: that ring will be known here soon, and all are asked again.
    if (epoch !== this.#quiescing || !this.#waiting.delete(peer)) return;
    if (this.#waiting.size === 0) this.#endStage();
  }

  #nobodyLeft(): void {
    if (this.#quiescing >= 0) this.#endStage();
    else this.#nextPhase();
  }

  #endStage(): void {
    const { node } = this.run;
    this.#quiescing = -1;
    this.#asked.clear();
    this.#asked.add(0);
    for (const peer of [...node.ownerPeers(), ...this.run.peers.keys()]) this.#ask(peer);
    this.#adopt();
    this.#endHere();
  }

  #endHere(): void {
    const stage = this.run.stages[this.#phase] as Stage;
    this.#waiting.add(0);
    this.#localEnds += 1;
    const settled = (token: Token): void => {
      this.#localEnds -= 1;
      if (this.#localEnds > 0) return this.#add(token);
      this.#ended(0, token, [...stage.archivedTo]);
    };
    stage.end(new Token({ settled, checkpointed: () => {} }, 1));
  }

  /** States that nobody holds come to this node for their `done`. How many inputs are in them. */
  #adopt(): number {
    const stage = this.run.stages[this.#phase];
    if (stage?.keeping === undefined) return 0;
    let inputs = 0;
    for (const { partition, kept, lost } of this.keeper.adopt(stage.index)) {
      inputs += kept.inputs;
      if (stage.ended && lost) this.resent += kept.inputs; // Its `done` may have begun.
      if (stage.worker(partition) === undefined) this.fail("STATE_LOST", `${stage.fitting.name}: nobody can go on`);
    }
    return inputs;
  }

  #ask(peer: number): void {
    if (peer === 0 || this.#asked.has(peer)) return;
    this.#asked.add(peer);
    this.#waiting.add(peer);
    const { id, node } = this.run;
    this.run.peer(peer).say(this.#quiescing >= 0 ? ["quiesce", id, this.#phase, node.epoch] : ["end", id, this.#phase]);
  }

  #ended(peer: number, outcome: Outcome, archivedTo: readonly string[]): void {
    if (this.report !== undefined || !this.#waiting.delete(peer)) return;
    this.#add(outcome);
    this.keeper.answered(this.#phase, peer);
    for (const name of archivedTo) this.#ask(this.run.node.peerOf(name)); // M2
    if (this.#waiting.size > 0) return;
    if (this.#adopt() > 0)
      this.#endHere(); // Given back by a node that had not yet heard of the end.
    else this.#nextPhase();
  }

  #add(outcome: Outcome): void {
    this.failed += outcome.failed;
    this.resent += outcome.resent;
    for (const failure of outcome.failures) if (this.failures.length < FAILURES_KEPT) this.failures.push(failure);
  }

  #touch(): void {
    for (const peer of this.run.node.ownerPeers()) this.#touched.add(peer);
  }

  #finish(state: Report["state"], error?: { readonly code: ErrorCode; readonly detail: string }): void {
    if (this.report !== undefined) return;
    const { run } = this;
    this.report = {
      run: run.id,
      pipeline: run.pipeline.name,
      state,
      accepted: this.accepted,
      acknowledged: this.acknowledged,
      failed: this.failed,
      failures: this.failures,
      outputs: run.sink?.acknowledged ?? 0,
      resent: this.resent,
      elapsedMs: run.node.host.now() - this.#startedAt,
      ...(error === undefined ? {} : { error }),
    };
    for (const peer of run.peers.values()) peer.say(["close", run.id]);
    run.close();
    this.#events.finished(this.report);
  }
}

export interface PendingSend {
  /** What has not been taken is not sent. How many those are. */
  withdraw(): number;
}

/** Inputs of one `send`, in chunks that are acknowledged together. */
class ClientSend implements Sender, PendingSend {
  readonly #home: Home;
  readonly #values: readonly unknown[];
  readonly #taken: () => void;
  #index = 0;
  #chunkEnd = 0;
  #partition = 0;
  #token: Token | undefined = undefined;
  /** Of the next input: the chunk's, or below it. */
  #given: Token | undefined = undefined;
  readonly #above: Traceparent | undefined;
  #withdrawn = false;

  constructor(
    home: Home,
    given: { readonly values: readonly unknown[]; readonly above: Traceparent | undefined },
    taken: () => void,
  ) {
    this.#home = home;
    this.#values = given.values;
    this.#above = given.above;
    this.#taken = taken;
  }

  advance(): void {
    const values = this.#values;
    const target = this.#home.run.targets[0];
    while (this.#index < values.length && !this.#home.run.over) {
      if (this.#index === this.#chunkEnd || this.#token === undefined) {
        const count = Math.min(CHUNK, values.length - this.#index);
        this.#token = new Token(this.#home, count);
        this.#chunkEnd = this.#index + count;
        this.#home.accepted += count;
      }
      this.#given = this.#home.sampled(this.#token, this.#above);
      const value = values[this.#index];
      const room = target?.deliver(value, this.#given, 0, value instanceof Resumed ? value.value : value);
      if (room !== undefined) {
        this.#partition = target?.blockedAt ?? 0;
        return room.park(this);
      }
      this.#index += 1;
    }
    this.#taken();
  }

  withdraw(): number {
    const left = this.#values.length - this.#index;
    if (left === 0 || this.#withdrawn) return 0;
    this.#withdrawn = true;
    this.#given?.trace?.branch?.forget();
    const token = this.#token as Token;
    const open = this.#chunkEnd - this.#index;
    token.inputs -= open;
    this.#home.accepted -= open;
    settle(token, open);
    return left;
  }

  resume(room: Room): void {
    if (this.#withdrawn) return this.#taken(); // The room is the next one's.
    room.force(this.#values[this.#index++], this.#given as Token, this.#partition);
    this.advance();
  }
}

const CHUNK = 64;
