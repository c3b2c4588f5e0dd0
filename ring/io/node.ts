/**
 * Drives one node machine on real clocks, sockets and disks, and is the running node that the API sees.
 *
 * Everything that happens becomes an event and is stepped in order; what a step wants is performed here and nowhere else.
 * B1  stands in `own-store.ts`; what it says holds for every file of the own directory.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { MemberView } from "../membership/events.ts";
import type { NodeEffect, NodeEvent } from "../node/effects.ts";
import type { NodeMessage } from "../node/messages.ts";
import type { NodeMachine } from "../node/node.ts";
import type { NodeAddresses, RingEvent, RingNode, SubmitOrigin } from "../node/port.ts";
import type { NodeAnswer, NodeRequest, NodeStatus } from "../node/requests.ts";
import type { RowPage, StoreHoldings } from "../store.ts";
import type { TaskEvent } from "../tasks/engine-contract.ts";
import type { AbortReason, Attempt, AttemptEnd, TaskRecord } from "../tasks/task.ts";
import type { AdoptedDirectories } from "./adopted.ts";
import { Announcements, type NodeLog } from "./announcements.ts";
import { type DataDirectory, markStopping } from "./directory.ts";
import type { Gossip } from "./gossip.ts";
import { OwnStore } from "./own-store.ts";
import { type AskOptions, Questions } from "./questions.ts";
import type { RegisterFile } from "./register-file.ts";
import { RegisterWrites } from "./register-writes.ts";
import { isWantOfRoom } from "./room.ts";
import type { SeatStore } from "./seats.ts";
import { StepLoop } from "./step-loop.ts";
import type { NodeStore } from "./store/node-store.ts";
import { Turns } from "./turns.ts";

export interface PeerLinks {
  send(to: NodeName, message: NodeMessage): boolean;
  connect(names: readonly NodeName[]): void;
  prune(keep: readonly NodeName[]): void;
}

export interface AttemptRunner {
  start(attempts: readonly Attempt[]): void;
  abort(attemptId: number, reason: AbortReason): void;
}

export interface NodeWorld {
  readonly name: NodeName;
  readonly machine: NodeMachine;
  readonly store: NodeStore;
  readonly directory: DataDirectory;
  readonly register: RegisterFile;
  readonly adopted: AdoptedDirectories;
  readonly gossip: () => Gossip;
  readonly peers: () => PeerLinks;
  readonly runner: () => AttemptRunner;
  /** Of a store that all nodes share. */
  readonly seats?: SeatStore;
  /** Partitions are opened after this: until then a shared store may turn out to be another ring's. */
  readonly mayOpen?: Promise<void>;
  readonly log: NodeLog;
  /** A commit is synced, this long after it was handed to the store. */
  readonly onCommit?: (durationMs: number) => void;
  readonly warnings?: () => NodeStatus["warnings"];
  /** The process is to end. */
  readonly onExit: (code: number, reason: string) => void;
}

export class NodeDriver implements RingNode {
  readonly name: NodeName;
  readonly #world: NodeWorld;
  readonly #machine: NodeMachine;
  readonly #own: OwnStore;
  readonly #registers: RegisterWrites;
  readonly #loop: StepLoop;
  readonly #announcements: Announcements;
  #flushing = false;
  readonly #pages = { own: new Turns(1), adopted: new Turns(ADOPTED_PAGES) };
  #originId = 0;
  readonly #questions = new Questions((event) => this.step(event));
  readonly #origins = new Map<number, SubmitOrigin>();
  readonly #originIds = new Map<SubmitOrigin, number>();
  #clockTimer: NodeJS.Timeout | undefined;

  constructor(world: NodeWorld) {
    this.#world = world;
    const { name, machine, store, log, mayOpen, onCommit, onExit, register, seats } = world;
    this.name = name;
    this.#machine = machine;
    this.#announcements = new Announcements(name, log);
    this.#loop = new StepLoop({
      machine,
      perform: (effect) => this.#perform(effect),
      broken: (error, event) => {
        log.error({ err: error, event: event.type }, "a broken invariant stops the node");
        onExit(EXIT_INVARIANT, error instanceof Error ? error.message : String(error));
        this.close();
      },
    });
    this.#registers = new RegisterWrites({
      register,
      seats,
      step: (event) => this.step(event),
      failed: (error) => this.#failed(error),
    });
    this.#own = new OwnStore({
      store,
      log,
      ...(mayOpen === undefined ? {} : { mayOpen }),
      ...(onCommit === undefined ? {} : { onCommit }),
      step: (event) => this.step(event),
      note: (what, detail) => this.#announcements.note(what, detail),
      failed: (error) => this.#failed(error),
      isClosed: () => this.#loop.isClosed,
      owns: (partition, generation) => {
        const { document } = this.#machine;
        const known = document?.generations[partition] ?? 0;
        return known < generation || (known === generation && document?.owners[partition] === this.name);
      },
    });
  }

  start(): void {
    this.step({ type: "start", wallOffsetMs: Date.now() - performance.now() });
    this.#clockTimer = setInterval(() => this.#watchClocks(), CLOCK_WATCH_MS);
    this.#clockTimer.unref();
  }

  /** Asks for an orderly end; `onExit` follows. */
  stop(graceMs: number): void {
    this.step({ type: "stop", graceMs });
  }

  /** No more steps; nothing is written after this. */
  close(): void {
    this.#loop.close();
    this.#questions.close();
    clearInterval(this.#clockTimer);
  }

  ended(ends: readonly AttemptEnd[]): void {
    this.step({ type: "ended", ends });
  }

  step(event: NodeEvent): void {
    this.#loop.step(event);
  }

  // What the API sees.

  get sharesStore(): boolean {
    return this.#world.store.shared;
  }

  document(): RingDocument | undefined {
    return this.#machine.document;
  }

  members(): readonly MemberView[] {
    return this.#machine.members();
  }

  member(name: NodeName): MemberView | undefined {
    return this.#machine.member(name);
  }

  addressesOf(name: NodeName): NodeAddresses | undefined {
    const member = this.#machine.member(name);
    if (member === undefined) return undefined;
    const { host } = member.address;
    return { grpc: addressOf(host, member.tags.get("grpc")), http: addressOf(host, member.tags.get("http")) };
  }

  ownerOf(partition: Partition): NodeName | undefined {
    return this.#machine.document?.owners[partition];
  }

  submit(origin: SubmitOrigin, tokens: readonly number[], records: readonly TaskRecord[]): void {
    let id = this.#originIds.get(origin);
    if (id === undefined) {
      id = ++this.#originId;
      this.#originIds.set(origin, id);
      this.#origins.set(id, origin);
    }
    this.step({ type: "submit", origin: id, tokens, records });
  }

  forget(origin: SubmitOrigin): void {
    const id = this.#originIds.get(origin);
    if (id === undefined) return;
    this.#originIds.delete(origin);
    this.#origins.delete(id);
    this.step({ type: "forget", origin: id });
  }

  async ask(request: NodeRequest, options: AskOptions): Promise<NodeAnswer> {
    return this.#questions.ask(request, options);
  }

  onRingEvent(listener: (event: RingEvent) => void): () => void {
    return this.#announcements.onRingEvent(listener);
  }

  onTaskEvents(listener: (events: readonly TaskEvent[]) => void): () => void {
    return this.#announcements.onTaskEvents(listener);
  }

  onDocument(listener: (document: RingDocument) => void): () => void {
    return this.#announcements.onDocument(listener);
  }

  recentEvents(): readonly RingEvent[] {
    return this.#announcements.recent;
  }

  async holdings(): Promise<StoreHoldings | undefined> {
    return this.#world.store.holdings?.();
  }

  /** Transfers under way to here and from here. */
  activeTransfers(): { readonly in: number; readonly out: number } {
    const out = this.#machine.transfers().filter((transfer) => transfer.phase !== "waiting").length;
    return { in: this.#machine.arrivals(), out };
  }

  holdsLease(): boolean {
    return this.#machine.holdsLease(performance.now());
  }

  #send(to: NodeName, message: NodeMessage): void {
    const told = message.type === "answer" ? { ...message, answer: this.#completed(message.answer) } : message;
    if (this.#world.peers().send(to, told)) return;
    if (told.type === "forward" || told.type === "ask" || told.type === "answer")
      this.step({ type: "unsent", to, message: told });
  }

  /** The machine does not know the disk: its figures are filled in here. */
  #completed(answer: NodeAnswer): NodeAnswer {
    if (answer.type !== "node-status" || answer.status.name !== this.name) return answer;
    const { broken } = this.#world.store;
    const store = { ...this.#world.store.stats(), ...(broken === undefined ? {} : { broken: broken.message }) };
    const warnings = [...answer.status.warnings, ...this.#own.warnings(), ...(this.#world.warnings?.() ?? [])];
    return { type: "node-status", status: { ...answer.status, warnings, store } };
  }

  // Effects.

  #perform(effect: NodeEffect): void {
    const { adopted } = this.#world;
    switch (effect.type) {
      case "flush-soon":
        if (this.#flushing) return;
        this.#flushing = true;
        setImmediate(() => {
          this.#flushing = false;
          this.step({ type: "flush" });
        });
        return;
      case "start":
        return this.#world.runner().start(effect.attempts);
      case "abort":
        return this.#world.runner().abort(effect.attemptId, effect.reason);
      case "commit":
        return this.#own.commit(effect);
      case "outcomes":
        return this.#origins.get(effect.origin)?.outcomes(effect.tokens, effect.outcomes);
      case "send":
        this.#send(effect.to, effect.message);
        return;
      case "swim":
        if (!this.#world.gossip().perform(effect.effect)) this.#announcements.gossip(effect.effect);
        return;
      case "answered":
        this.#questions.answered(effect.askId, this.#completed(effect.answer));
        return;
      case "links":
        this.#world.peers().connect(effect.to);
        this.#world.peers().prune(effect.to);
        return;
      case "persist-register": {
        const { of, sequence, state, seat } = effect;
        if (of === this.name) return this.#registers.own(effect);
        if (seat !== undefined) return this.#registers.another(effect, seat);
        const event = { type: "register-persisted", of, sequence } as const;
        return this.#attempt(of, adopted.persistRegister(of, state), () => event);
      }
      case "claim-seat": {
        const claimed = this.#world.seats?.claim(effect.claim);
        const { of } = effect.claim;
        if (claimed !== undefined) this.#write(claimed, (result) => ({ type: "seat", of, result }));
        return;
      }
      case "leave-seat":
        return void this.#world.seats?.leave(effect.token).catch((error: unknown) => this.#failed(error));
      case "commit-adopted":
        return this.#attempt(effect.member, adopted.commit(effect.member, effect.groups), () => ({
          type: "adopted-committed",
          writeId: effect.writeId,
        }));
      case "open":
        return this.#own.open(effect);
      case "read":
        // A task waits for the state of its key; whoever reads page after page lets others have their turn between them.
        if (effect.request.prefix !== undefined) return this.#read(effect);
        return this.#pages[effect.directory.type].add(() => {
          if (!this.#loop.isClosed) this.#read(effect);
        });
      case "drop": {
        const { directory, partition } = effect;
        const event = { type: "dropped", directory, partition } as const;
        if (directory.type === "own") return this.#write(this.#own.drop(partition), () => event);
        return this.#attempt(directory.member, adopted.drop(directory.member, partition), () => event);
      }
      case "quarantine":
        return this.#own.setAside(effect.partition, effect.why);
      case "try-lock": {
        const { member } = effect;
        const asked = adopted.tryLock({ name: member, id: effect.memberId, path: effect.directory });
        return void asked.then((result) => this.step({ type: "lock", member, result }));
      }
      case "release-lock":
        return void adopted
          .release(effect.member)
          .catch((error: unknown) => this.#world.log.error({ err: error }, "an adopted directory could not be closed"));
      case "document": {
        const { document } = this.#machine;
        if (document !== undefined) this.#announcements.document(document);
        return;
      }
      case "note":
        return this.#announcements.note(effect.what, effect.detail);
      case "task-events":
        return this.#announcements.tasks(effect.events);
      case "mark-stopping":
        return this.#write(markStopping(this.#world), () => ({ type: "marked" }));
      case "mark-given":
        return this.#write(this.#world.directory.writeMarker("given-up", String(effect.epoch)), () => ({
          type: "given-marked",
          epoch: effect.epoch,
        }));
      case "exit":
        return this.#world.onExit(effect.code, effect.reason);
    }
  }

  #read({ directory, readId, request }: Extract<NodeEffect, { type: "read" }>): void {
    const { store, adopted } = this.#world;
    const page = directory.type === "own" ? store.page(request) : adopted.page(directory.member, request);
    const event = ({ rows, next }: RowPage): NodeEvent => ({
      type: "rows",
      readId,
      rows,
      ...(next === undefined ? {} : { next }),
    });
    return directory.type === "own" ? this.#write(page, event) : this.#attempt(directory.member, page, event);
  }

  /** A write to the own directory: its failure ends the node (B1). */
  #write<T>(written: Promise<T>, event: (result: T) => NodeEvent): void {
    written.then(
      (result) => this.step(event(result)),
      (error: unknown) => this.#failed(error),
    );
  }

  #failed(error: unknown): void {
    if (this.#loop.isClosed) return;
    this.#world.log.error({ err: error }, "the store failed");
    this.step({ type: "store-broken", detail: error instanceof Error ? error.message : String(error) });
  }

  /** Work on another's directory: its failure costs this node nothing, and the machine decides what to do about it. */
  #attempt<T>(member: NodeName, done: Promise<T>, event: (result: T) => NodeEvent): void {
    done.then(
      (result) => this.step(event(result)),
      (error: unknown) => {
        const passing = isWantOfRoom(error);
        const detail = error instanceof Error ? error.message : String(error);
        if (!this.#loop.isClosed && !passing)
          this.#world.log.error({ err: error, member }, "work on an adopted directory failed");
        this.step({ type: "adopted-failed", member, passing, detail });
      },
    );
  }

  #watchClocks(): void {
    this.step({ type: "wall", offsetMs: Date.now() - performance.now() });
    this.#own.watchDisk();
  }
}

function addressOf(host: string, tag: string | undefined): string {
  // A tag is anybody's text: nothing but a port, or a host with a port, is dialled.
  if (tag === undefined || !/^([\w.[\]:-]{1,255}:)?\d{1,5}$/.test(tag)) return "";
  const shown = host.includes(":") ? `[${host}]` : host;
  return tag.includes(":") ? tag : `${shown}:${tag}`;
}

/** In a turn: all keys of an adopted directory wait until it is read, and those that run leave few turns. */
const ADOPTED_PAGES = 4;
const CLOCK_WATCH_MS = 1_000;
const EXIT_INVARIANT = 70;
