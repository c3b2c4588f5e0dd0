/**
 * The part of a stage with `checkpointEvery` that is on one node: its workers' states are loaded from the coordinator before
 * their first input and stored there again and again; an input is acknowledged when the state that contains it is stored.
 *
 * Y1  A worker begins nothing before it has its partition's state, and after giving it back it is gone.
 * Y2  A state is stored when no call is under way, after every `checkpointEvery` inputs or `KEEP_AFTER_MS` after the first of
 *     them; one at a time for each worker.
 * Y3  At the coordinator nothing is stored until the partition moves: whoever loses the coordinator loses the run. Unless a
 *     crash is to bring back the state as it was stored last.
 */

import type { Keeper, KeptState } from "./keeper.ts";
import { KEEP_AFTER_MS } from "./limits.ts";
import type { Stage } from "./stage.ts";
import { Marks, Stamped } from "./stamp.ts";
import { archiveOf } from "./state.ts";
import { errorTextOf, settle, type Token } from "./token.ts";
import { encodeMessage, type PipeMessage } from "./wire.ts";
import type { Worker } from "./worker.ts";

/** What a worker of such a stage has beside the others. */
export class Checkpoint {
  readonly marks: Marks = new Marks();
  readonly ask: number;
  loaded = false;
  /** Inputs that are in the state and not yet stored. */
  held: Token[] = [];
  /** A state is on its way to the coordinator. */
  storing = false;
  /** As it was stored last, for `stateAfterCrash: "reset"`. */
  last: KeptState = { inputs: 0, marks: [], state: undefined };
  readonly #keeping: Keeping;

  constructor(keeping: Keeping, ask: number) {
    this.#keeping = keeping;
    this.ask = ask;
  }

  /** It takes no more before what it has is stored. */
  get full(): boolean {
    return this.held.length >= 2 * this.#keeping.every;
  }

  /** It has been absorbed before: it was sent again. */
  knows(given: unknown): boolean {
    return given instanceof Stamped && this.marks.has(given.life, given.number);
  }

  /** The input is in the state; its leaf is settled when the state is stored. */
  hold(given: unknown, token: Token): void {
    if (given instanceof Stamped) this.marks.add(given.life, given.number);
    this.#keeping.hold(this, token);
  }
}

export class Keeping {
  readonly every: number;
  readonly #stage: Stage;
  readonly #storing = new Map<number, { readonly tokens: readonly Token[]; readonly after: () => void }>();
  #swept = false;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.every = stage.fitting.checkpointEvery;
  }

  /** Asks for the state of the worker's partition. */
  load(worker: Worker): void {
    const { run, index } = this.#stage;
    const ask = run.node.nextBatch();
    const { partition } = worker;
    worker.checkpoint = new Checkpoint(this, ask);
    const keeper = run.home?.keeper;
    if (keeper === undefined) return this.#say(["load", run.id, ask, index, partition]);
    keeper.load({ stage: index, partition }, 0, (kept) => this.loaded(partition, ask, kept));
  }

  loaded(partition: number, ask: number, kept: KeptState): void {
    const { run, workers } = this.#stage;
    const worker = workers[partition];
    const checkpoint = worker?.checkpoint;
    if (run.over) return;
    if (worker === undefined || checkpoint === undefined || checkpoint.ask < ask) {
      return this.#release(partition); // The partition has moved on while it was asked for.
    }
    if (checkpoint.ask !== ask || checkpoint.loaded) return;
    checkpoint.loaded = true;
    checkpoint.marks.load(kept.marks);
    checkpoint.last = kept;
    if (kept.state !== undefined && kept.state !== null && !worker.absorb(kept.state, kept.inputs)) return;
    worker.wake();
  }

  hold(checkpoint: Checkpoint, token: Token): void {
    if (this.#keeper !== undefined && this.#stage.fitting.stateAfterCrash === "keep") return settle(token, 1); // Y3
    checkpoint.held.push(token);
    if (this.#swept) return;
    this.#swept = true;
    this.#stage.run.node.after(KEEP_AFTER_MS, () => this.#sweep());
  }

  /** After a step: is it time (Y2)? */
  look(worker: Worker): void {
    const { checkpoint } = worker;
    if (checkpoint !== undefined && checkpoint.held.length >= this.every && !checkpoint.storing) this.#keep(worker);
  }

  /** The worker's partition has moved, and no call is under way. `after`: the state is where others can have it. */
  giveBack(worker: Worker, after: () => void): void {
    const { checkpoint } = worker;
    if (checkpoint === undefined || !checkpoint.loaded) return after(); // `loaded` finds no worker and gives it back.
    this.#send(worker, { release: true, after });
  }

  /** The worker has failed for good: its state is as it was stored last. */
  abandon(worker: Worker): void {
    if (worker.checkpoint?.loaded === true) this.#release(worker.partition);
  }

  /** The coordinator has stored it. */
  kept(id: number): void {
    const stored = this.#storing.get(id);
    if (stored === undefined) return;
    this.#storing.delete(id);
    for (const token of stored.tokens) settle(token, 1);
    stored.after();
  }

  get #keeper(): Keeper | undefined {
    return this.#stage.run.home?.keeper;
  }

  #release(partition: number): void {
    const { run, index } = this.#stage;
    if (this.#keeper === undefined) this.#say(["release", run.id, index, partition]);
    else this.#keeper.release({ stage: index, partition }, 0);
  }

  #sweep(): void {
    this.#swept = false;
    if (this.#stage.run.over) return;
    let left = false;
    for (const worker of this.#stage.workers) {
      const checkpoint = worker?.checkpoint;
      if (worker === undefined || checkpoint === undefined || checkpoint.held.length === 0) continue;
      if (worker.busy || checkpoint.storing) left = true;
      else this.#keep(worker);
    }
    if (!left) return;
    this.#swept = true;
    this.#stage.run.node.after(KEEP_AFTER_MS, () => this.#sweep());
  }

  #keep(worker: Worker): void {
    const { checkpoint } = worker;
    if (worker.busy || checkpoint === undefined) return;
    checkpoint.storing = true;
    this.#send(worker, {
      release: false,
      after: () => {
        checkpoint.storing = false;
        worker.wake();
      },
    });
  }

  #send(worker: Worker, { release, after }: { readonly release: boolean; readonly after: () => void }): void {
    const { run, index } = this.#stage;
    const kept = this.#snapshot(worker);
    if (kept === undefined) return;
    const id = run.node.nextBatch();
    const tokens = worker.checkpoint?.held ?? [];
    if (worker.checkpoint !== undefined) {
      worker.checkpoint.held = [];
      worker.checkpoint.last = kept;
    }
    const { partition } = worker;
    if (this.#keeper?.keep({ stage: index, partition }, 0, { kept, release }) === true) {
      for (const token of tokens) settle(token, 1);
      return after();
    }
    this.#storing.set(id, { tokens, after });
    this.#say(["keep", run.id, id, index, worker.partition, kept.inputs, kept.marks, kept.state, release]);
  }

  /** Undefined: the state cannot be had, and the run has failed. */
  #snapshot(worker: Worker): KeptState | undefined {
    const { fitting, run } = this.#stage;
    try {
      const given = worker.absorbed > 0 ? (archiveOf(fitting, worker.state) ?? null) : null;
      // What is kept on this node is to be a copy, as one from elsewhere is.
      const here = this.#keeper !== undefined || fitting.stateAfterCrash === "reset";
      const state: unknown = here ? JSON.parse(run.look(fitting.name, () => JSON.stringify(given))) : given;
      return { inputs: worker.absorbed, marks: worker.checkpoint?.marks.rows() ?? [], state };
    } catch (error) {
      run.fail("RUN_FAILED", `${fitting.name}.archive: ${errorTextOf(error)}`);
      return undefined;
    }
  }

  #say(message: PipeMessage): void {
    const { run, fitting } = this.#stage;
    try {
      run.peer(run.coordinatorPeer).sayEncoded(run.look(fitting.name, () => encodeMessage(message)));
    } catch (error) {
      run.fail("RUN_FAILED", `${fitting.name}: its state cannot be kept: ${errorTextOf(error)}`);
    }
  }
}
