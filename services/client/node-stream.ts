/**
 * The SubmitStream to one node: frames out within the node's credit, outcomes in.
 *
 * N1  A frame leaves when it is full, or at the end of the event-loop turn in which its first task came; no timer.
 * N2  What has no outcome never exceeds the node's credit.
 * N3  When the stream breaks or is closed, every task without an outcome is given back, in order.
 * N4  A stream on which the node has said nothing after `GREETING_MS` is broken: see `caller.ts` for frozen nodes.
 * N5  Waits leave behind the tasks of their turn; at the end of the stream each is told that it has no answer.
 */

import type { Client, ClientDuplexStream, Metadata, ServiceError } from "@grpc/grpc-js";
import { STREAM_PATH } from "../../proto/load.ts";
import { TASK_STATES, type Task } from "../../proto/messages.ts";
import {
  type Credit,
  encodeHello,
  encodeWaits,
  parseStreamReply,
  type StreamReply,
  sealBatch,
} from "../../proto/submit-stream.ts";
import { WireError } from "../../proto/wire.ts";
import { isErrorCode } from "../../ring/errors.ts";
import type { SubmitOutcome, TaskState } from "../../ring/tasks/task.ts";
import type { Entry } from "./entry.ts";
import { type Frame, FrameBuilder } from "./frame-builder.ts";
import { TaskWaits, type WaitOptions } from "./task-waits.ts";

export interface NodeStreamOptions {
  readonly client: Client;
  readonly clientId: string;
  readonly metadata: () => Metadata;
  readonly nextFrameId: () => number;
  /** One task's outcome; undefined: accepted. */
  readonly onOutcome: (entry: Entry, outcome: SubmitOutcome | undefined) => void;
  /** The last outcome of what came together. */
  readonly onTurn: () => void;
  readonly onRing: (epoch: number) => void;
  /** The stream is over; these have no outcome (N3). */
  readonly onDown: (error: Error, entries: readonly Entry[]) => void;
}

export class NodeStream {
  readonly #options: NodeStreamOptions;
  readonly #stream: ClientDuplexStream<Buffer, Buffer>;
  /** Nothing is sent before the node has told its credit. */
  #credit: Credit = { tasks: 0, bytes: 0, waits: 0 };
  readonly #waits: TaskWaits;
  #building: FrameBuilder | undefined;
  #likelyBytes = 0;
  #ready: Frame[] = [];
  /** Sent, by number from `#base`; undefined once settled. */
  #sent: (Entry | undefined)[] = [];
  #sentHead = 0;
  #base = 1;
  #outstanding = 0;
  #outstandingBytes = 0;
  #blocked = false;
  #scheduled = false;
  #down = false;
  readonly #greeting: NodeJS.Timeout;

  constructor(options: NodeStreamOptions) {
    this.#options = options;
    this.#waits = new TaskWaits(() => this.#schedule());
    this.#stream = options.client.makeBidiStreamRequest(STREAM_PATH, pass, pass, options.metadata());
    this.#stream.on("data", (bytes: Buffer) => this.#receive(bytes));
    this.#stream.on("drain", () => {
      this.#blocked = false;
      this.#send();
    });
    this.#stream.on("error", (error: ServiceError) => this.#fail(error));
    this.#stream.on("end", () => this.#fail(new Error("the node ended the stream")));
    this.#stream.write(encodeHello({ clientId: options.clientId, lastAckedSeq: 0 }));
    this.#greeting = setTimeout(() => this.#fail(new Error("the node does not answer")), GREETING_MS); // N4
  }

  /** The frame that still takes tasks; 0 if there is none. */
  get openFrame(): number {
    return this.#building?.id ?? 0;
  }

  /** Whether the open frame has room for this one. */
  fits(entry: Entry): boolean {
    return this.#building?.fits(entry) ?? false;
  }

  /** Holds no task: not in the open frame, not in one that waits for credit, and none without an outcome. */
  get idle(): boolean {
    return this.#building === undefined && this.#ready.length === 0 && this.#outstanding === 0;
  }

  /** Takes the task for sending; returns its frame. */
  add(entry: Entry): number {
    let frame = this.#building;
    if (frame === undefined || !frame.add(entry)) {
      if (frame !== undefined) this.#seal(frame);
      frame = new FrameBuilder({
        id: this.#options.nextFrameId(),
        first: entry,
        creditTasks: this.#credit.tasks,
        likelyBytes: this.#likelyBytes,
      });
      frame.add(entry);
      this.#building = frame;
      this.#schedule();
    }
    if (frame.full) {
      this.#seal(frame);
      this.#send();
    }
    return frame.id;
  }

  /**
   * False: ask with a call of its own, at the price of fifty tasks. A node reads on whatever tasks wait for credit here, unless it has
   * as many bytes of them as it wants, by its own count.
   */
  get hasRoomForWait(): boolean {
    if (this.#down || this.#blocked || 2 * this.#outstandingBytes > this.#credit.bytes) return false;
    return this.#waits.size < Math.min(this.#credit.waits, FRAME_WAITS);
  }

  /** As `RingClient.wait`; undefined when the stream ended first. Only with `hasRoomForWait`. */
  wait(taskId: string, options: WaitOptions): Promise<Task | undefined> {
    return this.#waits.add(taskId, options);
  }

  /** Gives its tasks back (N3). */
  close(): void {
    this.#fail(new Error("closed by the client"));
  }

  #seal(frame: FrameBuilder): void {
    const sealed = frame.seal();
    this.#likelyBytes = sealed.end;
    this.#ready.push(sealed);
    this.#building = undefined;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#down) return;
    // While the credit is used up the open frame goes on filling: it leaves fuller.
    if (this.#building !== undefined && this.#ready.length === 0 && this.#hasCredit()) this.#seal(this.#building);
    let count = 0;
    while (count < this.#ready.length && !this.#blocked && this.#hasCredit()) {
      const frame = this.#ready[count] as Frame;
      if (this.#outstanding > 0 && this.#outstanding + frame.entries.length > this.#credit.tasks) break; // N2
      const firstSeq = this.#base + this.#sent.length;
      for (const entry of frame.entries) {
        this.#sent.push(entry);
        this.#outstandingBytes += entry.end - entry.start;
      }
      this.#outstanding += frame.entries.length;
      count += 1;
      if (!this.#stream.write(sealBatch(frame.buffer, frame.end, firstSeq))) this.#blocked = true;
    }
    if (count > 0) this.#ready = this.#ready.slice(count);
    if (this.#blocked) return;
    const waits = this.#waits.takeUnsent();
    if (waits.length > 0 && !this.#stream.write(encodeWaits(waits))) this.#blocked = true; // N5
  }

  #hasCredit(): boolean {
    return this.#outstanding < this.#credit.tasks && this.#outstandingBytes < this.#credit.bytes;
  }

  #receive(bytes: Buffer): void {
    if (this.#down) return;
    let reply: StreamReply;
    try {
      reply = parseStreamReply(bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#fail(error);
      return;
    }
    clearTimeout(this.#greeting);
    if (reply.credit !== undefined) this.#credit = reply.credit;
    const { acks } = reply;
    for (let at = 0; at < acks.length; at += 2) {
      const last = Math.min(acks[at + 1] as number, this.#base + this.#sent.length - 1);
      for (let seq = Math.max(acks[at] as number, this.#base); seq <= last; seq++) this.#settle(seq, undefined);
    }
    for (const { seq, taskId, state } of reply.duplicates) {
      this.#settle(seq, {
        type: "duplicate",
        id: taskId,
        state: (TASK_STATES[state] ?? "QUEUED").toLowerCase() as TaskState,
      });
    }
    for (const { seq, code, message, retryAfterMs } of reply.rejects) {
      const known = isErrorCode(code) ? code : "INTERNAL";
      this.#settle(seq, {
        type: "refused",
        code: known,
        detail: message,
        ...(retryAfterMs === 0 ? {} : { retryAfterMs }),
      });
    }
    for (const waited of reply.waited) this.#waits.answered(waited);
    this.#forget();
    if (reply.ringEpoch !== undefined) this.#options.onRing(reply.ringEpoch);
    this.#options.onTurn();
    this.#send();
  }

  #settle(seq: number, outcome: SubmitOutcome | undefined): void {
    const entry = this.#sent[seq - this.#base];
    if (entry === undefined) return;
    this.#sent[seq - this.#base] = undefined;
    this.#outstanding -= 1;
    this.#outstandingBytes -= entry.end - entry.start;
    this.#options.onOutcome(entry, outcome);
  }

  /** Cuts off the settled numbers at the front. */
  #forget(): void {
    const sent = this.#sent;
    while (this.#sentHead < sent.length && sent[this.#sentHead] === undefined) this.#sentHead += 1;
    if (this.#sentHead < 4_096 && this.#sentHead < sent.length) return;
    this.#base += this.#sentHead;
    this.#sent = sent.slice(this.#sentHead);
    this.#sentHead = 0;
  }

  #fail(error: Error): void {
    if (this.#down) return;
    this.#down = true;
    clearTimeout(this.#greeting);
    this.#stream.on("error", () => undefined);
    this.#stream.cancel();
    this.#waits.close();
    const entries = this.#sent.filter((entry) => entry !== undefined);
    for (const entry of entries) entry.unsure = true;
    for (const frame of this.#ready) entries.push(...frame.entries);
    if (this.#building !== undefined) entries.push(...this.#building.seal().entries);
    this.#options.onDown(error, entries);
  }
}

/** The credit comes at once; connecting may take a while on a busy machine. */
const GREETING_MS = 3_000;
/** More at once would be refused, and the stream with them. */
const FRAME_WAITS = 1_024;

function pass(bytes: Buffer): Buffer {
  return bytes;
}
