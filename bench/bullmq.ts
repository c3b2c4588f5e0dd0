/**
 * BullMQ on a local Redis, as the peer of benchmark `submit`: bulk adds in this process, one worker in another.
 *
 * Redis keeps an append-only file with its default sync of once a second: weaker than what it is compared with, as it is
 * what people run. The worker's handler counts in memory; finished jobs are removed, which is BullMQ's fastest.
 * Run directly with `work PORT` it is the worker.
 */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Queue, Worker } from "bullmq";
import { hasRedis, RedisServer } from "../services/lab/redis.ts";
import { cpuMsOf } from "./probe.ts";
import { PeerMissing } from "./result.ts";

export interface BullmqPeer extends AsyncDisposable {
  readonly settings: string;
  /** Adds so many jobs and resolves when the worker has completed them. CPU time is that of worker and Redis. */
  run(jobs: number): Promise<{ readonly seconds: number; readonly cpuMs: number }>;
}

/** Installs redis-server where it may; throws `PeerMissing` where it is not. */
export async function openBullmq(): Promise<BullmqPeer> {
  if (!hasRedis()) throw new PeerMissing("redis-server", "apt-get install redis-server");
  const redis = await RedisServer.open();
  const { port } = redis;
  const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
  const queue = new Queue(QUEUE, { connection });
  const worker = fork(fileURLToPath(import.meta.url), ["work", String(port)], { execArgv: [] });
  await once(worker, "message");
  const cpu = (): number => cpuMsOf(worker.pid ?? 0) + cpuMsOf(redis.pid);
  return {
    settings: `BullMQ, Redis AOF everysec, bulks of ${BULK}, ${ADDS_AT_ONCE} at once, worker concurrency ${CONCURRENCY}`,
    async run(jobs) {
      const cpuMs = cpu();
      const begin = performance.now();
      const done = once(worker, "message");
      worker.send(jobs);
      let added = 0;
      const add = async (): Promise<void> => {
        while (added < jobs) {
          const from = added;
          added = Math.min(jobs, added + BULK);
          await queue.addBulk(
            Array.from({ length: added - from }, (_, at) => ({
              name: "bump",
              data: { key: `user-${(from + at) % KEYS}`, payload: PAYLOAD },
              opts: { removeOnComplete: true },
            })),
          );
        }
      };
      await Promise.all(Array.from({ length: ADDS_AT_ONCE }, add));
      await done;
      return { seconds: (performance.now() - begin) / 1_000, cpuMs: cpu() - cpuMs };
    },
    async [Symbol.asyncDispose]() {
      await queue.close();
      await ended(worker);
      await redis[Symbol.asyncDispose]();
    },
  };
}

/** Answers "done" once as many jobs as it was told have completed. */
function work(port: number): void {
  const counters = new Map<string, number>();
  let wanted = Number.POSITIVE_INFINITY;
  let completed = 0;
  const worker = new Worker(
    QUEUE,
    async (job) => {
      const { key } = job.data as { readonly key: string };
      counters.set(key, (counters.get(key) ?? 0) + 1);
    },
    { connection: { host: "127.0.0.1", port, maxRetriesPerRequest: null }, concurrency: CONCURRENCY },
  );
  const check = (): void => {
    if (completed < wanted) return;
    completed -= wanted;
    wanted = Number.POSITIVE_INFINITY;
    process.send?.("done");
  };
  worker.on("completed", () => {
    completed++;
    check();
  });
  process.on("message", (jobs: number) => {
    wanted = jobs;
    check();
  });
  process.on("disconnect", () => process.exit(0));
  void worker.waitUntilReady().then(() => process.send?.("ready"));
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}

const QUEUE = "bench";
const KEYS = 10_000;
const PAYLOAD = "x".repeat(200);
const BULK = 256;
const ADDS_AT_ONCE = 4;
const CONCURRENCY = 100;

if (process.argv[2] === "work") work(Number(process.argv[3]));
