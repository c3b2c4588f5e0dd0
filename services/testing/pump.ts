/**
 * Lets virtual time pass while somebody waits for something in it, and gives the code that waits, and handlers, their turns between.
 *
 * T1  Time stands still while nobody waits.
 * T2  After each moment in which something happened, all promises that can go on do so before the next.
 */

import { RingError } from "../../ring/errors.ts";
import type { Agenda } from "./agenda.ts";

export class Pump {
  readonly #agenda: Agenda;
  readonly #isBusy: () => boolean;
  readonly #waiting = new Set<(error: RingError) => void>();
  #settled = false;
  #running: Promise<void> | undefined;
  #closed = false;

  /** `isBusy`: handlers may go on without that time passes. */
  constructor(agenda: Agenda, isBusy: () => boolean) {
    this.#agenda = agenda;
    this.#isBusy = isBusy;
  }

  /** Something that takes time: it passes until `begin` has called `done` or `failed`. Throws `CANCELLED` when closed. */
  async wait<Result>(
    begin: (done: (result: Result) => void, failed: (error: RingError) => void) => void,
  ): Promise<Result> {
    if (this.#closed) throw new RingError("CANCELLED", "the cluster is closed");
    let failed: (error: RingError) => void = () => {};
    try {
      return await new Promise<Result>((resolve, reject) => {
        failed = (error) => {
          this.#settled = true;
          reject(error);
        };
        this.#waiting.add(failed);
        begin((result) => {
          this.#settled = true;
          resolve(result);
        }, failed);
        this.#running ??= this.#run();
      });
    } finally {
      this.#waiting.delete(failed);
    }
  }

  /** Somebody can go on who is not waited for, such as a handler that slept. */
  woke(): void {
    this.#settled = true;
  }

  close(): void {
    this.#closed = true;
    for (const failed of this.#waiting) failed(new RingError("CANCELLED", "the cluster is closed"));
  }

  async #run(): Promise<void> {
    await turn(); // what is asked for together begins together
    while (this.#waiting.size > 0 && !this.#closed) {
      const { nextAt } = this.#agenda;
      if (nextAt === undefined) break; // no host runs: nothing will ever happen
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
