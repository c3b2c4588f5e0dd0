/**
 * Protobuf's varints and field skipping, read without allocating: the end of the varint just read is kept aside and asked for
 * with `varintEnd()`. Values above 2^53 - 1, cut-off ones and ones longer than 10 bytes are -1.
 */

/** The varint at `at`, or -1. */
export function readVarint(bytes: Uint8Array, at: number, end: number): number {
  let value = 0;
  let factor = 1;
  for (let count = 0; count < 10; count++) {
    if (at >= end) break;
    const byte = bytes[at++] as number;
    value += (byte & 0x7f) * factor;
    factor *= 128;
    if (byte < 0x80) {
      lastEnd = at;
      return value <= Number.MAX_SAFE_INTEGER ? value : -1;
    }
  }
  lastEnd = end;
  return -1;
}

/** Where the varint last read ended. */
export function varintEnd(): number {
  return lastEnd;
}

/** Where a field of `wireType` that begins at `at` ends, or -1. */
export function skipField(bytes: Uint8Array, at: number, end: number, wireType: number): number {
  switch (wireType) {
    case 0:
      for (let count = 0; count < 10 && at < end; count++) if ((bytes[at++] as number) < 0x80) return at;
      return -1;
    case 1:
      return at + 8 <= end ? at + 8 : -1;
    case 2: {
      const length = readVarint(bytes, at, end);
      return length >= 0 && lastEnd + length <= end ? lastEnd + length : -1;
    }
    case 5:
      return at + 4 <= end ? at + 4 : -1;
    default:
      return -1;
  }
}

export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) count++;
  return count;
}

/** Writes `value` at `at`; gives the place behind it. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  let place = at;
  while (rest >= 128) {
    bytes[place++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  bytes[place++] = rest;
  return place;
}

let lastEnd = 0;
