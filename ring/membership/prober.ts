/**
 * SWIM's failure detector: probes one member after the other, asks others to try when one does not answer, and does the
 * same for those who ask.
 *
 * R1  At most one probe runs at a time. An ack by any way before the deadline is a success; a nack does not end a probe.
 * R2  A suspect is told so in the same packet (Lifeguard's buddy system), so that it can refute at once.
 * R3  Nacks are expected only from those who were really asked. Missing ones count against this node's own health.
 * R4  A machine that answers that nothing listens at the member's port gives evidence: the probe waits only a little longer
 *     for word from the others, and the suspicion that follows is short. It is no verdict: the member may refute as ever.
 */

import type { NodeName } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { Address } from "./address.ts";
import type { SwimCounters } from "./events.ts";
import type { Exchanges } from "./exchanges.ts";
import type { LocalHealth } from "./local-health.ts";
import type { MemberRecord, MemberTable } from "./member-table.ts";
import { isLive } from "./member-table.ts";
import type { IndirectPing, Ping, Source } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { SwimProfile } from "./profile.ts";
import { SPEAKS } from "./versions.ts";

export class Prober {
  readonly #parts: ProberParts;
  readonly #relays = new Map<number, Relay>();
  #running: Running | undefined;
  #nextAt: Instant | undefined;
  #sequence: number;
  #roundTrips: number[] = [];
  readonly #doubted = new Set<NodeName>();
  readonly #heard = new Map<NodeName, Instant>();

  constructor(parts: ProberParts) {
    this.#parts = parts;
    // Not from 0: a late ack to the process that had this address before must not count.
    this.#sequence = Math.floor(parts.random() * 0x8000_0000);
  }

  nextDeadline(): Instant | undefined {
    let next = this.#running === undefined ? this.#nextAt : earliestOf(this.#running);
    for (const relay of this.#relays.values()) {
      const at = relay.nackAt ?? relay.endsAt;
      if (next === undefined || at < next) next = at;
    }
    return next;
  }

  /** A member came alive. */
  wake(now: Instant): void {
    this.#nextAt ??= now + Math.ceil(this.#parts.random() * this.#parts.profile.probeEveryMs);
  }

  /** This node left: it accuses nobody any more. */
  stop(): void {
    this.#running = undefined;
    this.#nextAt = undefined;
    this.#doubted.clear();
  }

  /** This process stood still: acks may wait in its socket. Granted once a probe. */
  stalled(now: Instant): void {
    if (this.#running === undefined || this.#running.extended) return;
    this.#running.extended = true;
    this.#running.deadlineAt = Math.max(this.#running.deadlineAt, now + this.#parts.profile.probeTimeoutMs);
  }

  /** Does what is due. Returns a member that did not answer, for the caller to suspect. */
  due(now: Instant): Silent | undefined {
    this.#relaysDue(now);
    const silent = this.#runningDue(now);
    if (this.#running === undefined && this.#nextAt !== undefined && now >= this.#nextAt) this.#begin(now);
    return silent;
  }

  acked(now: Instant, sequence: number): void {
    const relay = this.#relays.get(sequence);
    if (relay !== undefined) {
      this.#relays.delete(sequence);
      this.#parts.outbox.send(relay.to, { type: "ack", sequence: relay.sequence });
    } else if (this.#running?.sequence === sequence && now <= this.#running.deadlineAt) {
      this.#noteHeard(now, this.#running.member.name);
      if (!this.#running.asked) this.#noteRoundTrip(now - this.#running.begunAt);
      this.#running = undefined;
      this.#parts.health.change(-1);
    }
  }

  /** The answer to a ping over TCP, which was tried because UDP had none. */
  ackedOverStream(now: Instant, sequence: number): void {
    if (this.#running?.sequence === sequence) this.#parts.counters.probesOverStreamOnly++;
    this.acked(now, sequence);
  }

  /** This member is probed next, and at once if nothing else runs. */
  doubt(now: Instant, name: NodeName): void {
    const member = this.#parts.members.get(name);
    if (member === undefined || !isLive(member) || this.#doubted.size >= DOUBT_LIMIT) return;
    if (this.#running?.member.name === name || name === this.#parts.members.self.name) return;
    this.#doubted.add(name);
    this.#nextAt = now;
  }

  /** The machine of the member says that nothing listens at its TCP port (R4). */
  refused(now: Instant, sequence: number): void {
    const running = this.#running;
    if (running?.sequence !== sequence || running.refused) return;
    running.refused = true;
    this.#parts.counters.probesRefused++;
    const soon = now + Math.ceil(this.#parts.profile.probeTimeoutMs * REFUSED_SHARE);
    running.deadlineAt = Math.min(running.deadlineAt, soon);
  }

  nacked(sequence: number): void {
    if (this.#running?.sequence === sequence) this.#running.nacks++;
  }

  /** When this member last answered a probe, by whatever way. */
  heardAt(name: NodeName): Instant | undefined {
    return this.#heard.get(name);
  }

  /** In ms, of direct answers since the last call. */
  takeRoundTrips(): readonly number[] {
    const roundTrips = this.#roundTrips;
    this.#roundTrips = [];
    return roundTrips;
  }

  #noteHeard(now: Instant, name: NodeName): void {
    this.#heard.delete(name);
    this.#heard.set(name, now);
    if (this.#heard.size > HEARD_LIMIT) this.#heard.delete(this.#heard.keys().next().value!);
  }

  #noteRoundTrip(ms: number): void {
    this.#roundTrips.push(ms);
    if (this.#roundTrips.length > ROUND_TRIPS_KEPT) this.#roundTrips.shift();
  }

  /** Somebody asks us to ping another member. */
  relay(now: Instant, from: Address, request: IndirectPing): void {
    if (this.#relays.size >= RELAY_LIMIT) return;
    const { probeTimeoutMs } = this.#parts.profile;
    const sequence = this.#nextSequence();
    this.#relays.set(sequence, {
      to: request.source?.address ?? from,
      sequence: request.sequence,
      nackAt: request.nack ? now + Math.floor(probeTimeoutMs * NACK_SHARE) : undefined,
      endsAt: now + probeTimeoutMs,
    });
    const node = request.node;
    const ping: Ping = { type: "ping", sequence, source: this.#source(), ...(node !== undefined && { node }) };
    this.#parts.outbox.send(request.target, ping);
  }

  #begin(now: Instant): void {
    const { members, profile, health, outbox, counters } = this.#parts;
    const member = this.#nextDoubted() ?? members.nextToProbe(now);
    this.#nextAt = member === undefined ? undefined : now + (this.#doubted.size > 0 ? 0 : profile.probeEveryMs);
    if (member === undefined) return;
    counters.probes++;
    const sequence = this.#nextSequence();
    this.#running = {
      member,
      sequence,
      begunAt: now,
      timeoutAt: now + profile.probeTimeoutMs,
      deadlineAt: now + health.scale(profile.probeIntervalMs),
      asked: false,
      nacks: 0,
      nacksExpected: 0,
      extended: false,
      refused: false,
    };
    const ping: Ping = { type: "ping", sequence, node: member.name, source: this.#source() };
    if (member.state.type !== "suspect") {
      outbox.send(member.address, ping);
      return;
    }
    const from = members.self.name;
    outbox.sendToMember(member, [ping, { type: "suspect", incarnation: member.incarnation, node: member.name, from }]); // R2
  }

  #nextDoubted(): MemberRecord | undefined {
    for (const name of this.#doubted) {
      this.#doubted.delete(name);
      const member = this.#parts.members.get(name);
      if (member !== undefined && isLive(member)) return member;
    }
    return undefined;
  }

  #runningDue(now: Instant): Silent | undefined {
    const running = this.#running;
    if (running === undefined) return undefined;
    if (!running.asked && now >= running.timeoutAt) this.#askOthers(now, running);
    if (now < running.deadlineAt) return undefined;
    this.#running = undefined;
    this.#parts.counters.probesFailed++;
    const missing = running.nacksExpected > 0 ? Math.max(0, running.nacksExpected - running.nacks) : 1;
    // What was refused was heard: nothing speaks against this node's own health.
    if (!running.refused) this.#parts.health.change(missing); // R3
    const member = this.#parts.members.get(running.member.name);
    return member !== undefined && isLive(member) ? { member, refused: running.refused } : undefined;
  }

  #askOthers(now: Instant, running: Running): void {
    const { members, profile, outbox, exchanges } = this.#parts;
    const { member, sequence } = running;
    running.asked = true;
    const helpers = members.pick(
      profile.indirectChecks,
      (record) => record.state.type === "alive" && record.name !== member.name,
    );
    for (const helper of helpers) {
      const nack = helper.versions[1] >= SPEAKS.nack;
      if (nack) running.nacksExpected++;
      outbox.send(helper.address, {
        type: "indirect-ping",
        sequence,
        target: member.address,
        node: member.name,
        nack,
        source: this.#source(),
      });
    }
    const timeoutMs = running.deadlineAt - now;
    if (member.versions[1] < SPEAKS.tcpPing || timeoutMs <= 0) return;
    const exchange = exchanges.begin({ type: "fallback-ping", address: member.address, sequence });
    const request: Ping = { type: "ping", sequence, node: member.name, source: this.#source() };
    outbox.push({ type: "exchange", exchange, to: member.address, request, timeoutMs });
  }

  #relaysDue(now: Instant): void {
    for (const [sequence, relay] of this.#relays) {
      if (relay.nackAt !== undefined && now >= relay.nackAt) {
        relay.nackAt = undefined;
        this.#parts.outbox.send(relay.to, { type: "nack", sequence: relay.sequence });
      }
      if (now >= relay.endsAt) this.#relays.delete(sequence);
    }
  }

  #source(): Source {
    const { address, name } = this.#parts.members.self;
    return { address, name };
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }
}

interface ProberParts {
  readonly members: MemberTable;
  readonly outbox: Outbox;
  readonly exchanges: Exchanges;
  readonly health: LocalHealth;
  readonly profile: SwimProfile;
  readonly random: Random;
  readonly counters: SwimCounters;
}

interface Running {
  readonly member: MemberRecord;
  readonly sequence: number;
  readonly begunAt: Instant;
  /** When others are asked. */
  readonly timeoutAt: Instant;
  deadlineAt: Instant;
  asked: boolean;
  nacks: number;
  nacksExpected: number;
  extended: boolean;
  refused: boolean;
}

/** A member that did not answer. */
export interface Silent {
  readonly member: MemberRecord;
  /** Its machine says that nothing listens there. */
  readonly refused: boolean;
}

/** A ping on behalf of another. */
interface Relay {
  readonly to: Address;
  /** The asker's, not ours. */
  readonly sequence: number;
  nackAt: Instant | undefined;
  readonly endsAt: Instant;
}

function earliestOf(running: Running): Instant {
  return running.asked ? running.deadlineAt : Math.min(running.timeoutAt, running.deadlineAt);
}

/**
 * A nack is sent after this share of the probe timeout (the Lifeguard paper's 80 %). Memberlist waits for all of it; with a
 * timeout of half the interval its nacks come just after the asker's deadline.
 */
const NACK_SHARE = 0.8;
/** How much of a probe timeout the others still get after a refusal: a relayed ping and its ack take far less. */
const REFUSED_SHARE = 0.4;
/** Pings for others under way; each lives for one probe timeout. */
const RELAY_LIMIT = 1_024;
const DOUBT_LIMIT = 64;
const HEARD_LIMIT = 8_192;
/** About a quarter of an hour of probes. */
const ROUND_TRIPS_KEPT = 1_000;
