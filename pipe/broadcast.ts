/** The partitioner `broadcast`: an input becomes one copy for each partition. */

import { type Room, type Sender, Waiters } from "./room.ts";
import type { Stage } from "./stage.ts";
import type { Token } from "./token.ts";

/** A copy to each partition; the next sender waits until all copies of the one before have a place. */
export class Broadcast implements Room {
  readonly #stage: Stage;
  readonly #waiters = new Waiters();
  #parked = 0;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  deliver(value: unknown, token: Token): Room | undefined {
    if (this.#parked > 0 || this.#waiters.length > 0) return this;
    this.force(value, token);
    return undefined;
  }

  force(value: unknown, token: Token): void {
    const { ringSize } = this.#stage.run.node;
    token.pending += ringSize - 1;
    token.isShared = ringSize > 1;
    for (let partition = 0; partition < ringSize; partition++) {
      const room = this.#stage.place(value, token, partition);
      if (room === undefined) continue;
      this.#parked += 1;
      room.park({
        resume: (place) => {
          place.force(value, token, partition);
          this.#placed();
        },
      });
    }
  }

  park(sender: Sender): void {
    this.#waiters.push(sender);
  }

  #placed(): void {
    this.#parked -= 1;
    while (this.#parked === 0) {
      const sender = this.#waiters.shift();
      if (sender === undefined) return;
      sender.resume(this);
    }
  }
}
