/**
 * A simulated store that all nodes share: rows under a fence, leases, and the seat of an only voter.
 *
 * It does what the scripts of `ring/io/store/redis/` do, one call after the other. Its clock is set now and then, as wall
 * clocks are.
 */

import type { MemberId, NodeName, Partition } from "../../ring/ids.ts";
import type { SeatClaim, SeatFound, SeatResult, SeatState, SeatWrite } from "../../ring/node/effects.ts";
import type { Term } from "../../ring/store.ts";
import { Disk } from "../../services/testing/disk.ts";

interface Seat {
  readonly of: MemberId;
  readonly holder: MemberId | undefined;
  readonly name: NodeName;
  readonly token: string;
  readonly kept: SeatState;
}

export class SharedStore {
  readonly rows: Disk = new Disk("store" as NodeName, "store" as MemberId);
  readonly #now: () => number;
  readonly #leases = new Map<NodeName, { readonly expires: number; readonly beat: string }>();
  readonly #awayUntil = new Map<NodeName, number>();
  #seat: Seat | undefined;
  #count = 0;
  /** Of its clock against true time. */
  offset = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The nodes cannot reach it for so long. */
  cut(names: readonly NodeName[], ms: number): void {
    for (const name of names) this.#awayUntil.set(name, Math.max(this.#awayUntil.get(name) ?? 0, this.#now() + ms));
  }

  heal(): void {
    this.#awayUntil.clear();
  }

  isAway(from: NodeName): boolean {
    return (this.#awayUntil.get(from) ?? 0) > this.#now();
  }

  /** Undefined when a newer owner has it. */
  open(partition: Partition, at: { readonly history: number; readonly generation: number }): Term | undefined {
    const known = this.rows.copies().find((copy) => copy.partition === partition)?.term;
    const isOlder =
      known !== undefined &&
      (known.history > at.history || (known.history === at.history && known.generation > at.generation));
    return isOlder ? undefined : this.rows.open(partition, at);
  }

  renew(
    name: NodeName,
    leaseMs: number,
  ): { readonly others: readonly NodeName[]; readonly seat: SeatFound | undefined } {
    const now = this.#now() + this.offset;
    this.#leases.set(name, { expires: now + leaseMs, beat: `${++this.#count}` });
    const others = [...this.#leases].filter(([other, { expires }]) => other !== name && expires > now);
    return { others: others.map(([other]) => other), seat: this.#found() };
  }

  claim(by: { readonly name: NodeName; readonly id: MemberId }, claim: SeatClaim): SeatResult {
    const { of, seen, own } = claim;
    const was = this.#seat;
    const found = this.#found();
    const kept = was?.kept.state.document;
    const newer = kept === undefined ? 1 : claim.history - kept.history || claim.epoch - kept.epoch;
    const refused: SeatResult = { type: "refused", found, ...(newer < 0 && kept !== undefined && { newer: kept }) };
    const held = (state: SeatState | undefined): SeatResult => {
      const token = `${++this.#count}`;
      this.#seat = { of, holder: by.id, name: by.name, token, kept: state ?? own! };
      return { type: "held", token, ...(state === undefined ? {} : { kept: state }) };
    };
    if (was === undefined) return own === undefined ? refused : held(undefined);
    if (was.of !== of) return own !== undefined && newer > 0 ? held(undefined) : refused;
    if (was.holder === by.id) return held(own !== undefined && newer >= 0 ? undefined : was.kept);
    if (own !== undefined && was.holder === undefined) return held(was.kept);
    if (seen?.token !== was.token) return refused;
    const isDead = seen.beat === "dead" && was.holder === of;
    return isDead || seen.beat === found?.beat ? held(was.kept) : refused;
  }

  #found(): SeatFound | undefined {
    if (this.#seat === undefined) return undefined;
    const { of, holder, name, token } = this.#seat;
    return { of, holder, token, beat: this.#leases.get(name)?.beat ?? "" };
  }

  write({ token, state, run }: SeatWrite): boolean {
    if (this.#seat?.token !== token) return false;
    this.#seat = { ...this.#seat, kept: { state, run } };
    return true;
  }

  leave(token: string): void {
    if (this.#seat?.token === token)
      this.#seat = { ...this.#seat, holder: undefined, name: "" as NodeName, token: `${++this.#count}` };
  }
}
