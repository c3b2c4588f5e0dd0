/**
 * The waits of one SubmitStream: each asks for the end of a task and is answered once.
 *
 * Bounded: one more than the credit is refused, and answers count until they are taken, so that a client that reads slowly has
 * no more of them here than that.
 */

import { serviceDefinition } from "../../proto/load.ts";
import type { Task, WaitRequest } from "../../proto/messages.ts";
import type { StreamWait, Waited } from "../../proto/submit-stream.ts";
import { RingError } from "../../ring/errors.ts";
import { refusalOf } from "./status.ts";

export interface StreamWaitsOptions {
  readonly most: number;
  /** `gone`: the answer is for nobody any more. */
  readonly wait: (request: WaitRequest, gone: () => boolean) => Promise<Task>;
  /** There is something to take; once for answers that come together. */
  readonly onAnswers: () => void;
  /** Errors that are no refusals: bugs, for the log. */
  readonly onBug: (error: unknown) => void;
}

export class StreamWaits {
  readonly #options: StreamWaitsOptions;
  readonly #open = new Set<number>();
  #answers: Waited[] = [];
  #told = false;
  #closed = false;
  readonly #gone = (): boolean => this.#closed;

  constructor(options: StreamWaitsOptions) {
    this.#options = options;
  }

  /** Waits that have no answer, or one that was not taken. */
  get size(): number {
    return this.#open.size;
  }

  /** Throws `INVALID_ARGUMENT` for a number that is in use. */
  add(waits: readonly StreamWait[]): void {
    for (const { number, taskId, timeoutMs } of waits) {
      if (number === 0 || this.#open.has(number))
        throw new RingError("INVALID_ARGUMENT", `wait ${number} is not a number of its own`);
      if (this.#open.size >= this.#options.most) {
        const message = `more than ${this.#options.most} waits on a stream`;
        this.#answer({ number, refused: { code: "QUEUE_FULL", message, retryAfterMs: 0 } });
        continue;
      }
      this.#open.add(number);
      void this.#ask(number, { taskId, timeoutMs });
    }
  }

  /** Answers of about `bytesMost` together, and at least one if there is any; the rest is for another call. */
  take(bytesMost: number): readonly Waited[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#answers.length && bytes < bytesMost) {
      const answer = this.#answers[count++] as Waited;
      bytes += "task" in answer ? answer.task.length : answer.refused.message.length;
      this.#open.delete(answer.number);
    }
    const taken = this.#answers.slice(0, count);
    this.#answers = this.#answers.slice(count);
    return taken;
  }

  get hasAnswers(): boolean {
    return this.#answers.length > 0;
  }

  close(): void {
    this.#closed = true;
    this.#answers = [];
  }

  async #ask(number: number, request: WaitRequest): Promise<void> {
    try {
      this.#answer({ number, task: encodeTask(await this.#options.wait(request, this.#gone)) });
    } catch (error) {
      if (!(error instanceof RingError)) this.#options.onBug(error);
      const { code, message, retryAfterMs = 0 } = refusalOf(error);
      this.#answer({ number, refused: { code, message, retryAfterMs: Math.round(retryAfterMs) } });
    }
  }

  #answer(answer: Waited): void {
    if (this.#closed) return;
    this.#answers.push(answer);
    if (this.#told) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      if (!this.#closed) this.#options.onAnswers();
    });
  }
}

function encodeTask(task: Task): Buffer {
  return serviceDefinition("taskring.v1.Tasks").Wait!.responseSerialize(task) as Buffer;
}
