/**
 * Rows of a partition that is on its way from its owner: pages of a snapshot, and changes made since, later ones in place
 * of earlier ones. In the end they are what the disk would give: the same rows in the same order.
 *
 * D1  Tasks, of which there may be a hundred thousand, are read as they come; so there is little left to do when the
 *     owner has stopped and keys wait.
 * D2  Nothing kept here is a view of what came, which would hold the whole message.
 */

import { keyText, type Row, type RowChange } from "../store.ts";
import { type ReadRow, readRow } from "./read-row.ts";
import { KIND } from "./rows.ts";

type Arrived = { readonly task: ReadRow } | { readonly row: Row };

export class ArrivingRows {
  readonly #rows = new Map<string, Arrived>();

  add({ key, value }: RowChange): void {
    const name = keyText(key);
    if (value === undefined) this.#rows.delete(name);
    else this.#rows.set(name, arrived({ key, value }));
  }

  /** In the order of their keys; `tasks` come before all others. */
  whole(): { readonly tasks: ReadRow[]; readonly rows: readonly Row[] } {
    const tasks: ReadRow[] = [];
    const rows: Row[] = [];
    for (const name of [...this.#rows.keys()].sort()) {
      const each = this.#rows.get(name)!;
      if ("task" in each) tasks.push(each.task);
      else rows.push(each.row);
    }
    return { tasks, rows };
  }
}

/** A task that cannot be read stays a row: whoever loads it finds that out as well. */
function arrived(row: Row): Arrived {
  const task = row.key[0] === KIND.task ? readRow(row) : undefined;
  return task === undefined ? { row: { key: row.key.slice(), value: row.value.slice() } } : { task };
}
