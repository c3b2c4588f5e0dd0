/** The bridge's two ends on Bull 4. */

import type { QueueOptions } from "bull";
import {
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
  const queue = new Bull(address.queue, { ...optionsOf(address), settings });
  queue.on("error", options.onError);
  await queue.isReady();
  const processing = queue.process("*", concurrency, async (job) => {
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
      await queue.addBulk(
        jobs.map(({ name, data, id, options = {} }) => ({ name, data, opts: { ...options, jobId: id } })),
      );
    },
    close: () => queue.close(),
  };
}

function optionsOf({ redis, prefix }: BullAddress): QueueOptions {
  return { redis: redis as NonNullable<QueueOptions["redis"]>, ...(prefix === undefined ? {} : { prefix }) };
}
