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

/**
 * What a changing set of nodes understands and speaks, so that a newcomer is compared with all of them at once, however many
 * they are: for each of the six fields, how many nodes say each value. Nodes without versions are left out.
 */
export class VersionTally {
  readonly #counts = OUR_VERSIONS.map(() => new Map<number, number>());

  add(versions: Versions): void {
    this.#change(versions, 1);
  }

  remove(versions: Versions): void {
    this.#change(versions, -1);
  }

  /** True when all of the set and `more` speak versions that all of them understand. */
  fits(more: Iterable<Versions>): boolean {
    const bounds = this.#counts.map((counts) => {
      const bound = { least: Number.POSITIVE_INFINITY, most: Number.NEGATIVE_INFINITY };
      for (const version of counts.keys()) extend(bound, version);
      return bound;
    });
    for (const versions of more)
      if (versions[1] !== 0) for (const [field, bound] of bounds.entries()) extend(bound, versions[field]!);
    const [protocolMin, protocolMax, protocol, delegateMin, delegateMax, delegate] = bounds;
    const protocols = protocol!.least >= protocolMin!.most && protocol!.most <= protocolMax!.least;
    return protocols && delegate!.least >= delegateMin!.most && delegate!.most <= delegateMax!.least;
  }

  #change(versions: Versions, by: number): void {
    if (versions[1] === 0) return;
    for (const [field, counts] of this.#counts.entries()) {
      const count = (counts.get(versions[field]!) ?? 0) + by;
      if (count > 0) counts.set(versions[field]!, count);
      else counts.delete(versions[field]!);
    }
  }
}

interface Bounds {
  least: number;
  most: number;
}

function extend(bounds: Bounds, version: number): void {
  bounds.least = Math.min(bounds.least, version);
  bounds.most = Math.max(bounds.most, version);
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
