/**
 * Questions under way: asked here or by a peer, answered once by this node, by the owner of a partition or by the member
 * named; at the latest when the deadline has passed. Waits for tasks, which may be many and long, leave room for all else.
 */

import type { Epoch, NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { Here } from "./here.ts";
import type { Answer, Ask } from "./messages.ts";
import type { NodeAnswer, NodeRequest } from "./requests.ts";

/** Who waits for the answer. */
export type Asker =
  | { readonly type: "local"; readonly askId: number }
  | { readonly type: "peer"; readonly name: NodeName; readonly askId: number };

interface Pending {
  readonly asker: Asker;
  readonly deadline: Instant;
  readonly to: NodeName | undefined;
}

export class Asks {
  readonly #here: Here;
  readonly #pending = new Map<number, Pending>();
  #nextId: number;
  #lookAt: Instant | undefined;

  /** Questions of the process before had lower numbers than `numbersFrom`: answers to them still come. */
  constructor(here: Here, { numbersFrom }: { readonly numbersFrom: number }) {
    this.#here = here;
    this.#nextId = numbersFrom;
  }

  nextDeadline(): Instant | undefined {
    return this.#lookAt;
  }

  /** A number under which the answer may come later. */
  expect(asker: Asker, request: NodeRequest, deadlineMs: number): number | undefined {
    return this.#add(asker, request, { deadlineMs, to: undefined });
  }

  forward(asker: Asker, to: NodeName, request: NodeRequest, deadlineMs: number): void {
    if (!this.#here.linked(to))
      return this.answer(asker, {
        type: "refused",
        code: "NO_OWNER",
        detail: `${to} cannot be reached`,
        retryAfterMs: 500,
      });
    const askId = this.#add(asker, request, { deadlineMs, to });
    if (askId !== undefined)
      this.#here.send(to, { type: "ask", askId, epoch: this.#here.document?.epoch ?? NO_EPOCH, request });
  }

  /** The answer to what was expected or forwarded under `id`; a late or foreign one is ignored. */
  settle(id: number, answer: NodeAnswer, from?: NodeName): void {
    const pending = this.#pending.get(id);
    if (pending === undefined || (from !== undefined && pending.to !== from)) return;
    this.#pending.delete(id);
    this.answer(pending.asker, answer);
  }

  answer(asker: Asker, answer: NodeAnswer): void {
    if (asker.type === "local") this.#here.emit({ type: "answered", askId: asker.askId, answer });
    else this.#here.send(asker.name, { type: "answer", askId: asker.askId, answer });
  }

  /** The link took a question or an answer not. Whoever asked hears of it at once. */
  unsent(to: NodeName, message: Ask | Answer): void {
    if (message.type === "ask")
      return this.settle(message.askId, {
        type: "refused",
        code: "QUEUE_FULL",
        detail: `the link to ${to} takes no more now`,
        retryAfterMs: 500,
      });
    if (message.answer.type === "refused") return; // it said as little as it could
    const detail = `the answer does not fit into a message between nodes: ask for less, or ask ${this.#here.self} itself`;
    this.answer(
      { type: "peer", name: to, askId: message.askId },
      { type: "refused", code: "PAYLOAD_TOO_LARGE", detail },
    );
  }

  linkDown(peer: NodeName): void {
    for (const [id, pending] of this.#pending) {
      if (pending.to === peer)
        this.settle(id, { type: "refused", code: "NO_OWNER", detail: `the link to ${peer} broke`, retryAfterMs: 500 });
    }
  }

  tick(): void {
    const { now } = this.#here;
    if (this.#lookAt === undefined || this.#lookAt > now) return;
    this.#lookAt = undefined;
    for (const [id, pending] of this.#pending) {
      if (pending.deadline <= now) this.settle(id, { type: "refused", code: "DEADLINE", detail: "no answer in time" });
      else if (this.#lookAt === undefined || pending.deadline < this.#lookAt) this.#lookAt = pending.deadline;
    }
  }

  #add(
    asker: Asker,
    request: NodeRequest,
    { deadlineMs, to }: { readonly deadlineMs: number; readonly to: NodeName | undefined },
  ): number | undefined {
    const isWait = request.type === "task" && request.request.type === "wait";
    if (this.#pending.size >= (isWait ? WAIT_LIMIT : ASK_LIMIT)) {
      this.answer(asker, {
        type: "refused",
        code: "QUEUE_FULL",
        detail: "too many questions wait for an answer",
        retryAfterMs: 200,
      });
      return undefined;
    }
    const id = ++this.#nextId;
    const deadline = this.#here.now + deadlineMs;
    this.#pending.set(id, { asker, deadline, to });
    if (this.#lookAt === undefined || deadline < this.#lookAt) this.#lookAt = deadline;
    return id;
  }
}

const ASK_LIMIT = 20_000;
const WAIT_LIMIT = 15_000;
/** Of a newcomer that has not learnt the ring yet. */
const NO_EPOCH: Epoch = 0 as Epoch;
