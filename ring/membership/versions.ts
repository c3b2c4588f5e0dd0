/**
 * Which protocol versions nodes understand and speak, and whether they can share a ring (memberlist's verifyProtocol).
 *
 * A foreign node that spoke outside our range once made every later join of a serf cluster fail; so this is asked of every
 * alive message too, not only of push/pull as memberlist does.
 */

import type { Versions } from "./messages.ts";

/** memberlist 1..5 speaking 2; delegate (serf) 2..5 speaking 4. */
export const OUR_VERSIONS: Versions = [1, 5, 2, 2, 5, 4];
/** What a node without version fields is taken to say. */
export const NO_VERSIONS: Versions = [0, 0, 0, 0, 0, 0];

/** True when every node speaks a version that every other understands. Nodes without versions are left out. */
export function compatible(nodes: Iterable<Versions>): boolean {
  const range = { protocolMin: 0, protocolMax: 255, delegateMin: 0, delegateMax: 255 };
  const known: Versions[] = [];
  for (const versions of nodes) {
    if (versions[1] === 0) continue;
    known.push(versions);
    range.protocolMin = Math.max(range.protocolMin, versions[0]);
    range.protocolMax = Math.min(range.protocolMax, versions[1]);
    range.delegateMin = Math.max(range.delegateMin, versions[3]);
    range.delegateMax = Math.min(range.delegateMax, versions[4]);
  }
  return known.every(
    ([, , protocol, , , delegate]) =>
      protocol >= range.protocolMin &&
      protocol <= range.protocolMax &&
      delegate >= range.delegateMin &&
      delegate <= range.delegateMax,
  );
}

/** Ranges that are no ranges: memberlist ignores such an alive message. */
export function malformed(versions: Versions): boolean {
  return versions[0] === 0 || versions[1] === 0 || versions[0] > versions[1] || versions[3] > versions[4];
}

export function sameVersions(left: Versions, right: Versions): boolean {
  return left === right || left.every((version, index) => version === right[index]);
}

/** The protocol maximum from which a node sends nacks, answers TCP pings, reads checksums. */
export const SPEAKS = { tcpPing: 3, nack: 4, checksum: 5 } as const;
