/**
 * Go structs in msgpack, read leniently as memberlist's codec does: a map in any order with unknown keys, or an array in
 * the order of declaration; a missing field is zero. What is there must fit its field, or a `DecodeError` is thrown.
 */

import type { NodeName } from "../ids.ts";
import { parseNodeName } from "../ids.ts";
import type { Address } from "./address.ts";
import { hostFromBytes } from "./address.ts";
import { DecodeError } from "./decode-error.ts";
import type { Source, Versions } from "./messages.ts";
import type { Decoded } from "./msgpack.ts";
import { decodeMsgpackAt } from "./msgpack.ts";
import { NO_VERSIONS } from "./versions.ts";

/** Reads the struct at `offset`; `order` is its fields in the order of declaration. */
export function readFields(
  bytes: Uint8Array,
  offset: number,
  order: readonly string[],
  blobByteLimit: number = BLOB_BYTE_LIMIT,
  itemLimit: number = ITEM_LIMIT,
): { readonly fields: Fields; readonly next: number } {
  const { value, next } = decodeMsgpackAt(bytes, offset, {
    dialect: "memberlist",
    blobByteLimit,
    itemLimit,
  });
  if (Array.isArray(value)) {
    return {
      fields: new Fields(Object.fromEntries(value.slice(0, order.length).map((item, at) => [order[at]!, item]))),
      next,
    };
  }
  if (typeof value !== "object" || value instanceof Uint8Array)
    throw new DecodeError("wrong-type", "a message that is no struct");
  return { fields: new Fields(value as { readonly [key: string]: Decoded }), next };
}

export class Fields {
  readonly #values: { readonly [key: string]: Decoded };

  constructor(values: { readonly [key: string]: Decoded }) {
    this.#values = values;
  }

  #get(key: string): Decoded {
    return Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
  }

  unsigned(key: string, max: number = 0xffff_ffff): number {
    const value = this.#get(key) ?? 0;
    if (typeof value !== "number") throw new DecodeError("wrong-type", `${key} is no number`);
    if (!Number.isInteger(value) || value < 0 || value > max)
      throw new DecodeError("out-of-range", `${key} is ${value}`);
    return value;
  }

  flag(key: string): boolean {
    const value = this.#get(key) ?? false;
    if (typeof value !== "boolean") throw new DecodeError("wrong-type", `${key} is no boolean`);
    return value;
  }

  /** Whether it is a list with something in it. */
  hasItems(key: string): boolean {
    const value = this.#get(key);
    return Array.isArray(value) && value.length > 0;
  }

  /** Empty when missing. */
  blob(key: string, byteLimit: number): Uint8Array {
    const value = this.#get(key);
    if (value === undefined) return EMPTY;
    if (!(value instanceof Uint8Array)) throw new DecodeError("wrong-type", `${key} is no byte string`);
    if (value.length > byteLimit) throw new DecodeError("too-large", `${key} has ${value.length} bytes`);
    return value;
  }

  text(key: string, byteLimit: number): string {
    return DECODER.decode(this.blob(key, byteLimit));
  }

  name(key: string): NodeName {
    const text = this.text(key, NAME_BYTE_LIMIT);
    try {
      return parseNodeName(text);
    } catch (cause) {
      throw new DecodeError("out-of-range", `${key}: ${cause instanceof Error ? cause.message : "no node name"}`);
    }
  }

  optionalName(key: string): NodeName | undefined {
    return this.blob(key, NAME_BYTE_LIMIT).length === 0 ? undefined : this.name(key);
  }

  address(hostKey: string, portKey: string): Address {
    const port = this.unsigned(portKey, 0xffff);
    const host = hostFromBytes(this.blob(hostKey, 16));
    if (port === 0 || host === "0.0.0.0" || host === "::")
      throw new DecodeError("out-of-range", `address ${host}:${port}`);
    return { host, port };
  }

  /** Undefined unless both address and port are there, as older senders leave them out. */
  source(): Source | undefined {
    if (this.blob("SourceAddr", 16).length === 0 || this.unsigned("SourcePort", 0xffff) === 0) return undefined;
    const name = this.optionalName("SourceNode");
    return { address: this.address("SourceAddr", "SourcePort"), ...(name !== undefined && { name }) };
  }

  versions(key: string): Versions {
    const raw = this.blob(key, 6);
    return raw.length === 6 ? [raw[0]!, raw[1]!, raw[2]!, raw[3]!, raw[4]!, raw[5]!] : NO_VERSIONS;
  }
}

const NAME_BYTE_LIMIT = 255;
/** No message of memberlist has more than 8 fields; strangers may add some. */
const ITEM_LIMIT = 256;
const BLOB_BYTE_LIMIT = 65_536;
const EMPTY: Uint8Array = new Uint8Array(0);
const DECODER = new TextDecoder();
