/**
 * SWIM with Lifeguard on memberlist's protocol: who is alive, as far as this node can tell.
 *
 * Das, Gupta, Motivala, "SWIM" (2002); Dadgar, Phillips, Currey, "Lifeguard" (2018); message semantics of HashiCorp's
 * memberlist, so that stock agents can share a ring with us. It suggests; the ring register decides. This file receives
 * events and hands them on: `beliefs.ts` holds the rules, `prober.ts` finds failures, `gossiper.ts` spreads news,
 * `push-pull.ts` exchanges full state, `serf.ts` speaks with agents of the layer above.
 */

import type { NodeName } from "../ids.ts";
import type { Instant, Machine, Random } from "../machine.ts";
import type { Address } from "./address.ts";
import { canonicalHost } from "./address.ts";
import { aliveOf, Beliefs, viewOf } from "./beliefs.ts";
import { BroadcastQueue } from "./broadcasts.ts";
import type { MemberView, SwimCounters, SwimEffect, SwimEvent } from "./events.ts";
import type { Purpose } from "./exchanges.ts";
import { Exchanges } from "./exchanges.ts";
import { Gossiper } from "./gossiper.ts";
import { LocalHealth } from "./local-health.ts";
import type { MemberRecord } from "./member-table.ts";
import { MemberTable } from "./member-table.ts";
import type { Ping, StreamRequest, StreamResponse, SwimMessage } from "./messages.ts";
import { Outbox } from "./outbox.ts";
import { Prober } from "./prober.ts";
import type { SwimProfile } from "./profile.ts";
import { PushPuller } from "./push-pull.ts";
import { SerfLayer } from "./serf.ts";
import type { Tags } from "./tags.ts";
import { encodeTags } from "./tags.ts";
import { OUR_VERSIONS } from "./versions.ts";

export interface SwimOptions {
  readonly name: NodeName;
  /** What others are told to send to. */
  readonly address: Address;
  /** At most 512 bytes encoded, else the constructor throws `INVALID_ARGUMENT`. */
  readonly tags: Tags;
  readonly profile: SwimProfile;
  readonly random: Random;
  /** Default 1. */
  readonly incarnation?: number;
  /**
   * True when `claimed`, under the same name at another address, is provably a later start of the process that had
   * `known` (the same directory, a higher start counter): then it replaces it at once, before its death is noticed.
   */
  readonly supersedes?: (known: Tags, claimed: Tags) => boolean;
}

export class Swim implements Machine<SwimEvent, SwimEffect> {
  readonly #profile: SwimProfile;
  readonly #members: MemberTable;
  readonly #health: LocalHealth;
  readonly #exchanges = new Exchanges();
  readonly #outbox: Outbox;
  readonly #gossiper: Gossiper;
  readonly #beliefs: Beliefs;
  readonly #prober: Prober;
  readonly #pushPuller: PushPuller;
  readonly #serf: SerfLayer;
  readonly #counters: SwimCounters = { ...NO_COUNTS };
  #lastStallAt: Instant = Number.NEGATIVE_INFINITY;
  #leave: Leave = { type: "staying" };

  constructor({ name, address, tags, profile, random, incarnation = 1, supersedes = () => false }: SwimOptions) {
    const self: MemberRecord = {
      name,
      address: { host: canonicalHost(address.host) ?? address.host, port: address.port },
      meta: encodeTags(tags),
      tags: new Map(tags),
      versions: OUR_VERSIONS,
      incarnation,
      state: { type: "alive" },
    };
    const counters = this.#counters;
    const members = new MemberTable(self, { random, forgetAfterMs: profile.forgetAfterMs });
    const queue = new BroadcastQueue();
    const health = new LocalHealth(profile.healthLevels);
    const outbox = new Outbox({ queue, members, profile });
    const gossiper = new Gossiper({ members, queue, outbox, profile });
    const exchanges = this.#exchanges;
    this.#profile = profile;
    this.#members = members;
    this.#health = health;
    this.#outbox = outbox;
    this.#gossiper = gossiper;
    const prober = new Prober({ members, outbox, exchanges, health, profile, random, counters });
    this.#prober = prober;
    const probes = {
      doubt: (now: Instant, node: NodeName): void => prober.doubt(now, node),
      heardAt: (node: NodeName): Instant | undefined => prober.heardAt(node),
    };
    this.#beliefs = new Beliefs({ members, gossiper, outbox, health, profile, counters, supersedes, probes });
    this.#pushPuller = new PushPuller({ members, outbox, exchanges, profile, random });
    this.#serf = new SerfLayer({ members, gossiper, outbox, counters });
    queue.push(aliveOf(self));
  }

  /** This node first, the others in the order they became known; the dead and the left for as long as remembered. */
  members(): readonly MemberView[] {
    return Array.from(this.#members.all(), viewOf);
  }

  self(): MemberView {
    return viewOf(this.#members.self);
  }

  member(name: NodeName): MemberView | undefined {
    const record = this.#members.get(name);
    return record && viewOf(record);
  }

  /** Lifeguard's score: 0 is well, 7 is very slow. */
  get healthScore(): number {
    return this.#health.score;
  }

  get counters(): Readonly<SwimCounters> {
    return this.#counters;
  }

  /** From ping to ack, in ms, of the probes answered since the last call; at most the last thousand. */
  takeRoundTrips(): readonly number[] {
    return this.#prober.takeRoundTrips();
  }

  step(now: Instant, event: SwimEvent): readonly SwimEffect[] {
    this.#noticeStall(now);
    this.#handle(now, event);
    this.#runDue(now);
    return this.#outbox.take();
  }

  nextDeadline(): Instant | undefined {
    let next = this.#gossiper.nextDeadline() ?? Number.POSITIVE_INFINITY;
    next = Math.min(next, this.#prober.nextDeadline() ?? next, this.#pushPuller.nextDeadline() ?? next);
    next = Math.min(next, this.#beliefs.nextDeadline() ?? next);
    if (this.#leave.type !== "staying" && this.#leave.type !== "left") next = Math.min(next, this.#leave.until);
    return Number.isFinite(next) ? next : undefined;
  }

  #handle(now: Instant, event: SwimEvent): void {
    switch (event.type) {
      case "tick":
        return;
      case "received":
        for (const message of event.messages) this.#receive(now, event.from, message);
        return;
      case "stream-request":
        this.#answer(now, event);
        return;
      case "exchange-replied":
        this.#replied(now, event.exchange, event.response);
        return;
      case "exchange-failed":
        this.#failed(now, event);
        return;
      case "join":
        if (this.#leave.type === "staying") this.#pushPuller.join(event.addresses);
        return;
      case "leave":
        this.#beginLeave(now);
        return;
      case "set-tags":
        this.#beliefs.setTags(now, event.tags);
        return;
      case "keep":
        this.#members.keep(event.names);
        return;
      case "doubt":
        if (this.#leave.type === "staying") this.#prober.doubt(now, event.name);
        return;
      case "loop-lag":
        if (event.lagMs >= this.#profile.stallMs) this.#countStall(now);
        return;
    }
  }

  #receive(now: Instant, from: Address, message: SwimMessage): void {
    switch (message.type) {
      case "ping":
        this.#ping(from, message);
        return;
      case "indirect-ping":
        this.#prober.relay(now, from, message);
        return;
      case "ack":
        this.#prober.acked(now, message.sequence);
        return;
      case "nack":
        this.#prober.nacked(message.sequence);
        return;
      case "alive":
        this.#beliefs.alive(now, message);
        return;
      case "suspect":
        this.#beliefs.suspect(now, message);
        return;
      case "dead":
        this.#beliefs.dead(now, message);
        return;
      case "user":
        this.#serf.receive(now, message.payload, { leaving: this.#leave.type !== "staying" });
        return;
    }
  }

  #ping(from: Address, ping: Ping): void {
    if (this.#isForMe(ping)) this.#outbox.send(ping.source?.address ?? from, { type: "ack", sequence: ping.sequence });
  }

  #answer(now: Instant, { stream, request }: IncomingRequest): void {
    switch (request.type) {
      case "push-pull":
        // Answered first, merged then: the asker must see what we believed before it spoke.
        this.#outbox.push({ type: "reply", stream, response: this.#pushPuller.state({ join: false }) });
        if (this.#beliefs.merge(now, request)) this.#serf.merge(request.userState);
        return;
      case "ping":
        this.#outbox.push(
          this.#isForMe(request)
            ? { type: "reply", stream, response: { type: "ack", sequence: request.sequence } }
            : { type: "refuse", stream },
        );
        return;
      case "user":
        this.#outbox.push({ type: "refuse", stream });
        this.#serf.receive(now, request.payload, { leaving: this.#leave.type !== "staying" });
        return;
    }
  }

  /** A name that is not ours means that the sender's idea of this address is old. */
  #isForMe({ node }: Ping): boolean {
    if (node === undefined || node === this.#members.self.name) return true;
    this.#counters.refused++;
    return false;
  }

  #replied(now: Instant, exchange: number, response: StreamResponse): void {
    const purpose = this.#exchanges.end(exchange);
    if (purpose === undefined) return;
    if (purpose.type === "fallback-ping") {
      if (response.type === "ack") this.#prober.ackedOverStream(now, response.sequence);
      return;
    }
    if (response.type !== "push-pull") {
      this.#exchangeFailed(purpose, refusalText(response));
      return;
    }
    const before = this.#members.self.incarnation;
    if (!this.#beliefs.merge(now, response)) {
      this.#exchangeFailed(purpose, "its protocol versions do not fit ours");
      return;
    }
    this.#serf.merge(response.userState);
    if (purpose.type === "join") {
      this.#serf.joined(now);
      this.#gossiper.tellAll(aliveOf(this.#members.self));
      this.#outbox.push({ type: "joined", address: purpose.address, members: response.nodes.length });
      this.#pushPuller.joinEnded();
    }
    this.#followUp(purpose, { refuted: this.#members.self.incarnation > before });
  }

  /** Both sides may just have refuted what the other held; a second round tells each. */
  #followUp(purpose: Purpose, { refuted }: { readonly refuted: boolean }): void {
    if (this.#leave.type !== "staying" || (purpose.type !== "join" && purpose.type !== "reconnect")) return;
    const stillDead = purpose.type === "reconnect" && this.#members.get(purpose.name)?.state.type === "dead";
    if (refuted || stillDead) this.#pushPuller.exchange({ type: "follow-up", address: purpose.address });
  }

  #failed(now: Instant, { exchange, reason, refused }: Extract<SwimEvent, { type: "exchange-failed" }>): void {
    const purpose = this.#exchanges.end(exchange);
    if (purpose === undefined) return;
    if (purpose.type === "fallback-ping" && refused === true) this.#prober.refused(now, purpose.sequence);
    this.#exchangeFailed(purpose, reason);
  }

  #exchangeFailed(purpose: Purpose, reason: string): void {
    if (purpose.type !== "join") return;
    this.#outbox.push({ type: "join-failed", address: purpose.address, reason });
    this.#pushPuller.joinEnded();
  }

  #beginLeave(now: Instant): void {
    if (this.#leave.type !== "staying") return;
    this.#prober.stop();
    this.#pushPuller.stop();
    const told = this.#members.hasOtherLive() && this.#serf.leaving(now);
    if (told) this.#leave = { type: "announcing", until: now + this.#profile.leaveTimeoutMs };
    else this.#spreadLeave(now);
  }

  #spreadLeave(now: Instant): void {
    this.#leave = { type: "spreading", until: now + this.#profile.leaveTimeoutMs };
    this.#beliefs.leave(now);
  }

  #runDue(now: Instant): void {
    if (this.#leave.type === "staying") this.#wake(now);
    const silent = this.#prober.due(now);
    if (silent !== undefined) {
      const { incarnation, name: node } = silent.member;
      const accusation = { type: "suspect", incarnation, node, from: this.#members.self.name } as const;
      this.#beliefs.suspect(now, accusation);
      this.#beliefs.confront(now, accusation, { evidence: silent.refused });
    }
    this.#beliefs.due(now);
    this.#pushPuller.due(now);
    this.#gossiper.due(now);
    if (this.#leave.type !== "staying") this.#leaveDue(now, this.#leave);
  }

  /** A node alone in its ring sleeps: probes and exchanges are planned only while there is somebody for them. */
  #wake(now: Instant): void {
    if (this.#members.hasOtherLive()) {
      this.#prober.wake(now);
      this.#pushPuller.wake(now);
    }
    if (this.#members.hasDead()) this.#pushPuller.wakeReconnect(now);
  }

  #leaveDue(now: Instant, leave: Leave): void {
    if (leave.type === "announcing" && (!this.#gossiper.isSpreadingUser() || now >= leave.until)) {
      this.#spreadLeave(now);
      this.#gossiper.due(now);
    }
    if (leave.type === "spreading") {
      const spread = !this.#gossiper.isSpreading(this.#members.self.name) || now >= leave.until;
      if (!this.#members.hasOtherLive()) this.#leave = { type: "lingering", until: now };
      else if (spread) this.#leave = { type: "lingering", until: now + this.#profile.leavePropagateMs };
    }
    if (this.#leave.type !== "lingering" || now < this.#leave.until) return;
    this.#leave = { type: "left" };
    this.#outbox.push({ type: "left" });
  }

  /** Woken much too late: what others sent meanwhile still waits in the sockets, so nobody is accused before it is read. */
  #noticeStall(now: Instant): void {
    const deadline = this.nextDeadline();
    if (deadline === undefined || now - deadline < this.#profile.stallMs) return;
    this.#countStall(now);
    this.#prober.stalled(now);
    this.#beliefs.stalled(now);
  }

  /** The driver's measure and a late tick often tell of the same stall. */
  #countStall(now: Instant): void {
    if (now - this.#lastStallAt < this.#profile.probeIntervalMs) return;
    this.#lastStallAt = now;
    this.#counters.stalls++;
    this.#health.change(1);
  }
}

interface IncomingRequest {
  readonly stream: number;
  readonly request: StreamRequest;
}

type Leave =
  | { readonly type: "staying" }
  /** Serf agents are told that this is no failure, before it happens. */
  | { readonly type: "announcing"; readonly until: Instant }
  /** The news waits in the queue. */
  | { readonly type: "spreading"; readonly until: Instant }
  /** It is spread; pings of those who have not heard are still answered. */
  | { readonly type: "lingering"; readonly until: Instant }
  | { readonly type: "left" };

function refusalText(response: StreamResponse): string {
  return response.type === "error" ? `it answered: ${response.text}` : `it answered with ${response.type}`;
}

const NO_COUNTS: SwimCounters = {
  probes: 0,
  probesFailed: 0,
  probesRefused: 0,
  suspicions: 0,
  suspicionsRefuted: 0,
  flaps: 0,
  probesOverStreamOnly: 0,
  refutations: 0,
  stalls: 0,
  conflicts: 0,
  refused: 0,
  mergesRefused: 0,
};
