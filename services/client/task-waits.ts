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
    const number = ++this.#number;
    this.#unsent.push({ number, taskId, timeoutMs });
    this.#onUnsent();
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new RingError("DEADLINE", "no answer in time")), timeoutMs + ANSWER_MS);
      const onAbort = (): void => {
        clearTimeout(late);
        reject(cancelled());
      };
      const over = (): void => {
        clearTimeout(late);
        signal?.removeEventListener("abort", onAbort);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
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
    this.#unsent = [];
    const open = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { resolve } of open) resolve(undefined);
  }
}

function decodeTask(bytes: Uint8Array): Task {
  // A copy: a result that the caller keeps must not keep the other answers of its frame.
  return serviceDefinition("taskring.v1.Tasks").Wait!.responseDeserialize(Buffer.from(bytes)) as Task;
}

function cancelled(): RingError {
  return new RingError("CANCELLED", "cancelled by the caller");
}

/** The node answers by itself at the timeout; this is for one that does not. */
const ANSWER_MS = 5_000;
