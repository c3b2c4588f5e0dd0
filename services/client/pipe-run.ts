/**
 * A run of a pipeline on the ring, from a client: the shape of a node's own `run`, over one `Pipes.Run` stream.
 *
 * P1  `sendMany` waits while 4,096 inputs, or 16 MiB of them, are under way that the run has not taken; the stream is read only as
 *     `batches` is.
 * P2  The run lives as long as the stream: a client that goes, or whose link dies, ends it (heartbeat).
 * P3  The end comes behind all inputs of each `sendMany` that was under way; what is sent after it is refused.
 * P4  With a function as its sink a run is done when that has taken all outputs: the node calls it done when they have left.
 */

import type { Client, ClientDuplexStream, Metadata, ServiceError } from "@grpc/grpc-js";
import { errorTextOf } from "../../pipe/token.ts";
import type { Report } from "../../pipe/views.ts";
import { serviceDefinition } from "../../proto/load.ts";
import { MESSAGE_BYTES_MOST } from "../../proto/submit-stream.ts";
import { isErrorCode, RingError } from "../../ring/errors.ts";
import { ringErrorOf } from "./connection.ts";

export interface RemoteRunOptions {
  readonly signal?: AbortSignal;
  /**
   * `drain`: outputs are counted only. A function takes arrays of them and is waited for; what it throws ends the run. Default
   * `results`.
   */
  readonly sink?: "results" | "drain" | ((outputs: readonly never[]) => void | Promise<void>);
  readonly total?: number;
  /** W3C trace context. When it is sampled, so are the run's first input and a part of the others. */
  readonly traceparent?: string;
  /** Which part of the inputs is to have spans, up to 1. 0 (default): 0.001 with a sampled `traceparent`, else none. */
  readonly spanRatio?: number;
}

export interface RemoteRun extends AsyncDisposable {
  /** Known once the node has opened it. */
  readonly opened: Promise<string>;
  send(input: unknown): Promise<void>;
  /**
   * Throws `INVALID_ARGUMENT` after `end`, and `PAYLOAD_TOO_LARGE` at an input that fits into no message; those before it were
   * sent.
   */
  sendMany(inputs: readonly unknown[]): Promise<void>;
  /** No more inputs but those of `sendMany` under way. */
  end(): void;
  readonly results: AsyncIterable<unknown>;
  readonly batches: AsyncIterable<readonly unknown[]>;
  /** Inputs that the run has taken. */
  readonly accepted: number;
  report(): Promise<Report>;
  cancel(): void;
}

interface RunReply {
  readonly opened?: { readonly run: string };
  readonly accepted?: { readonly inputs: number };
  readonly outputs?: { readonly values: readonly string[] };
  readonly report?: Omit<Report, "error"> & { readonly errorCode: string; readonly errorDetail: string };
}

export function openRemoteRun(
  client: Promise<Client>,
  metadata: Metadata,
  pipeline: string,
  options: RemoteRunOptions,
): RemoteRun {
  return new StreamRun(client, metadata, pipeline, options);
}

class StreamRun implements RemoteRun {
  readonly opened: Promise<string>;
  accepted = 0;
  #call: ClientDuplexStream<object, RunReply> | undefined;
  /** What is to be sent, until a node is reached; P1 bounds it. */
  #early: object[] = [];
  readonly #ping: NodeJS.Timeout;
  readonly #reported: Promise<Report>;
  #resolveOpened: (run: string) => void = () => {};
  #rejectOpened: (error: Error) => void = () => {};
  #resolveReport: (report: Report) => void = () => {};
  #rejectReport: (error: Error) => void = () => {};
  /** What the node says; `#report` waits for the sink (P4). */
  #told: Report | undefined = undefined;
  #report: Report | undefined = undefined;
  #error: RingError | undefined = undefined;
  #sent = 0;
  /** What the run has not taken: up to which input, and how large. */
  readonly #chunks: { readonly last: number; readonly bytes: number }[] = [];
  #bytes = 0;
  #ended = false;
  /** `sendMany` that are under way. */
  #sending = 0;
  #queue: (readonly unknown[])[] = [];
  readonly #drains: boolean;
  readonly #feeds: boolean;
  readonly #wakeSenders: (() => void)[] = [];
  #wakeReader: (() => void) | undefined = undefined;
  readonly #forget: () => void;

  constructor(client: Promise<Client>, metadata: Metadata, pipeline: string, options: RemoteRunOptions) {
    this.opened = new Promise((resolve, reject) => {
      this.#resolveOpened = resolve;
      this.#rejectOpened = reject;
    });
    this.opened.catch(() => undefined);
    this.#reported = new Promise((resolve, reject) => {
      this.#resolveReport = resolve;
      this.#rejectReport = reject;
    });
    this.#reported.catch(() => undefined);
    this.#drains = options.sink === "drain";
    this.#feeds = typeof options.sink === "function";
    const { total = 0, traceparent = "", spanRatio = 0 } = options;
    const open = { pipeline, drain: this.#drains, total, heartbeatMs: HEARTBEAT_MS, traceparent, spanRatio };
    this.#write({ open });
    this.#ping = setInterval(() => {
      if (!this.#ended || this.#report === undefined) this.#call?.write({ ping: {} });
    }, HEARTBEAT_MS / 3);
    client.then(
      (reached) => this.#begin(reached, metadata),
      (error: unknown) => this.#fail(error instanceof RingError ? error : new RingError("INTERNAL", String(error))),
    );
    const onAbort = (): void => this.cancel();
    options.signal?.addEventListener("abort", onAbort);
    this.#forget = () => options.signal?.removeEventListener("abort", onAbort);
    if (options.signal?.aborted) this.cancel();
    if (typeof options.sink === "function")
      void this.#feed(options.sink as (outputs: readonly unknown[]) => void | Promise<void>);
  }

  send(input: unknown): Promise<void> {
    return this.sendMany([input]);
  }

  async sendMany(inputs: readonly unknown[]): Promise<void> {
    this.#throwIfOver();
    if (this.#ended) throw new RingError("INVALID_ARGUMENT", "send after end"); // P3
    this.#sending += 1;
    try {
      await this.#sendChunks(inputs);
    } finally {
      this.#sending -= 1;
      this.#endBehind();
    }
  }

  async #sendChunks(inputs: readonly unknown[]): Promise<void> {
    let values: string[] = [];
    let bytes = 0;
    for (const input of inputs) {
      const value = JSON.stringify(input) ?? "null";
      const valueBytes = Buffer.byteLength(value);
      const tooLarge = valueBytes > INPUT_BYTES_MOST;
      if (values.length === CHUNK || (values.length > 0 && (tooLarge || bytes + valueBytes > CHUNK_BYTES))) {
        await this.#sendChunk(values, bytes);
        values = [];
        bytes = 0;
      }
      if (tooLarge)
        throw new RingError(
          "PAYLOAD_TOO_LARGE",
          `an input has ${valueBytes} bytes of JSON; ${INPUT_BYTES_MOST} may be`,
        );
      values.push(value);
      bytes += valueBytes;
    }
    if (values.length > 0) await this.#sendChunk(values, bytes);
  }

  async #sendChunk(values: readonly string[], bytes: number): Promise<void> {
    while (this.#sent - this.accepted > UNDER_WAY || this.#bytes > UNDER_WAY_BYTES) {
      this.#throwIfOver();
      await new Promise<void>((resolve) => this.#wakeSenders.push(resolve)); // P1
    }
    this.#throwIfOver();
    this.#sent += values.length;
    this.#bytes += bytes;
    this.#chunks.push({ last: this.#sent, bytes });
    this.#write({ inputs: { values } });
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#endBehind();
  }

  /** P3. */
  #endBehind(): void {
    if (this.#ended && this.#sending === 0 && this.#error === undefined && this.#told === undefined)
      this.#write({ end: {} });
  }

  get results(): AsyncIterable<unknown> {
    const { batches } = this;
    return (async function* () {
      for await (const values of batches) yield* values;
    })();
  }

  get batches(): AsyncIterable<readonly unknown[]> {
    return this.#read();
  }

  report(): Promise<Report> {
    return this.#reported;
  }

  cancel(): void {
    this.#fail(new RingError("CANCELLED", "cancelled by the caller"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#report === undefined) this.cancel();
  }

  async *#read(): AsyncIterable<readonly unknown[]> {
    let finished = false;
    try {
      for (;;) {
        const values = this.#queue.shift();
        if (values !== undefined) {
          yield values;
          continue;
        }
        if (this.#report !== undefined) {
          finished = true;
          const { error } = this.#report;
          if (error !== undefined) throw new RingError(error.code, error.detail);
          return;
        }
        if (this.#error !== undefined) throw this.#error;
        if (this.#told !== undefined) {
          finished = true;
          return; // P4
        }
        this.#call?.resume();
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    } finally {
      if (!finished && this.#report === undefined) this.cancel();
    }
  }

  async #feed(sink: (outputs: readonly unknown[]) => void | Promise<void>): Promise<void> {
    const outputs = this.#read()[Symbol.asyncIterator]();
    try {
      // By hand: a loop would end the reader, and so cancel the run, before what the sink threw is known.
      for (let next = await outputs.next(); next.done !== true; next = await outputs.next()) await sink(next.value);
      if (this.#told !== undefined) this.#reports(this.#told);
    } catch (error) {
      this.#fail(new RingError("RUN_FAILED", `the sink: ${errorTextOf(error)}`, { cause: error }));
    }
  }

  #begin(client: Client, metadata: Metadata): void {
    if (this.#error !== undefined) return;
    const method = serviceDefinition("taskring.v1.Pipes").Run;
    if (method === undefined) throw new Error("no method taskring.v1.Pipes.Run");
    const call = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => RunReply,
      metadata,
    );
    call.on("data", (reply: RunReply) => this.#reply(reply));
    const over = (error: RingError): void => {
      if (this.#told === undefined) this.#fail(error);
    };
    call.on("error", (error: ServiceError) => over(ringErrorOf(error)));
    call.on("end", () => over(new RingError("CANCELLED", "the stream ended without a report")));
    this.#call = call;
    for (const message of this.#early.splice(0)) call.write(message);
  }

  #write(message: object): void {
    if (this.#call === undefined) this.#early.push(message);
    else this.#call.write(message);
  }

  #reply(reply: RunReply): void {
    if (reply.opened !== undefined) this.#resolveOpened(reply.opened.run);
    else if (reply.accepted !== undefined) {
      this.accepted = Number(reply.accepted.inputs);
      while ((this.#chunks[0]?.last ?? Number.POSITIVE_INFINITY) <= this.accepted)
        this.#bytes -= this.#chunks.shift()?.bytes ?? 0;
      for (const wake of this.#wakeSenders.splice(0)) wake();
    } else if (reply.outputs !== undefined) {
      this.#queue.push(reply.outputs.values.map((text) => JSON.parse(text) as unknown));
      if (this.#queue.length >= BATCHES_WAITING) this.#call?.pause();
      this.#wakeReader?.();
    } else if (reply.report !== undefined) {
      const { errorCode, errorDetail, ...report } = reply.report;
      const code = isErrorCode(errorCode) ? errorCode : "RUN_FAILED";
      this.#told = errorCode === "" ? report : { ...report, error: { code, detail: errorDetail } };
      clearInterval(this.#ping);
      if (this.#feeds && errorCode === "") this.#wakeReader?.();
      else this.#reports(this.#told);
    }
  }

  #reports(report: Report): void {
    if (this.#report !== undefined || this.#error !== undefined) return;
    this.#report = report;
    this.#resolveReport(report);
    this.#close();
  }

  #fail(error: RingError): void {
    if (this.#report !== undefined || this.#error !== undefined) return;
    this.#error = error;
    this.#rejectOpened(error);
    this.#rejectReport(error);
    this.#close();
    this.#call?.cancel();
  }

  #close(): void {
    clearInterval(this.#ping);
    this.#forget();
    for (const wake of this.#wakeSenders.splice(0)) wake();
    this.#wakeReader?.();
    if (this.#report !== undefined) this.#call?.end();
  }

  #throwIfOver(): void {
    if (this.#error !== undefined) throw this.#error;
    const { error } = this.#report ?? {};
    if (error !== undefined) throw new RingError(error.code, error.detail);
  }
}

const HEARTBEAT_MS = 3_000;
const CHUNK = 256;
/** Of the inputs that go as one message; a larger one goes by itself. */
const CHUNK_BYTES = 1024 * 1024;
/** What one message holds, but for the framing. */
const INPUT_BYTES_MOST = MESSAGE_BYTES_MOST - 1_024;
const UNDER_WAY = 4_096;
/** As much as a node keeps of a stream before it reads no further; the rest would wait here. */
const UNDER_WAY_BYTES = 16 * 1024 * 1024;
/** Batches that were read and wait for the reader; accepted counts come over the same stream, so it is not one. */
const BATCHES_WAITING = 16;
