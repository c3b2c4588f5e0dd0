/** What `doctor` says of handlers that held the event loop: the last one, for some minutes (P4). Log and metric have all. */

import type { NodeStatus } from "../../ring/node/requests.ts";
import type { NodeMetrics } from "../metrics/node-metrics.ts";
import type { BlockedLoop } from "../runner/loop-watch.ts";

export class BlockedLoops {
  readonly #metrics: Pick<NodeMetrics, "eventloopBlocked">;
  readonly #now: () => number;
  #last: { readonly at: number; readonly detail: string } | undefined = undefined;

  constructor(metrics: Pick<NodeMetrics, "eventloopBlocked">, now: () => number = () => performance.now()) {
    this.#metrics = metrics;
    this.#now = now;
  }

  note({ handlers, certain, blockedMs, cpuMs }: BlockedLoop): void {
    for (const app of new Set(handlers.map((handler) => handler.app))) this.#metrics.eventloopBlocked.add(1, app);
    // A process that was not scheduled used little CPU meanwhile: no handler is to blame then.
    if (handlers.length === 0 || (cpuMs ?? blockedMs) < blockedMs / 2) return;
    const who = handlers.map(({ app, type, key }) => `${type} of app ${app} (key ${key})`).join(" or ");
    const detail = `the event loop was held for ${(blockedMs / 1_000).toFixed(1)} s ${certain ? "" : "perhaps "}by ${who}`;
    this.#last = { at: this.#now(), detail };
  }

  warnings(): NodeStatus["warnings"] {
    if (this.#last === undefined || this.#now() - this.#last.at > TOLD_MS) return [];
    return [{ code: "LOOP_BLOCKED", detail: this.#last.detail }];
  }
}

const TOLD_MS = 600_000;
