/**
 * The encoding of results and state values: one tag byte (0 JSON, 1 raw bytes), then the content; and of payloads, which
 * carry no tag because clients of every language write them.
 *
 * V1  What was encoded is a copy: changing the value afterwards changes nothing, nor does changing what `decodeValue` gave.
 * V2  Small whole numbers and short ASCII texts, the bulk of counters and cursors, take no encoder call; the smallest numbers share
 *     their bytes, which nobody writes to.
 */

import { jsonText } from "../../proto/json-text.ts";
import { RingError } from "../../ring/errors.ts";

/** `undefined` for undefined. Throws a TypeError for what JSON cannot hold (cycles, BigInt, functions, a Map). */
export function encodeValue(value: unknown): Uint8Array | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "number" && value >= 0 && value <= SMALL_INTEGER && Number.isInteger(value)) {
    if (value >= SHARED_INTEGERS) return encodeSmallInteger(value);
    let bytes = sharedIntegers[value];
    if (bytes === undefined) {
      bytes = encodeSmallInteger(value);
      sharedIntegers[value] = bytes;
    }
    return bytes;
  }
  if (value instanceof Uint8Array) {
    const bytes = new Uint8Array(value.length + 1);
    bytes[0] = RAW;
    bytes.set(value, 1);
    return bytes;
  }
  return encodeText(jsonText(value));
}

/** Throws `INTERNAL` for bytes that no version of this encoding wrote. */
export function decodeValue(bytes: Uint8Array): unknown {
  const tag = bytes[0];
  if (tag === RAW) return bytes.slice(1);
  if (tag !== JSON_TEXT) throw new RingError("INTERNAL", `a stored value has the unknown tag ${tag}`);
  const small = decodeSmallInteger(bytes);
  if (small !== undefined) return small;
  return JSON.parse(textOf(bytes, 1));
}

/** Bytes as they are, a string as UTF-8, undefined as no bytes, anything else as JSON. */
export function encodePayload(payload: unknown): Uint8Array {
  if (payload === undefined) return NO_BYTES;
  if (payload instanceof Uint8Array) return payload;
  return encoder.encode(typeof payload === "string" ? payload : jsonText(payload));
}

/** UTF-8 text of bytes from `start` on. */
export function textOf(bytes: Uint8Array, start = 0): string {
  if (bytes.length - start <= SHORT_TEXT) {
    let text = "";
    let at = start;
    for (; at < bytes.length; at++) {
      const code = bytes[at] as number;
      if (code > LAST_ASCII) break;
      text += String.fromCharCode(code);
    }
    if (at === bytes.length) return text;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, bytes.length - start).toString("utf8");
}

function encodeText(text: string): Uint8Array {
  if (text.length <= SHORT_TEXT) {
    const bytes = new Uint8Array(text.length + 1);
    let at = 0;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code > LAST_ASCII) break;
      bytes[at + 1] = code;
    }
    if (at === text.length) return bytes;
  }
  const bytes = new Uint8Array(Buffer.byteLength(text) + 1);
  encoder.encodeInto(text, bytes.subarray(1));
  return bytes;
}

function encodeSmallInteger(value: number): Uint8Array {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.trunc(rest / 10)) digits++;
  const bytes = new Uint8Array(digits + 1);
  let rest = value;
  for (let at = digits; at > 0; at--) {
    const next = Math.trunc(rest / 10);
    bytes[at] = DIGIT_ZERO + (rest - next * 10);
    rest = next;
  }
  return bytes;
}

function decodeSmallInteger(bytes: Uint8Array): number | undefined {
  if (bytes.length < 2 || bytes.length > SMALL_INTEGER_BYTES || (bytes[1] === DIGIT_ZERO && bytes.length > 2))
    return undefined;
  let value = 0;
  for (let at = 1; at < bytes.length; at++) {
    const digit = (bytes[at] as number) - DIGIT_ZERO;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return value;
}

const JSON_TEXT = 0;
const RAW = 1;
const DIGIT_ZERO = 0x30;
const LAST_ASCII = 0x7f;
const SHORT_TEXT = 60;
/** Nine digits at most, so that all arithmetic stays in small integers. */
const SMALL_INTEGER = 999_999_999;
const SMALL_INTEGER_BYTES = 10;
const SHARED_INTEGERS = 1_024;
const sharedIntegers: (Uint8Array | undefined)[] = new Array(SHARED_INTEGERS).fill(undefined);
const NO_BYTES = new Uint8Array(0);
const encoder = new TextEncoder();
