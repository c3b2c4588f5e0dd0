/** Waits that go over a submit stream: numbered, answered once each, given up when the stream ends. */

import { serviceDefinition } from "../../proto/load.ts";
import type { Task } from "../../proto/messages.ts";
import type { StreamWait, Waited } from "../../proto/submit-stream.ts";
import { isErrorCode, RingError } from "../../ring/errors.ts";

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface Waiting {
  readonly resolve: (task: Task | undefined) => void;
  readonly reject: (error: RingError) => void;
}

export class TaskWaits {
  readonly #onUnsent: () => void;
  readonly #waiting = new Map<number, Waiting>();
  #unsent: StreamWait[] = [];
  #number = 0;
  #closed = false;

  /** `onUnsent`: there is something for `takeUnsent`. */
  constructor(onUnsent: () => void) {
    this.#onUnsent = onUnsent;
  }

  /** Without an answer. One that the caller has given up counts until the node has answered it. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Resolves to undefined when the stream ends first. Throws the refusal, `DEADLINE` or `CANCELLED`. */
  add(taskId: string, { timeoutMs, signal }: WaitOptions): Promise<Task | undefined> {
    if (signal?.aborted) return Promise.reject(cancelled());
    if (this.#closed) return Promise.resolve(undefined);
    const number = ++this.#number;
    this.#unsent.push({ number, taskId, timeoutMs });
    this.#onUnsent();
    return new Promise((resolve, reject) => {
      const over = (): void => {
        clearTimeout(late);
        signal?.removeEventListener("abort", onAbort);
      };
      const giveUp = (error: RingError): void => {
        over();
        this.#withdraw(number);
        reject(error);
      };
      const onAbort = (): void => giveUp(cancelled());
      const late = setTimeout(() => giveUp(new RingError("DEADLINE", "no answer in time")), timeoutMs + ANSWER_MS);
      signal?.addEventListener("abort", onAbort);
      this.#waiting.set(number, {
        resolve: (task) => {
          over();
          resolve(task);
        },
        reject: (error) => {
          over();
          reject(error);
        },
      });
    });
  }

  takeUnsent(): readonly StreamWait[] {
    const unsent = this.#unsent;
    if (unsent.length > 0) this.#unsent = [];
    return unsent;
  }

  answered(answer: Waited): void {
    const waiting = this.#waiting.get(answer.number);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.number);
    if ("task" in answer) {
      try {
        waiting.resolve(decodeTask(answer.task));
      } catch (error) {
        waiting.reject(new RingError("INTERNAL", "an answer that is no task", { cause: error }));
      }
      return;
    }
    const { code, message, retryAfterMs } = answer.refused;
    const known = isErrorCode(code) ? code : "INTERNAL";
    waiting.reject(new RingError(known, message, retryAfterMs === 0 ? {} : { retryAfterMs }));
  }

  close(): void {
    this.#closed = true;
    this.#unsent = [];
    const open = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { resolve } of open) resolve(undefined);
  }

  /** Nobody waits any more: what the node has not been asked it need not be. */
  #withdraw(number: number): void {
    const at = this.#unsent.findIndex((wait) => wait.number === number);
    if (at < 0) return;
    this.#unsent.splice(at, 1);
    this.#waiting.delete(number);
  }
}

function decodeTask(bytes: Uint8Array): Task {
  // A copy of its own: a result that the caller keeps must not keep the other answers of its frame.
  const own = Buffer.allocUnsafeSlow(bytes.length);
  own.set(bytes);
  return serviceDefinition("taskring.v1.Tasks").Wait!.responseDeserialize(own) as Task;
}

function cancelled(): RingError {
  return new RingError("CANCELLED", "cancelled by the caller");
}

/** The node answers by itself at the timeout; this is for one that does not. */
const ANSWER_MS = 5_000;
