/**
 * Rows of a partition that is on its way from its owner: pages of a snapshot, and changes made since, later ones in place
 * of earlier ones. In the end they are what the disk would give: the same rows in the same order.
 *
 * D1  Tasks, of which there may be a hundred thousand, are read as they come; so there is little left to do when the
 *     owner has stopped and keys wait.
 * D2  Nothing kept here is a view of what came, which would hold the whole message.
 */

import { keyText, type Row, type RowChange } from "../store.ts";
import { readRow, type TaskRow } from "./read-row.ts";
import { KIND } from "./rows.ts";

type Arrived = { readonly task: TaskRow } | { readonly row: Row };

export class ArrivingRows {
  readonly #rows = new Map<string, Arrived>();
  /** What is left to take. */
  #left: { readonly tasks: TaskRow[]; readonly rows: Row[] } | undefined;
  #bytes = 0;

  /** Of rows other than tasks, which their owner keeps in memory whatever they are. */
  get bytes(): number {
    return this.#bytes;
  }

  add({ key, value }: RowChange): void {
    const name = keyText(key);
    this.#bytes -= bytesOf(this.#rows.get(name));
    if (value === undefined) this.#rows.delete(name);
    else {
      const row = arrived({ key, value });
      this.#rows.set(name, row);
      this.#bytes += bytesOf(row);
    }
  }

  /** Nothing comes any more: up to `most` of them, in the order of their keys, tasks before all others. */
  take(most: number): { readonly tasks: readonly TaskRow[]; readonly rows: readonly Row[]; readonly isAll: boolean } {
    this.#left ??= this.#whole();
    const { tasks, rows } = this.#left;
    const some = tasks.splice(0, most);
    return { tasks: some, rows: rows.splice(0, most - some.length), isAll: tasks.length + rows.length === 0 };
  }

  #whole(): { readonly tasks: TaskRow[]; readonly rows: Row[] } {
    const tasks: TaskRow[] = [];
    const rows: Row[] = [];
    for (const name of [...this.#rows.keys()].sort()) {
      const each = this.#rows.get(name)!;
      if ("task" in each) tasks.push(each.task);
      else rows.push(each.row);
    }
    this.#rows.clear();
    return { tasks, rows };
  }
}

/** A task that cannot be read stays a row: whoever loads it finds that out as well. Of state only its key is looked at. */
function arrived({ key, value }: Row): Arrived {
  const task = key[0] === KIND.task ? readRow({ key, value }) : undefined;
  if (task !== undefined && "record" in task) return { task };
  // Slices of a Buffer would be views (D2).
  return { row: { key: new Uint8Array(key), value: isState(key) ? NO_VALUE : new Uint8Array(value) } };
}

function isState(key: Uint8Array): boolean {
  return key[0] === KIND.state || key[0] === KIND.stateAside;
}

function bytesOf(arrived: Arrived | undefined): number {
  return arrived === undefined || "task" in arrived ? 0 : arrived.row.key.length + arrived.row.value.length;
}

const NO_VALUE = new Uint8Array();
