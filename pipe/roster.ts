/**
 * Those that are there just now, of whom some come and go all the time. An array and not a `Set`: a set leaves a table behind every
 * few entries, each of which points to the next; once one of them is old, none is collected before a full sweep.
 */

export interface Entry {
  /** Its place in the roster; -1 for none. The roster's own. */
  slot: number;
}

export class Roster<E extends Entry> {
  readonly #list: E[] = [];

  get size(): number {
    return this.#list.length;
  }

  /** As they are now. */
  all(): readonly E[] {
    return [...this.#list];
  }

  add(entry: E): void {
    entry.slot = this.#list.length;
    this.#list.push(entry);
  }

  /** Nothing if it is not here any more. */
  delete(entry: E): void {
    const { slot } = entry;
    if (slot < 0) return;
    entry.slot = -1;
    const last = this.#list.pop() as E;
    if (last === entry) return;
    this.#list[slot] = last;
    last.slot = slot;
  }
}
