/**
 * Lets virtual time pass while somebody waits for something in it, and gives the code that waits, and handlers, their turns between.
 *
 * T1  Time stands still while no test waits; what a handler waits for comes while one does.
 * T2  After each moment in which something happened, all promises that can go on do so before the next.
 */

import assert from "node:assert/strict";
import { RingError } from "../../ring/errors.ts";
import type { Agenda } from "./agenda.ts";

export class Pump {
  readonly #agenda: Agenda;
  readonly #isBusy: () => boolean;
  /** How to tell each that it is over. */
  readonly #waiting = new Set<(error: RingError) => void>();
  readonly #inHandlers = new Set<(error: RingError) => void>();
  #settled = false;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `isBusy`: handlers may go on without that time passes. */
  constructor(agenda: Agenda, isBusy: () => boolean) {
    this.#agenda = agenda;
    this.#isBusy = isBusy;
  }

  /**
   * Something that takes time: it passes until `begin` has called `done` or `failed`, but not for a handler that waits (`passes` is
   * false). Throws `CANCELLED` when closed.
   */
  async wait<Result>(
    begin: (done: (result: Result) => void, failed: (error: RingError) => void) => void,
    { passes }: { readonly passes: boolean } = { passes: true },
  ): Promise<Result> {
    const waiting = passes ? this.#waiting : this.#inHandlers;
    if (this.#closed) throw new RingError("CANCELLED", "the cluster is closed");
    let failed: (error: RingError) => void = () => {};
    try {
      return await new Promise<Result>((resolve, reject) => {
        failed = (error) => {
          this.#settled = true;
          reject(error);
        };
        waiting.add(failed);
        begin((result) => {
          this.#settled = true;
          resolve(result);
        }, failed);
        if (passes) this.#running ??= this.#run();
      });
    } finally {
      waiting.delete(failed);
    }
  }

  /** Somebody can go on who is not waited for, such as a handler that slept. */
  woke(): void {
    this.#settled = true;
  }

  close(): void {
    this.#closed = true;
    for (const failed of [...this.#waiting, ...this.#inHandlers])
      failed(new RingError("CANCELLED", "the cluster is closed"));
  }

  async #run(): Promise<void> {
    await turn(); // what is asked for together begins together
    while (this.#waiting.size > 0 && !this.#closed) {
      const { nextAt } = this.#agenda;
      assert(nextAt !== undefined, "what is waited for stands in the agenda, if only the end of its time");
      this.#agenda.runUntil(nextAt);
      if (!this.#settled && !this.#isBusy()) continue;
      this.#settled = false;
      await turn(); // T2
    }
    this.#running = undefined;
  }
}

/** Two: ends of attempts come in the second. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}
