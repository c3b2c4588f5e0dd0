/**
 * What nodes say to each other, as objects: memberlist's messages with our names. They are immutable, so that the
 * simulator may pass them by reference and one broadcast may go out many times; `wire.ts` and `stream.ts` turn them into
 * bytes and back.
 */

import type { NodeName } from "../ids.ts";
import type { Address } from "./address.ts";

/** Memberlist protocol (min, max, current), then delegate protocol (min, max, current). Each 0 to 255. */
export type Versions = readonly [number, number, number, number, number, number];

/** The sender as it wants to be answered. */
export interface Source {
  readonly address: Address;
  readonly name?: NodeName;
}

export interface Ping {
  readonly type: "ping";
  readonly sequence: number;
  /** Who the sender believes it is talking to. */
  readonly node?: NodeName;
  readonly source?: Source;
}

/** SWIM's ping-req: please ping the target for me. */
export interface IndirectPing {
  readonly type: "indirect-ping";
  readonly sequence: number;
  readonly target: Address;
  readonly node?: NodeName;
  /** The asker wants a nack if the target does not answer. */
  readonly nack: boolean;
  readonly source?: Source;
}

export interface Ack {
  readonly type: "ack";
  readonly sequence: number;
  readonly payload?: Uint8Array;
}

export interface Nack {
  readonly type: "nack";
  readonly sequence: number;
}

export interface Suspect {
  readonly type: "suspect";
  readonly incarnation: number;
  readonly node: NodeName;
  readonly from: NodeName;
}

export interface Alive {
  readonly type: "alive";
  readonly incarnation: number;
  readonly node: NodeName;
  readonly address: Address;
  /** At most 512 bytes; see `tags.ts`. */
  readonly meta: Uint8Array;
  readonly versions: Versions;
}

/** `from` equal to `node` means that it left. */
export interface Dead {
  readonly type: "dead";
  readonly incarnation: number;
  readonly node: NodeName;
  readonly from: NodeName;
}

/** Bytes of the layer above: serf's messages, see `serf.ts`. */
export interface User {
  readonly type: "user";
  readonly payload: Uint8Array;
}

/** What travels in UDP packets. */
export type SwimMessage = Ping | IndirectPing | Ack | Nack | Suspect | Alive | Dead | User;

/** The messages that are spread by gossip, one per node at a time. */
export type Broadcast = Suspect | Alive | Dead;

export interface NodeState {
  readonly name: NodeName;
  readonly address: Address;
  readonly meta: Uint8Array;
  readonly incarnation: number;
  readonly state: "alive" | "suspect" | "dead" | "left";
  readonly versions: Versions;
}

/** Full state, both as request and as response of a TCP exchange. */
export interface PushPull {
  readonly type: "push-pull";
  readonly join: boolean;
  readonly nodes: readonly NodeState[];
  /** Of the layer above; empty from us. */
  readonly userState: Uint8Array;
}

/** The responder could not read the request. */
export interface StreamFailure {
  readonly type: "error";
  readonly text: string;
}

/** `user` has no response. */
export type StreamRequest = PushPull | Ping | User;
export type StreamResponse = PushPull | Ack | StreamFailure;
export type StreamMessage = StreamRequest | StreamResponse;
