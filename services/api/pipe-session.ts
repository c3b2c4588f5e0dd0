/**
 * One `Pipes.Run` stream: a run whose inputs and outputs are at the other end of it.
 *
 * S1  Inputs wait for room in the run; while more than `INPUTS_WAITING`, or `BYTES_WAITING` of them, wait nothing is read, nor
 *     from a client that does not read what was accepted. Outputs are pulled only as the transport takes them, so a client that
 *     stops reading stops the source.
 * S2  The stream's end, however it comes, is the end of the run; a heartbeat shows a link that died without a word, while it is
 *     read.
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { PipeEngine } from "../../pipe/io/engine.ts";
import type { PipeRun } from "../../pipe/io/run.ts";
import { errorTextOf } from "../../pipe/token.ts";
import { serviceDefinition } from "../../proto/load.ts";
import { RingError } from "../../ring/errors.ts";
import { reportView } from "./pipes-service.ts";
import { statusOf } from "./status.ts";

interface RunRequest {
  readonly open?: {
    readonly pipeline: string;
    readonly drain: boolean;
    readonly total: number;
    readonly heartbeatMs: number;
    readonly traceparent: string;
    readonly spanRatio: number;
  };
  readonly inputs?: { readonly values: readonly string[] };
  readonly end?: object;
  readonly ping?: object;
}

export class PipeSession {
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  readonly #engine: PipeEngine;
  #run: PipeRun<unknown, unknown> | undefined = undefined;
  #waiting = 0;
  #waitingBytes = 0;
  /** The transport has not taken what was written. */
  #blocked = false;
  #paused = false;
  #accepted = 0;
  #sending: Promise<void> = Promise.resolve();
  /** No input may come any more: it would be missing in a run that is called done. */
  #ended = false;
  #heartbeatMs = 0;
  #timer: NodeJS.Timeout | undefined = undefined;
  #over = false;

  constructor(call: ServerDuplexStream<Buffer, Buffer>, engine: PipeEngine) {
    this.#call = call;
    this.#engine = engine;
    call.on("data", (bytes: Buffer) => this.#data(bytes));
    call.on("cancelled", () => this.#gone());
    call.on("error", () => this.#gone());
    call.on("close", () => this.#gone());
    call.on("end", () => this.#half());
    call.on("drain", () => {
      this.#blocked = false;
      this.#readOrNot();
    });
  }

  #data(bytes: Buffer): void {
    if (this.#over) return;
    this.#heard();
    try {
      const request = METHOD.requestDeserialize(bytes) as RunRequest;
      if (request.open !== undefined) this.#open(request.open);
      else if (request.inputs !== undefined) this.#inputs(request.inputs.values, bytes.length);
      else if (request.end !== undefined) this.#end();
    } catch (error) {
      this.#fail(
        error instanceof RingError
          ? error
          : new RingError("INVALID_ARGUMENT", "malformed RunRequest", { cause: error }),
      );
    }
  }

  #open(open: NonNullable<RunRequest["open"]>): void {
    if (this.#run !== undefined) throw new RingError("INVALID_ARGUMENT", "open comes once");
    const run = this.#engine.run(open.pipeline, {
      sink: open.drain ? "drain" : "results",
      ...(open.total > 0 ? { total: open.total } : {}),
      traceparent: open.traceparent,
      ...(open.spanRatio === 0 ? {} : { spanRatio: open.spanRatio }),
    });
    this.#run = run;
    this.#heartbeatMs = open.heartbeatMs === 0 ? 0 : Math.min(Math.max(1_000, open.heartbeatMs), LONGEST_TIMER_MS);
    this.#heard();
    this.#write({ opened: { run: run.id } });
    void this.#outputs(run, open.drain);
  }

  #inputs(texts: readonly string[], bytes: number): void {
    const run = this.#opened();
    if (this.#ended) throw new RingError("INVALID_ARGUMENT", "inputs behind the end");
    const values = texts.map((text) => parsed(text));
    this.#waiting += values.length;
    this.#waitingBytes += bytes;
    this.#readOrNot();
    this.#sending = this.#sending
      .then(() => run.sendMany(values))
      .then(
        () => {
          this.#waiting -= values.length;
          this.#waitingBytes -= bytes;
          this.#accepted += values.length;
          if (!this.#write({ accepted: { inputs: this.#accepted } })) this.#blocked = true;
          this.#readOrNot();
        },
        () => undefined, // The report says why.
      );
  }

  /** S1. What is not read cannot be heard (S2). */
  #readOrNot(): void {
    const full = this.#blocked || this.#waiting > INPUTS_WAITING || this.#waitingBytes > BYTES_WAITING;
    if (full === this.#paused) return;
    this.#paused = full;
    if (full) {
      clearTimeout(this.#timer);
      this.#call.pause();
    } else {
      this.#heard();
      this.#call.resume();
    }
  }

  /** The client has no more to send, or its stream is torn off, which says so a moment later. */
  #half(): void {
    setTimeout(() => {
      if (this.#over || this.#call.cancelled) return;
      if (this.#run === undefined) this.#fail(new RingError("INVALID_ARGUMENT", "the stream ended before open"));
      else this.#end();
    }, TORN_MS).unref();
  }

  /** Behind the inputs that wait for room. */
  #end(): void {
    const run = this.#opened();
    this.#ended = true;
    this.#sending = this.#sending.then(() => run.end());
  }

  async #outputs(run: PipeRun<unknown, unknown>, drain: boolean): Promise<void> {
    try {
      if (!drain) for await (const values of run.batches) await this.#writeOutputs(values);
    } catch {
      // The report says why.
    }
    const report = await run.report();
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#call.write(METHOD.responseSerialize({ report: reportView(report) }));
    this.#call.end();
  }

  async #writeOutputs(values: readonly unknown[]): Promise<void> {
    let texts: string[] = [];
    let characters = 0;
    for (const value of values) {
      const text = this.#textOf(value);
      texts.push(text);
      characters += text.length;
      if (characters < MESSAGE_CHARACTERS) continue;
      await this.#writeAndDrain({ outputs: { values: texts } });
      texts = [];
      characters = 0;
    }
    if (texts.length > 0) await this.#writeAndDrain({ outputs: { values: texts } });
  }

  /** Throws, and the run has failed, for an output that JSON cannot say: the client would miss it. */
  #textOf(value: unknown): string {
    try {
      return JSON.stringify(value) ?? "null";
    } catch (error) {
      const why = errorTextOf(error).split("\n", 1)[0];
      this.#engine.node.runs.get(this.#opened().id)?.fail("RUN_FAILED", `an output has no JSON form: ${why}`);
      throw error;
    }
  }

  #opened(): PipeRun<unknown, unknown> {
    if (this.#run === undefined) throw new RingError("INVALID_ARGUMENT", "the first message must be open");
    return this.#run;
  }

  #write(reply: object): boolean {
    return this.#over || this.#call.write(METHOD.responseSerialize(reply));
  }

  async #writeAndDrain(reply: object): Promise<void> {
    if (this.#write(reply)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#call.off("drain", done);
        this.#call.off("close", done);
        this.#call.off("cancelled", done);
        resolve();
      };
      this.#call.on("drain", done);
      this.#call.on("close", done);
      this.#call.on("cancelled", done);
    });
  }

  #heard(): void {
    if (this.#heartbeatMs === 0 || this.#paused || this.#over) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#fail(new RingError("CANCELLED", "the client has gone silent")),
      this.#heartbeatMs,
    );
    this.#timer.unref();
  }

  #fail(error: RingError): void {
    if (this.#over) return;
    this.#gone();
    this.#call.emit("error", statusOf(error));
  }

  #gone(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#run?.cancel("the client has gone"); // S2
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RingError("INVALID_ARGUMENT", `an input is not JSON: ${text.slice(0, 80)}`, { cause: error });
  }
}

const METHOD = methodRun();
/** Inputs of a stream that wait for room: twice what a client of ours keeps under way. */
const INPUTS_WAITING = 8_192;
/** Several of the largest messages, so that one which comes alone does not stop the stream. */
const BYTES_WAITING = 16 * 1024 * 1024;
const MESSAGE_CHARACTERS = 256 * 1024;
/** Node takes a longer one for no time at all. */
const LONGEST_TIMER_MS = 2_147_483_647;
/** Our own client says when it has no more; for others a moment, since a busy event loop hears of the tear much later than of the end. */
const TORN_MS = 1_000;

function methodRun(): ReturnType<typeof serviceDefinition>[string] {
  const method = serviceDefinition("taskring.v1.Pipes").Run;
  if (method === undefined) throw new Error("no method taskring.v1.Pipes.Run");
  return method;
}
