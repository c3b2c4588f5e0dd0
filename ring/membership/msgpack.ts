/**
 * MessagePack, small and bounded, in the two dialects we speak.
 *
 * `memberlist`: what Go's codec sends by default: text and bytes both as old "raw" (no str8, no bin), read back as bytes,
 * because nothing on the wire tells them apart. `modern`: text as str, bytes as bin, for messages between our own nodes.
 *
 * I1  Map keys are text, written sorted, so equal values give equal bytes.
 * I2  Integers take the smallest form, unsigned when not negative; anything else numeric is a float64.
 * I3  `undefined` fields of an object are left out; nil is read as `undefined`, and a nil field as an absent one.
 * I4  Decoding throws nothing but `DecodeError`, and what it returns never shares memory with its input.
 */

import { DecodeError } from "./decode-error.ts";

export interface MsgpackOptions {
  readonly dialect: "memberlist" | "modern";
}

export interface DecodeOptions extends MsgpackOptions {
  /** Bytes of one text or byte string. Default 16 MiB. */
  readonly blobByteLimit?: number;
  /** Values in one decode, nested ones and keys included. Default 1,000,000. */
  readonly itemLimit?: number;
}

export type Decoded =
  | undefined
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Decoded[]
  | { readonly [key: string]: Decoded };

/**
 * Takes what `Decoded` holds and also null (nil), `Map`s with text keys and any object with plain fields. Throws a
 * TypeError on anything else (a bug of the caller) or on more than 32 levels.
 */
export function encodeMsgpack(value: unknown, options: MsgpackOptions): Uint8Array {
  const writer = new Writer(options.dialect === "modern");
  writer.value(value, 0);
  return writer.bytes.slice(0, writer.length);
}

/** Decodes exactly one value that fills `bytes`. Throws `DecodeError`. */
export function decodeMsgpack(bytes: Uint8Array, options: DecodeOptions): Decoded {
  const { value, next } = decodeMsgpackAt(bytes, 0, options);
  if (next !== bytes.length) throw new DecodeError("trailing", `${bytes.length - next} bytes after the value`);
  return value;
}

/** Decodes the value that begins at `offset`; `next` is the offset after it. Throws `DecodeError`. */
export function decodeMsgpackAt(
  bytes: Uint8Array,
  offset: number,
  options: DecodeOptions,
): { readonly value: Decoded; readonly next: number } {
  const reader = new Reader(bytes, offset, options);
  const value = reader.value(0);
  return { value, next: reader.offset };
}

class Writer {
  bytes: Uint8Array = new Uint8Array(256);
  length = 0;
  #view: DataView = new DataView(this.bytes.buffer);
  readonly #modern: boolean;

  constructor(modern: boolean) {
    this.#modern = modern;
  }

  value(value: unknown, depth: number): void {
    switch (typeof value) {
      case "undefined":
        this.#byte(0xc0);
        return;
      case "boolean":
        this.#byte(value ? 0xc3 : 0xc2);
        return;
      case "number":
        this.#number(value);
        return;
      case "string":
        this.#text(value);
        return;
      case "object":
        this.#object(value, depth);
        return;
      default:
        throw new TypeError(`msgpack cannot hold a ${typeof value}`);
    }
  }

  #object(value: object | null, depth: number): void {
    if (value === null) {
      this.#byte(0xc0);
      return;
    }
    if (value instanceof Uint8Array) {
      this.#blob(value);
      return;
    }
    if (depth >= DEPTH_LIMIT) throw new TypeError(`msgpack value nests deeper than ${DEPTH_LIMIT}`);
    if (Array.isArray(value)) {
      this.#head(value.length, { fix: 0x90, fixLimit: 16, head16: 0xdc, head32: 0xdd });
      for (const item of value) this.value(item, depth + 1);
      return;
    }
    const entries: [string, unknown][] = value instanceof Map ? [...value] : Object.entries(value);
    const present = entries.filter(([, item]) => item !== undefined).sort(byKey);
    this.#head(present.length, { fix: 0x80, fixLimit: 16, head16: 0xde, head32: 0xdf });
    for (const [key, item] of present) {
      if (typeof key !== "string") throw new TypeError("msgpack map keys are text");
      this.#text(key);
      this.value(item, depth + 1);
    }
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#byte(0xcb);
      const at = this.#grow(8);
      this.#view.setFloat64(at, value);
    } else if (value >= 0) this.#unsigned(value);
    else this.#negative(value);
  }

  #unsigned(value: number): void {
    if (value < 0x80) this.#byte(value);
    else if (value < 0x100) {
      this.#byte(0xcc);
      this.#byte(value);
    } else if (value < 0x1_0000) {
      this.#byte(0xcd);
      const at = this.#grow(2);
      this.#view.setUint16(at, value);
    } else if (value < TWO_32) {
      this.#byte(0xce);
      const at = this.#grow(4);
      this.#view.setUint32(at, value);
    } else {
      this.#byte(0xcf);
      this.#wide(value);
    }
  }

  #negative(value: number): void {
    if (value >= -0x20) this.#byte(value & 0xff);
    else if (value >= -0x80) {
      this.#byte(0xd0);
      this.#byte(value & 0xff);
    } else if (value >= -0x8000) {
      this.#byte(0xd1);
      const at = this.#grow(2);
      this.#view.setInt16(at, value);
    } else if (value >= -0x8000_0000) {
      this.#byte(0xd2);
      const at = this.#grow(4);
      this.#view.setInt32(at, value);
    } else {
      this.#byte(0xd3);
      this.#wide(value);
    }
  }

  #wide(value: number): void {
    const at = this.#grow(8);
    const high = Math.floor(value / TWO_32);
    this.#view.setInt32(at, high);
    this.#view.setUint32(at + 4, value - high * TWO_32);
  }

  #text(text: string): void {
    const encoded = ENCODER.encode(text);
    this.#head(encoded.length, this.#modern ? STR : RAW);
    this.#raw(encoded);
  }

  #blob(blob: Uint8Array): void {
    this.#head(blob.length, this.#modern ? BIN : RAW);
    this.#raw(blob);
  }

  #head(length: number, form: HeadForm): void {
    if (form.fix !== undefined && length < form.fixLimit) this.#byte(form.fix | length);
    else if (form.head8 !== undefined && length < 0x100) {
      this.#byte(form.head8);
      this.#byte(length);
    } else if (length < 0x1_0000) {
      this.#byte(form.head16);
      const at = this.#grow(2);
      this.#view.setUint16(at, length);
    } else {
      this.#byte(form.head32);
      const at = this.#grow(4);
      this.#view.setUint32(at, length);
    }
  }

  #byte(byte: number): void {
    const at = this.#grow(1);
    this.bytes[at] = byte;
  }

  #raw(raw: Uint8Array): void {
    const at = this.#grow(raw.length);
    this.bytes.set(raw, at);
  }

  /** Makes room for `count` bytes and returns where they go. It may replace `bytes` and the view: call it first. */
  #grow(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, this.bytes.length * 2));
      larger.set(this.bytes.subarray(0, at));
      this.bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

class Reader {
  offset: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #modern: boolean;
  readonly #blobByteLimit: number;
  #itemsLeft: number;

  constructor(bytes: Uint8Array, offset: number, options: DecodeOptions) {
    // A plain Uint8Array: `slice` of Node's Buffer would share memory (I4).
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = offset;
    this.#modern = options.dialect === "modern";
    this.#blobByteLimit = options.blobByteLimit ?? BLOB_BYTE_LIMIT;
    this.#itemsLeft = options.itemLimit ?? ITEM_LIMIT;
  }

  value(depth: number): Decoded {
    if (depth > DEPTH_LIMIT) throw new DecodeError("too-large", `nested deeper than ${DEPTH_LIMIT}`);
    if (--this.#itemsLeft < 0) throw new DecodeError("too-large", "too many items");
    const head = this.#bytes[this.#take(1)]!;
    if (head < 0x80) return head;
    if (head < 0x90) return this.#map(head & 0x0f, depth);
    if (head < 0xa0) return this.#array(head & 0x0f, depth);
    if (head < 0xc0) return this.#string(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0:
        return undefined;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#blob(this.#view.getUint8(this.#take(1)));
      case 0xc5:
        return this.#blob(this.#view.getUint16(this.#take(2)));
      case 0xc6:
        return this.#blob(this.#view.getUint32(this.#take(4)));
      case 0xca:
        return this.#view.getFloat32(this.#take(4));
      case 0xcb:
        return this.#view.getFloat64(this.#take(8));
      case 0xcc:
        return this.#view.getUint8(this.#take(1));
      case 0xcd:
        return this.#view.getUint16(this.#take(2));
      case 0xce:
        return this.#view.getUint32(this.#take(4));
      case 0xcf:
        return this.#wide("unsigned");
      case 0xd0:
        return this.#view.getInt8(this.#take(1));
      case 0xd1:
        return this.#view.getInt16(this.#take(2));
      case 0xd2:
        return this.#view.getInt32(this.#take(4));
      case 0xd3:
        return this.#wide("signed");
      case 0xd9:
        return this.#string(this.#view.getUint8(this.#take(1)));
      case 0xda:
        return this.#string(this.#view.getUint16(this.#take(2)));
      case 0xdb:
        return this.#string(this.#view.getUint32(this.#take(4)));
      case 0xdc:
        return this.#array(this.#view.getUint16(this.#take(2)), depth);
      case 0xdd:
        return this.#array(this.#view.getUint32(this.#take(4)), depth);
      case 0xde:
        return this.#map(this.#view.getUint16(this.#take(2)), depth);
      case 0xdf:
        return this.#map(this.#view.getUint32(this.#take(4)), depth);
      default:
        throw new DecodeError("wrong-type", `type byte 0x${head.toString(16)}`);
    }
  }

  #wide(sign: "signed" | "unsigned"): number {
    const at = this.#take(8);
    const high = sign === "signed" ? this.#view.getInt32(at) : this.#view.getUint32(at);
    const value = high * TWO_32 + this.#view.getUint32(at + 4);
    if (!Number.isSafeInteger(value)) throw new DecodeError("out-of-range", "integer beyond 2^53");
    return value;
  }

  #array(length: number, depth: number): Decoded {
    this.#checkItems(length);
    const items: Decoded[] = [];
    for (let index = 0; index < length; index++) items.push(this.value(depth + 1));
    return items;
  }

  #map(length: number, depth: number): Decoded {
    this.#checkItems(2 * length);
    const fields: { [key: string]: Decoded } = {};
    for (let index = 0; index < length; index++) {
      const rawKey = this.value(depth + 1);
      const key = rawKey instanceof Uint8Array ? DECODER.decode(rawKey) : rawKey;
      if (typeof key !== "string") throw new DecodeError("wrong-type", "a map key that is no text");
      const item = this.value(depth + 1);
      if (item === undefined) continue; // I3
      if (key === "__proto__") Object.defineProperty(fields, key, { value: item, enumerable: true });
      else fields[key] = item;
    }
    return fields;
  }

  #string(length: number): Decoded {
    return this.#modern ? DECODER.decode(this.#blob(length)) : this.#blob(length);
  }

  #blob(length: number): Uint8Array {
    if (length > this.#blobByteLimit) throw new DecodeError("too-large", `a string of ${length} bytes`);
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  #checkItems(count: number): void {
    if (count > this.#itemsLeft) throw new DecodeError("too-large", `${count} items`);
  }

  #take(count: number): number {
    const at = this.offset;
    if (at + count > this.#bytes.length)
      throw new DecodeError("truncated", `${at + count - this.#bytes.length} bytes missing`);
    this.offset = at + count;
    return at;
  }
}

function byKey(left: readonly [string, unknown], right: readonly [string, unknown]): number {
  return left[0] < right[0] ? -1 : 1;
}

interface HeadForm {
  readonly fix?: number;
  readonly fixLimit: number;
  readonly head8?: number;
  readonly head16: number;
  readonly head32: number;
}

const RAW: HeadForm = { fix: 0xa0, fixLimit: 32, head16: 0xda, head32: 0xdb };
const STR: HeadForm = { ...RAW, head8: 0xd9 };
const BIN: HeadForm = { fixLimit: 0, head8: 0xc4, head16: 0xc5, head32: 0xc6 };

/** Deep enough for any message of ours, far below what the stack takes. */
const DEPTH_LIMIT = 32;
const BLOB_BYTE_LIMIT = 16 * 1024 * 1024;
const ITEM_LIMIT = 1_000_000;
const TWO_32 = 0x1_0000_0000;
const ENCODER = new TextEncoder();
/** `ignoreBOM` keeps a leading U+FEFF, so that text comes back as it was. */
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });
