/** Where outcomes of submitted tasks go: a client's stream, a peer that forwarded, or the outbox of a parent task. */

import type { NodeName, Partition } from "../ids.ts";
import type { SubmitOutcome } from "../tasks/task.ts";
import type { OutcomeSink } from "./router.ts";

/** Outcomes for one client stream or call, collected over a step. */
export class ClientSink implements OutcomeSink {
  readonly forwarded = false;
  readonly origin = "client";
  readonly id: number;
  tokens: number[] = [];
  outcomes: SubmitOutcome[] = [];
  readonly #touched: (sink: ClientSink) => void;

  constructor(id: number, touched: (sink: ClientSink) => void) {
    this.id = id;
    this.#touched = touched;
  }

  settle(token: number, outcome: SubmitOutcome): void {
    if (this.tokens.length === 0) this.#touched(this);
    this.tokens.push(token);
    this.outcomes.push(outcome);
  }
}

/** Outcomes of one `forward` of a peer; told when all are there. Tokens are indexes. */
export class ForwardSink implements OutcomeSink {
  readonly forwarded = true;
  readonly origin: "client" | "child";
  readonly from: NodeName;
  readonly forwardId: number;
  readonly epoch: number;
  readonly outcomes: SubmitOutcome[];
  #missing: number;
  readonly #complete: (sink: ForwardSink) => void;

  constructor(
    forward: { from: NodeName; forwardId: number; epoch: number; origin: "client" | "child"; count: number },
    complete: (sink: ForwardSink) => void,
  ) {
    this.from = forward.from;
    this.forwardId = forward.forwardId;
    this.epoch = forward.epoch;
    this.origin = forward.origin;
    this.outcomes = new Array<SubmitOutcome>(forward.count);
    this.#missing = forward.count;
    this.#complete = complete;
  }

  settle(token: number, outcome: SubmitOutcome): void {
    this.outcomes[token] = outcome;
    if (--this.#missing === 0) this.#complete(this);
  }
}

/** Outcomes of the children of one partition's tasks. Tokens are outbox ids. */
export class OutboxSink implements OutcomeSink {
  readonly forwarded = false;
  readonly origin = "child";
  readonly #partition: Partition;
  readonly #sent: (partition: Partition, outboxId: number, outcome: SubmitOutcome) => void;

  constructor(partition: Partition, sent: (partition: Partition, outboxId: number, outcome: SubmitOutcome) => void) {
    this.#partition = partition;
    this.#sent = sent;
  }

  settle(token: number, outcome: SubmitOutcome): void {
    this.#sent(this.#partition, token, outcome);
  }
}

/** Numbers for tasks that the engine holds until they are durable: which sink waits, and under which token. */
export class Slots {
  readonly #sinks: (OutcomeSink | undefined)[] = [];
  readonly #tokens: number[] = [];
  readonly #free: number[] = [];

  take(sink: OutcomeSink, token: number): number {
    const slot = this.#free.pop() ?? this.#sinks.length;
    this.#sinks[slot] = sink;
    this.#tokens[slot] = token;
    return slot;
  }

  settle(slot: number, outcome: SubmitOutcome): void {
    const sink = this.#sinks[slot];
    if (sink === undefined) return;
    this.#sinks[slot] = undefined;
    this.#free.push(slot);
    sink.settle(this.#tokens[slot]!, outcome);
  }
}
