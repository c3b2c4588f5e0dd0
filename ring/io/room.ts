/**
 * Work on the node's own store that a full disk puts off. A full disk is no fault: nothing was written, and it may have room
 * again (reliability rule 8). So the work is done again and again, and said to wait.
 */

import { RingError } from "../errors.ts";

export interface RoomOptions {
  /** The first work of all begins to wait. */
  readonly onWait: (what: string, why: string) => void;
  /** Nothing waits any more. */
  readonly onRoom: () => void;
  /** Nobody is there to be told. */
  readonly isClosed: () => boolean;
}

export class Room {
  readonly #options: RoomOptions;
  readonly #waiting = new Set<string>();

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** What waits, each in words; bounded by the partitions there are. */
  get waiting(): readonly string[] {
    return [...this.#waiting];
  }

  /** Does `work` until it is not refused for want of room. Undefined: it is not wanted any more. */
  async until<T>(what: string, work: () => Promise<T>, isWanted: () => boolean = ALWAYS): Promise<T | undefined> {
    try {
      for (;;) {
        try {
          return await work();
        } catch (error) {
          if (!isWantOfRoom(error) || this.#options.isClosed()) throw error;
          this.#wait(what, error.message);
        }
        await new Promise((resolve) => setTimeout(resolve, ROOM_RETRY_MS).unref());
        if (!isWanted()) return undefined;
      }
    } finally {
      if (this.#waiting.delete(what) && this.#waiting.size === 0) this.#options.onRoom();
    }
  }

  #wait(what: string, why: string): void {
    const isFirst = this.#waiting.size === 0;
    this.#waiting.add(what);
    if (isFirst) this.#options.onWait(what, why);
  }
}

export function isWantOfRoom(error: unknown): error is RingError {
  return error instanceof RingError && error.code === "QUEUE_FULL";
}

const ALWAYS = (): boolean => true;
export const ROOM_RETRY_MS = 500;
