/**
 * The bridge's two ends on BullMQ.
 *
 * A worker of BullMQ fetches jobs one by one until it has as many as its concurrency, starts them only then, and renews the
 * locks only of those that were started. So with many jobs at once, a short lock and a slow Redis the first locks run out
 * before the last job is there, and all are delivered again and again: the lock bounds how many there are.
 */

import type { ConnectionOptions } from "bullmq";
import {
  ATTEMPTS_MOST,
  type BullmqAddress,
  FinalFailure,
  type JobSource,
  type JobTarget,
  loadPeer,
  type SourceOptions,
  STALLS_MOST,
} from "./queue.ts";

export async function openBullmqSource(address: BullmqAddress, options: SourceOptions): Promise<JobSource> {
  const { UnrecoverableError, Worker } = await loadPeer("bullmq", () => import("bullmq"));
  const worker = new Worker(
    address.queue,
    async (job) => {
      job.opts.attempts = ATTEMPTS_MOST;
      try {
        const { id = "", name, timestamp, attemptsMade } = job;
        return await options.handle({ id, name, data: job.data as unknown, timestamp, attemptsMade });
      } catch (error) {
        throw error instanceof FinalFailure ? new UnrecoverableError(error.message) : error;
      }
    },
    {
      connection: connectionOf(address, { maxRetriesPerRequest: null }),
      concurrency: concurrencyOf(options),
      lockDuration: options.lockMs,
      stalledInterval: options.lockMs,
      maxStalledCount: STALLS_MOST,
      ...(address.prefix === undefined ? {} : { prefix: address.prefix }),
    },
  );
  worker.on("error", options.onError);
  await worker.waitUntilReady();
  return {
    pause: () => worker.pause(true),
    close: ({ force }) => worker.close(force),
  };
}

/** Of `concurrency`, as many as can be fetched within the lock when each takes `FETCH_MS`. */
export function concurrencyOf({ concurrency, lockMs }: Pick<SourceOptions, "concurrency" | "lockMs">): number {
  return Math.max(1, Math.min(concurrency, Math.floor(lockMs / FETCH_MS)));
}

export async function openBullmqTarget(address: BullmqAddress): Promise<JobTarget> {
  const { Queue } = await loadPeer("bullmq", () => import("bullmq"));
  const queue = new Queue(address.queue, {
    connection: connectionOf(address, {}),
    ...(address.prefix === undefined ? {} : { prefix: address.prefix }),
  });
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

/** Settings of ours below the caller's; a client of ioredis is taken as it is. */
function connectionOf({ connection }: BullmqAddress, settings: object): ConnectionOptions {
  const isPlain = Object.getPrototypeOf(connection) === Object.prototype;
  return (isPlain ? { ...settings, ...connection } : connection) as ConnectionOptions;
}

/** A fetch on a Redis that syncs each write, on a busy disk. */
const FETCH_MS = 10;
