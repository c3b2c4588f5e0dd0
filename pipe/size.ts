/**
 * How large a message is between nodes: bytes of UTF-8, not characters, of which one may be three bytes.
 *
 * Z1  Most messages are far below the limit, or above it, by their length alone; only the others are counted.
 */

import { MESSAGE_BYTES } from "./limits.ts";

export function fitsMessage(encoded: string): boolean {
  if (encoded.length > MESSAGE_BYTES) return false; // Z1
  return encoded.length * MOST_BYTES <= MESSAGE_BYTES || bytesOf(encoded) <= MESSAGE_BYTES;
}

export function tooLarge(encoded: string): RangeError {
  return new RangeError(`${bytesOf(encoded)} bytes are more than a message between nodes holds (${MESSAGE_BYTES})`);
}

function bytesOf(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    // Of a surrogate pair each half is two of the four bytes; JSON has none alone.
    if (code >= 0x80) bytes += code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 1 : 2;
  }
  return bytes;
}

/** Of a character, in UTF-16 code units. */
const MOST_BYTES = 3;
