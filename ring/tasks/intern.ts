/**
 * Strings that come back again and again in wire bytes (apps, types, keys), decoded once.
 *
 * A direct-mapped table: a slot holds the newest text of its hash, a miss decodes and replaces. So memory is bounded and a hit
 * costs a compare; the texts come out as the same object, whose own hash the maps behind need not compute again.
 */

export class InternTable {
  /** A cell for each slot: the length, and the bytes. One line of the processor's cache holds it. */
  readonly #cells: Uint8Array;
  readonly #texts: (string | undefined)[];
  readonly #mask: number;
  readonly #accepts: (text: string) => boolean;

  /** `slots` is a power of two. `accepts` is asked once per decoded text; a refused text gives `undefined`. */
  constructor(options: { readonly slots: number; readonly accepts: (text: string) => boolean }) {
    this.#cells = new Uint8Array(options.slots * CELL_BYTES);
    this.#texts = new Array<string | undefined>(options.slots).fill(undefined);
    this.#mask = options.slots - 1;
    this.#accepts = options.accepts;
  }

  /** The text of `bytes[start, end)`, or `undefined` when it is not UTF-8 or not accepted. */
  text(bytes: Uint8Array, start: number, end: number): string | undefined {
    const length = end - start;
    if (length === 0 || length >= CELL_BYTES) return this.#decoded(bytes, start, end);
    let hash = length;
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
    hash ^= hash >>> 15;
    const slot = hash & this.#mask;
    const cells = this.#cells;
    const cell = slot * CELL_BYTES;
    if (cells[cell] === length) {
      let index = 1;
      while (index <= length && cells[cell + index] === bytes[start + index - 1]) index++;
      if (index > length) return this.#texts[slot];
    }
    const text = this.#decoded(bytes, start, end);
    if (text === undefined) return undefined;
    cells[cell] = length;
    cells.set(bytes.subarray(start, end), cell + 1);
    this.#texts[slot] = text;
    return text;
  }

  #decoded(bytes: Uint8Array, start: number, end: number): string | undefined {
    const text = decodeText(bytes, start, end);
    return text === undefined || !this.#accepts(text) ? undefined : text;
  }
}

/** UTF-8 to text; `undefined` for bytes that are not UTF-8. */
export function decodeText(bytes: Uint8Array, start: number, end: number): string | undefined {
  try {
    return decoder.decode(bytes.subarray(start, end));
  } catch {
    return undefined;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Longer texts are decoded each time, so that a cell stays small. */
const CELL_BYTES = 64;
