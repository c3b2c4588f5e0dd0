/**
 * One SubmitStream: frames in, ranges of acknowledgements out.
 *
 * S1  One frame is one `node.submit`; its number in the stream is each task's token, and each token gets one outcome.
 * S2  Outcomes that come together leave together, as ranges; nothing waits for a timer.
 * S3  Bounded: tasks and bytes without a delivered outcome stay below the credit, plus what one frame and the transport's
 *     read-ahead hold; a client that sends more, or does not read its outcomes, is not read any further.
 * S4  After the client's half-close every outcome is flushed, and every wait answered, then the stream ends. A client that goes
 *     away leaves its tasks: they were accepted or not, and it asks again with the same ids. A node that stops does not stay
 *     for waits: they are asked again elsewhere.
 * S5  What one turn of the event loop takes in is bounded, over all streams of the node (intake.ts): the rest is read in the next.
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import {
  encodeStreamReply,
  parseStreamRequest,
  type Reject,
  type StreamReply,
  type TaskBatch,
} from "../../proto/submit-stream.ts";
import { WireError } from "../../proto/wire.ts";
import { RingError } from "../../ring/errors.ts";
import type { RingNode, SubmitOrigin } from "../../ring/node/port.ts";
import { isRefused } from "../../ring/tasks/record.ts";
import type { SubmitOutcome, TaskRecord } from "../../ring/tasks/task.ts";
import { AckRanges } from "./ack-ranges.ts";
import { FrameWindow } from "./frame-window.ts";
import type { Intake } from "./intake.ts";
import { statusOf } from "./status.ts";
import { StreamWaits, type StreamWaitsOptions } from "./stream-waits.ts";
import { takeRecord, wasMinted } from "./take-record.ts";
import { stateNumber } from "./task-views.ts";

export interface SessionOptions {
  readonly node: RingNode;
  /** The same for all streams of the node. */
  readonly intake: Intake;
  readonly creditTasks: number;
  readonly creditBytes: number;
  readonly creditWaits: number;
  readonly frameTasks: number;
  readonly drainRetryMs: number;
  readonly draining: () => boolean;
  readonly wait: StreamWaitsOptions["wait"];
  readonly onBug: (error: unknown) => void;
  readonly onClosed: (session: StreamSession) => void;
}

export class StreamSession {
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  readonly #options: SessionOptions;
  readonly #origin: SubmitOrigin;
  readonly #window = new FrameWindow();
  readonly #acks = new AckRanges();
  readonly #waits: StreamWaits;
  #duplicates: { seq: number; taskId: string; state: number }[] = [];
  #rejects: Reject[] = [];
  #minted: { seq: number; taskId: string }[] = [];
  /** Numbers whose id was made here and is to be told. */
  readonly #mintedSeqs = new Set<number>();
  #ringEpoch: number | undefined;
  #creditDue = true;
  #pending = false;
  #lastSeq = 0;
  #submitting = false;
  /** The transport has not taken what was written (S3). */
  #blocked = false;
  #paused = false;
  /** Until the next turn (S5). */
  #resting = false;
  #phase: "open" | "half-closed" | "closed" = "open";
  #closing = false;

  constructor(call: ServerDuplexStream<Buffer, Buffer>, options: SessionOptions) {
    this.#call = call;
    this.#options = options;
    this.#origin = { outcomes: (tokens, outcomes) => this.#collect(tokens, outcomes) };
    this.#waits = new StreamWaits({
      most: options.creditWaits,
      wait: options.wait,
      onAnswers: () => {
        this.#pending = true;
        this.#flush();
        this.#settle();
      },
      onBug: options.onBug,
    });
    call.on("data", (bytes: Buffer) => this.#receive(bytes));
    call.on("end", () => {
      if (this.#phase === "open") this.#phase = "half-closed";
      this.#settle();
    });
    call.on("drain", () => {
      this.#blocked = false;
      this.#flush();
      this.#settle();
    });
    call.on("cancelled", () => this.#close());
    call.on("close", () => this.#close());
    call.on("error", () => this.#close());
    this.#ringEpoch = options.node.document()?.epoch;
    this.#pending = true;
    this.#flush();
  }

  /** Tasks without an outcome. */
  get outstanding(): number {
    return this.#window.tasks;
  }

  ringChanged(epoch: number): void {
    this.#ringEpoch = epoch;
    this.#pending = true;
    this.#flush();
  }

  /** Ends the stream as soon as nothing is without an outcome. */
  closeWhenIdle(): void {
    this.#closing = true;
    this.#settle();
  }

  #receive(bytes: Buffer): void {
    if (this.#phase === "closed") return;
    try {
      const frame = parseStreamRequest(bytes, { taskLimit: this.#options.frameTasks });
      if (frame.type === "batch" && frame.spans.length > 0) this.#submit(frame, bytes);
      else if (frame.type === "waits") this.#waits.add(frame.waits);
      else if (frame.type === "hello") this.#greet(frame.lastAckedSeq);
    } catch (error) {
      if (!(error instanceof WireError) && !(error instanceof RingError)) throw error;
      this.#fail(
        error instanceof RingError
          ? error
          : new RingError("INVALID_ARGUMENT", `malformed frame: ${error.message}`, { cause: error }),
      );
    }
  }

  #greet(lastAckedSeq: number): void {
    if (this.#lastSeq !== 0) throw new RingError("INVALID_ARGUMENT", "hello must be the first frame");
    this.#lastSeq = lastAckedSeq;
  }

  #submit(batch: TaskBatch, bytes: Buffer): void {
    const count = batch.spans.length / 2;
    if (batch.firstSeq <= this.#lastSeq) {
      throw new RingError(
        "INVALID_ARGUMENT",
        `first_seq ${batch.firstSeq} is not above ${this.#lastSeq}, the last one`,
      );
    }
    if (count - 1 > Number.MAX_SAFE_INTEGER - batch.firstSeq)
      // their sum is not exact there
      throw new RingError("INVALID_ARGUMENT", `${count} tasks from ${batch.firstSeq} on pass 2^53 - 1`);
    this.#lastSeq = batch.firstSeq + count - 1;
    this.#window.add({ firstSeq: batch.firstSeq, count, bytes: bytes.length });
    this.#submitting = true;
    if (this.#options.draining()) this.#refuseAll(batch.firstSeq, count);
    else this.#hand(batch, bytes);
    this.#submitting = false;
    this.#resting ||= this.#options.intake.took(count, this.#goOn);
    this.#flush();
    this.#settle();
  }

  readonly #goOn = (): void => {
    this.#resting = false;
    this.#settle();
  };

  #hand(batch: TaskBatch, bytes: Buffer): void {
    const { spans, firstSeq } = batch;
    const tokens: number[] = [];
    const records: TaskRecord[] = [];
    for (let at = 0, seq = firstSeq; at < spans.length; at += 2, seq++) {
      const record = takeRecord(bytes, spans[at] as number, spans[at + 1] as number);
      if (isRefused(record)) {
        this.#reject(seq, { code: record.code, message: record.detail, retryAfterMs: 0 });
        this.#window.settle(seq, seq);
        continue;
      }
      if (wasMinted(record, bytes)) this.#mintedSeqs.add(seq);
      tokens.push(seq);
      records.push(record);
    }
    if (records.length > 0) this.#options.node.submit(this.#origin, tokens, records); // S1
  }

  #refuseAll(firstSeq: number, count: number): void {
    for (let seq = firstSeq; seq < firstSeq + count; seq++) {
      this.#reject(seq, {
        code: "DRAINING",
        message: "the node is stopping",
        retryAfterMs: this.#options.drainRetryMs,
      });
    }
    this.#window.settle(firstSeq, firstSeq + count - 1);
  }

  #collect(tokens: readonly number[], outcomes: readonly SubmitOutcome[]): void {
    if (this.#phase === "closed") return;
    for (let index = 0; index < tokens.length; index++) {
      const seq = tokens[index] as number;
      const outcome = outcomes[index] as SubmitOutcome;
      switch (outcome.type) {
        case "accepted":
          this.#acks.add(seq);
          if (this.#mintedSeqs.size > 0 && this.#mintedSeqs.delete(seq)) this.#minted.push({ seq, taskId: outcome.id });
          break;
        case "duplicate":
          this.#mintedSeqs.delete(seq);
          this.#duplicates.push({ seq, taskId: outcome.id, state: stateNumber(outcome.state) });
          this.#window.settle(seq, seq);
          break;
        case "refused":
          this.#mintedSeqs.delete(seq);
          this.#reject(seq, {
            code: outcome.code,
            message: outcome.detail,
            retryAfterMs: Math.round(outcome.retryAfterMs ?? 0),
          });
          this.#window.settle(seq, seq);
          break;
      }
    }
    this.#pending = true;
    if (this.#submitting) return;
    this.#flush(); // S2
    this.#settle();
  }

  #reject(seq: number, why: { readonly code: string; readonly message: string; readonly retryAfterMs: number }): void {
    this.#rejects.push({ seq, ...why, owner: "" });
    this.#pending = true;
  }

  #flush(): void {
    if (!this.#pending || this.#blocked || this.#phase === "closed") return;
    this.#pending = false;
    const acks = this.#acks.take();
    for (let at = 0; at < acks.length; at += 2) this.#window.settle(acks[at] as number, acks[at + 1] as number);
    const { creditTasks: tasks, creditBytes, creditWaits: waits } = this.#options;
    const reply: StreamReply = {
      acks,
      duplicates: this.#duplicates,
      rejects: this.#rejects,
      minted: this.#minted,
      waited: this.#waits.take(REPLY_BYTES),
      ...(this.#creditDue ? { credit: { tasks, bytes: creditBytes, waits } } : {}),
      ...(this.#ringEpoch === undefined ? {} : { ringEpoch: this.#ringEpoch }),
    };
    if (this.#duplicates.length > 0) this.#duplicates = [];
    if (this.#rejects.length > 0) this.#rejects = [];
    if (this.#minted.length > 0) this.#minted = [];
    this.#creditDue = false;
    this.#ringEpoch = undefined;
    if (!this.#call.write(encodeStreamReply(reply))) this.#blocked = true;
    if (!this.#waits.hasAnswers) return;
    this.#pending = true;
    this.#flush();
  }

  /** Reads on or not (S3, S5), and ends what is over (S4). */
  #settle(): void {
    if (this.#phase === "closed") return;
    const full = this.#window.tasks > this.#options.creditTasks || this.#window.bytes > this.#options.creditBytes;
    const hold = full || this.#blocked || this.#resting;
    if (hold !== this.#paused) {
      this.#paused = hold;
      if (hold) this.#call.pause();
      else this.#call.resume();
    }
    if (this.#window.tasks > 0 || this.#pending) return;
    if (this.#phase === "half-closed" && this.#waits.size === 0) {
      this.#close();
      this.#call.end();
    } else if (this.#closing) {
      this.#fail(new RingError("DRAINING", "the node is stopping", { retryAfterMs: this.#options.drainRetryMs }));
    }
  }

  #fail(error: RingError): void {
    if (this.#phase === "closed") return;
    this.#flush();
    this.#close();
    this.#call.emit("error", statusOf(error));
  }

  #close(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#waits.close();
    this.#options.node.forget(this.#origin);
    this.#options.onClosed(this);
  }
}

/** Results in one frame, about: far below what a client takes of a message. */
const REPLY_BYTES = 256 * 1024;
