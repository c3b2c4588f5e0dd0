/**
 * The holder's side of a lease: the right to start tasks, for `leaseMs` from when it asked, by a majority of voters.
 *
 * L1  A lease counts from the moment of asking, on the holder's own monotonic clock.
 * L2  Grants count together only when they answer the same request at the same epoch (ownership rule 8). No request of the
 *     process before had its number: a voter whose disk is slow says late what it granted to that one, and counts from then.
 * L3  A lease in hand outlives a change of epoch; renewals go at the new epoch at once, and answers to requests of the
 *     old one count no more.
 * L4  The owner of handlers is warned once when 60 % of the lease has passed without renewal (rule 12).
 * L5  When the clocks show that the machine was suspended, the lease is void (rule 12).
 */

import type { RingDocument } from "../document.ts";
import type { Epoch, MemberId, NodeName } from "../ids.ts";
import type { Instant, Machine } from "../machine.ts";
import { isMajority, isMember } from "./voting.ts";

export type LeaseEvent =
  | { readonly type: "document"; readonly document: RingDocument }
  /** The caller has checked that `from` is a voter of the epoch. */
  | { readonly type: "granted"; readonly from: NodeName; readonly epoch: Epoch; readonly request: number }
  | { readonly type: "void" }
  | { readonly type: "tick" };

export type LeaseEffect =
  | {
      readonly type: "ask";
      readonly to: readonly NodeName[];
      readonly epoch: Epoch;
      readonly request: number;
    }
  /** Undefined: it has run out or is void. Whoever starts work compares `heldUntil` with the clock itself. */
  | { readonly type: "lease"; readonly heldUntil: Instant | undefined }
  | {
      readonly type: "lease-warning";
      readonly heldUntil: Instant;
      /** Voters that did not answer the newest request. */
      readonly silent: readonly NodeName[];
    };

interface Request {
  readonly number: number;
  readonly askedAt: Instant;
  readonly granted: Set<NodeName>;
  readonly complete: boolean;
  readonly resendAt: Instant;
}

export interface LeaseHolderOptions {
  readonly member: NodeName;
  readonly memberId: MemberId;
  readonly leaseMs: number;
  /** Requests have higher numbers; those of the process before had not. Default 0. */
  readonly requestsFrom?: number;
}

export class LeaseHolder implements Machine<LeaseEvent, LeaseEffect> {
  readonly #options: LeaseHolderOptions;
  readonly #renewMs: number;
  readonly #resendMs: number;
  readonly #warnMs: number;
  #document: RingDocument | undefined;
  #request: Request | undefined;
  #requests: number;
  #renewAt: Instant | undefined;
  #held: { readonly askedAt: Instant; readonly warned: boolean } | undefined;

  constructor(options: LeaseHolderOptions) {
    this.#options = options;
    this.#requests = options.requestsFrom ?? 0;
    this.#renewMs = Math.floor(options.leaseMs * RENEW_SHARE);
    this.#resendMs = Math.floor(options.leaseMs * RESEND_SHARE);
    this.#warnMs = Math.floor(options.leaseMs * WARN_SHARE);
  }

  /** Undefined when none is held. */
  heldUntil(now: Instant): Instant | undefined {
    if (this.#held === undefined) return undefined;
    const until = this.#held.askedAt + this.#options.leaseMs;
    return now < until ? until : undefined;
  }

  step(now: Instant, event: LeaseEvent): readonly LeaseEffect[] {
    switch (event.type) {
      case "document":
        this.#document = event.document;
        return this.#ask(now);
      case "granted":
        return this.#granted(now, event.from, event.epoch, event.request);
      case "void": {
        const effects: readonly LeaseEffect[] =
          this.#held === undefined ? [] : [{ type: "lease", heldUntil: undefined }];
        this.#held = undefined;
        return [...effects, ...this.#ask(now)];
      }
      case "tick":
        return this.#tick(now);
    }
  }

  nextDeadline(): Instant | undefined {
    let deadline = this.#renewAt ?? Number.POSITIVE_INFINITY;
    if (this.#request !== undefined && !this.#request.complete) deadline = Math.min(deadline, this.#request.resendAt);
    if (this.#held !== undefined) {
      deadline = Math.min(deadline, this.#held.askedAt + (this.#held.warned ? this.#options.leaseMs : this.#warnMs));
    }
    return deadline === Number.POSITIVE_INFINITY ? undefined : deadline;
  }

  #tick(now: Instant): readonly LeaseEffect[] {
    const effects: LeaseEffect[] = [];
    if (this.#held !== undefined) {
      const { askedAt, warned } = this.#held;
      const heldUntil = askedAt + this.#options.leaseMs;
      if (now >= heldUntil) {
        this.#held = undefined;
        effects.push({ type: "lease", heldUntil: undefined });
      } else if (!warned && now >= askedAt + this.#warnMs) {
        this.#held = { askedAt, warned: true }; // L4
        effects.push({ type: "lease-warning", heldUntil, silent: this.#silent() });
      }
    }
    if (this.#renewAt !== undefined && now >= this.#renewAt) return [...effects, ...this.#ask(now)];
    const request = this.#request;
    if (this.#document !== undefined && request !== undefined && !request.complete && now >= request.resendAt) {
      this.#request = { ...request, resendAt: now + this.#resendMs };
      effects.push({ type: "ask", to: this.#silent(), epoch: this.#document.epoch, request: request.number });
    }
    return effects;
  }

  #ask(now: Instant): readonly LeaseEffect[] {
    const document = this.#document;
    const { member, memberId } = this.#options;
    if (document === undefined || !isMember(document, member, memberId)) {
      this.#renewAt = undefined;
      this.#request = undefined;
      return [];
    }
    this.#requests += 1;
    this.#renewAt = now + this.#renewMs;
    this.#request = {
      number: this.#requests,
      askedAt: now,
      granted: new Set(),
      complete: false,
      resendAt: now + this.#resendMs,
    };
    return [{ type: "ask", to: document.voters, epoch: document.epoch, request: this.#requests }];
  }

  #granted(now: Instant, from: NodeName, epoch: Epoch, number: number): readonly LeaseEffect[] {
    const request = this.#request;
    if (request === undefined || request.complete || this.#document === undefined) return [];
    if (number !== request.number || epoch !== this.#document.epoch) return []; // L2, L3
    request.granted.add(from);
    if (!isMajority(this.#document.voters, request.granted)) return [];
    this.#request = { ...request, complete: true };
    const heldUntil = request.askedAt + this.#options.leaseMs; // L1
    if (now >= heldUntil) return [];
    this.#held = { askedAt: request.askedAt, warned: false };
    return [{ type: "lease", heldUntil }];
  }

  #silent(): readonly NodeName[] {
    return (this.#document?.voters ?? []).filter((voter) => !this.#request?.granted.has(voter));
  }
}

/** A renewal every third of a lease: a voter sees 0.6 requests a second from each member at 5 s. */
const RENEW_SHARE = 1 / 3;
/** Silent voters are asked again after this share, so that one lost message does not cost a warning. */
const RESEND_SHARE = 1 / 10;
const WARN_SHARE = 0.6;
