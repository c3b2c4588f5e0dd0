/**
 * The inputs of a run that one peer works on: what was sent and is not acknowledged stays here, and goes elsewhere if the
 * peer is lost.
 *
 * K1  Of one fitting at most a `Window` of inputs is with one peer, of which no more than `KEPT_BYTES` have not reached it, of all
 *     runs; forwarded ones apart. Whoever has more is parked.
 * K2  An acknowledgement settles a batch once; a lost peer's late ones find nothing.
 * K3  A cursor is that of a message, so one input alone has it: whoever else went on there would miss what came before.
 */

import type { NodeName } from "../ring/ids.ts";
import { shapeOf } from "./fitting.ts";
import { KEPT_BYTES } from "./limits.ts";
import { Resumed } from "./resumed.ts";
import { type Room, type Sender, Waiters } from "./room.ts";
import type { Run } from "./run.ts";
import { tooLarge } from "./size.ts";
import type { Stage } from "./stage.ts";
import { Stamped } from "./stamp.ts";
import { checkpoint, errorTextOf, failureOf, type Outcome, settle, type Token } from "./token.ts";
import { Window } from "./window.ts";
import { encodeMessage, type PipeMessage, wireValue } from "./wire.ts";

export interface SentBatch {
  readonly stage: number;
  readonly partitions: readonly number[];
  readonly values: readonly unknown[];
  readonly tokens: readonly Token[];
  /** Set for an archive instead of inputs. */
  readonly archive?: { readonly state: unknown; readonly inputs: number };
  cursor: unknown;
  /** Of its message. */
  characters: number;
}

export class PeerRun {
  readonly run: Run;
  readonly peer: number;
  readonly name: NodeName;
  readonly sent: Map<number, SentBatch> = new Map();
  readonly stages: (PeerStage | undefined)[] = [];
  #acks: number[] = [];
  #opened = false;

  constructor(run: Run, peer: number) {
    this.run = run;
    this.peer = peer;
    this.name = run.node.nameOf(peer);
  }

  stage(index: number): PeerStage {
    let stage = this.stages[index];
    if (stage === undefined) {
      stage = new PeerStage(this, index);
      this.stages[index] = stage;
    }
    return stage;
  }

  /** The run fails if it cannot be said. */
  say(message: PipeMessage): void {
    try {
      this.sayEncoded(encodeMessage(message));
    } catch (error) {
      this.run.fail("RUN_FAILED", `${message[0]} for ${this.name}: ${errorTextOf(error)}`);
    }
  }

  /** Throws for what is too large. */
  sayEncoded(message: string): void {
    const { run } = this;
    const { node } = run;
    if (!this.#opened) {
      this.#opened = true;
      const { pipeline } = run;
      node.say(
        this.peer,
        encodeMessage(["open", run.id, pipeline.name, run.coordinator, run.attempt, shapeOf(pipeline)]),
      );
    }
    if (!node.say(this.peer, message)) throw tooLarge(message);
  }

  acknowledge(batch: number, outcome: Outcome): void {
    if (outcome.failed === 0 && outcome.resent === 0) {
      if (this.#acks.length === 0) this.run.node.dirty(this);
      this.#acks.push(batch);
      return;
    }
    this.say([
      "nack",
      this.run.id,
      batch,
      outcome.failed,
      outcome.failures.map((one) => [one.fitting, one.partition, one.input, one.error] as const),
      outcome.resent,
    ]);
  }

  keep(batch: SentBatch): number {
    const id = this.run.node.nextBatch();
    this.sent.set(id, batch);
    return id;
  }

  acknowledged(id: number, outcome: Outcome | undefined): void {
    const batch = this.sent.get(id);
    if (batch === undefined) return; // K2
    this.sent.delete(id);
    const { tokens } = batch;
    if (outcome !== undefined) tokens[0]?.add(outcome);
    for (const token of tokens) settle(token, 1);
    if (batch.archive !== undefined) return;
    this.stages[batch.stage]?.released(tokens.length, batch.characters);
    this.run.stages[batch.stage]?.holds.acknowledged(id, batch.partitions);
  }

  /** The peer does not know the run: true if it was given something that it will never acknowledge. */
  has(batch: number): boolean {
    return batch === 0 || this.sent.has(batch);
  }

  cursor(id: number, cursor: unknown): void {
    const batch = this.sent.get(id);
    const token = batch?.tokens[0];
    if (batch === undefined || token === undefined || batch.tokens.length > 1) return; // K3
    batch.cursor = cursor;
    checkpoint(token, cursor);
  }

  flush(): void {
    for (const stage of this.stages) stage?.flush();
    if (this.#acks.length === 0) return;
    const acks = this.#acks;
    this.#acks = [];
    this.say(["ack", this.run.id, acks]);
  }

  /** The peer is lost: everything it had goes where the ring says now. */
  resend(): number {
    const batches = [...this.sent];
    const unsent = this.stages.flatMap((stage) => stage?.drain() ?? []);
    this.sent.clear();
    let inputs = 0;
    for (const [, batch] of batches) {
      const stage = this.run.stages[batch.stage];
      if (stage === undefined) continue; // Outputs for a coordinator that is lost: the run is over.
      batch.tokens.forEach((token, at) => {
        const partition = batch.partitions[at] ?? 0;
        if (batch.archive !== undefined) return; // A stateful run has failed already.
        const value =
          batch.cursor === undefined ? batch.values[at] : new Resumed(plainOf(batch.values[at]), batch.cursor);
        token.resent += 1;
        inputs += 1;
        stage.again(value, token, partition);
      });
    }
    for (const { stage, value, token, partition } of unsent) this.run.stages[stage]?.again(value, token, partition);
    for (const stage of this.stages) stage?.reroute();
    for (const [id, batch] of batches) this.run.stages[batch.stage]?.holds.acknowledged(id, batch.partitions);
    return inputs;
  }
}

export class PeerStage implements Room {
  readonly #of: PeerRun;
  readonly #index: number;
  readonly #waiters = new Waiters();
  readonly #each: boolean;
  readonly #window: Window;
  readonly #stage: Stage | undefined;
  readonly #current: Room;
  #values: unknown[] = [];
  #partitions: number[] = [];
  #tokens: Token[] = [];

  constructor(of: PeerRun, index: number) {
    this.#of = of;
    this.#index = index;
    this.#window = new Window(of.run.node.window);
    this.#each = of.run.pipeline.fittings[index]?.resumable === true;
    this.#stage = of.run.stages[index];
    // Whoever was parked here meanwhile gives to where the ring says now.
    this.#current = {
      force: (value, token, partition) => {
        const stage = this.#stage;
        if (stage === undefined || of.run.node.ownerOf(partition) === of.peer) this.force(value, token, partition);
        else if (!stage.waits(value, token, partition)) stage.again(value, token, partition);
      },
      park: (sender) => this.park(sender),
    };
  }

  get peerName(): NodeName {
    return this.#of.name;
  }

  /** On the scale of a queue's length. */
  get load(): number {
    return this.#window.inputs / 64;
  }

  get inflight(): number {
    return this.#window.inputs;
  }

  get blocked(): number {
    return this.#waiters.length;
  }

  offer(value: unknown, token: Token, partition: number): boolean {
    if (this.#waiters.length > 0 || this.#isFull) return false;
    this.force(value, token, partition);
    return true;
  }

  force(given: unknown, token: Token, partition: number): void {
    const isAlone = this.#each || given instanceof Resumed; // K3
    if (isAlone) this.flush();
    const value = this.#stage?.stamped(given, partition) ?? given;
    this.#window.take(plainOf(given));
    if (this.#values.length === 0) this.#of.run.node.dirty(this.#of);
    this.#values.push(value);
    this.#partitions.push(partition);
    this.#tokens.push(token);
    if (isAlone || this.#window.fillsMessage) this.flush();
  }

  park(sender: Sender): void {
    this.#waiters.push(sender);
  }

  archive(partition: number, archived: { readonly state: unknown; readonly inputs: number }, token: Token): void {
    const { run } = this.#of;
    const id = this.#of.keep({
      stage: this.#index,
      partitions: [partition],
      values: [],
      tokens: [token],
      archive: archived,
      cursor: undefined,
      characters: 0,
    });
    const { state, inputs } = archived;
    try {
      const message = ["archive", run.id, id, this.#index, partition, inputs, state] as const;
      this.#of.sayEncoded(run.look(this.#stage?.fitting.name ?? "", () => encodeMessage(message)));
      run.node.dirty(this.#of);
    } catch (error) {
      run.fail("RUN_FAILED", `${this.#stage?.fitting.name}: its state cannot be moved: ${errorTextOf(error)}`);
    }
  }

  flush(): void {
    if (this.#values.length === 0) return;
    const [values, partitions, tokens] = [this.#values, this.#partitions, this.#tokens];
    this.#values = [];
    this.#partitions = [];
    this.#tokens = [];
    this.#window.collected();
    this.#message(values, partitions, tokens);
  }

  released(inputs: number, characters: number): void {
    this.#window.released(inputs, characters);
    this.release();
  }

  release(): void {
    while (!this.#isFull) {
      const sender = this.#waiters.shift();
      if (sender === undefined) return;
      sender.resume(this.#current);
    }
  }

  /** The peer is lost: whoever waits here gives its input to where the ring says now. */
  reroute(): void {
    const stage = this.#of.run.stages[this.#index];
    if (stage === undefined) return;
    const elsewhere: Room = {
      force: (value, token, partition) => stage.again(value, token, partition),
      park: (sender) => this.park(sender),
    };
    for (let sender = this.#waiters.shift(); sender !== undefined; sender = this.#waiters.shift())
      sender.resume(elsewhere);
  }

  /** What was not yet sent; nothing of this stage is with the peer any more. */
  drain(): { readonly stage: number; readonly value: unknown; readonly token: Token; readonly partition: number }[] {
    const items = this.#values.map((value, at) => ({
      stage: this.#index,
      value,
      token: this.#tokens[at] as Token,
      partition: this.#partitions[at] ?? 0,
    }));
    this.#values = [];
    this.#partitions = [];
    this.#tokens = [];
    this.#window.clear();
    return items;
  }

  /** Whose outputs these inputs are. */
  get #maker(): string {
    return this.#of.run.pipeline.fittings[this.#index - 1]?.name ?? "input";
  }

  get #isFull(): boolean {
    const { run, peer } = this.#of;
    // One message of each fitting may always be there: see V1 of the window.
    return this.#window.isFull || (this.#window.inputs > 0 && run.node.channel(peer).keptBytes >= KEPT_BYTES);
  }

  #message(values: readonly unknown[], partitions: readonly number[], tokens: readonly Token[]): void {
    const { run } = this.#of;
    const first = values[0];
    const cursor = first instanceof Resumed ? first.cursor : undefined;
    const batch: SentBatch = { stage: this.#index, partitions, values, tokens, cursor, characters: 0 };
    const id = this.#of.keep(batch);
    try {
      const message = [
        "in",
        run.id,
        id,
        this.#index,
        run.node.epoch,
        partitions,
        run.look(this.#maker, () => values.map(sayable)),
        cursor ?? null,
        values.flatMap((value) => (value instanceof Stamped ? [value.life, value.number] : [])),
        tokens.flatMap(({ trace }, at) => (trace?.takeBelow() === true ? [at, trace.traceparent] : [])),
      ] as const;
      const encoded = run.look(this.#maker, () => encodeMessage(message));
      this.#of.sayEncoded(encoded);
      batch.characters = encoded.length;
      this.#window.sent(values.length, encoded.length);
    } catch (error) {
      this.#split(id, values, partitions, tokens, error);
    }
  }

  /** Smaller messages; one input that cannot be sent at all has failed. */
  #split(
    id: number,
    values: readonly unknown[],
    partitions: readonly number[],
    tokens: readonly Token[],
    error: unknown,
  ): void {
    this.#of.sent.delete(id);
    if (values.length > 1) {
      const half = values.length >>> 1;
      this.#message(values.slice(0, half), partitions.slice(0, half), tokens.slice(0, half));
      this.#message(values.slice(half), partitions.slice(half), tokens.slice(half));
      return;
    }
    const token = tokens[0] as Token;
    const fitting = this.#of.run.pipeline.fittings[this.#index]?.name ?? "sink";
    const at = { fitting, partition: partitions[0] ?? 0 };
    token.fail(this.#of.run.look(this.#maker, () => failureOf(at, plainOf(values[0]), error)));
    this.released(1, 0);
    settle(token, 1);
  }
}

function sayable(value: unknown): unknown {
  return wireValue(plainOf(value));
}

function plainOf(value: unknown): unknown {
  return value instanceof Resumed || value instanceof Stamped ? value.value : value;
}
