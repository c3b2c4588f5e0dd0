/**
 * The app that holds most of something, so that it and no other gives way when the node's bound is reached (promise P4).
 *
 * Whoever grows past it takes its place at once, so it is wrong only by what it lost since; a few others are looked at
 * each time to make up for that. So there is no order to keep, and no look at every app while any of those few holds something.
 */

import type { AppRun } from "./model.ts";

export class Heaviest {
  readonly #apps: ReadonlyMap<string, AppRun>;
  readonly #sizeOf: (app: AppRun) => number;
  #found: AppRun | undefined;
  /** Where the look at others goes on. */
  #turn: Iterator<AppRun> | undefined;

  constructor(apps: ReadonlyMap<string, AppRun>, sizeOf: (app: AppRun) => number) {
    this.#apps = apps;
    this.#sizeOf = sizeOf;
  }

  /** The app holds more than before. */
  grew(app: AppRun): void {
    if (this.#found === undefined || this.#sizeOf(app) > this.#sizeOf(this.#found)) this.#found = app;
  }

  /** `undefined`: no app holds anything. */
  find(): AppRun | undefined {
    for (let looked = 0; looked < LOOKED_AT || (this.#size === 0 && looked <= this.#apps.size); looked++) {
      this.#turn ??= this.#apps.values();
      const next = this.#turn.next();
      if (next.done === true) this.#turn = undefined;
      else this.grew(next.value);
    }
    return this.#size === 0 ? undefined : this.#found;
  }

  get #size(): number {
    return this.#found === undefined ? 0 : this.#sizeOf(this.#found);
  }
}

const LOOKED_AT = 8;
