/**
 * The value of a row of ended ids: a version byte, then for each id its 16 bytes and its state, 0 done or 1 cancelled.
 */

import type { ChangePlace } from "../changes.ts";
import { KIND, POSITION_BYTES, type Position, writePosition } from "./rows.ts";
import type { IdBits } from "./task-id.ts";

export interface EndedId {
  /** 32 hex digits. */
  readonly id: string;
  readonly state: "done" | "cancelled";
}

/** Puts ids into rows one by one, as they end: then they are at hand. */
export class EndedWriter {
  #bytes: Uint8Array = new Uint8Array(FIRST_IDS * ID_BYTES);
  #count = 0;
  #written = 0;

  /** Ids since `putAll`. */
  get count(): number {
    return this.#count;
  }

  /** Of these, those that no row has yet. */
  get fresh(): number {
    return this.#count - this.#written;
  }

  add({ id0, id1, id2, id3 }: IdBits, state: EndedId["state"]): void {
    const at = this.#count * ID_BYTES;
    if (at === this.#bytes.length) {
      const more = new Uint8Array(2 * at);
      more.set(this.#bytes);
      this.#bytes = more;
    }
    const bytes = this.#bytes;
    writeWord(bytes, at, id0);
    writeWord(bytes, at + 4, id1);
    writeWord(bytes, at + 8, id2);
    writeWord(bytes, at + 12, id3);
    bytes[at + 16] = state === "cancelled" ? 1 : 0;
    this.#count++;
  }

  /** A new row, of the fresh ones. Where the change lies until the next row is written. */
  put(position: Position): ChangePlace {
    const from = this.#written * ID_BYTES;
    this.#written = this.#count;
    return rowOf(position, this.#bytes.subarray(from, this.#count * ID_BYTES), true);
  }

  /** One row of all of them; the next one begins empty. `isNew`: no row has been there. As `put`. */
  putAll(position: Position, isNew: boolean): ChangePlace {
    const change = rowOf(position, this.#bytes.subarray(0, this.#count * ID_BYTES), isNew);
    if (this.#count > KEPT_IDS) this.#bytes = new Uint8Array(FIRST_IDS * ID_BYTES);
    this.#count = 0;
    this.#written = 0;
    return change;
  }
}

function rowOf(position: Position, ids: Uint8Array, isNew: boolean): ChangePlace {
  return writePosition(POSITION_BYTES + HEAD_BYTES + ids.length, KIND.ended, position)
    .value()
    .u8(VERSION)
    .bytes(ids)
    .put(isNew);
}

/** Throws RangeError for what `EndedWriter` does not write. */
export function readEnded(value: Uint8Array): readonly EndedId[] {
  if (value[0] !== VERSION || (value.length - HEAD_BYTES) % ID_BYTES !== 0)
    throw new RangeError("not a row of ended ids");
  const ends: EndedId[] = [];
  for (let at = HEAD_BYTES; at < value.length; at += ID_BYTES) {
    let id = "";
    for (let byte = 0; byte < 16; byte++) id += HEX[value[at + byte] as number];
    ends.push({ id, state: value[at + 16] === 1 ? "cancelled" : "done" });
  }
  return ends;
}

function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24;
  bytes[at + 1] = word >>> 16;
  bytes[at + 2] = word >>> 8;
  bytes[at + 3] = word;
}

const VERSION = 1;
const HEAD_BYTES = 1;
const ID_BYTES = 17;
/** Room at first, and the most that is kept between commits: there is one of these for each partition. */
const FIRST_IDS = 16;
const KEPT_IDS = 256;
/** A partition's window is read while its keys wait. */
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
