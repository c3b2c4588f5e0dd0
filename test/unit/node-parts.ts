/**
 * The partitions of one node without the rest of it: hosting, transfers, commits and a real task engine over a disk in memory.
 * A test says which document is known and what peers send, and sees what leaves.
 */

import type { RingDocument, Stranded } from "../../ring/document.ts";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import type { Epoch, MemberId, NodeName, Partition, RingId } from "../../ring/ids.ts";
import { Commits } from "../../ring/node/commits.ts";
import { copyFor } from "../../ring/node/copies.ts";
import type { Directory, NodeEffect } from "../../ring/node/effects.ts";
import { Hosting } from "../../ring/node/hosting.ts";
import { Incoming } from "../../ring/node/incoming.ts";
import type { NodeMessage, TransferMessage } from "../../ring/node/messages.ts";
import { Outgoing } from "../../ring/node/outgoing.ts";
import { TransferLimit } from "../../ring/node/transfer.ts";
import type { Row } from "../../ring/store.ts";
import { TaskEngine } from "../../ring/tasks/engine.ts";
import { isRefused, parseRecord } from "../../ring/tasks/record.ts";
import { encodeRecord } from "../../ring/tasks/record-encode.ts";
import type { Attempt } from "../../ring/tasks/task.ts";
import { mintId } from "../../ring/tasks/task-id.ts";
import { Disk } from "../../services/testing/disk.ts";
import { seededRandom } from "../../services/testing/random.ts";
import { handlerEnd, SimulatedApps } from "../simulation/apps.ts";

const RING_SIZE = 8;

export class Parts {
  readonly self: NodeName;
  readonly disk: Disk;
  readonly engine: TaskEngine;
  readonly commits: Commits;
  readonly hosting: Hosting;
  readonly incoming: Incoming;
  readonly outgoing: Outgoing;
  readonly here: {
    readonly self: NodeName;
    readonly memberId: MemberId;
    now: number;
    document: RingDocument | undefined;
    emit(effect: NodeEffect): void;
    send(to: NodeName, message: NodeMessage): void;
    linked(name: NodeName): boolean;
    note(what: string, detail: string): void;
  };
  /** Everything sent since `taken` was last called. */
  sent: { readonly to: NodeName; readonly message: NodeMessage }[] = [];
  readonly notes: string[] = [];
  readonly quarantined: Partition[] = [];
  readonly dropped: Partition[] = [];
  readonly outcomes: string[] = [];
  /** Attempts that were started, once `engine.allowStarts` was called. */
  readonly started: Attempt[] = [];
  readonly absorbed: Stranded[] = [];
  readonly consents: { readonly epoch: Epoch; readonly partition: Partition; readonly to: NodeName }[] = [];
  /** Of each consent, whether its giver shall propose the epoch itself. */
  readonly insisted: boolean[] = [];
  readonly adopted: Map<NodeName, Disk> = new Map();
  readonly unlinked: Set<NodeName> = new Set();
  /** Effects of these types wait for `release`. `flush`: nothing leaves for the disk; `sync`: what has left is not there. */
  readonly delayed: Set<NodeEffect["type"] | "flush" | "sync"> = new Set();
  #waiting: (() => void)[] = [];
  #effects: NodeEffect[] = [];
  #token = 0;
  #readId = 0;
  #nonce = 100;

  /** `limit`: without, two handoffs at once, each way. */
  constructor(
    self: string,
    disk: Disk = new Disk(self as NodeName, `id-${self}` as MemberId),
    limit: TransferLimit = twoAtOnce(),
  ) {
    this.self = self as NodeName;
    this.disk = disk;
    const random = seededRandom(self.length + 1);
    this.engine = new TaskEngine({ apps: new SimulatedApps(), random });
    this.engine.setWallOffset(1_700_000_000_000);
    this.here = {
      self: this.self,
      memberId: disk.memberId,
      now: 1_000,
      document: undefined,
      emit: (effect) => void this.#effects.push(effect),
      send: (to, message) => void this.sent.push({ to, message }),
      linked: (name) => !this.unlinked.has(name),
      note: (what, detail) => void this.notes.push(`${what} ${detail}`),
    };
    this.commits = new Commits((partition) => this.hosting.termOf(partition));
    this.hosting = new Hosting(this.here, this.engine, disk.copies(), () => ++this.#readId);
    const parts = { engine: this.engine, hosting: this.hosting, commits: this.commits, limit };
    this.incoming = new Incoming(this.here, {
      ...parts,
      hooks: { absorbed: ({ entries }) => void this.absorbed.push(...entries), busy: () => undefined },
    });
    this.outgoing = new Outgoing(this.here, {
      ...parts,
      hooks: {
        consent: (epoch, partition, to, insist) => {
          this.consents.push({ epoch, partition, to });
          this.insisted.push(insist);
        },
        nextReadId: () => ++this.#readId,
        nonce: () => ++this.#nonce,
        holds: (entry): Directory | undefined => {
          if (entry.member === this.self) return { type: "own" };
          return this.adopted.has(entry.member) ? { type: "adopted", member: entry.member } : undefined;
        },
        copyFor: (entry) => {
          if (entry.member === this.self) return this.hosting.copyFor(entry);
          const copies = this.adopted.get(entry.member)?.copies() ?? [];
          return copyFor(copies.find(({ partition }) => partition === entry.partition)?.term, entry);
        },
      },
    });
  }

  follow(document: RingDocument): void {
    this.here.document = document;
    this.hosting.follow(document);
    this.incoming.follow(document);
    this.outgoing.follow(document);
    this.run();
  }

  foresee(document: RingDocument): void {
    this.hosting.foresee(document);
    this.run();
  }

  receive(from: string, message: TransferMessage): void {
    this.incoming.receive(from as NodeName, message);
    this.outgoing.receive(from as NodeName, message);
    this.run();
  }

  tick(advanceMs: number): void {
    this.here.now += advanceMs;
    this.engine.tick(this.here.now);
    this.incoming.tick();
    this.outgoing.pump();
    this.run();
  }

  submit(partition: Partition, key: string = keyIn(partition)): string {
    const record = taskRecord(key, this.here.now);
    this.engine.submit(this.here.now, partition, record, ++this.#token, "client");
    this.run();
    return record.id;
  }

  /** A lease, or none. */
  allowStarts(allowed: boolean): void {
    this.engine.allowStarts(this.here.now, allowed);
    this.run();
  }

  /** The handler of an attempt returns. */
  end(attempt: Attempt): void {
    this.engine.ended(this.here.now, [handlerEnd(attempt, false)]);
    this.outgoing.attemptsEnded();
    this.run();
  }

  /** The ids that have a row of a queued task in the partition. */
  stored(partition: Partition, disk: Disk = this.disk): string[] {
    return disk.page({ partition, prefix: TASK_KIND, rowLimit: 10_000, byteLimit: 1e9 }).rows.map(idOf);
  }

  taken(): { readonly to: NodeName; readonly message: NodeMessage }[] {
    const { sent } = this;
    this.sent = [];
    return sent;
  }

  said(type: NodeMessage["type"]): NodeMessage[] {
    return this.sent.filter(({ message }) => message.type === type).map(({ message }) => message);
  }

  release(type: NodeEffect["type"] | "flush" | "sync"): void {
    this.delayed.delete(type);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
    this.run();
  }

  /** Lets the first of what waits happen. */
  releaseOne(): void {
    this.#waiting.shift()?.();
    this.run();
  }

  /** Performs what is wanted until nothing more comes of it. */
  run(): void {
    for (;;) {
      this.#drain();
      const effects = this.#effects;
      this.#effects = [];
      for (const effect of effects) {
        if (!this.delayed.has(effect.type)) this.#perform(effect);
        else if (effect.type === "read")
          this.#waiting.push(this.#read(effect)); // read now, heard of later
        else this.#waiting.push(() => this.#perform(effect));
      }
      if (this.delayed.has("flush") || !this.commits.wanting) {
        if (effects.length === 0) return;
        continue;
      }
      const commit = this.commits.flush()!;
      this.engine.group = this.commits.group;
      for (const { partition, changes } of commit.groups) this.outgoing.leaving(partition, changes);
      const synced = (): void => {
        this.disk.commit(commit.groups);
        this.engine.durable(this.here.now, commit.group);
        this.commits.settled(commit.group, this.outgoing);
      };
      if (this.delayed.has("sync")) this.#waiting.push(synced);
      else synced();
    }
  }

  #drain(): void {
    const { output } = this.engine;
    for (const written of output.changes.splice(0)) this.commits.collect(written);
    for (const { outcome } of output.outcomes.splice(0)) this.outcomes.push(outcome.type);
    for (const { partition, prefix, readId } of output.stateReads.splice(0)) {
      const { rows } = this.disk.page({ partition, prefix, rowLimit: 1_000, byteLimit: 1e9 });
      const heard = (): void => this.engine.stateLoaded(this.here.now, readId, rows);
      if (this.delayed.has("read")) this.#waiting.push(heard);
      else heard();
    }
    this.started.push(...output.starts.splice(0));
    output.aborts.length = 0;
    output.events.length = 0;
    output.outbox.length = 0;
    if (output.changes.length + output.starts.length + output.stateReads.length > 0) this.#drain();
  }

  #perform(effect: NodeEffect): void {
    switch (effect.type) {
      case "open":
        return this.hosting.opened(
          effect.partition,
          this.disk.open(effect.partition, { history: effect.history, generation: effect.generation }),
        );
      case "drop": {
        this.dropped.push(effect.partition);
        this.disk.drop(effect.partition);
        return this.hosting.dropped(effect.partition);
      }
      case "quarantine":
        return void this.quarantined.push(effect.partition);
      case "read":
        return this.#read(effect)();
      default:
        return;
    }
  }

  #read(effect: Extract<NodeEffect, { type: "read" }>): () => void {
    const disk = effect.directory.type === "own" ? this.disk : this.adopted.get(effect.directory.member)!;
    const { rows, next } = disk.page(effect.request);
    return () => {
      if (!this.hosting.rows(effect.readId, rows, next)) this.outgoing.rows(effect.readId, rows, next);
    };
  }
}

export interface DocumentFields {
  readonly epoch: number;
  readonly owner?: string;
  readonly next?: string | undefined;
  readonly generation?: number;
  readonly stranded?: readonly Stranded[];
  readonly history?: number;
}

/** A ring of members a, b and c in which partition 0 is as said and the others are a's. */
export function documentOf(fields: DocumentFields): RingDocument {
  const { epoch, owner = "a", next, generation = 1, stranded = [], history = 1 } = fields;
  const members = ["a", "b", "c"].map((name) => ({
    name: name as NodeName,
    id: `id-${name}` as MemberId,
    status: "valid" as const,
    weight: 100,
    machine: "m1",
    directory: `/${name}`,
  }));
  const rest = RING_SIZE - 1;
  return {
    version: 1,
    ringId: "test" as RingId,
    history,
    epoch: epoch as Epoch,
    ringSize: RING_SIZE,
    members,
    voters: ["a", "b", "c"] as NodeName[],
    owners: [owner as NodeName, ...new Array<NodeName>(rest).fill("z" as NodeName)],
    next: [next as NodeName | undefined, ...new Array<undefined>(rest).fill(undefined)],
    generations: [generation, ...new Array<number>(rest).fill(1)],
    stranded,
    staged: [],
    applied: [],
  };
}

function twoAtOnce(): TransferLimit {
  const limit = new TransferLimit();
  limit.ask(2);
  return limit;
}

export function strandedOn(member: string, generation: number, where: Stranded["where"] = { type: "away" }): Stranded {
  return { partition: P0, member: member as NodeName, memberId: `id-${member}` as MemberId, generation, where };
}

/** Carries what each says to the other until both are silent. */
export function talk(one: Parts, other: Parts): void {
  for (let quiet = false; !quiet; ) {
    quiet = true;
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const) {
      for (const { to: name, message } of from.taken()) {
        if (name !== to.self || !message.type.startsWith("transfer-")) continue;
        to.receive(from.self, message as TransferMessage);
        quiet = false;
      }
    }
  }
}

export function keyIn(partition: number, skip: number = 0): string {
  for (let number = 0, left = skip; ; number++) {
    if (partitionOfHash(hashKey("alpha", `k${number}`), RING_SIZE) === partition && left-- === 0) return `k${number}`;
  }
}

export function taskRecord(key: string, wallMs: number): Exclude<ReturnType<typeof parseRecord>, { detail: string }> {
  const id = mintId({ wallMs: 1_700_000_000_000 + wallMs, random: Math.random, app: "alpha", key });
  const wire = encodeRecord({ app: "alpha", type: "bump", key, id });
  const record = parseRecord(wire, 0, wire.length);
  if (isRefused(record)) throw new Error(record.detail);
  return record;
}

function idOf(row: Row): string {
  const text = new TextDecoder("latin1").decode(row.value);
  return /[0-9a-f]{32}/.exec(text)?.[0] ?? "";
}

export const P0: Partition = 0 as Partition;
const TASK_KIND: Uint8Array = Uint8Array.of(0x10);
