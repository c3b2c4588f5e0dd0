/**
 * A task that waits does not keep alive the message that it came in, with all the others in it: after a moment its record is a copy.
 *
 * Most have ended by then, and cost nothing. Each is looked at once.
 */

import type { Instant } from "../machine.ts";
import type { Core } from "./core.ts";
import type { Vnode, Wakes } from "./model.ts";
import { detachRecord } from "./record.ts";

export class Detaching implements Wakes {
  readonly #core: Core;
  #isDue = false;
  /** All that was accepted up to here has been looked at. */
  #until: Instant = Number.NEGATIVE_INFINITY;

  constructor(core: Core) {
    this.#core = core;
  }

  /** A task has been accepted. */
  accepted(now: Instant): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#core.timers.set(now + EVERY_MS, { type: "subject", subject: this });
  }

  wake(now: Instant): void {
    this.#isDue = false;
    const until = now - WAITING_MS;
    let isMore = false;
    for (const vnode of this.#core.vnodes) if (vnode !== undefined && this.#look(vnode, until)) isMore = true;
    this.#until = until;
    if (isMore) this.accepted(now);
  }

  /** From the newest back. True: some have not waited that long. */
  #look({ arrivals }: Vnode, until: Instant): boolean {
    const isMixed = this.#core.absorbedAt > this.#until; // tasks that were accepted long ago came behind those of now
    let isMore = false;
    for (let index = arrivals.size - 1; index >= 0; index--) {
      const task = arrivals.at(index)!;
      if (task.acceptedAt > until) isMore = true;
      else if (task.acceptedAt <= this.#until) {
        if (!isMixed) return isMore;
      } else if (task.phase !== "running" && task.phase !== "ended") task.record = detachRecord(task.record);
    }
    return isMore;
  }
}

const WAITING_MS = 100;
const EVERY_MS = 200;
