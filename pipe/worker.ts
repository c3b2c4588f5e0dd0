/**
 * Runs a fitting on one partition: takes inputs from its bounded queue, in order, and gives the outputs to the next fitting.
 *
 * W1  The queue never holds more than `queueLimit`; whoever finds it full is parked and released in order.
 * W2  At most `concurrency` calls are under way; a call holds its slot until its last output has a place.
 * W3  `done` runs when everything has been taken and no call is under way, once for everything that was absorbed; an input
 *     that arrives later makes it run again.
 */

import { RingError } from "../ring/errors.ts";
import { Call, type Runnable } from "./call.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { Context } from "./context.ts";
import { OVERFLOW_LIMIT } from "./limits.ts";
import { ItemQueue } from "./queue.ts";
import { Resumed } from "./resumed.ts";
import { type Room, type Sender, Waiters } from "./room.ts";
import { Roster } from "./roster.ts";
import { callSpan } from "./span.ts";
import type { Stage } from "./stage.ts";
import { Stamped } from "./stamp.ts";
import { absorbed, stateOf } from "./state.ts";
import { errorTextOf, type Failure, failureOf, recursion, settle, shownOf, type Token } from "./token.ts";
import { WorkTime } from "./work-time.ts";

export class Worker implements Room, Runnable {
  readonly stage: Stage;
  readonly partition: number;
  readonly queue: ItemQueue = new ItemQueue();
  readonly overflow: ItemQueue = new ItemQueue();
  readonly waiters: Waiters = new Waiters();
  readonly calls: Roster<Call> = new Roster();
  state: unknown = undefined;
  /** Of a fitting with `checkpointEvery`. */
  checkpoint: Checkpoint | undefined = undefined;
  processed = 0;
  failures = 0;
  /** Inputs that `done` has not yet answered for. */
  absorbed = 0;
  /** Leaves with a transfer as soon as no call is under way; takes nothing more. */
  leaving = false;
  /** An epoch in which this node owns the partition, as others say. */
  ownedAt = 0;
  #ready = false;
  #blockedAt = 0;
  readonly #time: WorkTime;
  #blockedMs = 0;
  #doneToken: Token | undefined = undefined;
  #abort: { readonly signal: AbortSignal; readonly abort: () => void } | undefined = undefined;
  readonly #shared: Context | undefined;
  readonly #queueLimit: number;
  readonly #concurrency: number;

  constructor(stage: Stage, partition: number) {
    this.stage = stage;
    this.partition = partition;
    this.#time = new WorkTime(stage.run.node.host.now());
    this.#queueLimit = stage.fitting.queueLimit;
    this.#concurrency = stage.fitting.concurrency;
    this.#shared = this.#concurrency === 1 && !stage.fitting.resumable ? new Context(this) : undefined;
  }

  /** False: there is no room (W1); park here. */
  offer(value: unknown, token: Token): boolean {
    if (this.queue.length >= this.#queueLimit || this.waiters.length > 0) return false;
    this.force(value, token);
    return true;
  }

  force(value: unknown, token: Token): void {
    this.queue.push(this.checkpoint === undefined ? value : this.stage.stamped(value, this.partition), token);
    if (!this.#ready) this.#schedule();
  }

  /** Something that it waited for has happened. */
  wake(): void {
    if (!this.#ready) this.#schedule();
  }

  park(sender: Sender): void {
    if (this.waiters.length === 0) this.#blockedAt = this.stage.run.node.host.now();
    this.waiters.push(sender);
  }

  /** How long somebody was parked here, in ms. */
  blockedMs(): number {
    return this.#blockedMs + (this.waiters.length === 0 ? 0 : this.stage.run.node.host.now() - this.#blockedAt);
  }

  /** Throws `QUEUE_FULL`. The input counts with the one that is being processed. */
  recurse(value: unknown, token: Token): void {
    if (this.checkpoint !== undefined)
      throw new RingError("INVALID_ARGUMENT", `${this.stage.fitting.name}: no recursion with checkpointEvery`);
    if (token.pending === 0) throw new RingError("CANCELLED", `${this.stage.fitting.name}: the call is over`);
    if (this.overflow.length >= OVERFLOW_LIMIT)
      throw new RingError(
        "QUEUE_FULL",
        `${this.stage.fitting.name}: a worker may have sent itself ${OVERFLOW_LIMIT} inputs at most`,
      );
    this.overflow.push(value, recursion(token));
    if (!this.#ready) this.#schedule();
  }

  step(): number {
    this.#time.works(this.stage.run.node.host.now());
    const taken = this.#step();
    if (this.calls.size === 0) this.#rests();
    return taken;
  }

  /** How long calls were under way, and none, in ms. */
  times(): { readonly workMs: number; readonly idleMs: number } {
    return this.#time.times(this.stage.run.node.host.now());
  }

  #rests(): void {
    this.#time.rests(this.stage.run.node.host.now());
  }

  #step(): number {
    this.#ready = false;
    if (this.stage.run.over) return 0;
    let taken = 0;
    const { queue, overflow, checkpoint } = this;
    while (this.calls.size < this.#concurrency && taken < QUANTUM && !this.leaving) {
      if (checkpoint !== undefined && (!checkpoint.loaded || checkpoint.full)) break; // Y1, Y2
      const from = overflow.length > 0 ? overflow : queue;
      if (from.length === 0) break;
      const token = from.token();
      this.#begin(from.take(), token);
      taken += 1;
      if (this.stage.run.over) return taken;
    }
    if (this.leaving) {
      if (this.calls.size === 0) this.stage.left(this);
      return taken + 1;
    }
    if (this.waiters.length > 0) this.#release();
    if (checkpoint !== undefined) {
      this.stage.keeping?.look(this);
      if (!checkpoint.loaded || checkpoint.full) return taken + 1; // It is woken.
    }
    if (queue.length + overflow.length > 0) {
      if (this.calls.size < this.#concurrency) this.#schedule();
    } else if (this.calls.size === 0) this.#quiet();
    return taken + 1;
  }

  signal(): AbortSignal {
    if (this.#abort === undefined) {
      const controller = new AbortController();
      const abort = (): void => controller.abort();
      // What listeners do is the doing of the fitting that asked for the signal.
      this.#abort = { signal: controller.signal, abort: this.stage.run.node.host.bound?.(abort) ?? abort };
    }
    return this.#abort.signal;
  }

  abortSignal(): void {
    this.#abort?.abort();
    this.#abort = undefined;
  }

  abort(): void {
    this.abortSignal();
    for (const call of this.calls.all()) {
      call.abandon();
      this.calls.delete(call);
    }
  }

  /** From now on `done` runs when all is quiet, and its outputs count with `token`. */
  finish(token: Token): void {
    if (this.#doneToken !== undefined || this.absorbed === 0) return;
    token.pending += 1;
    this.#doneToken = token;
    if (!this.#ready) this.#schedule();
  }

  took(call: Call): void {
    this.calls.add(call);
  }

  released(call: Call): void {
    this.calls.delete(call);
    if (call.token.trace !== undefined) call.token.trace.branch?.returned();
    if (this.calls.size === 0) this.#rests();
    if (!this.#ready) this.#schedule();
  }

  /** Its token still has the input's leaf. */
  crashed(call: Call, error: unknown): void {
    this.calls.delete(call);
    this.#failed(call, error);
    if (this.calls.size === 0) this.#rests();
    if (!this.#ready) this.#schedule();
  }

  /** An input of which the call is over. */
  settleInput(given: unknown, token: Token): void {
    if (this.checkpoint === undefined) settle(token, 1);
    else this.checkpoint.hold(given, token);
  }

  /** What another worker has archived. False: it cannot, and the run has failed. */
  absorb(archived: unknown, inputs: number): boolean {
    if (!absorbed(this, archived)) return false;
    this.absorbed += inputs;
    return true;
  }

  get busy(): boolean {
    return this.calls.size > 0;
  }

  #schedule(): void {
    this.#ready = true;
    this.stage.run.node.soon(this);
  }

  #begin(given: unknown, token: Token): void {
    if (this.checkpoint?.knows(given) === true) return settle(token, 1);
    if (token.trace !== undefined) return this.#beginSpanned(given, token);
    this.#process(given, token);
  }

  #beginSpanned(given: unknown, above: Token): void {
    const token = callSpan(this.stage, this.partition, above);
    const before = this.calls.size;
    this.#process(given, token);
    if (this.calls.size === before) token.trace?.branch?.returned();
  }

  #process(given: unknown, token: Token): void {
    const { fitting, next } = this.stage;
    const value = given instanceof Resumed || given instanceof Stamped ? given.value : given;
    const context = this.#shared ?? new Context(this);
    context.attempt = 1;
    context.cursor = given instanceof Resumed ? given.cursor : undefined;
    context.token = token;
    this.processed += 1;
    if (fitting.stateful) {
      if (this.absorbed === 0) this.#first(token);
      this.absorbed += 1;
    }
    let result: unknown;
    let items: readonly unknown[] | undefined;
    try {
      result = fitting.process(value as never, context as never);
      // A copy: to read it may run code of the fitting, which may use the array again as well.
      if (Array.isArray(result)) items = [...(result as unknown[])];
    } catch (error) {
      const { cursor: kept } = context;
      return this.#failed({ input: value, given, token, attempt: 1, last: false, kept, replaced: false }, error);
    }
    if (result === undefined) return this.settleInput(given, token);
    if (this.checkpoint !== undefined) return new Call(context, value, { token, last: false, given }).handle(result);
    if (typeof result !== "object" || result === null) {
      // The output takes the place of its input in the tree.
      const room = next.deliver(result, token, this.partition);
      if (room === undefined) return;
      token.pending += 1;
      return new Call(context, value, { token, last: false }).parkAt(room, [result], 0);
    }
    if (items === undefined) return new Call(context, value, { token, last: false }).handle(result);
    token.pending += items.length;
    for (let index = 0; index < items.length; index++) {
      const room = next.deliver(items[index], token, this.partition);
      if (room !== undefined) return new Call(context, value, { token, last: false }).parkAt(room, items, index);
    }
    settle(token, 1);
  }

  #failed(call: Crashed, error: unknown): void {
    const { fitting, run } = this.stage;
    this.failures += 1;
    const why = run.look(fitting.name, () => errorTextOf(error));
    run.note(this, "failed", why);
    if (run.over) return;
    if (fitting.stateAfterCrash === "reset" && fitting.stateful && !this.#reset(call.token)) {
      call.token.fail(this.#failure(call.input, error));
      return this.settleInput(call.given, call.token);
    }
    if (fitting.onCrash === "retry" && call.attempt <= fitting.retries) return this.#retryLater(call);
    if (fitting.onCrash === "fail" || call.last)
      return run.fail(
        "RUN_FAILED",
        `${fitting.name}: ${why}; input ${run.look(fitting.name, () => shownOf(call.input))}`,
      );
    if (fitting.stateful && this.absorbed > 0) this.absorbed -= fitting.done === undefined ? 1 : 0;
    call.token.fail(this.#failure(call.input, error));
    this.settleInput(call.given, call.token);
  }

  #retryLater(call: Crashed): void {
    const context = new Context(this);
    context.attempt = call.attempt + 1;
    context.cursor = call.kept;
    context.token = call.token;
    // It holds the slot meanwhile, so that later inputs do not pass it (W2).
    const again = new Call(context, call.input, { token: call.token, last: call.last, given: call.given });
    this.stage.run.node.later(call.attempt, () => {
      if (again.over) return;
      context.cursor = call.kept;
      again.kept = call.kept;
      call.replaced = true;
      try {
        const { process, done } = this.stage.fitting;
        again.handle(call.last ? done?.(context as never) : process(call.input as never, context as never));
      } catch (error) {
        again.rejected(error);
      }
    });
  }

  /** False: it cannot start again. */
  #reset(token: Token): boolean {
    let state: unknown;
    try {
      state = stateOf(this.stage.fitting);
    } catch (error) {
      this.#forget(token);
      this.stage.cannotStart(this, error);
      return false;
    }
    this.#forget(token);
    const { checkpoint } = this;
    this.state = state;
    if (checkpoint === undefined) return true;
    const { last } = checkpoint;
    return last.state === undefined || last.state === null || this.absorb(last.state, last.inputs);
  }

  /** What it had absorbed, and is not stored elsewhere, has failed; the input that crashed is still to be answered for. */
  #forget(token: Token): void {
    const { checkpoint } = this;
    if (checkpoint !== undefined) {
      const { held } = checkpoint;
      checkpoint.held = [];
      this.absorbed = 1;
      for (const lost of held) {
        lost.fail(this.#failure("absorbed since the last checkpoint", new Error("STATE_LOST: the worker crashed")));
        settle(lost, 1);
      }
      return;
    }
    const lost = this.absorbed - 1;
    for (let at = 0; at < lost; at++)
      token.fail(this.#failure("absorbed before", new Error("STATE_LOST: the worker crashed")));
    this.absorbed = Math.min(this.absorbed, 1);
  }

  #failure(input: unknown, error: unknown): Failure {
    const { fitting, run } = this.stage;
    return run.look(fitting.name, () => failureOf({ fitting: fitting.name, partition: this.partition }, input, error));
  }

  /** The first input since `done` ran, or at all. */
  #first(token: Token): void {
    if (!this.stage.ended || this.#doneToken !== undefined || this.stage.fitting.done === undefined) return;
    token.pending += 1;
    this.#doneToken = token; // W3
  }

  #release(): void {
    while (this.queue.length < this.#queueLimit) {
      const sender = this.waiters.shift();
      if (sender === undefined) return;
      if (this.waiters.length === 0) this.#blockedMs += this.stage.run.node.host.now() - this.#blockedAt;
      sender.resume(this);
    }
  }

  #quiet(): void {
    const token = this.#doneToken;
    if (token === undefined || this.waiters.length > 0) return;
    this.#doneToken = undefined;
    this.absorbed = 0;
    const { done } = this.stage.fitting;
    if (done === undefined) return settle(token, 1);
    const context = new Context(this);
    context.token = token;
    const call = new Call(context, undefined, { token, last: true });
    this.stage.run.note(this, "done", "");
    try {
      call.handle(done(context as never));
    } catch (error) {
      call.rejected(error);
    }
  }
}

type Crashed = Pick<Call, "input" | "given" | "token" | "attempt" | "last" | "kept" | "replaced">;

/** Inputs that one worker takes before others have their turn. */
const QUANTUM = 64;
