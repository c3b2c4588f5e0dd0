/** Which node owns what, as last learnt; wrong at times, and then corrected by refusals and Ring frames. */

import type { RingReply } from "../../proto/messages.ts";
import { partitionOfHash } from "../../ring/hash.ts";
import { partitionOfId } from "../../ring/tasks/task-id.ts";

export class RingMap {
  #ring: RingReply | undefined;
  #addresses: readonly (string | undefined)[] = [];

  get epoch(): number {
    return this.#ring?.epoch ?? -1;
  }

  get ring(): RingReply | undefined {
    return this.#ring;
  }

  /** Addresses of all nodes, without those that are not known. */
  get addresses(): readonly string[] {
    return [...new Set((this.#ring?.nodes ?? []).map((node) => node.grpcAddress).filter((address) => address !== ""))];
  }

  /** Takes it unless it is older. Who answers for another ring has taken the addresses over. */
  learn(ring: RingReply): void {
    const known = this.#ring;
    if (known?.ringId === ring.ringId && isOlder(ring, known)) return;
    this.#ring = ring;
    this.#addresses = ring.owners.map((owner) => ring.nodes[owner]?.grpcAddress || undefined);
  }

  /** As `addressOf`, by the id of a task of the key. */
  addressOfTask(taskId: string): string | undefined {
    const partition = this.#ring === undefined ? undefined : partitionOfId(taskId, this.#ring.ringSize);
    return partition === undefined ? undefined : this.#addresses[partition];
  }

  /** Where the owner of a key's hash listens; undefined if that is not known. */
  addressOf(hash: number): string | undefined {
    return this.#ring === undefined ? undefined : this.#addresses[partitionOfHash(hash, this.#ring.ringSize)];
  }
}

function isOlder(ring: RingReply, known: RingReply): boolean {
  return ring.history < known.history || (ring.history === known.history && ring.epoch < known.epoch);
}
