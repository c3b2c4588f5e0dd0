/**
 * Undoes Go's `compress/lzw` (LSB first, 8-bit literals), the one compression that memberlist sends.
 *
 * L1  No more than `byteLimit` bytes come out, and no more memory than twice that is taken: a few hundred bytes can ask
 *     for megabytes.
 * L2  Throws nothing but `DecodeError`.
 */

import { DecodeError } from "./decode-error.ts";

export function decompress(bytes: Uint8Array, byteLimit: number): Uint8Array {
  const prefix = new Uint16Array(TABLE_SIZE);
  const suffix = new Uint8Array(TABLE_SIZE);
  const lengths = new Uint16Array(TABLE_SIZE).fill(1, 0, CLEAR);
  let output = new Uint8Array(Math.min(byteLimit, Math.max(256, 4 * bytes.length)));
  let written = 0;
  let width = FIRST_WIDTH;
  let last = NONE;
  /** The entry that the next code completes. */
  let next = END;
  let bits = 0;
  let held = 0;
  for (let at = 0; ; ) {
    while (held < width) {
      if (at === bytes.length) throw new DecodeError("bad-compression", "compressed bytes without an end");
      bits |= bytes[at++]! << held;
      held += 8;
    }
    const code = bits & ((1 << width) - 1);
    bits >>>= width;
    held -= width;
    if (code === END) return output.slice(0, written);
    if (code === CLEAR) {
      width = FIRST_WIDTH;
      next = END;
      last = NONE;
      continue;
    }
    // The one code that may be used before it is complete repeats the last string and its first byte.
    const repeats = code === next && last !== NONE && code > END;
    if (code > next || (code === next && !repeats && next < TABLE_SIZE - 1))
      throw new DecodeError("bad-compression", `code ${code} is not in the table`);
    const length = repeats ? lengths[last]! + 1 : lengths[code]!;
    if (written + length > byteLimit) throw new DecodeError("too-large", `more than ${byteLimit} bytes decompressed`);
    if (written + length > output.length) output = grown(output, written + length, byteLimit);
    let place = written + length - (repeats ? 2 : 1);
    let entry = repeats ? last : code;
    for (; entry > END; entry = prefix[entry]!) output[place--] = suffix[entry]!;
    output[place] = entry;
    const first = entry;
    if (repeats) output[written + length - 1] = first;
    written += length;
    if (last !== NONE) {
      suffix[next] = first;
      prefix[next] = last;
      lengths[next] = lengths[last]! + 1;
    }
    last = code;
    next++;
    if (next < 1 << width) continue;
    if (width < LAST_WIDTH) width++;
    else {
      // The table is full: nothing is added until the sender clears it.
      last = NONE;
      next--;
    }
  }
}

function grown(output: Uint8Array, least: number, most: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.min(most, Math.max(least, 2 * output.length)));
  larger.set(output);
  return larger;
}

const CLEAR = 256;
const END = 257;
const FIRST_WIDTH = 9;
const LAST_WIDTH = 12;
const TABLE_SIZE = 1 << LAST_WIDTH;
const NONE = -1;
