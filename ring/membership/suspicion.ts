/**
 * How long a member stays suspect before it is declared dead (Lifeguard, section IV-B of the paper).
 *
 * The timeout begins long and shrinks with each independent accuser, so that one slow node cannot kill others alone, and
 * a real death, which everybody notices, is still confirmed quickly. Up to a hundred members it is memberlist's. Beyond,
 * it grows half as fast: a suspect is told by its accusers directly, so only its answer has to travel the whole ring.
 */

import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";

/** What the timeout depends on when a suspicion begins. */
export interface SuspicionTerms {
  /** Independent accusers after which more do not matter. */
  readonly wanted: number;
  readonly minMs: number;
  readonly maxMs: number;
}

/** `members` counts the ones alive or suspect, this node and the suspect among them. */
export function suspicionTerms(
  members: number,
  profile: {
    readonly suspicionMultiplier: number;
    readonly suspicionMaxMultiplier: number;
    readonly probeIntervalMs: number;
  },
): SuspicionTerms {
  const wished = profile.suspicionMultiplier - 2;
  const wanted = members - 2 < wished ? 0 : wished;
  // Whole thousandths and whole ms: logarithms differ in the last bit between engines.
  const logarithm = Math.round(Math.max(1, Math.log10(Math.max(1, members))) * 1_000);
  const scale = logarithm <= LARGE ? logarithm : LARGE + Math.floor((logarithm - LARGE) / 2);
  const minMs = Math.floor((profile.suspicionMultiplier * scale * profile.probeIntervalMs) / 1_000);
  return { wanted, minMs, maxMs: minMs * profile.suspicionMaxMultiplier };
}

/** The whole length of the suspicion, from its start, after so many confirmations. */
export function suspicionMs({ wanted, minMs, maxMs }: SuspicionTerms, confirmations: number): number {
  if (wanted < 1) return minMs;
  const share = Math.log(confirmations + 1) / Math.log(wanted + 1);
  // A hair is added before the floor, for the same reason as above.
  return Math.max(minMs, Math.floor(maxMs - share * (maxMs - minMs) + 1e-6));
}

/** One running suspicion. */
export class Suspicion {
  #since: Instant;
  readonly #terms: SuspicionTerms;
  readonly #accusers: Set<NodeName>;
  #firesAt: Instant;
  #extended = false;
  #looked = false;

  constructor(since: Instant, accuser: NodeName, terms: SuspicionTerms) {
    this.#since = since;
    this.#terms = terms;
    this.#accusers = new Set([accuser]);
    this.#firesAt = since + suspicionMs(terms, 0);
  }

  get since(): Instant {
    return this.#since;
  }

  get firesAt(): Instant {
    return this.#firesAt;
  }

  /** Independent ones; the first accuser is none. */
  get confirmations(): number {
    return this.#accusers.size - 1;
  }

  /** True if this accuser is new and was still wanted: then the accusation is worth spreading. */
  confirm(accuser: NodeName): boolean {
    if (this.confirmations >= this.#terms.wanted || this.#accusers.has(accuser)) return false;
    this.#accusers.add(accuser);
    this.#firesAt = Math.min(this.#firesAt, this.#since + suspicionMs(this.#terms, this.confirmations));
    return true;
  }

  /**
   * Whether the time is over. Before it is there is one last look: the suspect is told once more, and what waits in this
   * process's own sockets is read (a process that wakes runs its timers first).
   */
  verdict(now: Instant, lastLookMs: number): "wait" | "look" | "dead" {
    if (now < this.#firesAt) return "wait";
    if (this.#looked) return "dead";
    this.#looked = true;
    this.#firesAt = now + lastLookMs;
    return "look";
  }

  /** It begins anew: this node itself has heard the member meanwhile. */
  renew(now: Instant): void {
    this.#since = now;
    this.#looked = false;
    this.#firesAt = now + suspicionMs(this.#terms, this.confirmations);
  }

  /** There is evidence. */
  hasten(at: Instant): void {
    this.#firesAt = Math.min(this.#firesAt, at);
  }

  /** This process stood still: the refutation may wait in its socket. Granted once, or a slow node would never accuse. */
  extendTo(at: Instant): void {
    if (this.#extended || at <= this.#firesAt) return;
    this.#extended = true;
    this.#firesAt = at;
  }
}

/** Thousandths of the logarithm of a hundred. */
const LARGE = 2_000;
