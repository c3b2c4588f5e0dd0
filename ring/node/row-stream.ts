/**
 * The rows of one transfer on their way: pages read from the disk, and changes made since, in chunks.
 *
 * W1  The stream is ordered: applying its chunks one after another gives exactly the rows at the sender. Rows changed
 *     between the request of a page and its arrival are left out of the page: the change itself follows.
 * W2  At most `WINDOW_CHUNKS`, and about as many `CHUNK_BYTES`, are ahead of the receiver's disk; a remainder that is not large is not
 *     held back, since submits wait for it.
 * W3  Stranded rows go many partitions at a time (`transfer.ts`): of each at most `STRANDED_CHUNKS`, and a page that waits.
 */

import { keyText, type Row, type RowChanges } from "../store.ts";
import type { Here } from "./here.ts";
import { isModuleKey } from "./rows.ts";
import { changesBytes, hashChanges } from "./stream.ts";
import { backlogFits, type Transfer } from "./transfer.ts";

export interface RowStreamOptions {
  nextReadId(): number;
  readonly chunkRows?: number | undefined;
}

export class RowStream {
  readonly #here: Here;
  readonly #nextReadId: () => number;
  readonly #chunkRows: number;

  constructor(here: Here, { nextReadId, chunkRows = CHUNK_ROWS }: RowStreamOptions) {
    this.#here = here;
    this.#nextReadId = nextReadId;
    this.#chunkRows = chunkRows;
  }

  /** Asks for the next page, unless one is being read or enough waits to be sent. */
  read(transfer: Transfer): void {
    if (transfer.reading !== undefined || transfer.backlog.length >= backlogLow(transfer) || !backlogFits(transfer))
      return;
    const readId = this.#nextReadId();
    transfer.reading = { readId, touched: new Set() };
    const { source: directory, id, cursor } = transfer;
    const request = { partition: id.partition, rowLimit: this.#chunkRows, byteLimit: CHUNK_BYTES };
    this.#here.emit({
      type: "read",
      readId,
      directory,
      request: cursor === undefined ? request : { ...request, after: cursor },
    });
  }

  arrived(transfer: Transfer, rows: readonly Row[], next: Uint8Array | undefined): void {
    const touched = transfer.reading?.touched ?? new Set();
    transfer.reading = undefined;
    for (const row of rows) {
      if (isModuleKey(row.key) && !(touched.size > 0 && touched.has(keyText(row.key)))) transfer.backlog.push(row);
    }
    transfer.cursor = next;
    if (next === undefined) transfer.scanned = true;
  }

  /** Changes made since the transfer began, in order. In a shared store the receiver has them already. */
  add(transfer: Transfer, changes: RowChanges): void {
    if (this.#here.sharedStore === true) return;
    for (const change of changes) {
      if (!isModuleKey(change.key)) continue;
      transfer.reading?.touched.add(keyText(change.key));
      transfer.backlog.push(change);
    }
  }

  send(transfer: Transfer): void {
    while (transfer.backlog.length > 0 && hasRoom(transfer)) this.#sendChunk(transfer);
  }

  /** All that waits (W2), and that it was all. */
  sendLast(transfer: Transfer): void {
    while (transfer.backlog.length > 0) this.#sendChunk(transfer);
    transfer.cut = "last-sent";
    transfer.left = true;
    transfer.lastProgress = this.#here.now;
    transfer.lastSequence = ++transfer.sequence;
    const { id, sequence, changes, hash } = transfer;
    const { epoch } = this.#here.document!;
    this.#here.send(transfer.to, {
      type: "transfer-chunk",
      transfer: id,
      sequence,
      changes: [],
      last: { changes, hash, epoch },
    });
  }

  #sendChunk(transfer: Transfer): void {
    let count = 0;
    for (let bytes = 0; count < transfer.backlog.length && count < this.#chunkRows && bytes < CHUNK_BYTES; count++)
      bytes += changesBytes(transfer.backlog[count]!);
    const changes = transfer.backlog.splice(0, count);
    transfer.sequence++;
    transfer.changes += changes.length;
    for (const change of changes) transfer.bytes += changesBytes(change);
    transfer.sentAt.set(transfer.sequence, { changes: transfer.changes, bytes: transfer.bytes });
    transfer.hash = hashChanges(transfer.hash, changes);
    const { id, sequence } = transfer;
    this.#here.send(transfer.to, { type: "transfer-chunk", transfer: id, sequence, changes });
  }
}

/** W2, W3 */
function hasRoom({ stranded, sequence, acked, bytes, bytesAcked }: Transfer): boolean {
  const chunks = stranded === undefined ? WINDOW_CHUNKS : STRANDED_CHUNKS;
  return sequence - acked < chunks && bytes - bytesAcked < chunks * CHUNK_BYTES;
}

/** The next page is read when fewer changes than this wait, and no more bytes than may leave at once (W3). */
function backlogLow({ stranded }: Transfer): number {
  return stranded === undefined ? BACKLOG_LOW : 1;
}

/** A page is read, sent, taken and written in steps of one: larger ones hold up keys that wait for something else. */
const CHUNK_BYTES = 65_536;
const CHUNK_ROWS = 250;
/** Chunks sent ahead of the receiver's disk. */
const WINDOW_CHUNKS = 32;
const STRANDED_CHUNKS = 4;
const BACKLOG_LOW = 2_000;
