/**
 * Memberlist's encryption: one shared secret for the ring, AES-GCM, several keys at once so that they can be changed while
 * the ring runs. Whoever holds a key can impersonate any node; this keeps strangers out, not traitors.
 *
 * C1  The first key seals; every key opens.
 * C2  With keys, nothing in clear is believed; without, nothing sealed can be read.
 * C3  A sealed packet or stream is believed once: memberlist does not look, but an old packet from a tape must not accuse anybody.
 */

import { createCipheriv, createDecipheriv, createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { RingError } from "../errors.ts";
import { DecodeError } from "../membership/decode-error.ts";
import { labelHeader, skipLabel } from "../membership/label.ts";
import type { StreamMessage } from "../membership/messages.ts";
import { StreamDecoder } from "../membership/stream.ts";
import { concat, KIND } from "../membership/wire.ts";

/** A key without its secret. */
export interface KeyView {
  /** First 16 hex digits of the key's SHA-256. */
  readonly fingerprint: string;
  readonly bits: number;
  /** This node seals with it. */
  readonly primary: boolean;
}

export class Keyring {
  #keys: readonly Uint8Array[];

  /** The first key seals. None: the ring speaks in clear. Throws `INVALID_ARGUMENT`. */
  constructor(keys: readonly Uint8Array[]) {
    for (const key of keys) checkKey(key);
    if (keys.length > KEY_LIMIT) throw new RingError("INVALID_ARGUMENT", `a keyring holds at most ${KEY_LIMIT} keys`);
    this.#keys = keys;
  }

  /** First the one that seals. */
  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }

  list(): readonly KeyView[] {
    return this.#keys.map((key, index) => ({
      fingerprint: fingerprintOf(key),
      bits: 8 * key.length,
      primary: index === 0,
    }));
  }

  /** Opens with it from now on. Throws `INVALID_ARGUMENT`, also where the ring speaks in clear. */
  install(key: Uint8Array): void {
    checkKey(key);
    if (this.#keys.length === 0)
      throw new RingError(
        "INVALID_ARGUMENT",
        "this ring gossips in clear: give every node a key file (--gossip-keys) and restart them together",
      );
    if (this.#keys.some((known) => sameKey(known, key))) return;
    if (this.#keys.length >= KEY_LIMIT)
      throw new RingError("INVALID_ARGUMENT", `a keyring holds at most ${KEY_LIMIT} keys: remove one first`);
    this.#keys = [...this.#keys, key];
  }

  /** Seals with it from now on. Throws `NOT_FOUND` if it is not installed. */
  use(fingerprint: string): void {
    const key = this.#find(fingerprint);
    this.#keys = [key, ...this.#keys.filter((known) => known !== key)];
  }

  /** Throws `NOT_FOUND`, or `INVALID_ARGUMENT` for the one that seals. */
  remove(fingerprint: string): void {
    const key = this.#find(fingerprint);
    if (key === this.#keys[0])
      throw new RingError("INVALID_ARGUMENT", "this key seals what the node sends: use another one first");
    this.#keys = this.#keys.filter((known) => known !== key);
  }

  #find(fingerprint: string): Uint8Array {
    const key = this.#keys.find((known) => fingerprintOf(known) === fingerprint);
    if (key === undefined) throw new RingError("NOT_FOUND", `no key ${fingerprint} is installed`);
    return key;
  }
}

function fingerprintOf(key: Uint8Array): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 16);
}

/** Serf's spelling: 16, 24 or 32 bytes in base64. Throws `INVALID_ARGUMENT`. */
export function parseKey(text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw new RingError("INVALID_ARGUMENT", "a gossip key is text in base64");
  const key = Uint8Array.from(Buffer.from(text, "base64"));
  checkKey(key);
  return key;
}

/** Label and encryption around what the pure layers write and read. */
export class Envelope {
  readonly keyring: Keyring;
  readonly #header: Uint8Array;
  /** The label alone: bound into the encryption. */
  readonly #label: Uint8Array;
  #recent = new Set<string>();
  #older = new Set<string>();

  constructor({ keyring, label }: { readonly keyring: Keyring; readonly label: string }) {
    this.keyring = keyring;
    this.#header = labelHeader(label);
    this.#label = this.#header.subarray(Math.min(2, this.#header.length));
  }

  /** What it adds to a packet. */
  get packetOverheadBytes(): number {
    return this.#header.length + (this.keyring.keys.length === 0 ? 0 : SEAL_BYTES);
  }

  sealPacket(body: Uint8Array): Uint8Array {
    const [key] = this.keyring.keys;
    const sealed = key === undefined ? body : seal(key, body, this.#label);
    return this.#header.length === 0 ? sealed : concat([this.#header, sealed]);
  }

  /** Throws `DecodeError`. */
  openPacket(packet: Uint8Array): Uint8Array {
    const start = skipLabel(packet, this.#header);
    if (start === undefined) throw new DecodeError("truncated", "a label");
    const body = packet.subarray(start);
    if (this.keyring.keys.length === 0) return body;
    const opened = open(this.keyring.keys, body, this.#label);
    this.#refuseReplay(body); // C3
    return opened;
  }

  sealStream(body: Uint8Array): Uint8Array {
    const [key] = this.keyring.keys;
    if (key === undefined) return this.#header.length === 0 ? body : concat([this.#header, body]);
    const head = new Uint8Array(FRAME_BYTES);
    head[0] = KIND.encrypt;
    new DataView(head.buffer).setUint32(1, body.length + SEAL_BYTES);
    return concat([this.#header, head, seal(key, body, concat([head, this.#label]))]);
  }

  reader(): StreamReader {
    const refuseReplay = (sealed: Uint8Array): void => this.#refuseReplay(sealed);
    return new StreamReader({ keyring: this.keyring, header: this.#header, label: this.#label, refuseReplay });
  }

  #refuseReplay(body: Uint8Array): void {
    const nonce = Buffer.from(body.subarray(1, 1 + NONCE_BYTES)).toString("latin1");
    if (this.#recent.has(nonce) || this.#older.has(nonce)) throw new DecodeError("replayed", "seen before");
    this.#recent.add(nonce);
    if (this.#recent.size < NONCES_KEPT) return;
    this.#older = this.#recent;
    this.#recent = new Set();
  }
}

/** Takes label and encryption off one stream and reads the message in it. */
export class StreamReader {
  readonly #keyring: Keyring;
  readonly #header: Uint8Array;
  readonly #label: Uint8Array;
  readonly #refuseReplay: (sealed: Uint8Array) => void;
  readonly #decoder = new StreamDecoder();
  #held: Uint8Array = new Uint8Array(0);
  #heldBytes = 0;
  #inClear = false;

  constructor(parts: {
    readonly keyring: Keyring;
    readonly header: Uint8Array;
    readonly label: Uint8Array;
    /** Throws if what is sealed with this nonce has been read before. */
    readonly refuseReplay: (sealed: Uint8Array) => void;
  }) {
    this.#keyring = parts.keyring;
    this.#header = parts.header;
    this.#label = parts.label;
    this.#refuseReplay = parts.refuseReplay;
  }

  /** Bytes held. */
  get byteLength(): number {
    return this.#decoder.byteLength + this.#held.length;
  }

  /** Nodes of a push/pull that were left out because they could not be read. */
  get dropped(): number {
    return this.#decoder.dropped;
  }

  /** The message once it is complete. Throws `DecodeError`. */
  push(chunk: Uint8Array): StreamMessage | undefined {
    if (this.#inClear) return this.#decoder.push(chunk);
    this.#append(chunk);
    const bytes = this.#held.subarray(0, this.#heldBytes);
    const start = skipLabel(bytes, this.#header);
    if (start === undefined || start === bytes.length) return undefined;
    const body = bytes.subarray(start);
    const sealed = body[0] === KIND.encrypt;
    if (this.#keyring.keys.length > 0) {
      if (!sealed) throw new DecodeError("not-encrypted", "a stream in clear");
      return this.#opened(body);
    }
    if (sealed) throw new DecodeError("undecryptable", "an encrypted stream, and no key");
    this.#inClear = true;
    this.#held = new Uint8Array(0);
    return this.#decoder.push(body);
  }

  #opened(body: Uint8Array): StreamMessage | undefined {
    if (body.length < FRAME_BYTES) return undefined;
    const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
    if (length > SEALED_BYTE_LIMIT) throw new DecodeError("too-large", `an encrypted stream of ${length} bytes`);
    if (body.length < FRAME_BYTES + length) return undefined;
    const bound = concat([body.subarray(0, FRAME_BYTES), this.#label]);
    const sealed = body.subarray(FRAME_BYTES, FRAME_BYTES + length);
    const inside = open(this.#keyring.keys, sealed, bound);
    this.#refuseReplay(sealed); // C3
    const message = this.#decoder.push(inside);
    if (message === undefined) throw new DecodeError("wrong-type", "an encrypted stream that ends early");
    return message;
  }

  #append(chunk: Uint8Array): void {
    const length = this.#heldBytes + chunk.length;
    if (length > SEALED_BYTE_LIMIT + HEAD_BYTE_LIMIT) throw new DecodeError("too-large", `a stream of ${length} bytes`);
    if (length > this.#held.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#held.length));
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(chunk, this.#heldBytes);
    this.#heldBytes = length;
  }
}

function seal(key: Uint8Array, body: Uint8Array, bound: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(cipherOf(key), key, nonce).setAAD(bound);
  const sealed = cipher.update(body);
  cipher.final();
  return concat([Uint8Array.of(VERSION_PLAIN), nonce, sealed, cipher.getAuthTag()]);
}

/** Tries every key (C1). Throws `DecodeError`. */
function open(keys: readonly Uint8Array[], sealed: Uint8Array, bound: Uint8Array): Uint8Array {
  const version = sealed[0];
  if (version !== VERSION_PLAIN && version !== VERSION_PADDED)
    throw new DecodeError("not-encrypted", "no version of the encryption");
  if (sealed.length < SEAL_BYTES) throw new DecodeError("truncated", "an encrypted message");
  const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
  const body = sealed.subarray(1 + NONCE_BYTES, sealed.length - TAG_BYTES);
  const tag = sealed.subarray(sealed.length - TAG_BYTES);
  for (const key of keys) {
    const decipher = createDecipheriv(cipherOf(key), key, nonce).setAAD(bound).setAuthTag(tag);
    const opened = decipher.update(body);
    try {
      decipher.final();
    } catch {
      continue;
    }
    return version === VERSION_PADDED ? unpadded(opened) : opened;
  }
  throw new DecodeError("undecryptable", "none of the keys fits");
}

function unpadded(bytes: Uint8Array): Uint8Array {
  const padding = bytes[bytes.length - 1] ?? 0;
  if (padding < 1 || padding > BLOCK_BYTES || padding > bytes.length)
    throw new DecodeError("wrong-type", "an impossible padding");
  return bytes.subarray(0, bytes.length - padding);
}

function cipherOf(key: Uint8Array): "aes-128-gcm" | "aes-192-gcm" | "aes-256-gcm" {
  return key.length === 16 ? "aes-128-gcm" : key.length === 24 ? "aes-192-gcm" : "aes-256-gcm";
}

function checkKey(key: Uint8Array): void {
  if (!KEY_BYTES.has(key.length))
    throw new RingError("INVALID_ARGUMENT", `a gossip key has 16, 24 or 32 bytes, not ${key.length}`);
}

function sameKey(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}

const KEY_BYTES: ReadonlySet<number> = new Set([16, 24, 32]);
const KEY_LIMIT = 16;
/** Padded to whole blocks: what memberlist's protocol 1 sends. */
const VERSION_PADDED = 0;
const VERSION_PLAIN = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const BLOCK_BYTES = 16;
/** Version, nonce, tag. */
const SEAL_BYTES = 29;
/** Type and length in front of an encrypted stream. */
const FRAME_BYTES = 5;
const HEAD_BYTE_LIMIT = 512;
const SEALED_BYTE_LIMIT = 32 * 1024 * 1024;
/** Twice this many packets are remembered; at 100 a second the last minutes. */
const NONCES_KEPT = 8_192;
