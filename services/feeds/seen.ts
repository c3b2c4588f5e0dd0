/**
 * The memory of one feed: which entries were handed on already, and with which content.
 *
 * An entry takes 16 bytes: 10 of its id's hash, 6 of its content's. Records are kept in chunks of 256, so that a poll
 * that finds one new entry writes 4 KiB and not all.
 *
 * S1  At most `limit` entries are remembered.
 * S2  An entry that is still in the document is never forgotten, or it would be handed on twice: when room is needed,
 *     the oldest of those that have left the document go.
 */

import type { TaskContext } from "../app.ts";
import { type FeedEntry, hashText } from "./entry.ts";

export type Novelty = "new" | "edited" | "known";

export class SeenEntries {
  readonly #limit: number;
  #records: Seen[];
  #byId: Map<string, Seen>;
  readonly #dirty = new Set<number>();
  #chunksBefore: number;

  /** Reads all that earlier attempts stored, perhaps under a larger limit. A chunk that is not ours is taken as empty. */
  constructor(state: SeenState, limit: number) {
    this.#limit = limit;
    const stored: Omit<Seen, "index">[] = [];
    let chunk = 0;
    for (; ; chunk += 1) {
      const bytes = state.get<Uint8Array>(chunkName(chunk));
      if (!(bytes instanceof Uint8Array)) break;
      stored.push(...decodeChunk(bytes));
    }
    this.#chunksBefore = chunk;
    this.#records = stored.map((record, index) => ({ ...record, index }));
    this.#byId = new Map(this.#records.map((record) => [record.id, record]));
  }

  get size(): number {
    return this.#records.length;
  }

  /** Judges each entry of a document (at most `limit` of them, each id once) and remembers it. */
  judge(entries: readonly FeedEntry[]): readonly Novelty[] {
    const present = entries.map((entry) => ({
      id: idHash(entry),
      content: entry.contentHash.slice(0, CONTENT_DIGITS),
    }));
    const fresh = present.reduce((count, each) => count + (this.#byId.has(each.id) ? 0 : 1), 0);
    if (this.#records.length + fresh > this.#limit) this.#makeRoom(new Set(present.map((each) => each.id)), fresh);
    return present.map((each) => this.#note(each));
  }

  /** Writes the chunks that changed. */
  store(state: SeenState): void {
    for (const chunk of this.#dirty) {
      const from = chunk * CHUNK_RECORDS;
      state.put(chunkName(chunk), encodeChunk(this.#records.slice(from, from + CHUNK_RECORDS)));
    }
    const chunks = Math.ceil(this.#records.length / CHUNK_RECORDS);
    for (let chunk = chunks; chunk < this.#chunksBefore; chunk += 1) state.delete(chunkName(chunk));
    this.#chunksBefore = chunks;
    this.#dirty.clear();
  }

  #note(each: { readonly id: string; readonly content: string }): Novelty {
    const known = this.#byId.get(each.id);
    if (known === undefined) {
      const record = { ...each, index: this.#records.length };
      this.#records.push(record);
      this.#byId.set(record.id, record);
      this.#touch(record);
      return "new";
    }
    if (known.content === each.content) return "known";
    known.content = each.content;
    this.#touch(known);
    return "edited";
  }

  #makeRoom(present: ReadonlySet<string>, fresh: number): void {
    // A quarter more than needed, so that a busy feed does not rewrite everything at each poll.
    let excess = this.#records.length + fresh - this.#limit + Math.floor(this.#limit / 4);
    const kept = this.#records.filter((record) => {
      if (present.has(record.id)) return true; // S2
      excess -= 1;
      return excess < 0;
    });
    this.#records = kept.map((record, index) => ({ ...record, index }));
    this.#byId = new Map(this.#records.map((record) => [record.id, record]));
    for (const record of this.#records) this.#touch(record);
  }

  #touch(record: Seen): void {
    this.#dirty.add(Math.floor(record.index / CHUNK_RECORDS));
  }
}

type SeenState = Pick<TaskContext["state"], "get" | "put" | "delete">;

interface Seen {
  readonly id: string;
  content: string;
  readonly index: number;
}

function idHash(entry: FeedEntry): string {
  return hashText(entry.id).slice(0, ID_DIGITS);
}

function decodeChunk(bytes: Uint8Array): Omit<Seen, "index">[] {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
  const records: Omit<Seen, "index">[] = [];
  for (let at = 0; at + RECORD_DIGITS <= hex.length; at += RECORD_DIGITS) {
    records.push({ id: hex.slice(at, at + ID_DIGITS), content: hex.slice(at + ID_DIGITS, at + RECORD_DIGITS) });
  }
  return records;
}

function encodeChunk(records: readonly Seen[]): Uint8Array {
  return Buffer.from(records.map((record) => record.id + record.content).join(""), "hex");
}

function chunkName(chunk: number): string {
  return `seen/${chunk}`;
}

const ID_DIGITS = 20;
const CONTENT_DIGITS = 12;
const RECORD_DIGITS = ID_DIGITS + CONTENT_DIGITS;
const CHUNK_RECORDS = 256;
