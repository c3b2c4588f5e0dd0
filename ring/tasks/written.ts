/**
 * Changes of one partition's rows that the engine made and no commit has taken yet, in order.
 *
 * W1  What was taken is good until the next `take`: of a node's commits one is in flight at a time. Whoever is done with it clears it.
 */

import { type ChangePlace, Changes } from "../changes.ts";
import type { Partition } from "../ids.ts";
import type { RowChange } from "../store.ts";

export class Written {
  readonly partition: Partition;
  #changes = new Changes();
  #taken = new Changes();
  #isTold = false;

  constructor(partition: Partition) {
    this.partition = partition;
  }

  /** True: nobody has been told yet that something waits here. */
  add(change: RowChange): boolean {
    this.#changes.add(change);
    return this.#tell();
  }

  /** As `add`. */
  enter(at: ChangePlace): boolean {
    this.#changes.enter(at);
    return this.#tell();
  }

  /** Of a commit's other source. */
  addAll(changes: Changes): void {
    this.#changes.addAll(changes);
  }

  /** What waits here goes behind what another holds, or to nobody; what was taken before is still good. */
  moveTo(into: { addAll(changes: Changes): void } | undefined): void {
    into?.addAll(this.#changes);
    this.#changes.clear();
    this.#isTold = false;
  }

  /** W1. For whoever begins a commit, and nobody else. */
  take(): Changes {
    const changes = this.#changes;
    this.#changes = this.#taken;
    this.#taken = changes;
    this.#changes.clear();
    this.#isTold = false;
    return changes;
  }

  #tell(): boolean {
    if (this.#isTold) return false;
    this.#isTold = true;
    return true;
  }
}
