/** What waits for one peer: bounded by bytes; register messages (leases, votes) leave before everything else. */

export interface Encoded {
  readonly bytes: Buffer;
  readonly urgent: boolean;
}

export class SendQueue {
  readonly #byteLimit: number;
  #urgent: Buffer[] = [];
  #rest: Buffer[] = [];
  #restHead = 0;
  #bytes = 0;

  constructor(byteLimit: number) {
    this.#byteLimit = byteLimit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#urgent.length === 0 && this.#restHead === this.#rest.length;
  }

  /** False when there is no room. Urgent messages may take a tenth more than the limit: a full queue must not cost a lease. */
  push(message: Encoded): boolean {
    const room = message.urgent ? this.#byteLimit * 1.1 : this.#byteLimit;
    if (this.#bytes + message.bytes.length > room) return false;
    this.#bytes += message.bytes.length;
    if (message.urgent) this.#urgent.push(message.bytes);
    else this.#rest.push(message.bytes);
    return true;
  }

  /** Messages for one frame of about `byteTarget` (one at least). */
  take(byteTarget: number): Buffer[] {
    const taken = this.#urgent;
    let bytes = 0;
    for (const message of taken) bytes += message.length;
    this.#urgent = [];
    while (this.#restHead < this.#rest.length) {
      const next = this.#rest[this.#restHead] as Buffer;
      if (taken.length > 0 && bytes + next.length > byteTarget) break;
      taken.push(next);
      bytes += next.length;
      this.#restHead += 1;
    }
    if (this.#restHead === this.#rest.length) {
      this.#rest = [];
      this.#restHead = 0;
    } else if (this.#restHead > 1_024) {
      this.#rest = this.#rest.slice(this.#restHead);
      this.#restHead = 0;
    }
    this.#bytes -= bytes;
    return taken;
  }

  clear(): void {
    this.#urgent = [];
    this.#rest = [];
    this.#restHead = 0;
    this.#bytes = 0;
  }
}
