/**
 * Stranded entries whose rows the owners of their partitions say to have: the ring may take them off its list.
 *
 * B1  Only an owner is believed, and only while it is one: a former owner that does not know yet that the ring has gone on drops what it
 *     has absorbed, with its copy, when it learns so, and the present owner has nothing of it; also if that is the same node again.
 */

import type { RingDocument, Stranded } from "../document.ts";
import type { NodeName } from "../ids.ts";
import type { Absorption } from "./messages.ts";
import { strandedKey } from "./transfer.ts";

export class Absorbed {
  /** With the generation of the partition then. */
  readonly #entries = new Map<string, { readonly entry: Stranded; readonly generation: number | undefined }>();

  all(): readonly Stranded[] {
    return [...this.#entries.values()].map(({ entry }) => entry);
  }

  /** An owner that is not known here yet says it again. */
  told(by: NodeName, { entries, generations }: Absorption, document: RingDocument): void {
    entries.forEach((entry, index) => {
      const { partition } = entry;
      const generation = document.generations[partition];
      if (document.owners[partition] !== by || this.#entries.size >= LIMIT) return; // B1
      if (generations !== undefined && generations[index] !== generation) return; // B1
      this.#entries.set(strandedKey(entry), { entry, generation });
    });
  }

  follow(document: RingDocument): void {
    const listed = new Set(document.stranded.map(strandedKey));
    for (const [key, { entry, generation }] of this.#entries)
      if (!listed.has(key) || document.generations[entry.partition] !== generation) this.#entries.delete(key); // B1
  }
}

const LIMIT = 8_192;
