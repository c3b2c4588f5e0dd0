/** The memory of this process over time: what is its own (RssAnon), not what it maps. */

import { readFileSync } from "node:fs";

/** Growth over its level at the start, looked at every 50 ms. */
export class MemoryWatch {
  readonly #first = rssAnonMiB();
  #most = this.#first;
  readonly #timer = setInterval(() => {
    this.#most = Math.max(this.#most, rssAnonMiB());
  }, 50);

  stop(): number {
    clearInterval(this.#timer);
    this.#most = Math.max(this.#most, rssAnonMiB());
    return Number((this.#most - this.#first).toFixed(1));
  }
}

function rssAnonMiB(): number {
  const kib = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  return Number(kib) / 1_024;
}
