/**
 * Memberlist's TCP exchanges: one request, one response, as bytes and back.
 *
 * The asker does not close its half, so a reader must see from the bytes alone when a message is complete: feed chunks to
 * `StreamDecoder.push` until it returns one. Items already read are not read again, so a slow sender costs linear time.
 */

import { hostBytes } from "./address.ts";
import { DecodeError } from "./decode-error.ts";
import type { Fields } from "./fields.ts";
import { readFields } from "./fields.ts";
import type { NodeState, PushPull, StreamMessage } from "./messages.ts";
import { encodeMsgpack } from "./msgpack.ts";
import { META_BYTE_LIMIT } from "./tags.ts";
import { concat, decodeMessage, encodeMessage, KIND, typed, unpack } from "./wire.ts";

export function encodeStream(message: StreamMessage): Uint8Array {
  switch (message.type) {
    case "push-pull":
      return concat([
        typed(KIND.pushPull, {
          Nodes: message.nodes.length,
          UserStateLen: message.userState.length,
          Join: message.join,
        }),
        ...message.nodes.map(encodeNode),
        message.userState,
      ]);
    case "user":
      return concat([typed(KIND.user, { UserMsgLen: message.payload.length }), message.payload]);
    case "error":
      return typed(KIND.error, { Error: message.text.slice(0, ERROR_BYTE_LIMIT) });
    case "ping":
    case "ack":
      return encodeMessage(message);
  }
}

export class StreamDecoder {
  /** Nodes of a push/pull that were left out because they could not be read. */
  dropped = 0;
  #bytes: Uint8Array = new Uint8Array(4_096);
  #length = 0;
  #offset = 0;
  #open: OpenPushPull | undefined;

  /** Bytes held. */
  get byteLength(): number {
    return this.#bytes.length;
  }

  /** The message once it is complete; undefined while bytes are missing. Throws `DecodeError`. */
  push(chunk: Uint8Array): StreamMessage | undefined {
    this.#append(chunk);
    try {
      return this.#read(this.#bytes.subarray(0, this.#length));
    } catch (error) {
      if (error instanceof DecodeError && error.reason === "truncated") return undefined;
      throw error;
    }
  }

  #read(bytes: Uint8Array): StreamMessage {
    if (this.#open !== undefined) return this.#readNodes(bytes, this.#open);
    switch (bytes[0]) {
      case undefined:
        throw new DecodeError("truncated", "an empty stream");
      case KIND.pushPull: {
        const { fields, next } = readFields(bytes, 1, HEADER_FIELDS);
        this.#offset = next;
        this.#open = {
          join: fields.flag("Join"),
          nodeCount: fields.unsigned("Nodes", NODE_LIMIT),
          userStateBytes: fields.unsigned("UserStateLen", USER_STATE_BYTE_LIMIT),
          nodes: [],
          read: 0,
        };
        return this.#readNodes(bytes, this.#open);
      }
      case KIND.user: {
        const { fields, next } = readFields(bytes, 1, USER_FIELDS);
        return { type: "user", payload: tail(bytes, next, fields.unsigned("UserMsgLen", USER_STATE_BYTE_LIMIT)) };
      }
      case KIND.error:
        return { type: "error", text: readFields(bytes, 1, ERROR_FIELDS).fields.text("Error", ERROR_BYTE_LIMIT) };
      case KIND.ping:
      case KIND.ack:
        return decodeMessage(bytes) as StreamMessage;
      case KIND.compress:
        return this.#unpacked(bytes);
      case KIND.encrypt:
      case KIND.label:
        throw new DecodeError("unsupported", `stream type ${bytes[0]}`);
      default:
        throw new DecodeError("unknown-type", `stream type ${bytes[0]}`);
    }
  }

  /** Once all of it is there; what is inside must be whole and not compressed again. */
  #unpacked(bytes: Uint8Array): StreamMessage {
    const inside = unpack(bytes, { byteLimit: STREAM_BYTE_LIMIT, packedByteLimit: STREAM_BYTE_LIMIT });
    if (inside[0] === KIND.compress) throw new DecodeError("bad-compression", "compressed twice");
    const decoder = new StreamDecoder();
    const message = decoder.push(inside);
    this.dropped += decoder.dropped;
    if (message === undefined) throw new DecodeError("bad-compression", "a compressed stream that ends early");
    return message;
  }

  #readNodes(bytes: Uint8Array, open: OpenPushPull): PushPull {
    for (; open.read < open.nodeCount; open.read++) {
      const { fields, next } = readFields(bytes, this.#offset, NODE_FIELDS);
      this.#offset = next;
      const node = readNode(fields);
      if (node === undefined) this.dropped++;
      else open.nodes.push(node);
    }
    const userState = tail(bytes, this.#offset, open.userStateBytes);
    return { type: "push-pull", join: open.join, nodes: open.nodes, userState };
  }

  #append(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > STREAM_BYTE_LIMIT) throw new DecodeError("too-large", `a stream of ${length} bytes`);
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(chunk, this.#length);
    this.#length = length;
  }
}

interface OpenPushPull {
  readonly join: boolean;
  readonly nodeCount: number;
  readonly userStateBytes: number;
  readonly nodes: NodeState[];
  read: number;
}

function encodeNode(node: NodeState): Uint8Array {
  const fields = {
    Name: node.name,
    Addr: hostBytes(node.address.host),
    Port: node.address.port,
    Meta: node.meta,
    Incarnation: node.incarnation,
    State: STATES.indexOf(node.state),
    Vsn: Uint8Array.from(node.versions),
  };
  return encodeMsgpack(fields, { dialect: "memberlist" });
}

/** Undefined for a node that we cannot hold (an odd name or address): the others of the list still count. */
function readNode(fields: Fields): NodeState | undefined {
  try {
    return {
      name: fields.name("Name"),
      address: fields.address("Addr", "Port"),
      meta: fields.blob("Meta", META_BYTE_LIMIT),
      incarnation: fields.unsigned("Incarnation"),
      state: STATES[fields.unsigned("State", STATES.length - 1)]!,
      versions: fields.versions("Vsn"),
    };
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function tail(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  if (offset + length > bytes.length) throw new DecodeError("truncated", "the tail of a stream");
  return bytes.slice(offset, offset + length);
}

const STATES = ["alive", "suspect", "dead", "left"] as const;
const HEADER_FIELDS = ["Nodes", "UserStateLen", "Join"] as const;
const NODE_FIELDS = ["Name", "Addr", "Port", "Meta", "Incarnation", "State", "Vsn"] as const;
const USER_FIELDS = ["UserMsgLen"] as const;
const ERROR_FIELDS = ["Error"] as const;

/** Far above the 4,096 members that a ring can use; memberlist takes 2^20. */
const NODE_LIMIT = 16_384;
/** As memberlist. */
const USER_STATE_BYTE_LIMIT = 20 * 1024 * 1024;
/** Also for what a compressed one unpacks to; memberlist allows 40 MiB. */
const STREAM_BYTE_LIMIT = 32 * 1024 * 1024;
const ERROR_BYTE_LIMIT = 1_024;
