/**
 * Members that were to become voters and did not answer in time: for a while nobody waits for them again. What else a proposal
 * changes, a dead member's partitions first of all, does not hang on one of them, and another may vote instead.
 */

import type { RingDocument } from "../document.ts";
import type { NodeName } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { newcomersOf } from "../register/voting.ts";

export class SilentNewcomers {
  readonly #until = new Map<NodeName, Instant>();

  /** Those that `proposed` was to make voters. */
  note(now: Instant, before: RingDocument, proposed: RingDocument): void {
    for (const [name, until] of this.#until) if (until <= now) this.#until.delete(name);
    for (const name of newcomersOf(before, proposed)) this.#until.set(name, now + SILENT_MS);
  }

  has(now: Instant, name: NodeName): boolean {
    return (this.#until.get(name) ?? Number.NEGATIVE_INFINITY) > now;
  }
}

/** Five times as long as an answer is waited for. */
const SILENT_MS = 10_000;
