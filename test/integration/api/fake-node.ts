/** A `RingNode` that answers what the test tells it to: the API and the client are tested against it over real sockets. */

import type { RingDocument } from "../../../ring/document.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../../../ring/ids.ts";
import type { NodeAddresses, RingEvent, RingNode, SubmitOrigin } from "../../../ring/node/port.ts";
import type { NodeAnswer, NodeRequest } from "../../../ring/node/requests.ts";
import type { StoreHoldings } from "../../../ring/store.ts";
import type { SubmitOutcome, TaskRecord } from "../../../ring/tasks/task.ts";

export type Judge = (record: TaskRecord) => SubmitOutcome | undefined;

export class FakeNode implements RingNode {
  readonly name: NodeName;
  /** Tasks in the order of their first acceptance. */
  accepted: TaskRecord[] = [];
  known: Map<string, TaskRecord> = new Map();
  readonly forgotten: SubmitOrigin[] = [];
  /** Outcomes held back while set; released by `release`. */
  holding: boolean = false;
  /** Largest number of tasks that were held at once. */
  heldMost: number = 0;
  /** Decides; undefined accepts. */
  judge: Judge = () => undefined;
  answer: (request: NodeRequest, to: NodeName | undefined) => NodeAnswer | Promise<NodeAnswer> = () => ({
    type: "refused",
    code: "UNIMPLEMENTED",
    detail: "the test gave no answer",
  });
  readonly events: RingEvent[] = [];
  readonly addresses: Map<NodeName, NodeAddresses> = new Map();
  document_: RingDocument | undefined;
  readonly #held: { readonly origin: SubmitOrigin; readonly token: number; readonly record: TaskRecord }[] = [];
  readonly #documentListeners = new Set<(document: RingDocument) => void>();
  readonly #eventListeners = new Set<(event: RingEvent) => void>();

  constructor(name: string = "n1", document: RingDocument | undefined = documentOf(["n1"])) {
    this.name = name as NodeName;
    this.document_ = document;
  }

  async holdings(): Promise<StoreHoldings | undefined> {
    return undefined;
  }

  document(): RingDocument | undefined {
    return this.document_;
  }

  members(): [] {
    return [];
  }

  member(): undefined {
    return undefined;
  }

  addressesOf(name: NodeName): NodeAddresses | undefined {
    return this.addresses.get(name);
  }

  ownerOf(partition: Partition): NodeName | undefined {
    return this.document_?.owners[partition];
  }

  get held(): number {
    return this.#held.length;
  }

  submit(origin: SubmitOrigin, tokens: readonly number[], records: readonly TaskRecord[]): void {
    if (this.holding) {
      for (const [index, record] of records.entries())
        this.#held.push({ origin, token: tokens[index] as number, record });
      this.heldMost = Math.max(this.heldMost, this.#held.length);
      return;
    }
    const outcomes = records.map((record) => this.#decide(record));
    origin.outcomes(tokens, outcomes);
  }

  release(count: number = Number.POSITIVE_INFINITY): void {
    for (const { origin, token, record } of this.#held.splice(0, count))
      origin.outcomes([token], [this.#decide(record)]);
  }

  #decide(record: TaskRecord): SubmitOutcome {
    const verdict = this.judge(record);
    if (verdict !== undefined) return verdict;
    if (this.known.has(record.id)) return { type: "duplicate", id: record.id, state: "queued" };
    this.known.set(record.id, record);
    this.accepted.push(record);
    return { type: "accepted", id: record.id };
  }

  forget(origin: SubmitOrigin): void {
    this.forgotten.push(origin);
  }

  async ask(
    request: NodeRequest,
    options: { readonly deadlineMs: number; readonly to?: NodeName },
  ): Promise<NodeAnswer> {
    return this.answer(request, options.to);
  }

  onRingEvent(listener: (event: RingEvent) => void): () => void {
    this.#eventListeners.add(listener);
    return () => this.#eventListeners.delete(listener);
  }

  onTaskEvents(): () => void {
    return () => undefined;
  }

  onDocument(listener: (document: RingDocument) => void): () => void {
    this.#documentListeners.add(listener);
    return () => this.#documentListeners.delete(listener);
  }

  recentEvents(): readonly RingEvent[] {
    return this.events;
  }

  emit(event: RingEvent): void {
    for (const listener of this.#eventListeners) listener(event);
  }

  learn(document: RingDocument): void {
    this.document_ = document;
    for (const listener of this.#documentListeners) listener(document);
  }
}

/** What a node answers of a task that is done. */
export function doneTask(id: string, result?: Uint8Array): NodeAnswer {
  const status = {
    id,
    app: "acme",
    type: "t",
    key: "k",
    state: "done",
    attempts: 1,
    partition: 0 as Partition,
    acceptedAtMs: 1,
    endedAtMs: 2,
    ...(result === undefined ? {} : { result }),
  } as const;
  return { type: "task", answer: { type: "task", status } };
}

/** A ring of 64 partitions that go round over the names. */
export function documentOf(names: readonly string[], changes: Partial<RingDocument> = {}): RingDocument {
  const members = [...names].sort().map((name) => ({
    name: name as NodeName,
    id: `id-${name}` as MemberId,
    status: "valid" as const,
    weight: 100,
    machine: "m",
    directory: `/data/${name}`,
  }));
  return {
    version: 1,
    ringId: "ring" as RingId,
    history: 1,
    epoch: 7 as Epoch,
    ringSize: 64,
    members,
    voters: members.slice(0, 1).map((member) => member.name),
    owners: Array.from({ length: 64 }, (_, partition) => members[partition % members.length]?.name),
    next: new Array(64).fill(undefined),
    generations: new Array(64).fill(1),
    stranded: [],
    staged: [],
    applied: [],
    ...changes,
  };
}

export const quiet: { error(): void; warn(): void } = { error: (): void => undefined, warn: (): void => undefined };

/** Resolves when `check` holds; rejects after `deadlineMs`. */
export async function until(check: () => boolean, deadlineMs: number = 5_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!check()) {
    if (performance.now() > end) throw new Error(`still not: ${check.toString()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
