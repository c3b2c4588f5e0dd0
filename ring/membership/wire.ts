/**
 * Memberlist's UDP packets: messages to bytes and back.
 *
 * Layers, outermost first: label, encryption, checksum, compression, compound, message. Label and encryption are taken off
 * before (`ring/io/gossip-crypto.ts`); compression is read, never written: others must take what is not compressed. What
 * cannot be read is dropped part by part and its reason returned for counting: decoding a packet never throws.
 */

import { hostBytes } from "./address.ts";
import { crc32 } from "./crc32.ts";
import type { DecodeReason } from "./decode-error.ts";
import { DecodeError } from "./decode-error.ts";
import { readFields } from "./fields.ts";
import { decompress } from "./lzw.ts";
import type { Source, SwimMessage } from "./messages.ts";
import { encodeMsgpack } from "./msgpack.ts";
import { META_BYTE_LIMIT } from "./tags.ts";

export interface Packet {
  readonly messages: readonly SwimMessage[];
  /** Why parts of the packet were dropped, one entry each. */
  readonly drops: readonly DecodeReason[];
}

export function decodePacket(bytes: Uint8Array): Packet {
  const messages: SwimMessage[] = [];
  const drops: DecodeReason[] = [];
  const packet = { messages, drops, partsLeft: PART_LIMIT, roomBytes: UNPACKED_BYTE_LIMIT };
  try {
    const body = bytes[0] === KIND.checksum ? checked(bytes) : bytes;
    readPart(body, 0, packet);
  } catch (error) {
    drops.push(reasonOf(error));
  }
  return { messages, drops };
}

/**
 * As many packets as the messages need: each at most `byteLimit` bytes (unless one message alone is larger) and 255 parts.
 * With `checksum` each begins with its CRC; only for receivers that speak protocol 5.
 */
export function encodePackets(
  messages: readonly SwimMessage[],
  { checksum, byteLimit }: { readonly checksum: boolean; readonly byteLimit: number },
): readonly Uint8Array[] {
  const room = byteLimit - (checksum ? CHECKSUM_BYTES : 0) - COMPOUND_BYTES;
  const packets: Uint8Array[] = [];
  let parts: Uint8Array[] = [];
  let used = 0;
  for (const message of messages) {
    const part = encodeMessage(message);
    if (parts.length > 0 && (parts.length === COMPOUND_PART_LIMIT || used + PART_BYTES + part.length > room)) {
      packets.push(compound(parts));
      parts = [];
      used = 0;
    }
    parts.push(part);
    used += PART_BYTES + part.length;
  }
  if (parts.length > 0) packets.push(compound(parts));
  return checksum ? packets.map(withChecksum) : packets;
}

/** One message: its type byte and its body. Throws a TypeError if an address is no IP address. */
export function encodeMessage(message: SwimMessage): Uint8Array {
  switch (message.type) {
    case "ping":
      return typed(KIND.ping, { SeqNo: message.sequence, Node: message.node ?? "", ...sourceFields(message.source) });
    case "indirect-ping":
      return typed(KIND.indirectPing, {
        SeqNo: message.sequence,
        Target: hostBytes(message.target.host),
        Port: message.target.port,
        Node: message.node ?? "",
        Nack: message.nack,
        ...sourceFields(message.source),
      });
    case "ack":
      return typed(KIND.ack, { SeqNo: message.sequence, Payload: message.payload ?? null });
    case "nack":
      return typed(KIND.nack, { SeqNo: message.sequence });
    case "suspect":
      return typed(KIND.suspect, { Incarnation: message.incarnation, Node: message.node, From: message.from });
    case "dead":
      return typed(KIND.dead, { Incarnation: message.incarnation, Node: message.node, From: message.from });
    case "alive":
      return typed(KIND.alive, {
        Incarnation: message.incarnation,
        Node: message.node,
        Addr: hostBytes(message.address.host),
        Port: message.address.port,
        Meta: message.meta,
        Vsn: Uint8Array.from(message.versions),
      });
    case "user":
      return concat([Uint8Array.of(KIND.user), message.payload]);
  }
}

/** Reads one message that begins with its type byte; compound and checksum are no messages. Throws `DecodeError`. */
export function decodeMessage(bytes: Uint8Array): SwimMessage {
  switch (bytes[0]) {
    case undefined:
      throw new DecodeError("truncated", "an empty message");
    case KIND.ping: {
      const { fields } = readFields(bytes, 1, FIELDS.ping);
      const node = fields.optionalName("Node");
      const source = fields.source();
      return { type: "ping", sequence: fields.unsigned("SeqNo"), ...(node && { node }), ...(source && { source }) };
    }
    case KIND.indirectPing: {
      const { fields } = readFields(bytes, 1, FIELDS.indirectPing);
      const node = fields.optionalName("Node");
      const source = fields.source();
      return {
        type: "indirect-ping",
        sequence: fields.unsigned("SeqNo"),
        target: fields.address("Target", "Port"),
        nack: fields.flag("Nack"),
        ...(node && { node }),
        ...(source && { source }),
      };
    }
    case KIND.ack: {
      const { fields } = readFields(bytes, 1, FIELDS.ack);
      const payload = fields.blob("Payload", PAYLOAD_BYTE_LIMIT);
      return { type: "ack", sequence: fields.unsigned("SeqNo"), ...(payload.length > 0 && { payload }) };
    }
    case KIND.nack:
      return { type: "nack", sequence: readFields(bytes, 1, FIELDS.nack).fields.unsigned("SeqNo") };
    case KIND.suspect:
    case KIND.dead: {
      const { fields } = readFields(bytes, 1, FIELDS.accusation);
      const type = bytes[0] === KIND.dead ? "dead" : "suspect";
      return {
        type,
        incarnation: fields.unsigned("Incarnation"),
        node: fields.name("Node"),
        from: fields.name("From"),
      };
    }
    case KIND.alive: {
      const { fields } = readFields(bytes, 1, FIELDS.alive);
      return {
        type: "alive",
        incarnation: fields.unsigned("Incarnation"),
        node: fields.name("Node"),
        address: fields.address("Addr", "Port"),
        meta: fields.blob("Meta", META_BYTE_LIMIT),
        versions: fields.versions("Vsn"),
      };
    }
    case KIND.user:
      return { type: "user", payload: new Uint8Array(bytes.subarray(1)) };
    case KIND.compress:
    case KIND.label:
      throw new DecodeError("unsupported", `message type ${bytes[0]}`);
    default:
      throw new DecodeError("unknown-type", `message type ${bytes[0]}`);
  }
}

/** The struct `source` as fields that are left out when there is none. */
function sourceFields(source: Source | undefined): Record<string, unknown> {
  if (source === undefined) return {};
  return { SourceAddr: hostBytes(source.address.host), SourcePort: source.address.port, SourceNode: source.name ?? "" };
}

interface OpenPacket {
  readonly messages: SwimMessage[];
  readonly drops: DecodeReason[];
  partsLeft: number;
  /** How much may still be unpacked. */
  roomBytes: number;
}

function readPart(bytes: Uint8Array, depth: number, packet: OpenPacket): void {
  if (packet.partsLeft-- <= 0 || depth > PART_DEPTH_LIMIT) throw new DecodeError("too-large", "too many parts");
  if (bytes[0] === KIND.compound) readCompound(bytes, depth, packet);
  else if (bytes[0] === KIND.compress) {
    const unpacked = unpack(bytes, { byteLimit: packet.roomBytes, packedByteLimit: UNPACKED_BYTE_LIMIT });
    packet.roomBytes -= unpacked.length;
    readPart(unpacked, depth + 1, packet);
  } else packet.messages.push(decodeMessage(bytes));
}

function readCompound(bytes: Uint8Array, depth: number, packet: OpenPacket): void {
  const count = bytes[1];
  if (count === undefined || 2 + 2 * count > bytes.length) throw new DecodeError("truncated", "a compound's lengths");
  let start = 2 + 2 * count;
  for (let index = 0; index < count; index++) {
    const end = start + (bytes[2 + 2 * index]! << 8) + bytes[3 + 2 * index]!;
    // The parts before a torn one are whole and count.
    if (end > bytes.length) throw new DecodeError("truncated", "a compound's last part");
    try {
      readPart(bytes.subarray(start, end), depth + 1, packet);
    } catch (error) {
      packet.drops.push(reasonOf(error));
    }
    start = end;
  }
}

/** What a compressed message holds. Throws `DecodeError`, `truncated` only if bytes of the message are missing. */
export function unpack(
  bytes: Uint8Array,
  { byteLimit, packedByteLimit }: { readonly byteLimit: number; readonly packedByteLimit: number },
): Uint8Array {
  const { fields } = readFields(bytes, 1, FIELDS.compress, packedByteLimit);
  const algorithm = fields.unsigned("Algo", 0xff);
  if (algorithm !== LZW) throw new DecodeError("unsupported", `compression ${algorithm}`);
  return decompress(fields.blob("Buf", packedByteLimit), byteLimit);
}

function checked(bytes: Uint8Array): Uint8Array {
  if (bytes.length < CHECKSUM_BYTES) throw new DecodeError("truncated", "a checksum");
  const body = bytes.subarray(CHECKSUM_BYTES);
  if (crc32(body) !== new DataView(bytes.buffer, bytes.byteOffset).getUint32(1))
    throw new DecodeError("bad-checksum", "checksum differs");
  return body;
}

function withChecksum(body: Uint8Array): Uint8Array {
  const packet = new Uint8Array(CHECKSUM_BYTES + body.length);
  packet[0] = KIND.checksum;
  new DataView(packet.buffer).setUint32(1, crc32(body));
  packet.set(body, CHECKSUM_BYTES);
  return packet;
}

function compound(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const head = new Uint8Array(COMPOUND_BYTES + PART_BYTES * parts.length);
  head[0] = KIND.compound;
  head[1] = parts.length;
  const view = new DataView(head.buffer);
  parts.forEach((part, index) => {
    view.setUint16(COMPOUND_BYTES + PART_BYTES * index, part.length);
  });
  return concat([head, ...parts]);
}

/** The type byte, then the fields as one map. */
export function typed(kind: number, fields: Record<string, unknown>): Uint8Array {
  return concat([Uint8Array.of(kind), encodeMsgpack(fields, { dialect: "memberlist" })]);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Rethrows what is no `DecodeError`: a bug here, never a peer's fault. */
function reasonOf(error: unknown): DecodeReason {
  if (error instanceof DecodeError) return error.reason;
  throw error;
}

/** First byte of a message. */
export const KIND = {
  ping: 0,
  indirectPing: 1,
  ack: 2,
  suspect: 3,
  alive: 4,
  dead: 5,
  pushPull: 6,
  compound: 7,
  user: 8,
  compress: 9,
  encrypt: 10,
  nack: 11,
  checksum: 12,
  error: 13,
  label: 244,
} as const;

/** Fields of memberlist's structs in the order of declaration, for senders that write arrays. */
const FIELDS = {
  ping: ["SeqNo", "Node", "SourceAddr", "SourcePort", "SourceNode"],
  indirectPing: ["SeqNo", "Target", "Port", "Node", "Nack", "SourceAddr", "SourcePort", "SourceNode"],
  ack: ["SeqNo", "Payload"],
  nack: ["SeqNo"],
  accusation: ["Incarnation", "Node", "From"],
  alive: ["Incarnation", "Node", "Addr", "Port", "Meta", "Vsn"],
  compress: ["Algo", "Buf"],
} as const;

const CHECKSUM_BYTES = 5;
const COMPOUND_BYTES = 2;
const PART_BYTES = 2;
const COMPOUND_PART_LIMIT = 255;
/** Compounds may nest; four levels and 1,024 parts are more than anyone sends. */
const PART_DEPTH_LIMIT = 4;
const PART_LIMIT = 1_024;
/** A sender packs at most what would fit a packet: no packet unpacks to more than the largest. */
const UNPACKED_BYTE_LIMIT = 65_536;
const LZW = 0;
/** An ack's payload is serf's coordinate, 130 bytes. */
const PAYLOAD_BYTE_LIMIT = 1_400;
