/** Questions asked of this node by its own process, until they are answered or their deadline has passed. */

import type { NodeName } from "../ids.ts";
import type { NodeEvent } from "../node/effects.ts";
import type { NodeAnswer, NodeRequest } from "../node/requests.ts";

export interface AskOptions {
  readonly deadlineMs: number;
  /** A certain member; default: whoever the request concerns. */
  readonly to?: NodeName;
}

export class Questions {
  readonly #step: (event: NodeEvent) => void;
  readonly #waiting = new Map<number, (answer: NodeAnswer) => void>();
  #askId = 0;
  #closed = false;

  constructor(step: (event: NodeEvent) => void) {
    this.#step = step;
  }

  close(): void {
    this.#closed = true;
  }

  /**
   * What is answered NOT_OWNER was not done: it is asked again, of whoever owns it by then, until the deadline; a wait for what
   * is left of its time.
   */
  async ask(request: NodeRequest, options: AskOptions): Promise<NodeAnswer> {
    const began = performance.now();
    const end = began + options.deadlineMs;
    for (;;) {
      const now = performance.now();
      const deadlineMs = Math.max(1, end - now);
      const answer = await this.#once(afterWaiting(request, now - began), { ...options, deadlineMs });
      const again = answer.type === "refused" && answer.code === "NOT_OWNER";
      const waitMs = again ? (answer.retryAfterMs ?? ASK_AGAIN_MS) : undefined;
      if (waitMs === undefined || performance.now() + waitMs >= end || this.#closed) return answer;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  answered(askId: number, answer: NodeAnswer): void {
    this.#waiting.get(askId)?.(answer);
  }

  #once(request: NodeRequest, { deadlineMs, to }: AskOptions): Promise<NodeAnswer> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve({ type: "refused", code: "DRAINING", detail: "the node has stopped" });
      const askId = ++this.#askId;
      const detail = `no answer within ${Math.round(deadlineMs)} ms`;
      const timer = setTimeout(
        () => this.answered(askId, { type: "refused", code: "DEADLINE", detail }),
        deadlineMs + SLACK_MS,
      );
      timer.unref();
      this.#waiting.set(askId, (answer) => {
        clearTimeout(timer);
        this.#waiting.delete(askId);
        resolve(answer);
      });
      this.#step({ type: "ask", askId, request, deadlineMs, ...(to === undefined ? {} : { to }) });
    });
  }
}

/** Asked for all of its time once more, a wait would be answered after its deadline. */
function afterWaiting(request: NodeRequest, waitedMs: number): NodeRequest {
  if (request.type !== "task" || request.request.type !== "wait") return request;
  const timeoutMs = Math.max(0, request.request.timeoutMs - waitedMs);
  return { ...request, request: { ...request.request, timeoutMs } };
}

const ASK_AGAIN_MS = 50;
/** The machine keeps the deadline; this is for the case that it does not. */
const SLACK_MS = 250;
