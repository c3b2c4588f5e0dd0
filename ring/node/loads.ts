/**
 * How many tasks wait in each partition of each member, as last told by that member: so that the ring can say what a
 * member that is away has with it (P8). Told every 2 s where it has changed; never decides anything.
 */

import type { NodeName, Partition } from "../ids.ts";
import type { Instant } from "../machine.ts";
import { KnownNames } from "./known-names.ts";

export type Counts = readonly { readonly partition: Partition; readonly tasks: number }[];

export class Loads {
  readonly #told = new Map<Partition, number>();
  readonly #known: KnownNames<Map<Partition, number>>;
  #tellAt: Instant = 0;

  constructor(isMember: (name: NodeName) => boolean) {
    this.#known = new KnownNames(isMember);
  }

  nextDeadline(): Instant {
    return this.#tellAt;
  }

  /** What to tell the others now, if anything. `counts` is asked only when it is time. */
  due(now: Instant, counts: () => ReadonlyMap<Partition, number>): Counts | undefined {
    if (now < this.#tellAt) return undefined;
    this.#tellAt = now + TELL_EVERY_MS;
    const current = counts();
    const changed: { partition: Partition; tasks: number }[] = [];
    for (const [partition, tasks] of current) {
      if (this.#told.get(partition) === tasks) continue;
      this.#told.set(partition, tasks);
      changed.push({ partition, tasks });
    }
    for (const partition of this.#told.keys()) if (!current.has(partition)) this.#told.delete(partition);
    return changed.length === 0 ? undefined : changed;
  }

  /** All that this node would have told by now: for a peer that has just come. */
  all(): Counts {
    return [...this.#told].map(([partition, tasks]) => ({ partition, tasks }));
  }

  learn(from: NodeName, counts: Counts): void {
    const known = this.#known.get(from) ?? new Map<Partition, number>();
    this.#known.set(from, known);
    for (const { partition, tasks } of counts) known.set(partition, tasks);
  }

  /** Undefined when the member never told. */
  of(member: NodeName, partition: Partition): number | undefined {
    return this.#known.get(member)?.get(partition);
  }
}

const TELL_EVERY_MS = 2_000;
