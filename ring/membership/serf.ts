/**
 * What we speak of serf, the layer above memberlist: join and leave intents, so that stock agents show our nodes as `alive`
 * and `left`, and user events, which pass through. Queries are passed on; the one answer to them is that they arrived.
 *
 * S1  A message is passed on when it is seen for the first time, and never again (Lamport times; serf does the same).
 * S2  A rumour that this node leaves, while it stays, is answered with a join intent of a later time.
 * S3  In a ring without serf agents nothing of this is sent.
 * S4  That a query arrived is told to a member only, at the address where it is known: nobody can aim a ring at a stranger.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { sameAddress } from "./address.ts";
import { crc32 } from "./crc32.ts";
import { DecodeError } from "./decode-error.ts";
import type { SwimCounters } from "./events.ts";
import { type Fields, readFields } from "./fields.ts";
import type { Gossiper } from "./gossiper.ts";
import type { MemberTable } from "./member-table.ts";
import { isLive } from "./member-table.ts";
import type { Outbox } from "./outbox.ts";
import { typed } from "./wire.ts";

export class SerfLayer {
  readonly #members: MemberTable;
  readonly #gossiper: Gossiper;
  readonly #outbox: Outbox;
  readonly #counters: SwimCounters;
  /** Lamport times of the last intent of each member. */
  readonly #intents = new Map<NodeName, number>();
  readonly #seen = new Set<string>();
  #clock = 1;
  #heard = false;

  constructor(parts: {
    readonly members: MemberTable;
    readonly gossiper: Gossiper;
    readonly outbox: Outbox;
    readonly counters: SwimCounters;
  }) {
    this.#members = parts.members;
    this.#gossiper = parts.gossiper;
    this.#outbox = parts.outbox;
    this.#counters = parts.counters;
  }

  /** A user message of memberlist. What cannot be read is counted and goes no further. */
  receive(now: Instant, payload: Uint8Array, { leaving }: { readonly leaving: boolean }): void {
    try {
      this.#read(now, payload, leaving);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#counters.refused++;
    }
  }

  /** The user state of a push/pull: only its clock is of use to us. */
  merge(userState: Uint8Array): void {
    if (userState[0] !== TYPE.pushPull) return;
    this.#heard = true;
    try {
      this.#witness(clockOf(userState));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#counters.refused++;
    }
  }

  /** After this node has joined: an earlier leave of it is over. */
  joined(now: Instant): void {
    if (this.#isThere()) this.#intend(now, TYPE.join);
  }

  /** Before the leave itself: else serf takes it for a failure. False when nobody has to be told. */
  leaving(now: Instant): boolean {
    if (!this.#isThere()) return false;
    this.#intend(now, TYPE.leave);
    return true;
  }

  #read(now: Instant, payload: Uint8Array, leaving: boolean): void {
    switch (payload[0]) {
      case TYPE.leave:
      case TYPE.join: {
        const { fields } = readFields(payload, 1, INTENT_FIELDS);
        const time = fields.unsigned("LTime", CLOCK_LIMIT);
        const node = fields.name("Node");
        this.#heard = true;
        this.#witness(time);
        if (time <= (this.#intents.get(node) ?? 0)) return; // S1
        this.#remember(node, time);
        const untrue = payload[0] === TYPE.leave && node === this.#members.self.name && !leaving;
        if (untrue)
          this.#intend(now, TYPE.join); // S2
        else this.#gossiper.spreadUser(now, payload);
        return;
      }
      case TYPE.userEvent: {
        const { fields } = readFields(payload, 1, EVENT_FIELDS);
        const lamport = fields.unsigned("LTime", CLOCK_LIMIT);
        const name = fields.text("Name", EVENT_BYTE_LIMIT);
        const data = fields.blob("Payload", EVENT_BYTE_LIMIT);
        this.#heard = true;
        if (!this.#isNew(`${lamport} ${name} ${crc32(data)}`)) return;
        this.#outbox.push({ type: "user-event", name, payload: data, lamport });
        this.#gossiper.spreadUser(now, payload);
        return;
      }
      case TYPE.query: {
        const { fields } = readFields(payload, 1, QUERY_FIELDS);
        this.#heard = true;
        const broadcast = (fields.unsigned("Flags") & NO_BROADCAST) === 0;
        const [lamport, id] = [fields.unsigned("LTime", CLOCK_LIMIT), fields.unsigned("ID")];
        if (!this.#isNew(`query ${lamport} ${id}`)) return;
        if (broadcast) this.#gossiper.spreadUser(now, payload);
        this.#acknowledge(fields, { lamport, id });
        return;
      }
      default:
        // Answers to queries and relays go to their askers only.
        return;
    }
  }

  /** `serf reachability` asks for this. Queries for chosen members are left to those whose filters they are. */
  #acknowledge(fields: Fields, { lamport, id }: { readonly lamport: number; readonly id: number }): void {
    if ((fields.unsigned("Flags") & WANTS_ACK) === 0 || fields.hasItems("Filters")) return;
    const to = fields.address("Addr", "Port");
    for (const record of this.#members.all()) {
      if (!isLive(record) || !sameAddress(record.address, to)) continue; // S4
      const answer = { LTime: lamport, ID: id, From: this.#members.self.name, Flags: WANTS_ACK, Payload: null };
      this.#outbox.tell(record, { type: "user", payload: typed(TYPE.queryResponse, answer) });
      return;
    }
  }

  #intend(now: Instant, type: number): void {
    const { name } = this.#members.self;
    const time = ++this.#clock;
    this.#remember(name, time);
    this.#gossiper.spreadUser(now, typed(type, { LTime: time, Node: name }));
  }

  #remember(node: NodeName, time: number): void {
    this.#intents.delete(node);
    this.#intents.set(node, time);
    if (this.#intents.size > INTENT_LIMIT) this.#intents.delete(this.#intents.keys().next().value!);
  }

  #isNew(key: string): boolean {
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    if (this.#seen.size > SEEN_LIMIT) this.#seen.delete(this.#seen.keys().next().value!);
    return true;
  }

  #witness(time: number): void {
    this.#clock = Math.max(this.#clock, time + 1);
  }

  /** A serf agent speaks a later delegate protocol than we do, and its messages are serf's. */
  #isThere(): boolean {
    if (this.#heard) return true;
    for (const record of this.#members.all()) if (isLive(record) && record.versions[5] >= SERF_AGENT) return true;
    return false;
  }
}

function clockOf(userState: Uint8Array): number {
  const { fields } = readFields(userState, 1, PUSH_PULL_FIELDS, undefined, STATE_ITEM_LIMIT);
  return fields.unsigned("LTime", CLOCK_LIMIT);
}

const TYPE = { leave: 0, join: 1, pushPull: 2, userEvent: 3, query: 4, queryResponse: 5 } as const;
const INTENT_FIELDS = ["LTime", "Node", "Prune"] as const;
const EVENT_FIELDS = ["LTime", "Name", "Payload", "CC"] as const;
const QUERY_FIELDS = ["LTime", "ID", "Addr", "Port", "SourceNode", "Filters", "Flags"] as const;
const PUSH_PULL_FIELDS = ["LTime", "StatusLTimes", "LeftMembers", "EventLTime", "Events", "QueryLTime"] as const;
const WANTS_ACK = 1;
const NO_BROADCAST = 2;
const SERF_AGENT = 5;
/** Serf's own limit for name and payload together. */
const EVENT_BYTE_LIMIT = 9 * 1_024;
/** A larger Lamport time is a lie, and would leave nobody a later one. */
const CLOCK_LIMIT = 2 ** 48;
const SEEN_LIMIT = 1_024;
const INTENT_LIMIT = 8_192;
/** Serf's state holds 512 events and a time for each member. */
const STATE_ITEM_LIMIT = 100_000;
