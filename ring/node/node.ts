/**
 * One whole node as a state machine: membership, register, lease, claimant, partitions, transfers, adoption and tasks,
 * composed in one place. The driver runs it on real sockets and disks, the simulator in virtual time.
 *
 * N2  What a step wants done leaves it in order; row changes leave as numbered commit groups, one in flight.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName, Partition } from "../ids.ts";
import type { Instant, Machine } from "../machine.ts";
import type { MemberView } from "../membership/events.ts";
import type { Row } from "../store.ts";
import type { NodeEffect, NodeEvent } from "./effects.ts";
import { Inbox } from "./inbox.ts";
import type { NodeMessage } from "./messages.ts";
import type { NodeOptions } from "./node-options.ts";
import { Parts } from "./parts.ts";
import type { TransferView } from "./requests.ts";

export class NodeMachine implements Machine<NodeEvent, NodeEffect> {
  readonly #parts: Parts;
  readonly #inbox: Inbox;
  #effects: NodeEffect[] = [];
  #loopback: NodeMessage[] = [];
  #flushAsked = false;

  constructor(options: NodeOptions) {
    this.#parts = new Parts(options, {
      emit: (effect) => void this.#effects.push(effect),
      toSelf: (message) => void this.#loopback.push(message),
    });
    this.#inbox = new Inbox(this.#parts);
  }

  get document(): RingDocument | undefined {
    return this.#parts.here.document;
  }

  members(): readonly MemberView[] {
    return this.#parts.neighbours.members();
  }

  member(name: NodeName): MemberView | undefined {
    return this.#parts.neighbours.member(name);
  }

  holdsLease(now: Instant): boolean {
    return this.#parts.standing.holdsLease(now);
  }

  /** Transfers that this node sends. */
  transfers(): readonly TransferView[] {
    return this.#parts.outgoing.views();
  }

  /** How many transfers this node receives. */
  arrivals(): number {
    return this.#parts.incoming.count;
  }

  /** Partitions whose tasks this node would start now. For checkers. */
  active(now: Instant): readonly Partition[] {
    if (!this.holdsLease(now) || this.#parts.stopping.begun || this.#parts.standing.isBroken) return [];
    return [...this.#parts.hosting.partitions()].filter((partition) => this.#parts.hosting.serving(partition));
  }

  nextDeadline(): Instant | undefined {
    let earliest: Instant | undefined;
    for (const at of Object.values(this.deadlines())) {
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  /** When each part wants to be woken. */
  deadlines(): Readonly<Record<string, Instant | undefined>> {
    const parts = this.#parts;
    return {
      neighbours: parts.neighbours.nextDeadline(),
      seat: parts.seat.nextDeadline(),
      lease: parts.seat.leaseUntil,
      engine: parts.engine.nextDeadline(),
      router: parts.router.nextDeadline(),
      outgoing: parts.outgoing.nextDeadline(),
      incoming: parts.incoming.nextDeadline(),
      claimant: parts.claimant.nextDeadline(),
      adoption: parts.adoption.nextDeadline(),
      asks: parts.asks.nextDeadline(),
      doubts: parts.doubts.nextDeadline(),
      stopping: parts.stopping.nextDeadline(),
      storeLease: parts.storeLease.nextDeadline(),
      soleSeat: parts.soleSeat.nextDeadline(),
      left: parts.parting.nextDeadline(),
    };
  }

  step(now: Instant, event: NodeEvent): readonly NodeEffect[] {
    const { here, seat, claimant } = this.#parts;
    here.now = now;
    if (seat.leaseUntil !== undefined && seat.leaseUntil <= now) seat.loseLease({ suspended: false });
    this.#handle(event);
    claimant.tick(); // a consent is waited for: not until a timer finds its turn
    this.#settle();
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #handle(event: NodeEvent): void {
    const parts = this.#parts;
    const { now } = parts.here;
    switch (event.type) {
      case "submit":
        return parts.desk.fromClient(event.origin, event.tokens, event.records);
      case "keep":
        parts.engine.keep(now, event.attemptId, event.changes);
        return;
      case "ended":
        parts.engine.ended(now, event.ends);
        parts.hosting.attemptsEnded(event.ends);
        parts.outgoing.attemptsEnded();
        return parts.stopping.progress();
      case "committed":
        for (const partition of parts.commits.fenced(event.group, event.refused)) {
          parts.hosting.fenced(partition);
          parts.incoming.fenced(partition);
          parts.outgoing.fenced(partition);
        }
        parts.engine.durable(now, event.group);
        return parts.commits.settled(event.group, parts.outgoing, event.refused);
      case "flush":
        return this.#flush();
      case "messages":
        parts.liveness.heard(event.from);
        for (const message of event.messages) this.#inbox.receive(event.from, message);
        return;
      case "tick":
        return this.#tick();
      case "rows":
        return this.#rows(event.readId, event.rows, event.next);
      case "swim":
        return parts.neighbours.step(event.event);
      case "register-persisted":
        if (event.of === parts.here.self) parts.seat.persisted(event.sequence);
        else if (event.seat !== undefined) parts.soleSeat.persisted(event.seat, event.sequence);
        else parts.adoption.persisted(event.of, event.sequence);
        return;
      case "unsent":
        if (event.message.type === "forward") parts.router.unsent(event.to, event.message.forwardId);
        else parts.asks.unsent(event.to, event.message);
        return;
      case "link":
        return parts.neighbours.link(event.peer, event.up);
      case "opened":
        parts.hosting.opened(event.partition, event.term);
        parts.settleInPlace();
        return parts.router.drain();
      case "dropped":
        if (event.directory.type === "own") parts.hosting.dropped(event.partition);
        else parts.adoption.dropped(event.directory.member, event.partition);
        return;
      case "adopted-committed":
        return parts.adoption.committed(event.writeId);
      case "adopted-failed":
        return parts.adoption.failed(event.member, event);
      case "lock":
        return parts.adoption.locked(event.member, event.result);
      case "ask":
        return parts.answers.ask({ type: "local", askId: event.askId }, event.request, {
          to: event.to,
          deadlineMs: event.deadlineMs,
        });
      case "forget":
        return parts.desk.forget(event.origin);
      case "wall":
        return parts.engine.setWallOffset(event.offsetMs);
      case "suspended":
        parts.here.note("suspended", "the clock jumped: the lease is void");
        return parts.seat.loseLease({ suspended: true });
      case "start":
        return this.#start(event.wallOffsetMs);
      case "stop":
        return parts.stopping.begin(event.graceMs);
      case "marked":
        return parts.here.emit({ type: "exit", code: 0, reason: "stopped" });
      case "store-full":
        return parts.standing.storeFull(event.full);
      case "store-broken":
        return parts.standing.storeBroke(event.detail);
      case "store-lease":
        parts.soleSeat.confirm(event.seat);
        return parts.storeLease.learned(event.heldUntil, event.others);
      case "seat":
        return parts.soleSeat.claimed(event.of, event.result);
      case "seat-refused":
        return parts.soleSeat.refused(event.seat);
      case "given-marked":
        return parts.storeLease.marked(event.epoch);
    }
  }

  #start(wallOffsetMs: number): void {
    const { engine, standing, neighbours, nodeRows } = this.#parts;
    engine.setWallOffset(wallOffsetMs);
    standing.start();
    neighbours.start();
    nodeRows.read();
  }

  #tick(): void {
    const parts = this.#parts;
    parts.neighbours.tick();
    parts.seat.tick();
    parts.storeLease.tick();
    parts.soleSeat.tick();
    parts.engine.tick(parts.here.now);
    parts.router.tick();
    parts.outgoing.pump();
    parts.incoming.tick();
    parts.adoption.tick();
    parts.asks.tick();
    parts.stopping.progress();
    parts.doubts.tick();
    parts.parting.tick();
  }

  #rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): void {
    const parts = this.#parts;
    if (parts.desk.rows(readId, rows)) return;
    if (parts.nodeRows.rows(readId, rows, next)) return;
    if (parts.hosting.rows(readId, rows, next)) {
      parts.settleInPlace();
      return parts.router.drain();
    }
    parts.outgoing.rows(readId, rows, next);
  }

  #flush(): void {
    const parts = this.#parts;
    this.#flushAsked = false;
    parts.hosting.loadArrived();
    if (!parts.commits.wanting) return;
    parts.engine.beforeCommit();
    parts.desk.drain();
    const commit = parts.commits.flush();
    parts.engine.group = parts.commits.group;
    if (commit === undefined) return;
    if (commit.groups.length > 0) {
      parts.here.emit({ type: "commit", ...commit });
      for (const { partition, changes } of commit.groups) parts.outgoing.leaving(partition, changes);
      return;
    }
    // Nothing to write: what waited may run, but not before earlier groups, and none is in flight.
    parts.engine.durable(parts.here.now, commit.group);
    parts.commits.settled(commit.group, parts.outgoing);
  }

  /** Carries what the engine and this node's own messages want until nothing more comes of it. */
  #settle(): void {
    const parts = this.#parts;
    for (;;) {
      parts.desk.drain();
      if (this.#loopback.length === 0) break;
      const messages = this.#loopback;
      this.#loopback = [];
      for (const message of messages) this.#inbox.receive(parts.here.self, message);
    }
    parts.desk.flushOutcomes();
    if (this.#flushAsked || !(parts.commits.wanting || parts.hosting.hasArrived)) return;
    this.#flushAsked = true;
    parts.here.emit({ type: "flush-soon" });
  }
}
