/**
 * A node's lease in a shared Redis, and the watch over whether it is still the same Redis.
 *
 * A lease is a hash field with its expiry by Redis' clock; what counts for the holder is its own clock, from the moment it
 * asked. So it ends here before it ends there.
 * L1  The store has a random id. A node that has seen it refuses any other one and none: an emptied or exchanged Redis
 *     breaks the store (reliability rule 9). Only a ring's founder makes one.
 * L2  Each renewal writes a beat. One that is further back than 30 s breaks the store, too: it was restored from an
 *     old copy. A smaller step back is what a crash or a failover loses; the fence finds what that concerns.
 * L3  At rest this is all that a node asks of Redis.
 */

import { setTimeout as delay } from "node:timers/promises";
import { RingError } from "../../../errors.ts";
import type { NodeName } from "../../../ids.ts";
import type { SeatFound } from "../../../node/effects.ts";
import { isDiskFull } from "../../files.ts";
import type { RedisAddress } from "./address.ts";
import { asRingError, RedisLink, RedisTrouble, scriptOf } from "./link.ts";
import { RELEASE, RENEW } from "./scripts.ts";
import { seatFound } from "./seat.ts";

/** L1, before anything is opened: throws `STORE_BROKEN` unless the store has that id. Waits for an answer. */
export async function checkStoreId(link: RedisLink, prefix: string, storeId: string): Promise<void> {
  for (;;) {
    try {
      const found = await link.call("hget", [`${prefix}:{ring}`, "id"]);
      if (String(found) === storeId) return;
      throw new RingError("STORE_BROKEN", found === null ? EMPTY : OTHER);
    } catch (error) {
      if (!(error instanceof RedisTrouble) || error.kind !== "again") throw asRingError(error);
      await delay(RETRY_MS);
    }
  }
}

/** Apart from the rows, behind which a lease would wait. */
export function openLeaseLink(address: RedisAddress, member: NodeName): RedisLink {
  return new RedisLink(address, `taskring-${member}-lease`);
}

export interface RedisLeaseOptions {
  readonly address: RedisAddress;
  /** Closed with the lease. Default: one of its own. */
  readonly link?: RedisLink;
  readonly member: NodeName;
  readonly memberId: string;
  readonly leaseMs: number;
  /** As known by an earlier process of the member; absent: it has never seen the store. */
  readonly storeId: string | undefined;
  /** The ring; undefined while this node belongs to none. */
  readonly ringId: () => string | undefined;
  /** The id of a new store, from the founder of a ring only. */
  readonly newStoreId: () => string | undefined;
  /** Called before the first lease is reported: remember the id. */
  readonly remember: (storeId: string) => Promise<void>;
  /** `seat`: that of the ring's only voter (`seat.ts`) at that moment. */
  readonly onLease: (heldUntil: number | undefined, others: readonly NodeName[], seat: SeatFound | undefined) => void;
  readonly onBroken: (error: RingError) => void;
  /** L2. Default 30 s. */
  readonly olderMs?: number;
  readonly log: { warn(fields: object, message: string): void };
}

export class RedisLease implements AsyncDisposable {
  readonly #options: RedisLeaseOptions;
  readonly #link: RedisLink;
  readonly #keys: readonly [string, string, string];
  #storeId: string | undefined;
  #beat = 0;
  #confirmed = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** When it was asked for with success; at first, since when it is wanted. */
  #heldAt: number = performance.now();
  #isSaid = false;

  constructor(options: RedisLeaseOptions) {
    this.#options = options;
    this.#storeId = options.storeId;
    this.#link = options.link ?? openLeaseLink(options.address, options.member);
    const { prefix } = options.address;
    this.#keys = [`${prefix}:{ring}`, `${prefix}:{ring}:nodes`, `${prefix}:{ring}:seat`];
  }

  start(): void {
    void this.#renew();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    try {
      if (this.#confirmed > 0 && this.#link.up)
        await this.#link.script(GIVE_BACK, [this.#keys[1]], [this.#options.member, this.#options.memberId], 500);
    } catch {
      // It runs out by itself.
    }
    this.#link.close();
  }

  async #renew(): Promise<void> {
    const { leaseMs, ringId } = this.#options;
    const everyMs = leaseMs * RENEW_SHARE;
    const askedAt = performance.now();
    const ring = ringId();
    try {
      if (ring !== undefined) await this.#ask(ring, askedAt);
    } catch (error) {
      // A full disk is no fault: nothing was reported, and the id is remembered later (reliability rule 8).
      if (!(error instanceof RedisTrouble) && !isDiskFull(error)) throw error;
      this.#without(error.message, { isFinal: error instanceof RedisTrouble && error.kind === "refused" });
    }
    if (this.#closed) return;
    const sooner = this.#confirmed === 0 || performance.now() - askedAt > everyMs;
    this.#timer = setTimeout(() => void this.#renew(), sooner ? RETRY_MS : everyMs - (performance.now() - askedAt));
  }

  async #ask(ring: string, askedAt: number): Promise<void> {
    const { member, memberId, leaseMs, newStoreId } = this.#options;
    const known = this.#storeId ?? "";
    const fresh = known === "" ? (newStoreId() ?? "") : "";
    const args = [member, memberId, known, ring, leaseMs, ++this.#beat, fresh];
    const deadlineMs = Math.min(CALL_MOST_MS, leaseMs * RENEW_SHARE);
    const reply = (await this.#link.script(TAKE, [...this.#keys], args, deadlineMs)) as readonly (Buffer | number)[];
    if (this.#closed) return;
    const [verdict, id, of, beat, , seatOf, holder, token, held, ...nodes] = reply.map(String);
    if (verdict === "2") return this.#broken(known === "" ? UNKNOWN : id === "" ? EMPTY : OTHER);
    if (verdict === "3")
      return this.#options.onBroken(
        new RingError("WRONG_RING", `this Redis belongs to ring ${of}: give each ring its own, or ?prefix= in --store`),
      );
    const stepBackMs = (this.#confirmed - Number(beat)) * leaseMs * RENEW_SHARE;
    if (this.#confirmed > 0 && Number(beat) < this.#confirmed && stepBackMs > (this.#options.olderMs ?? OLDER_MS))
      return this.#broken(OLDER);
    // Its lease has to run out.
    if (verdict === "1") return this.#without(`another directory of node ${member} holds it`, { isFinal: false });
    if (this.#storeId === undefined) {
      await this.#options.remember(id!);
      this.#storeId = id;
    }
    this.#confirmed = this.#beat;
    this.#heldAt = askedAt;
    this.#isSaid = false;
    const others: NodeName[] = [];
    for (let at = 0; at < nodes.length; at += 2) if (Number(nodes[at + 1]) > 0) others.push(nodes[at] as NodeName);
    this.#options.onLease(askedAt + leaseMs, others, seatFound([seatOf, holder, token, held].map(String)));
  }

  /** Said once, and not for what passes before the lease is over. */
  #without(detail: string, { isFinal }: { readonly isFinal: boolean }): void {
    if (this.#isSaid || (!isFinal && performance.now() - this.#heldAt < this.#options.leaseMs)) return;
    this.#isSaid = true;
    this.#options.log.warn({ detail }, "no lease from Redis: no task starts before there is one");
  }

  #broken(why: string): void {
    this.#options.onBroken(new RingError("STORE_BROKEN", why));
  }
}

const TAKE = scriptOf(RENEW);
const GIVE_BACK = scriptOf(RELEASE);
const RENEW_SHARE = 0.3;
const CALL_MOST_MS = 1_500;
const RETRY_MS = 200;
/** More than a failover or a crash of Redis with `appendfsync everysec` can cost. */
const OLDER_MS = 30_000;
const EMPTY =
  "this Redis is empty, but this node has stored tasks in it: it was flushed, or is another server; restore it, or start a new ring with new data directories";
const OTHER = "this Redis holds another store than the one that this node knows; check --store";
const UNKNOWN = "this Redis does not hold the store of the ring: all nodes of a ring need the same --store";
const OLDER = "this Redis has gone back by more than 30 s: it was restored from an older copy";
