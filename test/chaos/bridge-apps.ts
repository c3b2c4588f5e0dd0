/**
 * The app of the bridge's tests and chaos runs: `job` writes that it has run, `forward` and the pipeline `to-queue` put jobs
 * into a queue for workers that have not moved.
 *
 * | env | meaning |
 * |---|---|
 * | `BRIDGE_DIR` | executions are appended to a file of each process in this directory |
 * | `BRIDGE_QUEUE` | JSON of the queue address that `forward` and `to-queue` add to |
 */

import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pass } from "../../pipe/built-ins.ts";
import { pipeline } from "../../pipe/fitting.ts";
import { type App, defineApp, PermanentError, type TaskHandler, task } from "../../services/app.ts";
import { openJobs } from "../../services/bridge/jobs.ts";
import type { QueueAddress } from "../../services/bridge/queue.ts";

/** Payload of `job`, and data of the jobs that become one. */
export interface Numbered {
  readonly n: number;
  readonly key: string;
  readonly ms?: number;
  /** The task dies of this. */
  readonly dies?: string;
}

const DIRECTORY = process.env.BRIDGE_DIR ?? ".";
const QUEUE: QueueAddress = JSON.parse(process.env.BRIDGE_QUEUE ?? '{"type":"bullmq","queue":"none","connection":{}}');
const jobs = openJobs(QUEUE);

const job: TaskHandler = async (view) => {
  const { n, ms = 0, dies } = view.json<Numbered>();
  if (ms > 0) await delay(ms);
  if (dies !== undefined) throw new PermanentError(dies);
  appendFileSync(join(DIRECTORY, `executed-${process.pid}.log`), `${n} ${view.key} ${view.id}\n`);
};

/** Its first attempt fails after the add: the second adds nothing. */
const forward: TaskHandler = async (view) => {
  await jobs.addFrom(view, { name: "forwarded", data: view.json<Numbered>() });
  if (view.attempt === 1) throw new Error("the first attempt fails");
};

const toQueue = pipeline("to-queue", [
  pass<Numbered>(),
  jobs.fitting<Numbered>("add", (data) => ({ name: "piped", data, id: `piped-${data.n}` })),
]);

const options = { concurrency: 10_000, backoff: { baseMs: 20, maxMs: 1_000 } };

export const apps: readonly App[] = [
  defineApp("bridged", {
    tasks: { job: task(job, options), forward: task(forward, options) },
    pipelines: [toQueue],
    limits: { running: 2_048, queued: 1_000_000 },
  }),
];
