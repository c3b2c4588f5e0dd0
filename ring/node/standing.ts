/**
 * Whether this node may start and admit tasks now, and what it says of that to operators.
 *
 * N1  Nothing starts and nothing is admitted without a lease that is held now (ownership rule 12).
 */

import { findMember, weightOf } from "../draft.ts";
import type { MemberId, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import type { TaskEngineContract } from "../tasks/engine-contract.ts";
import type { Here } from "./here.ts";
import type { NodeStatus } from "./requests.ts";
import type { Admission } from "./router.ts";

export interface StandingParts {
  readonly engine: TaskEngineContract;
  /** As in the ring's document, if this node is the member it says it is. */
  readonly memberId: MemberId;
  leaseUntil(): Instant | undefined;
  /** The store, if nodes share one, is held by this node. */
  holdsStore(at?: Instant): boolean;
  isStopping(): boolean;
  serves(partition: Partition): boolean;
  /** What waited for the lease may go on. */
  mayServe(): void;
}

export class Standing {
  readonly #here: Here;
  readonly #parts: StandingParts;
  #started = false;
  #isBroken = false;
  #diskFull = false;

  constructor(here: Here, parts: StandingParts) {
    this.#here = here;
    this.#parts = parts;
  }

  /** Nothing runs any more, and nothing will. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  start(): void {
    this.#parts.engine.allowStarts(this.#here.now, false);
    this.#started = true;
  }

  holdsLease(now: Instant): boolean {
    const until = this.#parts.leaseUntil();
    return until !== undefined && until > now && this.#parts.holdsStore(now);
  }

  leaseChanged(held: boolean): void {
    this.allowStarts();
    if (!held) this.#here.note("lease-lost", "no majority of voters renewed it");
  }

  allowStarts(): void {
    const { engine, leaseUntil, holdsStore, isStopping, mayServe } = this.#parts;
    const held = leaseUntil() !== undefined && holdsStore();
    engine.allowStarts(this.#here.now, held && !isStopping() && !this.#isBroken);
    if (held) mayServe();
  }

  admission(partition: Partition): Admission {
    const { leaseUntil, holdsStore, isStopping, serves } = this.#parts;
    if (isStopping() || this.#isBroken) return "draining";
    if (!serves(partition)) return "wait";
    if (leaseUntil() === undefined) return "no-lease";
    if (!holdsStore()) return "no-lease";
    return this.#diskFull ? "disk-full" : "serve";
  }

  storeFull(full: boolean): void {
    this.#diskFull = full;
    this.#here.note(full ? "disk-full" : "disk-has-room", full ? "new tasks are refused" : "new tasks are taken again");
  }

  storeBroke(detail: string): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.#parts.engine.allowStarts(this.#here.now, false);
    this.#here.note("store-broken", detail);
    this.#here.emit({ type: "exit", code: EXIT_BROKEN_STORE, reason: `the store failed: ${detail}` });
  }

  state(): NodeStatus["state"] {
    if (this.#isBroken) return "broken";
    if (this.#parts.isStopping()) return "stopping";
    if (!this.#started) return "starting";
    const { document, self } = this.#here;
    const member = document === undefined ? undefined : findMember(document, self);
    if (member === undefined || member.id !== this.#parts.memberId) return "waiting-to-join";
    if (this.#parts.leaseUntil() === undefined || !this.#parts.holdsStore()) return "starting";
    return weightOf(member) === 0 ? "draining" : "serving";
  }
}

/** sysexits.h EX_IOERR: the supervisor should look at the disk. */
const EXIT_BROKEN_STORE = 74;
