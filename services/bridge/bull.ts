/** The bridge's two ends on Bull 4. */

import { setTimeout as delay } from "node:timers/promises";
import type { Queue, QueueOptions } from "bull";
import { RingError } from "../../ring/errors.ts";
import {
  ATTEMPTS_MOST,
  type BullAddress,
  FinalFailure,
  type JobSource,
  type JobTarget,
  loadPeer,
  type SourceOptions,
  STALLS_MOST,
} from "./queue.ts";

export async function openBullSource(address: BullAddress, options: SourceOptions): Promise<JobSource> {
  const Bull = (await loadPeer("bull", () => import("bull"))).default;
  const { lockMs: lockDuration, concurrency } = options;
  const settings = { lockDuration, stalledInterval: lockDuration, maxStalledCount: STALLS_MOST };
  const open = (): Queue => new Bull(address.queue, { ...optionsOf(address), settings });
  const queue = await opened(open, options.onError);
  const processing = queue.process("*", concurrency, async (job) => {
    job.opts.attempts = ATTEMPTS_MOST;
    try {
      const { id, name, timestamp, attemptsMade } = job;
      return await options.handle({ id: String(id), name, data: job.data as unknown, timestamp, attemptsMade });
    } catch (error) {
      if (error instanceof FinalFailure) await job.discard();
      throw error;
    }
  });
  processing.catch(options.onError);
  return {
    pause: () => queue.pause(true, true),
    close: ({ force }) => queue.close(force),
  };
}

export async function openBullTarget(address: BullAddress): Promise<JobTarget> {
  const Bull = (await loadPeer("bull", () => import("bull"))).default;
  const queue = new Bull(address.queue, optionsOf(address));
  queue.on("error", () => {
    // Whoever adds is told by the add.
  });
  return {
    add: async (jobs) => {
      // Not in bulk: of a bulk Bull does not say which jobs Redis refused, and after a restart of Redis it refuses all for a minute.
      await Promise.all(
        jobs.map(({ name, data, id, options = {} }) => queue.add(name, data, { ...options, jobId: id })),
      );
    },
    close: () => queue.close(),
  };
}

/** A queue that found no Redis when it was made never works: then another one is made. Throws what the last one said. */
async function opened(open: () => Queue, onError: (error: Error) => void): Promise<Queue> {
  for (const end = performance.now() + OPEN_MS; ; await delay(OPEN_PAUSE_MS)) {
    const queue = open();
    queue.on("error", onError);
    try {
      await queue.isReady();
      return queue;
    } catch (cause) {
      await queue.close(true).catch(() => undefined);
      if (performance.now() > end) throw new RingError("DEADLINE", `no Redis for the queue ${queue.name}`, { cause });
    }
  }
}

function optionsOf({ redis, prefix }: BullAddress): QueueOptions {
  return { redis: redis as NonNullable<QueueOptions["redis"]>, ...(prefix === undefined ? {} : { prefix }) };
}

const OPEN_MS = 30_000;
const OPEN_PAUSE_MS = 500;
