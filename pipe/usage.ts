/** What metrics show of runs: how much waits at each fitting, and how long senders have been parked at it. */

import type { Run } from "./run.ts";

export interface FittingUsage {
  readonly pipe: string;
  readonly fitting: string;
  /** Inputs in queues now. */
  queued: number;
  /** Since the node started, ended runs included: how long somebody was parked at a worker, in ms. */
  blockedMs: number;
}

export class Usage {
  readonly #before = new Map<string, FittingUsage>();

  /** A worker of the fitting is gone. */
  spent(run: Run, fitting: string, blockedMs: number): void {
    if (blockedMs > 0) add(this.#before, run.pipeline.name, fitting).blockedMs += blockedMs;
  }

  now(runs: Iterable<Run>): FittingUsage[] {
    const all = new Map([...this.#before].map(([key, usage]) => [key, { ...usage }]));
    for (const run of runs)
      for (const stage of run.stages) {
        const usage = add(all, run.pipeline.name, stage.fitting.name);
        for (const worker of stage.workers) {
          if (worker === undefined) continue;
          usage.queued += worker.queue.length + worker.overflow.length;
          usage.blockedMs += worker.blockedMs();
        }
      }
    return [...all.values()];
  }
}

function add(to: Map<string, FittingUsage>, pipe: string, fitting: string): FittingUsage {
  let usage = to.get(`${pipe} ${fitting}`);
  if (usage === undefined) {
    // Pipelines of a node come and go; which was the first is not worth remembering for ever.
    if (to.size >= FITTINGS_KEPT) to.delete(to.keys().next().value as string);
    usage = { pipe, fitting, queued: 0, blockedMs: 0 };
    to.set(`${pipe} ${fitting}`, usage);
  }
  return usage;
}

const FITTINGS_KEPT = 4_096;
