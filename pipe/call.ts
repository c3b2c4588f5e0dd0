/**
 * One call of a fitting that is not over when it returns: a promise, an iterator, outputs that wait for room, or a retry.
 *
 * L1  A call emits in order and holds its worker's slot until its last output has a place; its input's token is settled once.
 * L2  An iterator's outputs are counted in segments that end at checkpoints: a cursor is kept when its segment and all before
 *     it are settled, in order.
 * L3  An iterator is asked for more while at most `CALL_OUTPUTS` of what it made have no end yet.
 */

import { Batch } from "./batch.ts";
import type { Context } from "./context.ts";
import { keptCursor } from "./cursor.ts";
import { SEGMENTS_MOST } from "./limits.ts";
import { Resumed } from "./resumed.ts";
import type { Room, Sender } from "./room.ts";
import type { Entry } from "./roster.ts";
import { Stamped } from "./stamp.ts";
import { checkpoint, settle, Token, type TokenOwner } from "./token.ts";
import type { Worker } from "./worker.ts";

/** Work that a node does a part of at a time. */
export interface Runnable {
  /** Returns how much was done, in inputs or outputs. */
  step(): number;
}

interface Segment {
  readonly token: Token;
  readonly cursor: unknown;
}

export class Call implements Sender, TokenOwner, Runnable, Entry {
  readonly worker: Worker;
  readonly input: unknown;
  /** As it was queued: the input, with its cursor or its stamp. */
  readonly given: unknown;
  readonly token: Token;
  readonly attempt: number;
  /** `done` was called, not `process`. */
  readonly last: boolean;
  /** It has its outputs and waits for room. */
  parked = false;
  /** Given up: what it still does is ignored. */
  over = false;
  kept: unknown;
  /** Another call for the same input has begun: its cursors count from now on. */
  replaced = false;
  /** Among the worker's calls. */
  slot = -1;
  #onPulled: ((result: IteratorResult<unknown>) => void) | undefined = undefined;
  #onRejected: ((error: unknown) => void) | undefined = undefined;
  /** Reused for each single output of an iterator. */
  #one: [unknown] | undefined = undefined;
  #items: readonly unknown[] = NONE;
  #index = 0;
  #partition = 0;
  #iterator: Iterator<unknown> | AsyncIterator<unknown> | undefined = undefined;
  #pulls = false;
  #segment: Token | undefined = undefined;
  #segments: Segment[] = NO_SEGMENTS;
  #finished = false;
  #roomAfterCheckpoint: (() => void) | undefined = undefined;

  constructor(
    context: Context,
    input: unknown,
    options: { readonly token: Token; readonly last: boolean; readonly given?: unknown },
  ) {
    this.worker = context.worker;
    this.input = input;
    this.given = options.given;
    this.token = options.token;
    this.last = options.last;
    this.attempt = context.attempt;
    this.kept = context.cursor;
    context.call = this;
    this.worker.took(this);
  }

  get onPulled(): (result: IteratorResult<unknown>) => void {
    this.#onPulled ??= (result) => this.pulled(result);
    return this.#onPulled;
  }

  get onRejected(): (error: unknown) => void {
    this.#onRejected ??= (error) => this.rejected(error);
    return this.#onRejected;
  }

  /** What `process` returned. */
  handle(result: unknown): void {
    if (this.over) return;
    if (result === undefined) return this.#finish();
    const early = this.worker.checkpoint !== undefined && !this.last;
    if (typeof result !== "object" || result === null) return early ? this.#emitsTooEarly() : this.#emit([result]);
    let outputs: Outputs;
    try {
      outputs = outputsOf(result);
    } catch (error) {
      return this.rejected(error);
    }
    if (early && outputs.type !== "promise") return this.#emitsTooEarly();
    switch (outputs.type) {
      case "items":
        return this.#emit(outputs.items);
      case "promise":
        return this.worker.stage.run.node.host.settle(outputs.promise, this);
      case "iterator":
        return this.#iterate(outputs.iterator, outputs.pulls);
    }
  }

  /** Outputs of a plain return for which there was no room: from `index` on. Their token counts them already. */
  parkAt(room: Room, items: readonly unknown[], index: number): void {
    this.#items = items;
    this.#index = index;
    this.#park(room);
  }

  resolved(value: unknown): void {
    const { fitting, run } = this.worker.stage;
    if (fitting.given === undefined || typeof value !== "object" || value === null) return this.handle(value);
    let given: unknown;
    try {
      given = fitting.given(value, run.id);
    } catch (error) {
      return this.rejected(error);
    }
    this.handle(given);
  }

  rejected(error: unknown): void {
    if (this.over) return;
    this.over = true;
    this.#closeSegment();
    this.worker.crashed(this, error);
  }

  /** The next of an async iterator. */
  pulled(result: IteratorResult<unknown>): void {
    if (this.over) return;
    try {
      if (this.#isDone(result)) return this.#finish();
    } catch (error) {
      return this.rejected(error);
    }
    this.#advance();
  }

  resume(room: Room): void {
    if (this.over) return;
    this.parked = false;
    room.force(this.#items[this.#index++], this.#segment ?? this.token, this.#partition);
    this.#advance();
  }

  step(): number {
    if (this.over) return 0;
    this.#advance();
    return SLICE;
  }

  /** Throws `INVALID_ARGUMENT`. */
  checkpoint(cursor: unknown): Promise<void> {
    const segment = this.#segment;
    if (segment === undefined || this.over) return Promise.resolve();
    this.#segments.push({ token: segment, cursor: keptCursor(cursor) });
    this.#segment = new Token(this, 1);
    if (segment.low > 0) this.#goOn(segment); // It stands: from now on the new segment says when that is over.
    settle(segment, 1);
    if (this.#segments.length < SEGMENTS_MOST) return Promise.resolve();
    return new Promise((resolve) => {
      this.#roomAfterCheckpoint = resolve;
    });
  }

  settled(): void {
    const segment = this.#segment;
    if (segment !== undefined && segment.low > 0) this.#goOn(segment);
    while (this.#segments.length > 0 && (this.#segments[0] as Segment).token.pending === 0) {
      const { token, cursor } = this.#segments.shift() as Segment;
      this.token.add(token);
      if (cursor === NO_CURSOR || this.replaced) continue;
      this.kept = cursor;
      checkpoint(this.token, cursor); // L2
    }
    this.#roomAfterCheckpoint?.();
    this.#roomAfterCheckpoint = undefined;
    if (this.#finished && this.#segments.length === 0) settle(this.token, 1);
  }

  checkpointed(): void {}

  /** Gives the call up and returns its input, to be begun elsewhere at the last cursor. The input's leaf stays. */
  withdraw(): unknown {
    const undelivered = this.#items.length - this.#index;
    (this.#segment ?? this.token).pending -= undelivered;
    this.#items = NONE;
    this.#index = 0;
    this.abandon();
    this.replaced = true;
    this.#closeSegment();
    if (this.given instanceof Stamped) return this.given;
    return this.kept === undefined ? this.input : new Resumed(this.input, this.kept);
  }

  /** The run is over. */
  abandon(): void {
    this.over = true;
    this.#roomAfterCheckpoint?.();
    this.#roomAfterCheckpoint = undefined;
    const iterator = this.#iterator;
    this.#iterator = undefined;
    if (iterator !== undefined) this.worker.stage.run.node.host.close(iterator);
  }

  #emitsTooEarly(): void {
    const { run, fitting } = this.worker.stage;
    run.fail("RUN_FAILED", `${fitting.name}: with checkpointEvery, outputs come from done only`);
  }

  #emit(items: readonly unknown[]): void {
    this.token.pending += items.length;
    this.#items = items;
    this.#index = 0;
    this.#advance();
  }

  #iterate(iterator: Iterator<unknown> | AsyncIterator<unknown>, pulls: boolean): void {
    this.#segment = new Token(this, 1);
    this.#segments = [];
    this.#iterator = iterator;
    this.#pulls = pulls;
    this.#advance();
  }

  /** Else its value is taken. Throws for what is no result of an iterator. */
  #isDone(result: IteratorResult<unknown>): boolean {
    if (typeof result !== "object") throw new TypeError(`an iterator gave ${typeof result}, not a result`);
    if (result.done === true) this.#iterator = undefined;
    else this.#take(result.value);
    return this.#iterator === undefined;
  }

  #take(value: unknown): void {
    const segment = this.#segment as Token;
    this.#index = 0;
    if (value instanceof Batch) {
      this.#items = value.items;
      segment.pending += value.items.length;
      return;
    }
    if (value === undefined) {
      this.#items = NONE;
      return;
    }
    if (this.#one === undefined) this.#one = [value];
    else this.#one[0] = value;
    this.#items = this.#one;
    segment.pending += 1;
  }

  #advance(): void {
    const { next } = this.worker.stage;
    let left = SLICE;
    for (;;) {
      const items = this.#items;
      const token = this.#segment ?? this.token;
      while (this.#index < items.length) {
        const room = next.deliver(items[this.#index], token, this.worker.partition);
        if (room !== undefined) return this.#park(room);
        this.#index += 1;
      }
      const iterator = this.#iterator;
      if (iterator === undefined) return this.#finish();
      this.#items = NONE;
      const { node } = this.worker.stage.run;
      if (this.#stands()) return;
      if (this.#pulls) return node.host.pull(iterator as AsyncIterator<unknown>, this);
      left -= items.length + 1;
      if (left <= 0) return node.soon(this);
      try {
        if (this.#isDone((iterator as Iterator<unknown>).next())) return this.#finish();
      } catch (error) {
        return this.rejected(error);
      }
    }
  }

  /** L3. */
  #stands(): boolean {
    const segment = this.#segment;
    if (segment === undefined) return false;
    let open = segment.pending;
    if (this.#segments.length > 0) for (const { token } of this.#segments) open += token.pending;
    const { node } = this.worker.stage.run;
    const most = node.callOutputs;
    if (open <= most) return false;
    // Told again when enough of these have an end; the older segments are told anyway.
    segment.low = Math.max(1, segment.pending - (most >> 1));
    this.parked = true;
    node.hurry();
    return true;
  }

  #goOn(segment: Token): void {
    segment.low = 0;
    this.parked = false;
    this.worker.stage.run.node.soon(this);
  }

  #park(room: Room): void {
    this.#partition = this.worker.stage.next.blockedAt;
    this.worker.stage.blocked(this.worker);
    this.parked = true;
    room.park(this);
    this.worker.stage.run.node.hurry();
  }

  #finish(): void {
    if (this.over) return;
    this.over = true;
    this.worker.released(this);
    if (this.#segment === undefined) {
      if (this.last) settle(this.token, 1);
      else this.worker.settleInput(this.given, this.token);
      return;
    }
    this.#finished = true;
    this.#closeSegment();
  }

  /** The outputs so far stay; a crash leaves the token to whoever tries again. */
  #closeSegment(): void {
    const segment = this.#segment;
    if (segment === undefined) return;
    this.#segment = undefined;
    this.#segments.push({ token: segment, cursor: NO_CURSOR });
    if (!this.#finished) {
      // The retry has the input's leaf; this call's outputs need one of their own.
      this.#finished = true;
      this.token.pending += 1;
    }
    settle(segment, 1);
  }
}

type Outputs =
  | { readonly type: "items"; readonly items: readonly unknown[] }
  | { readonly type: "promise"; readonly promise: PromiseLike<unknown> }
  | {
      readonly type: "iterator";
      readonly iterator: Iterator<unknown> | AsyncIterator<unknown>;
      readonly pulls: boolean;
    };

/** What an object that `process` returned stands for. Looking at it may run code of the fitting, which may throw. */
function outputsOf(result: object): Outputs {
  if (Array.isArray(result)) return { type: "items", items: [...(result as unknown[])] };
  if (result instanceof Batch) return { type: "items", items: result.items };
  const { then } = result as { readonly then?: unknown };
  if (typeof then === "function") return { type: "promise", promise: result as PromiseLike<unknown> };
  const many = result as Partial<AsyncIterable<unknown> & Iterable<unknown>>;
  if (typeof many[Symbol.asyncIterator] === "function")
    return { type: "iterator", iterator: (many as AsyncIterable<unknown>)[Symbol.asyncIterator](), pulls: true };
  if (typeof many[Symbol.iterator] === "function" && !ArrayBuffer.isView(result))
    return { type: "iterator", iterator: (many as Iterable<unknown>)[Symbol.iterator](), pulls: false };
  return { type: "items", items: [result] };
}

const NONE: readonly unknown[] = [];
/** Of a call that is no iterator: never added to. */
const NO_SEGMENTS: Segment[] = [];
const NO_CURSOR: unique symbol = Symbol("no cursor");
/** Outputs of one sync iterator before others have their turn. */
const SLICE = 1_024;
