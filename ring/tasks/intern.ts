/**
 * Strings that come back again and again in wire bytes (apps, types, keys), decoded once.
 *
 * A direct-mapped table: a slot holds the newest text of its hash, a miss decodes and replaces. So memory is bounded and a hit
 * costs a compare; the texts come out as the same object, whose own hash the maps behind need not compute again.
 */

export class InternTable {
  readonly #slots: (Entry | undefined)[];
  readonly #mask: number;
  readonly #accepts: (text: string) => boolean;

  /** `slots` is a power of two. `accepts` is asked once per decoded text; a refused text gives `undefined`. */
  constructor(options: { readonly slots: number; readonly accepts: (text: string) => boolean }) {
    this.#slots = new Array<Entry | undefined>(options.slots).fill(undefined);
    this.#mask = options.slots - 1;
    this.#accepts = options.accepts;
  }

  /** The text of `bytes[start, end)`, or `undefined` when it is not UTF-8 or not accepted. */
  text(bytes: Uint8Array, start: number, end: number): string | undefined {
    let hash = end - start;
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
    hash ^= hash >>> 15;
    const slot = hash & this.#mask;
    const entry = this.#slots[slot];
    if (entry !== undefined && same(entry.bytes, bytes, start, end)) return entry.text;
    const text = decodeText(bytes, start, end);
    if (text === undefined || !this.#accepts(text)) return undefined;
    if (end - start <= INTERNED_BYTES) this.#slots[slot] = { bytes: bytes.slice(start, end), text };
    return text;
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

interface Entry {
  readonly bytes: Uint8Array;
  readonly text: string;
}

function same(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let at = start, index = 0; at < end; at++, index++) if (bytes[at] !== known[index]) return false;
  return true;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Longer texts are decoded each time, so that a slot stays small. */
const INTERNED_BYTES = 64;
