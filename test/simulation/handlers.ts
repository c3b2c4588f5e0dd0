/** Simulated handlers: each takes some ms of virtual time and comes to what the workload says; nothing of a process survives it. */

import type { Attempt, AttemptEnd } from "../../ring/tasks/task.ts";
import type { Host } from "../../services/testing/host.ts";
import type { SeededRandom } from "../../services/testing/random.ts";
import type { Fact, Handlers } from "../../services/testing/surroundings.ts";
import { handlerEnd } from "./apps.ts";

export interface HandlersWorld {
  readonly random: SeededRandom;
  observe(fact: Fact): void;
  /** What the handler of an attempt comes to, where that is not the usual. */
  endOf?(attempt: Attempt): AttemptEnd | undefined;
}

export class SimulatedHandlers implements Handlers {
  readonly #host: Host;
  readonly #world: HandlersWorld;
  readonly #attempts = new Map<number, Attempt>();

  constructor(host: Host, world: HandlersWorld) {
    this.#host = host;
    this.#world = world;
  }

  start(attempts: readonly Attempt[]): void {
    for (const attempt of attempts) this.#start(attempt);
  }

  abort(attemptId: number): void {
    const attempt = this.#attempts.get(attemptId);
    if (attempt !== undefined && attempt.resident !== undefined) this.#host.later(1, () => this.#end(attemptId, false));
  }

  over(): void {
    this.#attempts.clear();
  }

  #start(attempt: Attempt): void {
    const { name, life } = this.#host;
    this.#attempts.set(attempt.attemptId, attempt);
    this.#world.observe({ type: "attempt-start", node: name, attempt, life });
    if (attempt.resident !== undefined) return;
    this.#host.later(this.#world.random() * 20, () => this.#end(attempt.attemptId, true));
  }

  #end(attemptId: number, done: boolean): void {
    const attempt = this.#attempts.get(attemptId);
    if (attempt === undefined) return;
    this.#attempts.delete(attemptId);
    const { name, life } = this.#host;
    const failed = !done || this.#world.random.chance(0.02);
    const end = (failed ? undefined : this.#world.endOf?.(attempt)) ?? handlerEnd(attempt, failed);
    const isDone = end.outcome.type === "done";
    this.#world.observe({ type: "attempt-end", node: name, attemptId, life, done: isDone });
    this.#host.step({ type: "ended", ends: [end] });
  }
}
