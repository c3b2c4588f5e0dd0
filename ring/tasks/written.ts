/** Changes of one partition's rows that the engine made and nobody has taken yet, in order. */

import type { Partition } from "../ids.ts";
import type { RowChange } from "../store.ts";

export class Written {
  readonly partition: Partition;
  #changes: RowChange[] = [];

  constructor(partition: Partition) {
    this.partition = partition;
  }

  /** True: it is the first one that waits. */
  add(change: RowChange): boolean {
    return this.#changes.push(change) === 1;
  }

  /** The caller keeps the array. */
  take(): RowChange[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }
}
