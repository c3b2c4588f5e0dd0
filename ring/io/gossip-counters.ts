/** What the gossip sockets count, for metrics and `doctor`. */

import type { DecodeReason } from "../membership/decode-error.ts";

/** Since the start; they only grow. */
export interface GossipCounters {
  packetsIn: number;
  /** Those of which not one part could be read. */
  packetsUnread: number;
  packetsOut: number;
  bytesIn: number;
  /** Packets and streams. */
  bytesOut: number;
  /** Streams alone: push/pull and pings over TCP. */
  streamBytesOut: number;
  /** The system refused to send; the protocol takes it for a lost packet. */
  sendsFailed: number;
  streamsIn: number;
  streamsOut: number;
  /** Exchanges that ended without an answer. */
  streamsFailed: number;
  /** Connections turned away at the limit. */
  streamsRefused: number;
  /** Parts of packets, and streams, that could not be read. */
  readonly drops: Partial<Record<DecodeReason, number>>;
}

export function noGossipCounts(): GossipCounters {
  return {
    packetsIn: 0,
    packetsUnread: 0,
    packetsOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    streamBytesOut: 0,
    sendsFailed: 0,
    streamsIn: 0,
    streamsOut: 0,
    streamsFailed: 0,
    streamsRefused: 0,
    drops: {},
  };
}

export function countDrops({ drops }: GossipCounters, reason: DecodeReason, count: number): void {
  drops[reason] = (drops[reason] ?? 0) + count;
}
