/** What the node itself keeps in its store, read page by page when it starts: partitions open once all app overrides are known. */

import type { Row } from "../store.ts";
import type { AppSource } from "./app-source.ts";
import type { Here } from "./here.ts";
import { NODE_ROWS, type Overrides } from "./overrides.ts";

export interface NodeRowsParts {
  readonly overrides: Overrides;
  readonly apps: AppSource;
  nextReadId(): number;
  /** All are read. */
  known(): void;
}

export class NodeRows {
  readonly #here: Here;
  readonly #parts: NodeRowsParts;
  #readId: number | undefined;

  constructor(here: Here, parts: NodeRowsParts) {
    this.#here = here;
    this.#parts = parts;
  }

  read(after?: Uint8Array): void {
    this.#readId = this.#parts.nextReadId();
    const request = {
      partition: NODE_ROWS,
      rowLimit: 5_000,
      byteLimit: 4_194_304,
      ...(after === undefined ? {} : { after }),
    };
    this.#here.emit({ type: "read", readId: this.#readId, directory: { type: "own" }, request });
  }

  /** False if it was not this that read them. */
  rows(readId: number, rows: readonly Row[], next: Uint8Array | undefined): boolean {
    if (readId !== this.#readId) return false;
    this.#readId = undefined;
    const { overrides, apps, known } = this.#parts;
    for (const override of overrides.load(rows)) apps.override(override);
    if (next === undefined) known();
    else this.read(next);
    return true;
  }
}
