/** A simulated data directory: what is synced survives a crash, what is on its way is lost. */

import type { MemberId, NodeName, Partition } from "../../ring/ids.ts";
import type { Copy } from "../../ring/node/effects.ts";
import type { RegisterState } from "../../ring/register/messages.ts";
import type { PageRequest, Row, RowGroup, Term } from "../../ring/store.ts";

interface StoredPartition {
  term: Term;
  readonly rows: Map<string, Row>;
  /** Sorted keys; undefined after a change of the set of keys. */
  keys: string[] | undefined;
}

export class Disk {
  readonly member: NodeName;
  readonly memberId: MemberId;
  register: RegisterState | undefined;
  planned: boolean = false;
  /** With a shared store: the epoch for which everything was given up. */
  givenFor: number | undefined;
  /** True time until which it does what it was asked for. */
  busyUntil: number = 0;
  /** True time until which its register file is being written. */
  registerBusyUntil: number = 0;
  /** True time until which it has no room for what another process would write. */
  fullUntil: number = 0;
  /** True time until which it does nothing. */
  stillUntil: number = 0;
  /** True time until which another process than its own cannot open, read or write it. */
  brokenUntil: number = 0;
  /** A write of the register file may be done although its process died. */
  keepsMore: boolean = false;
  /** The most that it takes longer than usual. */
  slowMs: number = 0;
  /** Which life of which process holds the lock. */
  lockedBy: string | undefined;
  readonly #partitions = new Map<Partition, StoredPartition>();

  constructor(member: NodeName, memberId: MemberId) {
    this.member = member;
    this.memberId = memberId;
  }

  copies(): Copy[] {
    return [...this.#partitions].map(([partition, { term }]) => ({ partition, term }));
  }

  open(partition: Partition, at: { history: number; generation: number }): Term {
    const known = this.#partitions.get(partition);
    const opens = known !== undefined && known.term.generation === at.generation ? known.term.opens + 1 : 1;
    const term = { ...at, opens };
    if (known === undefined) this.#partitions.set(partition, { term, rows: new Map(), keys: undefined });
    else known.term = term;
    return term;
  }

  /** Applies a commit; the partitions whose groups were refused. */
  commit(groups: readonly RowGroup[]): Partition[] {
    const refused: Partition[] = [];
    for (const { partition, term, changes } of groups) {
      let stored = this.#partitions.get(partition);
      if (stored !== undefined && compareTerms(term, stored.term) < 0) {
        refused.push(partition);
        continue;
      }
      if (stored === undefined) {
        stored = { term, rows: new Map(), keys: undefined };
        this.#partitions.set(partition, stored);
      }
      stored.term = term;
      for (const { key, value } of changes) {
        const text = keyOf(key);
        if (value === undefined) {
          if (stored.rows.delete(text)) stored.keys = undefined;
        } else {
          if (!stored.rows.has(text)) stored.keys = undefined;
          stored.rows.set(text, { key, value });
        }
      }
    }
    return refused;
  }

  page(request: PageRequest): { rows: Row[]; next?: Uint8Array } {
    const stored = this.#partitions.get(request.partition);
    if (stored === undefined) return { rows: [] };
    stored.keys ??= [...stored.rows.keys()].sort();
    const after = request.after === undefined ? undefined : keyOf(request.after);
    const prefix = request.prefix === undefined ? "" : keyOf(request.prefix);
    const rows: Row[] = [];
    let bytes = 0;
    for (const text of stored.keys) {
      if ((after !== undefined && text <= after) || !text.startsWith(prefix)) continue;
      const row = stored.rows.get(text)!;
      if (rows.length >= request.rowLimit || (rows.length > 0 && bytes >= request.byteLimit))
        return { rows, next: rows.at(-1)!.key };
      rows.push(row);
      bytes += row.key.length + row.value.length;
    }
    return { rows };
  }

  drop(partition: Partition): void {
    this.#partitions.delete(partition);
  }

  count(partition: Partition): number {
    return this.#partitions.get(partition)?.rows.size ?? 0;
  }
}

function keyOf(key: Uint8Array): string {
  let text = "";
  for (const byte of key) text += String.fromCharCode(byte);
  return text;
}

function compareTerms(a: Term, b: Term): number {
  return a.history - b.history || a.generation - b.generation || a.opens - b.opens;
}
