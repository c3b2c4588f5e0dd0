/**
 * A run as its owner sees it: `send` inputs, `end` them, read `results` (or `batches`), and wait for the `report`.
 *
 * R1  Pulling is the back-pressure: an output is acknowledged when the next one is asked for, and a reader that stops pulling
 *     stops the source.
 * R2  A run ends by itself when all inputs have ended, or by cancel, failure or disposal; then every waiter is answered.
 */

import { randomBytes } from "node:crypto";
import { RingError } from "../../ring/errors.ts";
import type { Pipeline } from "../fitting.ts";
import type { Home } from "../home.ts";
import type { PipeNode } from "../node.ts";
import { Resumed } from "../resumed.ts";
import { type Entry, Roster } from "../roster.ts";
import { parseTraceparent } from "../span.ts";
import { errorTextOf } from "../token.ts";
import type { Progress, Report } from "../views.ts";

/**
 * Where outputs go: `results` (default) to be read from the run; `drain`, counted only; or a function that takes arrays of them and
 * acknowledges by returning (a task for each output, a write to somewhere).
 */
export type SinkOption<Out> = "results" | "drain" | ((outputs: readonly Out[]) => void | Promise<void>);

export interface RunOptions<Out> {
  readonly signal?: AbortSignal;
  readonly sink?: SinkOption<Out>;
  /** How many inputs there will be, for the progress. */
  readonly total?: number;
  /** Default: random. */
  readonly id?: string;
  readonly attempt?: number;
  /** Whose run it is: those of one app leave room for others. Default: the pipeline's name. */
  readonly app?: string;
  /** W3C trace context of what the run is for. When it is sampled, so are the run's first input and a part of the others. */
  readonly traceparent?: string;
  /** Which part of the inputs is to have spans, 0 to 1. Default: 0.001 with a sampled `traceparent`, else 0. */
  readonly spanRatio?: number;
  /** Of a run with a single input that can be resumed. */
  readonly onCheckpoint?: (cursor: unknown) => void;
}

export interface SendOptions {
  readonly signal?: AbortSignal;
  /** Give up waiting for room after this; what has been taken stays taken. */
  readonly deadlineMs?: number;
  /** Where `process` is to go on, as given to `onCheckpoint` before. */
  readonly cursor?: unknown;
  /** W3C trace context of these inputs: when it is sampled, each has a span below it. */
  readonly traceparent?: string;
}

export interface PipeRun<In, Out> extends AsyncDisposable {
  readonly id: string;
  /** Resolves when there was room. Throws what ended the run, `DEADLINE` or `CANCELLED`. */
  send(input: In, options?: SendOptions): Promise<void>;
  sendMany(inputs: readonly In[], options?: SendOptions): Promise<void>;
  /** False: no room. Never waits. */
  offer(input: In): boolean;
  /** No more inputs. */
  end(): void;
  /** One at a time; throws what ended the run early. */
  readonly results: AsyncIterable<Out>;
  /** Arrays of what was there; much faster than one at a time. */
  readonly batches: AsyncIterable<readonly Out[]>;
  progress(): Progress;
  /** Resolves when the run has ended, however it did. */
  report(): Promise<Report>;
  cancel(detail?: string): void;
}

export function openRun<In, Out>(
  node: PipeNode,
  pipeline: Pipeline,
  options: RunOptions<Out> & { readonly onReport: (report: Report) => void },
): PipeRun<In, Out> {
  const { signal, sink, total, id, attempt, onCheckpoint, spanRatio } = options;
  check(signal === undefined || signal instanceof AbortSignal, "signal must be an AbortSignal");
  check(
    sink === undefined || sink === "results" || sink === "drain" || typeof sink === "function",
    'sink must be "results", "drain" or a function',
  );
  check(total === undefined || (Number.isFinite(total) && total >= 0), "total must be a number from 0");
  check(
    id === undefined || (typeof id === "string" && id.length > 0 && id.length <= ID_CHARACTERS),
    `id must be a string of 1 to ${ID_CHARACTERS} characters`,
  );
  check(attempt === undefined || (Number.isSafeInteger(attempt) && attempt >= 0), "attempt must be a whole number");
  check(onCheckpoint === undefined || typeof onCheckpoint === "function", "onCheckpoint must be a function");
  check(spanRatio === undefined || (spanRatio >= 0 && spanRatio <= 1), "spanRatio must be from 0 to 1");
  if (signal?.aborted === true)
    throw new RingError("CANCELLED", "the signal was aborted before the run was opened", { cause: signal.reason });
  return new OpenRun<In, Out>(node, pipeline, options);
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new RingError("INVALID_ARGUMENT", `run: ${what}`);
}

class OpenRun<In, Out> implements PipeRun<In, Out> {
  readonly id: string;
  readonly #home: Home;
  readonly #reported: Promise<Report>;
  #report: Report | undefined = undefined;
  #ended = false;
  #readers: (() => void)[] = [];
  readonly #waiting = new Roster<WaitingSend>();
  readonly #forget: () => void;

  constructor(
    node: PipeNode,
    pipeline: Pipeline,
    options: RunOptions<Out> & { readonly onReport: (report: Report) => void },
  ) {
    this.id = options.id ?? randomBytes(8).toString("hex");
    const { sink = "results", signal, onCheckpoint } = options;
    let resolve: (report: Report) => void = () => {};
    this.#reported = new Promise((done) => {
      resolve = done;
    });
    this.#home = node.open(
      {
        id: this.id,
        pipeline,
        drains: sink === "drain",
        ...(options.attempt === undefined ? {} : { attempt: options.attempt }),
        ...(options.app === undefined ? {} : { app: options.app }),
        ...(options.total === undefined ? {} : { total: options.total }),
        above: parseTraceparent(options.traceparent ?? ""),
        spanRatio: options.spanRatio,
      },
      {
        finished: (report) => {
          this.#report = report;
          this.#forget();
          options.onReport(report);
          resolve(report);
          for (const waiting of this.#waiting.all()) waiting.fail();
          this.#wakeReaders();
        },
        ...(onCheckpoint === undefined ? {} : { checkpoint: (cursor) => this.#checkpointed(onCheckpoint, cursor) }),
      },
    );
    const onAbort = (): void => this.cancel("cancelled by the caller");
    signal?.addEventListener("abort", onAbort);
    this.#forget = () => signal?.removeEventListener("abort", onAbort);
    const { sink: queue } = this.#home.run;
    if (queue !== undefined) queue.onReady = () => this.#wakeReaders();
    if (typeof sink === "function") void this.#feed(sink);
  }

  send(input: In, options?: SendOptions): Promise<void> {
    if (options === undefined && !this.#ended && this.#report === undefined && this.#home.offer(input) === undefined)
      return TAKEN;
    const value = options?.cursor === undefined ? input : (new Resumed(input, options.cursor) as In);
    return this.sendMany([value], options);
  }

  sendMany(inputs: readonly In[], options: SendOptions = {}): Promise<void> {
    if (this.#report !== undefined) return Promise.reject(this.#error());
    const refused = refusalOf(inputs, options);
    if (refused !== undefined) return Promise.reject(refused);
    if (this.#ended) return Promise.reject(new RingError("INVALID_ARGUMENT", "send after end"));
    let taken = false;
    let wake: (() => void) | undefined;
    const onTaken = (): void => {
      taken = true;
      wake?.();
    };
    const pending = this.#home.send(inputs, onTaken, parseTraceparent(options.traceparent ?? ""));
    if (pending === undefined)
      return Promise.reject(
        new RingError("QUEUE_FULL", "too many sends of this run wait for room", { retryAfterMs: 10 }),
      );
    if (taken) return this.#report === undefined ? TAKEN : Promise.reject(this.#error());
    return new Promise((resolve, reject) => {
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", onAbort);
        this.#waiting.delete(waiting);
        if (error === undefined) resolve();
        else reject(error);
      };
      const waiting: WaitingSend = { slot: -1, fail: () => settle(this.#error()) };
      const giveUp = (code: "CANCELLED" | "DEADLINE", why: string): void =>
        settle(new RingError(code, `${why}; ${pending.withdraw()} of ${inputs.length} inputs were not taken`));
      const onAbort = (): void => giveUp("CANCELLED", "the send was given up");
      const timer =
        options.deadlineMs === undefined || options.deadlineMs > LONGEST_TIMER_MS
          ? undefined
          : setTimeout(() => giveUp("DEADLINE", `no room within ${options.deadlineMs} ms`), options.deadlineMs);
      wake = () => settle(this.#report === undefined ? undefined : this.#error());
      this.#waiting.add(waiting);
      options.signal?.addEventListener("abort", onAbort);
    });
  }

  offer(input: In): boolean {
    return !this.#ended && this.#report === undefined && this.#home.offer(input) === undefined;
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#home.end();
  }

  get results(): AsyncIterable<Out> {
    return { [Symbol.asyncIterator]: () => new Results<Out>(this.batches[Symbol.asyncIterator]()) };
  }

  get batches(): AsyncIterable<readonly Out[]> {
    return { [Symbol.asyncIterator]: () => this.#read() };
  }

  progress(): Progress {
    return this.#home.progress();
  }

  report(): Promise<Report> {
    return this.#reported;
  }

  cancel(detail = "cancelled by its owner"): void {
    this.#home.fail("CANCELLED", detail);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#report === undefined) this.cancel("the run was closed before its end");
  }

  #read(): AsyncIterator<readonly Out[]> {
    const { sink } = this.#home.run;
    let handed = false;
    const next = (): IteratorResult<readonly Out[]> | undefined => {
      if (handed) {
        handed = false;
        sink?.acknowledge(); // R1
      }
      const values = sink?.take();
      if (values !== undefined) {
        handed = true;
        return { done: false, value: values as Out[] };
      }
      if (this.#report === undefined) return undefined;
      if (this.#report.error !== undefined) throw this.#error();
      return OVER;
    };
    return {
      next: async () => {
        for (;;) {
          const result = next();
          if (result !== undefined) return result;
          await new Promise<void>((resolve) => this.#readers.push(resolve));
        }
      },
      return: async () => {
        if (this.#report === undefined) this.cancel("its reader has gone");
        return OVER;
      },
    };
  }

  #wakeReaders(): void {
    const readers = this.#readers;
    if (readers.length === 0) return;
    this.#readers = [];
    for (const wake of readers) wake();
  }

  async #feed(sink: (outputs: readonly Out[]) => void | Promise<void>): Promise<void> {
    const batches = this.#read();
    try {
      for (let next = await batches.next(); next.done !== true; next = await batches.next()) await sink(next.value);
    } catch (error) {
      this.#home.fail("RUN_FAILED", `the sink: ${errorTextOf(error)}`); // Nothing if it has ended.
    }
  }

  /** Told where no call is under way: what it throws is the run's. */
  #checkpointed(tell: (cursor: unknown) => unknown, cursor: unknown): void {
    const failed = (error: unknown): void => this.#home.fail("RUN_FAILED", `onCheckpoint: ${errorTextOf(error)}`);
    try {
      const told = tell(cursor);
      if (told instanceof Promise) told.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  #error(): RingError {
    const error = this.#report?.error;
    return new RingError(error?.code ?? "INVALID_ARGUMENT", error?.detail ?? "the run has ended");
  }
}

/** Undefined: it may be sent. */
function refusalOf(inputs: readonly unknown[], { signal, deadlineMs }: SendOptions): RingError | undefined {
  const invalid = (what: string): RingError => new RingError("INVALID_ARGUMENT", `send: ${what}`);
  if (!Array.isArray(inputs)) return invalid("inputs must be an array");
  if (deadlineMs !== undefined && !(deadlineMs >= 0)) return invalid("deadlineMs must be a number from 0");
  if (signal !== undefined && !(signal instanceof AbortSignal)) return invalid("signal must be an AbortSignal");
  if (signal?.aborted === true)
    return new RingError(
      "CANCELLED",
      `the send was given up; ${inputs.length} of ${inputs.length} inputs were not taken`,
    );
  return undefined;
}

interface WaitingSend extends Entry {
  readonly fail: () => void;
}

/** Items of batches; hands out what is there without waiting for a batch each time. */
class Results<Out> implements AsyncIterator<Out> {
  readonly #batches: AsyncIterator<readonly Out[]>;
  #values: readonly Out[] = [];
  #at = 0;
  /** Under way: who asks meanwhile comes after it. */
  #refilling: Promise<IteratorResult<Out>> | undefined = undefined;

  constructor(batches: AsyncIterator<readonly Out[]>) {
    this.#batches = batches;
  }

  next(): Promise<IteratorResult<Out>> {
    if (this.#refilling !== undefined) {
      const again = (): Promise<IteratorResult<Out>> => this.next();
      return this.#refilling.then(again, again);
    }
    if (this.#at < this.#values.length) return Promise.resolve({ done: false, value: this.#values[this.#at++] as Out });
    this.#refilling = this.#refill();
    return this.#refilling;
  }

  async return(): Promise<IteratorResult<Out>> {
    await this.#batches.return?.();
    return OVER;
  }

  async #refill(): Promise<IteratorResult<Out>> {
    try {
      const { done, value } = await this.#batches.next();
      if (done === true) return OVER;
      this.#values = value;
      this.#at = 1;
      return { done: false, value: value[0] as Out };
    } finally {
      this.#refilling = undefined;
    }
  }
}

/** Of a text between nodes. */
const ID_CHARACTERS = 1_024;
/** Of 24 days: Node takes a longer one for no time at all. */
const LONGEST_TIMER_MS = 2_147_483_647;
const TAKEN: Promise<void> = Promise.resolve();
const OVER: { readonly done: true; readonly value: undefined } = { done: true, value: undefined };
