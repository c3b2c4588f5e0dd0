/**
 * Between the task engine and the rest of the node: who waits for which outcome, and what the engine wants done after
 * each step.
 */

import type { NodeName, Partition } from "../ids.ts";
import type { Row } from "../store.ts";
import type { TaskAnswer, TaskEngineContract, TaskEvent } from "../tasks/engine-contract.ts";
import type { TaskRecord } from "../tasks/task.ts";
import type { Commits } from "./commits.ts";
import type { Here } from "./here.ts";
import type { Forward } from "./messages.ts";
import type { OutcomeSink, Router } from "./router.ts";
import { ClientSink, ForwardSink, OutboxSink, Slots } from "./sinks.ts";

export interface DeskParts {
  readonly engine: TaskEngineContract;
  readonly commits: Commits;
  router(): Router;
  nextReadId(): number;
  answered(requestId: number, answer: TaskAnswer): void;
}

export class Desk {
  readonly #here: Here;
  readonly #parts: DeskParts;
  readonly #slots = new Slots();
  readonly #clients = new Map<number, ClientSink>();
  readonly #outboxes = new Map<Partition, OutboxSink>();
  /** Reads of lane state under way: the engine's number by the node's. */
  readonly #stateReads = new Map<number, number>();
  readonly #touched: ClientSink[] = [];

  constructor(here: Here, parts: DeskParts) {
    this.#here = here;
    this.#parts = parts;
  }

  fromClient(origin: number, tokens: readonly number[], records: readonly TaskRecord[]): void {
    let sink = this.#clients.get(origin);
    if (sink === undefined) {
      sink = new ClientSink(origin, (touched) => void this.#touched.push(touched));
      this.#clients.set(origin, sink);
    }
    this.#parts.router().submit(sink, tokens, records);
  }

  fromPeer(from: NodeName, forward: Forward): void {
    const { forwardId, epoch, origin, records } = forward;
    const sink = new ForwardSink({ from, forwardId, epoch, origin, count: records.length }, (done) =>
      this.#here.send(from, {
        type: "forwarded",
        forwardId,
        epoch: this.#here.document?.epoch ?? forward.epoch,
        outcomes: done.outcomes,
      }),
    );
    this.#parts.router().submit(
      sink,
      records.map((_, index) => index),
      records,
    );
  }

  /** The client is gone: its outcomes are dropped, its tasks stay. */
  forget(origin: number): void {
    this.#clients.delete(origin);
  }

  /** To the engine; the sink hears once, when the task is durable or refused. */
  submit(partition: Partition, record: TaskRecord, sink: OutcomeSink, token: number): void {
    this.#parts.engine.submit(this.#here.now, partition, record, this.#slots.take(sink, token), sink.origin);
  }

  /** True if the read was the engine's. */
  rows(readId: number, rows: readonly Row[]): boolean {
    const stateRead = this.#stateReads.get(readId);
    if (stateRead === undefined) return false;
    this.#stateReads.delete(readId);
    this.#parts.engine.stateLoaded(this.#here.now, stateRead, rows);
    return true;
  }

  /** Carries what the engine wants until nothing more comes of it. */
  drain(): void {
    const { engine, commits } = this.#parts;
    const { output } = engine;
    while (
      output.outbox.length > 0 ||
      output.outcomes.length > 0 ||
      output.changes.length > 0 ||
      output.stateReads.length > 0 ||
      output.answers.length > 0
    ) {
      for (const written of output.changes) commits.collect(written);
      output.changes.length = 0;
      for (const { token, outcome } of output.outcomes.splice(0)) this.#slots.settle(token, outcome);
      for (const { partition, prefix, readId } of output.stateReads) {
        const own = this.#parts.nextReadId();
        this.#stateReads.set(own, readId);
        this.#here.emit({
          type: "read",
          readId: own,
          directory: { type: "own" },
          request: { partition, prefix, rowLimit: STATE_ROWS, byteLimit: STATE_BYTES },
        });
      }
      output.stateReads.length = 0;
      for (const { requestId, answer } of output.answers.splice(0)) this.#parts.answered(requestId, answer);
      for (const { partition, outboxId, record } of output.outbox.splice(0))
        this.#parts.router().submit(this.#outbox(partition), [outboxId], [record]);
    }
    if (output.starts.length > 0) this.#here.emit({ type: "start", attempts: output.starts.splice(0) });
    for (const { attemptId, reason } of output.aborts.splice(0)) this.#here.emit({ type: "abort", attemptId, reason });
    if (output.events.length > 0) this.#tell(output.events.splice(0));
  }

  /** Outcomes of the step, one effect for each client. */
  flushOutcomes(): void {
    for (const sink of this.#touched) {
      if (this.#clients.has(sink.id))
        this.#here.emit({ type: "outcomes", origin: sink.id, tokens: sink.tokens, outcomes: sink.outcomes });
      sink.tokens = [];
      sink.outcomes = [];
    }
    this.#touched.length = 0;
  }

  #tell(events: readonly TaskEvent[]): void {
    this.#here.emit({ type: "task-events", events });
    let first: Extract<TaskEvent, { type: "state-aside" }> | undefined;
    let count = 0;
    for (const event of events) {
      if (event.type !== "state-aside") continue;
      first ??= event;
      count++;
    }
    if (first !== undefined)
      this.#here.note(
        "state-aside",
        `${count} keys, such as ${first.key} of ${first.app}: state that came back gave way to what was written meanwhile, and is kept aside`,
      );
  }

  #outbox(partition: Partition): OutboxSink {
    let sink = this.#outboxes.get(partition);
    if (sink === undefined) {
      sink = new OutboxSink(partition, (of, id, outcome) =>
        this.#parts.engine.childSent(this.#here.now, of, id, outcome),
      );
      this.#outboxes.set(partition, sink);
    }
    return sink;
  }
}

/** More names than a key's state may have. */
const STATE_ROWS = 10_000;
const STATE_BYTES = 16_777_216;
