/**
 * Rows that leave the store other than by their owner's hand: dropped with their partition, set aside with it, or set
 * aside because they are damaged.
 *
 * E1  A row whose checksum does not fit is never served: it is set aside, logged and counted, and its page goes on.
 * E2  What drop and quarantine leave undone at a crash is finished when the store is opened again.
 * E3  While rows of a partition are being dropped or set aside, its groups are refused and opening it waits.
 * E5  What could not be set aside is not dropped either: rows that the log says are kept are kept. Whoever asked tries again.
 */

import type { Partition } from "../../ids.ts";
import type { Term } from "../../store.ts";
import type { Aside } from "./aside.ts";
import type { CommitLine } from "./commit.ts";
import type { Journal } from "./journal.ts";
import type { StoreLog } from "./log.ts";
import { closeValue, encodeTerm, keyOf, openValue, SPACE_BYTES, spaceOf, TERMS, termKey } from "./rows.ts";
import type { TermTable } from "./terms.ts";

export interface ClearingParts {
  readonly line: CommitLine;
  readonly journal: Journal;
  readonly terms: TermTable;
  readonly aside: Aside;
  /** Throws when the store is broken or closed. */
  readonly check: () => void;
  readonly log?: StoreLog;
}

export class Clearing {
  readonly #parts: ClearingParts;
  /** E3: partitions being dropped or set aside. */
  readonly #busy = new Map<Partition, Promise<void>>();
  /** Keys of rows found damaged and on their way to quarantine, as hex. */
  readonly #leaving = new Set<string>();
  #damagedRows = 0;

  constructor(parts: ClearingParts) {
    this.#parts = parts;
  }

  /** Of E1, that were met: set aside, or still to be. */
  get damagedRows(): number {
    return this.#damagedRows;
  }

  isBusy(partition: Partition): boolean {
    return this.#busy.has(partition);
  }

  /** Resolves when what is being done to the partition as a whole has ended; more may follow. */
  async over(partition: Partition): Promise<void> {
    await this.#busy.get(partition)?.catch(() => {});
  }

  drop(partition: Partition): Promise<void> {
    return this.#exclusive(partition, { after: "success" }, () => this.#clear(partition, undefined)); // E5
  }

  quarantine(partition: Partition, why: string): Promise<void> {
    this.#parts.log?.error({ partition, why }, "partition set aside: its rows are kept but not opened");
    return this.#exclusive(partition, { after: "any-end" }, () => this.#clear(partition, why));
  }

  /** E1: sets the row under `key` aside, space included. */
  damaged(key: Uint8Array): void {
    const name = Buffer.from(key).toString("hex");
    if (this.#leaving.has(name) || this.#leaving.size >= LEAVING_LIMIT) return;
    this.#leaving.add(name);
    this.#damagedRows += 1;
    const space = spaceOf(key);
    this.#parts.log?.error({ partition: space, key: name }, "a row failed its checksum and is set aside");
    let found = false;
    const number = this.#parts.aside.next();
    const moved = this.#parts.line.submit({
      ...LOOKING_JOB,
      write: (rows) => {
        const row = this.#parts.journal.get(key);
        // Meanwhile its owner may have written it again.
        found = row !== undefined && "stored" in row && openValue(key, row.stored) === undefined;
        if (!found || row === undefined || !("stored" in row)) return;
        this.#parts.aside.begin(rows, number, { partition: space, why: "its checksum failed" });
        this.#parts.aside.move(rows, number, { key, stored: row.stored });
      },
    });
    moved
      .then(() => {
        if (found) this.#parts.aside.moved(1, true);
      })
      .catch((err: unknown) => this.#parts.log?.error({ err, key: name }, "a damaged row could not be set aside"))
      .finally(() => this.#leaving.delete(name));
  }

  /** Removes a partition's rows in bounded steps; with `why` they go to quarantine. E2: the term row remembers until the last. */
  async #clear(partition: Partition, why: string | undefined): Promise<void> {
    const known = this.#parts.terms.get(partition);
    this.#parts.terms.delete(partition);
    try {
      await this.#move(partition, known ?? NO_TERM, why);
    } catch (error) {
      if (known !== undefined) this.#parts.terms.accept(partition, known); // what is left of it is still held at this term
      throw error;
    }
  }

  async #move(partition: Partition, term: Term, why: string | undefined): Promise<void> {
    const aside = why === undefined ? undefined : this.#parts.aside.next();
    // Behind the last row of the step before: what is gone already is not looked through again.
    let start = keyOf(partition);
    for (let first = true, more = true; more; first = false) {
      let moved = 0;
      let next = start;
      await this.#parts.line.submit({
        ...LOOKING_JOB,
        partitions: [partition],
        write: (rows) => {
          const some = this.#some(start, partition, aside !== undefined);
          more = some.more;
          moved = some.rows.length;
          next = behind(some.rows.at(-1)?.key ?? start);
          if (first && aside !== undefined && why !== undefined)
            this.#parts.aside.begin(rows, aside, { partition, term, why });
          for (const { key, stored } of some.rows) {
            if (aside === undefined) rows.remove(partition, key.subarray(SPACE_BYTES));
            else this.#parts.aside.move(rows, aside, { key, stored });
          }
          if (!more) rows.remove(TERMS, termKey(partition));
          else if (first)
            rows.put(TERMS, termKey(partition), encodeTerm(term, why === undefined ? "dropping" : "moving-aside"));
        },
      });
      start = next;
      if (aside !== undefined) this.#parts.aside.moved(moved, first);
    }
  }

  /** The first rows of a partition from `start` on; where they are kept, with values and checksums. */
  #some(
    start: Uint8Array,
    partition: Partition,
    isKept: boolean,
  ): { readonly rows: { key: Uint8Array; stored: Uint8Array }[]; readonly more: boolean } {
    const rows: { key: Uint8Array; stored: Uint8Array }[] = [];
    let bytes = 0;
    for (const row of this.#parts.journal.range({ start, end: keyOf(partition + 1) })) {
      if (rows.length === CLEAR_ROWS || bytes > CLEAR_BYTES) return { rows, more: true };
      const key = row.key.slice();
      bytes += ("stored" in row ? row.stored : row.value).length;
      const stored = !isKept ? NOTHING : "stored" in row ? row.stored : closeValue(key, row.value);
      rows.push({ key, stored });
    }
    return { rows, more: false };
  }

  /** E3. Runs `work` after whatever else is being done to the partition as a whole, or fails as that did. */
  #exclusive(
    partition: Partition,
    { after }: { readonly after: "success" | "any-end" },
    work: () => Promise<void>,
  ): Promise<void> {
    const before = this.#busy.get(partition) ?? Promise.resolve();
    const run = (after === "success" ? before : before.catch(() => {})).then(() => {
      this.#parts.check();
      return work();
    });
    this.#busy.set(partition, run);
    return run.finally(() => {
      if (this.#busy.get(partition) === run) this.#busy.delete(partition);
    });
  }
}

/** The next key there can be. */
function behind(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

const NOTHING = new Uint8Array();
const NO_TERM: Term = { history: 0, generation: 0, opens: 0 };
/** Depends on what rows there are when it is written. */
const LOOKING_JOB = { grows: false, reads: true, changes: 1, bytes: 0, partitions: [] } as const;
/** Rows and bytes per step of a drop or quarantine: one turn of the event loop, in which nothing else goes on. */
const CLEAR_ROWS = 200;
const CLEAR_BYTES: number = 8 * 1024 * 1024;
/** Damaged rows under way to quarantine; more wait for the next page. */
const LEAVING_LIMIT = 1000;
