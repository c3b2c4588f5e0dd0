/**
 * Everyone this node has heard of, the order in which they are probed, and random picks among them.
 *
 * T1  The name is the identity. This node is in the table like the others, but never in the probe order or in a pick.
 * T2  A newcomer takes a random place in the probe order; every full round is shuffled, so each member is probed once per
 *     round and no two nodes probe in step.
 * T3  Dead and left members are remembered for a time and up to a number, so that they can be found again after a cut; those that
 *     are to be kept for as long as it takes: where both sides of a cut forgot the other, neither would look for it again.
 */

import type { NodeName } from "../ids.ts";
import type { Instant, Random } from "../machine.ts";
import type { Address } from "./address.ts";
import type { NodeState, Versions } from "./messages.ts";
import type { Suspicion } from "./suspicion.ts";
import type { Tags } from "./tags.ts";
import { VersionTally } from "./versions.ts";

export type MemberState =
  | { readonly type: "alive" }
  | { readonly type: "suspect"; readonly suspicion: Suspicion }
  | { readonly type: "dead"; readonly since: Instant }
  | { readonly type: "left"; readonly since: Instant };

/** Replaced as a whole at each change. */
export interface MemberRecord {
  readonly name: NodeName;
  readonly address: Address;
  readonly meta: Uint8Array;
  readonly tags: Tags;
  readonly versions: Versions;
  readonly incarnation: number;
  readonly state: MemberState;
}

export class MemberTable {
  readonly #self: NodeName;
  readonly #random: Random;
  readonly #forgetAfterMs: number;
  readonly #records = new Map<NodeName, MemberRecord>();
  /** T3 */
  #kept: ReadonlySet<NodeName> = new Set();
  #probeOrder: NodeName[] = [];
  #probeIndex = 0;
  /** Records by state, kept in step with `#records`. */
  readonly #counts = { alive: 0, suspect: 0, dead: 0, left: 0 };
  /** Of the live ones, as well. */
  readonly #versions = new VersionTally();

  constructor(
    self: MemberRecord,
    { random, forgetAfterMs }: { readonly random: Random; readonly forgetAfterMs: number },
  ) {
    this.#self = self.name;
    this.#random = random;
    this.#forgetAfterMs = forgetAfterMs;
    this.#records.set(self.name, self);
    this.#count(self);
  }

  get self(): MemberRecord {
    return this.#records.get(this.#self)!;
  }

  get size(): number {
    return this.#records.size;
  }

  get(name: NodeName): MemberRecord | undefined {
    return this.#records.get(name);
  }

  all(): IterableIterator<MemberRecord> {
    return this.#records.values();
  }

  /** These are remembered, and nobody else beyond the time for it. */
  keep(names: ReadonlySet<NodeName>): void {
    this.#kept = names;
  }

  /** Adds or replaces. False when the table is full of live members: then nothing is stored. */
  put(record: MemberRecord): boolean {
    const known = this.#records.get(record.name);
    if (known === undefined) {
      if (this.#records.size >= RECORD_LIMIT && !this.#forgetOldest()) return false;
      const place = Math.floor(this.#random() * (this.#probeOrder.length + 1));
      this.#probeOrder.splice(place, 0, record.name);
      if (place < this.#probeIndex) this.#probeIndex++;
    } else this.#discount(known);
    this.#count(record);
    this.#records.set(record.name, record);
    return true;
  }

  /** Members alive or suspect, this node among them. */
  liveCount(): number {
    return this.#counts.alive + this.#counts.suspect;
  }

  /** Whether all of `more` and every live member speak what all of them understand. */
  understands(more: Iterable<Versions>): boolean {
    return this.#versions.fits(more);
  }

  hasOtherLive(): boolean {
    return this.liveCount() > (isLive(this.self) ? 1 : 0);
  }

  hasDead(): boolean {
    return this.#counts.dead > 0;
  }

  /** Up to `count` others that fit, each at most once, in random order. */
  pick(count: number, fits: (record: MemberRecord) => boolean): readonly MemberRecord[] {
    const sampled = this.#sample(count, fits);
    if (sampled !== undefined) return sampled;
    const candidates: MemberRecord[] = [];
    for (const record of this.#records.values())
      if (record.name !== this.#self && fits(record)) candidates.push(record);
    const picked = Math.min(count, candidates.length);
    for (let index = 0; index < picked; index++) this.#swap(candidates, index, candidates.length);
    return candidates.slice(0, picked);
  }

  /** Tries some places at random; undefined in a small table, or when too few of them fit. */
  #sample(count: number, fits: (record: MemberRecord) => boolean): readonly MemberRecord[] | undefined {
    const order = this.#probeOrder;
    if (order.length < SAMPLED_FROM) return undefined;
    const picked = new Set<MemberRecord>();
    for (let tried = 0; tried < SAMPLE_TRIES * count; tried++) {
      const record = this.#records.get(order[Math.floor(this.#random() * order.length)]!);
      if (record !== undefined && fits(record)) picked.add(record);
      if (picked.size === count) return [...picked];
    }
    return undefined;
  }

  /** The next live member in the probe order (T2); undefined when there is none. */
  nextToProbe(now: Instant): MemberRecord | undefined {
    for (let tried = 0, limit = this.#probeOrder.length; tried <= limit; tried++) {
      if (this.#probeIndex >= this.#probeOrder.length) this.#beginRound(now);
      const record = this.#records.get(this.#probeOrder[this.#probeIndex++] ?? this.#self);
      if (record !== undefined && record.name !== this.#self && isLive(record)) return record;
    }
    return undefined;
  }

  #beginRound(now: Instant): void {
    for (const record of this.#records.values()) {
      const since = goneSince(record) ?? now;
      if (now - since > this.#forgetAfterMs && this.#mayForget(record)) this.#forget(record);
    }
    this.#probeOrder = this.#probeOrder.filter((name) => this.#records.has(name));
    this.#probeIndex = 0;
    for (let index = 0; index < this.#probeOrder.length; index++)
      this.#swap(this.#probeOrder, index, this.#probeOrder.length);
  }

  /** One step of Fisher and Yates: puts a random one of `index..length` at `index`. */
  #swap<T>(items: T[], index: number, length: number): void {
    const other = index + Math.floor(this.#random() * (length - index));
    [items[index], items[other]] = [items[other]!, items[index]!];
  }

  #forgetOldest(): boolean {
    let oldest: { readonly record: MemberRecord; readonly since: Instant } | undefined;
    for (const record of this.#records.values()) {
      const since = goneSince(record);
      if (since === undefined || (oldest !== undefined && since >= oldest.since)) continue;
      if (this.#mayForget(record)) oldest = { record, since };
    }
    if (oldest === undefined) return false;
    this.#forget(oldest.record);
    const place = this.#probeOrder.indexOf(oldest.record.name);
    this.#probeOrder.splice(place, 1);
    if (place < this.#probeIndex) this.#probeIndex--;
    return true;
  }

  #mayForget({ name }: MemberRecord): boolean {
    return name !== this.#self && !this.#kept.has(name);
  }

  #forget(record: MemberRecord): void {
    this.#records.delete(record.name);
    this.#discount(record);
  }

  #count(record: MemberRecord): void {
    this.#counts[record.state.type]++;
    if (isLive(record)) this.#versions.add(record.versions);
  }

  #discount(record: MemberRecord): void {
    this.#counts[record.state.type]--;
    if (isLive(record)) this.#versions.remove(record.versions);
  }
}

export function isLive(record: MemberRecord): boolean {
  return record.state.type === "alive" || record.state.type === "suspect";
}

/** Since when a member is dead or left; undefined for a live one. */
export function goneSince({ state }: MemberRecord): Instant | undefined {
  return state.type === "dead" || state.type === "left" ? state.since : undefined;
}

/** As push/pull says it. */
export function nodeState(record: MemberRecord): NodeState {
  const { name, address, meta, incarnation, versions } = record;
  return { name, address, meta, incarnation, versions, state: record.state.type };
}

/** From here on looking at every record costs more than some wrong guesses. */
const SAMPLED_FROM = 64;
const SAMPLE_TRIES = 4;
/** Twice the largest ring: every member and as many that are gone. */
const RECORD_LIMIT = 8_192;
