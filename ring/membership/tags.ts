/**
 * A member's tags as memberlist meta: byte 255, then a msgpack map of strings, as serf does it. Meta without that byte is
 * an old serf's role. Meta that cannot be read never stops a message: the member is then shown without tags.
 */

import { RingError } from "../errors.ts";
import { DecodeError } from "./decode-error.ts";
import { decodeMsgpackAt, encodeMsgpack } from "./msgpack.ts";

export type Tags = ReadonlyMap<string, string>;

/** Throws `INVALID_ARGUMENT` when the encoded tags exceed 512 bytes. */
export function encodeTags(tags: Tags): Uint8Array {
  const body = encodeMsgpack(tags, { dialect: "memberlist" });
  if (1 + body.length > META_BYTE_LIMIT)
    throw new RingError("INVALID_ARGUMENT", `tags take ${1 + body.length} bytes, at most ${META_BYTE_LIMIT} fit`);
  const meta = new Uint8Array(1 + body.length);
  meta[0] = TAGS_MAGIC;
  meta.set(body, 1);
  return meta;
}

export function decodeTags(meta: Uint8Array): Tags {
  if (meta.length === 0) return NO_TAGS;
  if (meta[0] !== TAGS_MAGIC) return new Map([["role", DECODER.decode(meta)]]);
  try {
    const { value } = decodeMsgpackAt(meta, 1, { dialect: "memberlist" });
    if (typeof value !== "object" || value instanceof Uint8Array || Array.isArray(value)) return NO_TAGS;
    const tags = new Map<string, string>();
    for (const [key, item] of Object.entries(value)) {
      if (!(item instanceof Uint8Array)) return NO_TAGS;
      tags.set(key, DECODER.decode(item));
    }
    return tags;
  } catch (error) {
    if (error instanceof DecodeError) return NO_TAGS;
    throw error;
  }
}

export const META_BYTE_LIMIT = 512;
const TAGS_MAGIC = 255;
const NO_TAGS: Tags = new Map();
const DECODER = new TextDecoder();
