/**
 * What this node believes of each member, and how news changes it: memberlist's rules for alive, suspect, dead and merge.
 *
 * M1  A member's incarnation never falls while its address stays, and only the member itself raises it.
 * M2  Of equal incarnations dead beats suspect beats alive.
 * M3  Nothing that others say makes this node believe itself suspect or dead: it refutes. After its own leave it does not.
 * M4  An accusation adds no member: what is said of unknown names is ignored, unless it is alive.
 * M5  A push/pull never kills: a remote "dead" becomes a suspicion here, so that the accused can refute.
 * M6  A node that leaves is `left`, never `dead`, whichever news arrives first (memberlist keeps the first).
 * M7  This node declares nobody dead whom it has heard itself since the suspicion began.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { sameAddress } from "./address.ts";
import type { MemberNotice, MemberView, SwimCounters } from "./events.ts";
import type { Gossiper } from "./gossiper.ts";
import type { LocalHealth } from "./local-health.ts";
import type { MemberRecord, MemberState, MemberTable } from "./member-table.ts";
import { goneSince, isLive } from "./member-table.ts";
import type { Alive, Dead, PushPull, Suspect } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { SwimProfile } from "./profile.ts";
import { Suspicion, suspicionTerms } from "./suspicion.ts";
import type { Tags } from "./tags.ts";
import { decodeTags, encodeTags } from "./tags.ts";
import { malformed, sameVersions } from "./versions.ts";

interface BeliefsParts {
  readonly members: MemberTable;
  readonly gossiper: Gossiper;
  readonly outbox: Outbox;
  readonly health: LocalHealth;
  readonly profile: SwimProfile;
  readonly counters: SwimCounters;
  readonly probes: {
    /** Own probes hear of this member next. */
    doubt(now: Instant, name: NodeName): void;
    /** When it last answered one. */
    heardAt(name: NodeName): Instant | undefined;
  };
  readonly supersedes: (known: Tags, claimed: Tags) => boolean;
}

export class Beliefs {
  readonly #parts: BeliefsParts;
  readonly #members: MemberTable;
  readonly #suspects = new Set<NodeName>();
  readonly #conflictToldAt = new Map<NodeName, Instant>();

  constructor(parts: BeliefsParts) {
    this.#parts = parts;
    this.#members = parts.members;
  }

  /** When the next suspicion runs out. */
  nextDeadline(): Instant | undefined {
    let next: Instant | undefined;
    for (const { suspicion } of this.#suspicions()) {
      if (next === undefined || suspicion.firesAt < next) next = suspicion.firesAt;
    }
    return next;
  }

  /** Suspects that did not refute in time are dead. */
  due(now: Instant): void {
    for (const { record, suspicion } of this.#suspicions()) {
      const { heardAt } = this.#parts.probes;
      const verdict = suspicion.verdict(now, this.#parts.profile.lastLookMs);
      if (verdict === "wait") continue;
      const { incarnation, name: node } = record;
      const from = this.#members.self.name;
      if ((heardAt(node) ?? Number.NEGATIVE_INFINITY) > suspicion.since)
        suspicion.renew(now); // M7
      else if (verdict === "look")
        this.#parts.outbox.sendToMember(record, [{ type: "suspect", incarnation, node, from }]);
      else {
        this.dead(now, { type: "dead", incarnation, node, from });
        this.#parts.gossiper.tellAll({ type: "dead", incarnation, node, from });
      }
    }
  }

  /** This process stood still: refutations may wait in its socket. */
  stalled(now: Instant): void {
    const { probeTimeoutMs, gossipIntervalMs } = this.#parts.profile;
    for (const { suspicion } of this.#suspicions()) suspicion.extendTo(now + probeTimeoutMs + gossipIntervalMs);
  }

  /** False if refused as a whole, because some node in it speaks what another does not understand. */
  merge(now: Instant, { nodes }: PushPull): boolean {
    const theirs = nodes.filter((node) => node.state === "alive").map((node) => node.versions);
    if (!this.#members.understands(theirs)) {
      this.#parts.counters.mergesRefused++;
      return false;
    }
    const self = this.#members.self.name;
    for (const { name, address, meta, incarnation, state, versions } of nodes) {
      if (state === "alive") this.alive(now, { type: "alive", incarnation, node: name, address, meta, versions });
      else if (state === "left") this.dead(now, { type: "dead", incarnation, node: name, from: name });
      else this.suspect(now, { type: "suspect", incarnation, node: name, from: self }); // M5
    }
    return true;
  }

  alive(now: Instant, alive: Alive): void {
    const known = this.#members.get(alive.node);
    const self = this.#members.self;
    if (alive.node === self.name && !isLive(self)) return; // M3
    if (this.#impossible(alive, known) || !this.#speaksOurs(alive, known)) return;
    const moved = known !== undefined && !sameAddress(known.address, alive.address);
    if (moved && !this.#mayMove(now, known, alive)) {
      this.#conflict(now, known, alive);
      return;
    }
    if (alive.node === self.name) {
      this.#aliveSelf(now, alive);
      return;
    }
    if (!moved && alive.incarnation <= (known?.incarnation ?? 0)) return; // M1, M2
    this.#accept(now, known, alive);
  }

  suspect(now: Instant, accusation: Suspect): void {
    const known = this.#members.get(accusation.node);
    if (known === undefined || accusation.incarnation < known.incarnation || this.#impossible(accusation, known))
      return; // M4
    if (known.state.type === "suspect") {
      if (known.state.suspicion.confirm(accusation.from)) this.#parts.gossiper.spread(now, accusation);
      return;
    }
    if (known.state.type !== "alive") return;
    if (known.name === this.#members.self.name) {
      // M3
      this.#refute(now, accusation.incarnation);
      this.#answer(accusation.from);
      return;
    }
    this.#parts.gossiper.spread(now, accusation);
    this.#parts.counters.suspicions++;
    const terms = suspicionTerms(this.#members.liveCount(), this.#parts.profile);
    const suspicion = new Suspicion(now, accusation.from, terms);
    this.#change(known, { type: "suspect", suspicion }, accusation.incarnation);
    if (accusation.from !== this.#members.self.name && this.#members.liveCount() <= JUDGED_BY_ALL)
      this.#parts.probes.doubt(now, known.name);
  }

  /** Who is accused here is told at once and directly; where there is evidence, it has less time to refute. */
  confront(now: Instant, accusation: Suspect, { evidence }: { readonly evidence: boolean }): void {
    const known = this.#members.get(accusation.node);
    if (known?.state.type !== "suspect") return;
    if (evidence) known.state.suspicion.hasten(now + this.#parts.profile.refusedSuspicionMs);
    this.#parts.outbox.sendToMember(known, [accusation]);
  }

  dead(now: Instant, news: Dead): void {
    const known = this.#members.get(news.node);
    if (known === undefined || news.incarnation < known.incarnation || this.#impossible(news, known)) return; // M4
    const left = news.from === news.node;
    if (goneSince(known) !== undefined && (known.state.type === "left" || !left)) return; // M6
    if (known.name === this.#members.self.name) {
      // M3
      this.#refute(now, news.incarnation);
      return;
    }
    this.#parts.gossiper.spread(now, news);
    this.#change(known, { type: left ? "left" : "dead", since: now }, news.incarnation);
  }

  /** Throws `INVALID_ARGUMENT` if they do not fit. */
  setTags(now: Instant, tags: Tags): void {
    const self = this.#members.self;
    const meta = encodeTags(tags);
    if (!isLive(self) || sameBytes(meta, self.meta)) return;
    const incarnation = Math.min(INCARNATION_LIMIT, self.incarnation + 1);
    this.#renew(now, { ...self, meta, tags: new Map(tags), incarnation });
  }

  /** From here on this node is `left`, in its own eyes first. */
  leave(now: Instant): void {
    const self = this.#members.self;
    if (!isLive(self)) return;
    this.#members.put({ ...self, state: { type: "left", since: now } });
    const { name, incarnation } = self;
    const news: Dead = { type: "dead", incarnation, node: name, from: name };
    this.#parts.gossiper.spread(now, news);
    this.#parts.gossiper.tellAll(news);
  }

  /** Somebody repeats what we said, or what a process before us said: then we must say something newer. */
  #aliveSelf(now: Instant, alive: Alive): void {
    const self = this.#members.self;
    if (alive.incarnation < self.incarnation) return;
    const same = sameBytes(alive.meta, self.meta) && sameVersions(alive.versions, self.versions);
    if (alive.incarnation > self.incarnation || !same) this.#refute(now, alive.incarnation);
  }

  #accept(now: Instant, known: MemberRecord | undefined, alive: Alive): void {
    const { node: name, address, meta, versions, incarnation } = alive;
    const sameMeta = known !== undefined && sameBytes(known.meta, meta);
    const tags = sameMeta ? known.tags : decodeTags(meta);
    const record: MemberRecord = { name, address, meta, tags, versions, incarnation, state: { type: "alive" } };
    if (!this.#members.put(record)) {
      this.#parts.counters.refused++;
      return;
    }
    this.#suspects.delete(name);
    if (known?.state.type === "suspect") this.#parts.counters.suspicionsRefuted++;
    if (known?.state.type === "dead" && known.tags.get("starts") === tags.get("starts")) this.#parts.counters.flaps++;
    this.#parts.gossiper.spread(now, alive);
    if (known?.state.type !== "alive") this.#notice("member-up", record);
    const changed = known !== undefined && (!sameMeta || !sameAddress(known.address, address));
    if (changed && isLive(known)) this.#notice("member-updated", record);
  }

  /** Whether a known name may be believed at a new address. */
  #mayMove(now: Instant, known: MemberRecord, alive: Alive): boolean {
    if (known.name === this.#members.self.name) return false;
    if (known.state.type === "left") return true;
    if (known.state.type === "dead" && now - known.state.since >= this.#parts.profile.reclaimAfterMs) return true;
    return this.#parts.supersedes(known.tags, decodeTags(alive.meta));
  }

  #conflict(now: Instant, { name, address }: MemberRecord, alive: Alive): void {
    this.#parts.counters.conflicts++;
    if (now - (this.#conflictToldAt.get(name) ?? Number.NEGATIVE_INFINITY) < CONFLICT_TOLD_EVERY_MS) return;
    if (this.#conflictToldAt.size >= CONFLICT_LIMIT) this.#conflictToldAt.clear();
    this.#conflictToldAt.set(name, now);
    this.#parts.outbox.push({ type: "conflict", name, address, claimed: alive.address });
  }

  #refute(now: Instant, accused: number): void {
    const self = this.#members.self;
    const incarnation = Math.min(INCARNATION_LIMIT, Math.max(self.incarnation, accused) + 1);
    this.#parts.counters.refutations++;
    this.#parts.health.change(1);
    this.#renew(now, { ...self, incarnation });
  }

  /** The refutation waits among the rumours, as the newest; they may miss the one who counts. */
  #answer(accuser: NodeName): void {
    const known = this.#members.get(accuser);
    if (known === undefined || known.name === this.#members.self.name || !isLive(known)) return;
    this.#parts.outbox.gossip(known);
  }

  #renew(now: Instant, self: MemberRecord): void {
    this.#members.put(self);
    this.#parts.gossiper.spread(now, aliveOf(self));
  }

  #change(known: MemberRecord, state: Exclude<MemberState, { type: "alive" }>, incarnation: number): void {
    const record: MemberRecord = { ...known, state, incarnation };
    this.#members.put(record);
    if (state.type === "suspect") this.#suspects.add(known.name);
    else this.#suspects.delete(known.name);
    this.#notice(`member-${state.type}`, record);
  }

  #notice(type: MemberNotice["type"], record: MemberRecord): void {
    this.#parts.outbox.push({ type, member: viewOf(record) });
  }

  *#suspicions(): Generator<{ readonly record: MemberRecord; readonly suspicion: Suspicion }> {
    for (const name of this.#suspects) {
      const record = this.#members.get(name);
      if (record?.state.type === "suspect") yield { record, suspicion: record.state.suspicion };
    }
  }

  /** An incarnation that no honest node reaches; believing it would leave its owner no way to refute. */
  #impossible({ incarnation }: { readonly incarnation: number }, known: MemberRecord | undefined): boolean {
    const most = known === undefined ? INCARNATION_LIMIT : known.incarnation + INCARNATION_JUMP;
    if (incarnation <= Math.min(INCARNATION_LIMIT, most)) return false;
    this.#parts.counters.refused++;
    return true;
  }

  #speaksOurs({ versions }: Alive, known: MemberRecord | undefined): boolean {
    if (known !== undefined && sameVersions(known.versions, versions)) return true;
    // Who speaks as this node does fits everybody who fits this node.
    if (sameVersions(this.#members.self.versions, versions)) return true;
    if (!malformed(versions) && this.#members.understands([versions])) return true;
    this.#parts.counters.refused++;
    return false;
  }
}

export function aliveOf({ name: node, address, meta, versions, incarnation }: MemberRecord): Alive {
  return { type: "alive", incarnation, node, address, meta, versions };
}

export function viewOf({ name, address, state, incarnation, tags }: MemberRecord): MemberView {
  return { name, address, state: state.type, incarnation, tags };
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left === right || (left.length === right.length && left.every((byte, index) => byte === right[index]));
}

/** In rings up to this size everybody probes a new suspect at once; in larger ones the usual rounds must do. */
const JUDGED_BY_ALL = 32;
/** Both owners of a name go on gossiping: one line a minute says it. */
const CONFLICT_TOLD_EVERY_MS = 60_000;
const CONFLICT_LIMIT = 1_024;
/** One refutation a millisecond would take 24 days. */
const INCARNATION_LIMIT = 0x7fff_ffff;
/** How far a member's incarnation may be ahead of what is known: half a year of one change a second. */
const INCARNATION_JUMP = 0x100_0000;
