/**
 * When to exchange full state, and with whom: regularly with a live member, on request with addresses to join, and now and
 * then with a dead member, so that a ring that was cut in two finds itself again (memberlist leaves that to serf).
 */

import type { Instant, Random } from "../machine.ts";
import type { Address } from "./address.ts";
import { addressText, sameAddress } from "./address.ts";
import type { Exchanges, Purpose } from "./exchanges.ts";
import type { MemberTable } from "./member-table.ts";
import { nodeState } from "./member-table.ts";
import type { PushPull } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import type { SwimProfile } from "./profile.ts";

export class PushPuller {
  readonly #members: MemberTable;
  readonly #outbox: Outbox;
  readonly #exchanges: Exchanges;
  readonly #profile: SwimProfile;
  readonly #random: Random;
  #periodicAt: Instant | undefined;
  #reconnectAt: Instant | undefined;
  readonly #joins: Address[] = [];
  #joinsOpen = 0;

  constructor(parts: {
    readonly members: MemberTable;
    readonly outbox: Outbox;
    readonly exchanges: Exchanges;
    readonly profile: SwimProfile;
    readonly random: Random;
  }) {
    this.#members = parts.members;
    this.#outbox = parts.outbox;
    this.#exchanges = parts.exchanges;
    this.#profile = parts.profile;
    this.#random = parts.random;
  }

  nextDeadline(): Instant | undefined {
    if (this.#periodicAt === undefined) return this.#reconnectAt;
    return this.#reconnectAt === undefined ? this.#periodicAt : Math.min(this.#periodicAt, this.#reconnectAt);
  }

  /** A member came alive. */
  wake(now: Instant): void {
    this.#periodicAt ??= now + Math.ceil(this.#random() * this.#interval(this.#profile.pushPullIntervalMs));
  }

  /** A member died. */
  wakeReconnect(now: Instant): void {
    this.#reconnectAt ??= this.#reconnectTime(now);
  }

  /** This node left: no more exchanges of its own. */
  stop(): void {
    this.#periodicAt = undefined;
    this.#reconnectAt = undefined;
    this.#joins.length = 0;
  }

  due(now: Instant): void {
    if (this.#periodicAt !== undefined && now >= this.#periodicAt) this.#periodic(now);
    if (this.#reconnectAt !== undefined && now >= this.#reconnectAt) this.#reconnect(now);
  }

  join(addresses: readonly Address[]): void {
    for (const address of addresses) {
      const known = this.#joins.some((other) => sameAddress(other, address));
      if (known) continue;
      if (sameAddress(address, this.#members.self.address)) this.#fail(address, "that is this node itself");
      else if (this.#joins.length >= JOIN_LIMIT) this.#fail(address, `more than ${JOIN_LIMIT} addresses to join`);
      else this.#joins.push(address);
    }
    this.#nextJoins();
  }

  /** A join has an outcome; the next address gets its turn. */
  joinEnded(): void {
    this.#joinsOpen--;
    this.#nextJoins();
  }

  exchange(purpose: Purpose): void {
    this.#outbox.push({
      type: "exchange",
      exchange: this.#exchanges.begin(purpose),
      to: purpose.address,
      request: this.state({ join: purpose.type === "join" }),
      timeoutMs: this.#profile.streamTimeoutMs,
    });
  }

  /** Everything this node knows: itself, the dead and the left included. */
  state({ join }: { readonly join: boolean }): PushPull {
    return { type: "push-pull", join, nodes: Array.from(this.#members.all(), nodeState), userState: NO_USER_STATE };
  }

  #periodic(now: Instant): void {
    const [member] = this.#members.pick(1, (record) => record.state.type === "alive");
    if (member !== undefined) this.exchange({ type: "periodic", address: member.address });
    this.#periodicAt = this.#members.hasOtherLive()
      ? now + this.#interval(this.#profile.pushPullIntervalMs)
      : undefined;
  }

  #reconnect(now: Instant): void {
    const [member] = this.#members.pick(1, (record) => record.state.type === "dead");
    if (member !== undefined) this.exchange({ type: "reconnect", address: member.address, name: member.name });
    this.#reconnectAt = member === undefined ? undefined : this.#reconnectTime(now);
  }

  /** Spread by a quarter, so that the survivors do not all try at once. */
  #reconnectTime(now: Instant): Instant {
    return now + Math.ceil(this.#interval(this.#profile.reconnectIntervalMs) * (0.75 + this.#random() / 2));
  }

  /** Longer in rings of more than 32, so that the exchanges per second grow slower than the ring. */
  #interval(baseMs: number): number {
    let factor = 1;
    for (let members = this.#members.liveCount(); members > 32; members /= 2) factor++;
    return baseMs * factor;
  }

  #nextJoins(): void {
    while (this.#joinsOpen < JOINS_AT_ONCE) {
      const address = this.#joins.shift();
      if (address === undefined) return;
      this.#joinsOpen++;
      this.exchange({ type: "join", address });
    }
  }

  #fail(address: Address, why: string): void {
    this.#outbox.push({ type: "join-failed", address, reason: `${addressText(address)}: ${why}` });
  }
}

const JOIN_LIMIT = 256;
/** One address that swallows packets takes 10 s; it should not hold up the others. */
const JOINS_AT_ONCE = 4;
const NO_USER_STATE: Uint8Array = new Uint8Array(0);
