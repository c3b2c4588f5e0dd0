/**
 * Steps one node machine through all that happens, in order, on the real clock.
 *
 * An event that comes while one is stepped waits for its end. A step that throws broke an invariant: nothing is stepped after it.
 */

import { uptime } from "node:os";
import type { NodeEffect, NodeEvent } from "../node/effects.ts";
import type { NodeMachine } from "../node/node.ts";
import { ClockWatch } from "./clock-watch.ts";

export interface StepLoopOptions {
  readonly machine: NodeMachine;
  readonly perform: (effect: NodeEffect) => void;
  readonly broken: (error: unknown, event: NodeEvent) => void;
}

export class StepLoop {
  readonly #machine: NodeMachine;
  readonly #perform: (effect: NodeEffect) => void;
  readonly #broken: (error: unknown, event: NodeEvent) => void;
  readonly #queue: NodeEvent[] = [];
  readonly #clocks = new ClockWatch({ monotonicMs: () => performance.now(), uptimeMs: () => uptime() * 1_000 });
  #stepping = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor({ machine, perform, broken }: StepLoopOptions) {
    this.#machine = machine;
    this.#perform = perform;
    this.#broken = broken;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  step(event: NodeEvent): void {
    if (this.#closed) return;
    if (this.#stepping) {
      this.#queue.push(event);
      return;
    }
    this.#stepping = true;
    try {
      for (let next: NodeEvent | undefined = event; next !== undefined; next = this.#queue.shift()) {
        const now = performance.now();
        if (this.#clocks.suspended(now))
          for (const effect of this.#machine.step(now, { type: "suspended" })) this.#perform(effect);
        for (const effect of this.#machine.step(now, next)) this.#perform(effect);
      }
    } catch (error) {
      this.#broken(error, event);
      this.close();
    } finally {
      this.#stepping = false;
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#closed) return;
    const deadline = this.#machine.nextDeadline() ?? Number.POSITIVE_INFINITY;
    if (deadline >= this.#timerAt) return;
    clearTimeout(this.#timer);
    if (deadline === Number.POSITIVE_INFINITY) return;
    this.#timerAt = deadline;
    const delayMs = Math.min(Math.max(0, Math.ceil(deadline - performance.now())), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.#wake(), delayMs);
  }

  #wake(): void {
    const lateMs = performance.now() - this.#timerAt;
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (lateMs > LAG_MS) this.step({ type: "swim", event: { type: "loop-lag", lagMs: lateMs } });
    this.step({ type: "tick" });
  }
}

/** Uptime comes in hundredths of a second. */
const LAG_MS = 100;
const LONGEST_TIMER_MS = 60_000;
