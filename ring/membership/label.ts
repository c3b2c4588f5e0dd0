/**
 * Memberlist's label: a name for the ring in front of every packet and stream, in clear, so that two rings on one network
 * do not mix. It is also bound into the encryption.
 */

import { RingError } from "../errors.ts";
import { DecodeError } from "./decode-error.ts";
import { concat, KIND } from "./wire.ts";

/** What stands in front of everything; empty for no label. Throws `INVALID_ARGUMENT` beyond 255 bytes. */
export function labelHeader(label: string): Uint8Array {
  const text = ENCODER.encode(label);
  if (text.length > LABEL_BYTE_LIMIT)
    throw new RingError("INVALID_ARGUMENT", `a gossip label has at most ${LABEL_BYTE_LIMIT} bytes, not ${text.length}`);
  return text.length === 0 ? text : concat([Uint8Array.of(KIND.label, text.length), text]);
}

/**
 * How many bytes of `bytes` are the header; undefined while too few are there to tell. Throws `DecodeError` when the label
 * is another one, or is missing.
 */
export function skipLabel(bytes: Uint8Array, header: Uint8Array): number | undefined {
  if (bytes.length === 0) return undefined;
  if (header.length === 0) {
    if (bytes[0] === KIND.label) throw new DecodeError("foreign-label", "a label where none is expected");
    return 0;
  }
  const seen = Math.min(bytes.length, header.length);
  for (let at = 0; at < seen; at++)
    if (bytes[at] !== header[at]) throw new DecodeError("foreign-label", "another label, or none");
  return seen < header.length ? undefined : seen;
}

const LABEL_BYTE_LIMIT = 255;
const ENCODER = new TextEncoder();
