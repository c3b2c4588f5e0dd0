/**
 * How long messages get on the wire, without encoding them: never less than the true length, at most a few bytes more.
 * The machine fills packets by it; the simulator, where hosts need not be IP addresses, never encodes anything.
 */

import type { Source, SwimMessage } from "./messages.ts";

export function messageBytes(message: SwimMessage): number {
  switch (message.type) {
    case "ping":
      return 24 + (message.node?.length ?? 0) + sourceBytes(message.source);
    case "indirect-ping":
      return 64 + (message.node?.length ?? 0) + sourceBytes(message.source);
    case "ack":
      return 26 + (message.payload?.length ?? 0);
    case "nack":
      return 13;
    case "suspect":
    case "dead":
      return 36 + message.node.length + message.from.length;
    case "alive":
      return 80 + message.node.length + message.meta.length;
    case "user":
      return 1 + message.payload.length;
  }
}

function sourceBytes(source: Source | undefined): number {
  return source === undefined ? 0 : 56 + (source.name?.length ?? 0);
}
