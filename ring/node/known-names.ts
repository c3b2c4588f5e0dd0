/**
 * What peers said, by name, within a limit: anybody may say hello under any name. Names that count, those of members and of
 * linked peers, are always kept; of the others the one that spoke longest ago gives way.
 */

import type { NodeName } from "../ids.ts";

export class KnownNames<Said> {
  readonly #counts: (name: NodeName) => boolean;
  readonly #said = new Map<NodeName, Said>();

  constructor(counts: (name: NodeName) => boolean) {
    this.#counts = counts;
  }

  get size(): number {
    return this.#said.size;
  }

  get(name: NodeName): Said | undefined {
    return this.#said.get(name);
  }

  has(name: NodeName): boolean {
    return this.#said.has(name);
  }

  delete(name: NodeName): void {
    this.#said.delete(name);
  }

  set(name: NodeName, said: Said): void {
    this.#said.delete(name);
    this.#said.set(name, said);
    if (this.#said.size <= KNOWN_MOST) return;
    for (const other of this.#said.keys()) {
      if (this.#counts(other)) continue;
      this.#said.delete(other);
      if (this.#said.size <= KNOWN_MOST) return;
    }
  }

  [Symbol.iterator](): IterableIterator<[NodeName, Said]> {
    return this.#said.entries();
  }
}

/** Beyond what a ring has of members, so that newcomers are heard too. */
export const KNOWN_MOST = 1_024;
