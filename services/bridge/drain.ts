/**
 * Drains an existing BullMQ or Bull 4 queue into a ring: each job becomes a task with a key, so a team can move its workers
 * app by app while its producers stay as they are.
 *
 * G1  A job is completed only after its task is durable (`completeWhen: "durable"`), or has ended (`"executed"`).
 * G2  The task's id is a function of queue and job id: a job that stalls, is retried or is delivered to two bridges at once
 *     becomes one task, for as long as the ring remembers it (24 h; the idempotency key is the same function).
 * G3  A ring that cannot take a task fails no job: the job is held, its lock renewed, until it can. Only what is wrong with
 *     the job itself fails it.
 */

import { setTimeout as delay } from "node:timers/promises";
import { RingError } from "../../ring/errors.ts";
import { deriveId } from "../../ring/tasks/task-id.ts";
import type { RingClient } from "../client/ring-client.ts";
import type { SubmitTask } from "../client/submit-task.ts";
import { openBullSource } from "./bull.ts";
import { openBullmqSource } from "./bullmq.ts";
import { FinalFailure, type JobSource, type QueueAddress, type QueueJob } from "./queue.ts";

/** What a job becomes: the id is the bridge's. */
export type DrainedTask = Omit<SubmitTask, "taskId" | "idempotencyKey" | "key"> & { readonly key: string };

export interface DrainOptions<Data = unknown> {
  readonly client: RingClient;
  readonly from: QueueAddress;
  /** A function of the job alone: the same job must give the same app and key each time. Without a payload it is the job's data. */
  readonly task: (job: QueueJob<Data>) => DrainedTask;
  /** Default `durable`. With `executed` a dead or cancelled task fails the job. */
  readonly completeWhen?: "durable" | "executed";
  /**
   * Jobs under way at once, 1 to 10,000. Default 100; in `executed` as many as may run or wait in the ring. From BullMQ at most
   * one for each 10 ms of `lockMs` (`bullmq.ts`).
   */
  readonly concurrency?: number;
  /** After a crash of the bridge its jobs are delivered again when this has passed. Default 30,000; at least 1,000. */
  readonly lockMs?: number;
  /** What went wrong and is tried again: ring or Redis out of reach. Default: only counted. */
  readonly onError?: (error: Error) => void;
}

export interface DrainCounts {
  /** Tasks made durable by this bridge, and jobs whose task was there already. */
  readonly submitted: number;
  readonly duplicates: number;
  /** Jobs failed for good, for what is wrong with them. */
  readonly refused: number;
  readonly errors: number;
  /** Jobs under way. */
  readonly held: number;
}

/** What a completed job returns, to be seen in Bull Board. */
export interface DrainedJob {
  readonly taskId: string;
  readonly duplicate: boolean;
}

/** Begins to take jobs. Throws `INVALID_ARGUMENT`, or `NOT_FOUND` when the queue's package is not installed. */
export async function drainQueue<Data = unknown>(options: DrainOptions<Data>): Promise<Drain> {
  const { concurrency = CONCURRENCY, lockMs = LOCK_MS, from } = options;
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > CONCURRENCY_MOST)
    throw new RingError("INVALID_ARGUMENT", `concurrency must be a whole number from 1 to ${CONCURRENCY_MOST}`);
  if (!Number.isInteger(lockMs) || lockMs < LOCK_LEAST_MS)
    throw new RingError("INVALID_ARGUMENT", `lockMs must be a whole number of at least ${LOCK_LEAST_MS}`);
  const drain = new Drain(options as DrainOptions);
  const handle = (job: QueueJob): Promise<DrainedJob> => drain.handle(job);
  const onError = (error: Error): void => drain.failed(error);
  const source = { concurrency, lockMs, handle, onError };
  drain.begin(await (from.type === "bullmq" ? openBullmqSource(from, source) : openBullSource(from, source)));
  return drain;
}

/** The id of a job's task (G2). */
export function taskIdOfJob(from: QueueAddress, job: Pick<QueueJob, "id" | "timestamp">, task: DrainedTask): string {
  const wallMs = Number.isSafeInteger(job.timestamp) && job.timestamp > 0 ? job.timestamp : 0;
  return deriveId({ app: task.app, key: task.key, seed: seedOf(from, job.id), wallMs });
}

export class Drain implements AsyncDisposable {
  readonly #options: DrainOptions;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #counts = { submitted: 0, duplicates: 0, refused: 0, errors: 0 };
  #source: JobSource | undefined;
  #abandoned = false;
  #closing: Promise<void> | undefined;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  get counts(): DrainCounts {
    return { ...this.#counts, held: this.#underWay.size };
  }

  begin(source: JobSource): void {
    this.#source = source;
  }

  failed(error: Error): void {
    this.#counts.errors++;
    this.#options.onError?.(error);
  }

  /** Called by the queue's worker, once for each delivery. */
  async handle(job: QueueJob): Promise<DrainedJob> {
    const task = this.#taskOf(job);
    const run = this.#run(task);
    this.#underWay.add(run);
    try {
      return await run;
    } finally {
      this.#underWay.delete(run);
    }
  }

  /** Takes no more jobs, and waits for those under way, at most `graceMs`; the rest is delivered again to whoever drains next. */
  close({ graceMs = GRACE_MS }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    await this.#source?.pause();
    const timer = new AbortController();
    const late = delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled(this.#underWay), late]);
    timer.abort();
    const force = this.#underWay.size > 0;
    this.#abandoned = force;
    await this.#source?.close({ force });
  }

  /** Throws a final failure: a function of the job alone fails the next time as well. */
  #taskOf(job: QueueJob): SubmitTask {
    const { from } = this.#options;
    let task: DrainedTask;
    try {
      task = this.#options.task(job);
    } catch (cause) {
      throw this.#refusal(cause instanceof Error ? cause.message : String(cause), cause);
    }
    if (typeof task.key !== "string" || task.key === "") throw this.#refusal(`job ${job.id}: the task has no key`);
    const payload = task.payload === undefined ? job.data : task.payload;
    return { ...task, payload, taskId: taskIdOfJob(from, job, task), idempotencyKey: seedOf(from, job.id) };
  }

  /** Until the job may be completed (G1), however long that takes (G3). */
  async #run(task: SubmitTask): Promise<DrainedJob> {
    const { client, completeWhen = "durable" } = this.#options;
    let known: boolean | undefined;
    for (let failures = 0; ; ) {
      if (this.#abandoned) return new Promise(() => {}); // its lock runs out
      try {
        const { taskId, duplicate, state } = await client.submit(task, { deadlineMs: SUBMIT_MS });
        if (known === undefined) {
          known = duplicate;
          this.#counts[duplicate ? "duplicates" : "submitted"]++;
        }
        if (completeWhen === "durable") return { taskId, duplicate: known };
        const ended = await this.#end(taskId, duplicate ? state : "queued");
        if (ended !== undefined) return { taskId, duplicate: known };
        failures = 0;
      } catch (error) {
        if (error instanceof FinalFailure) throw error;
        if (!(error instanceof RingError) || OF_THE_JOB.has(error.code))
          throw this.#refusal(error instanceof Error ? error.message : String(error), error);
        if (error.code !== "TASK_NOT_FOUND") this.failed(error);
        await delay(Math.min(PAUSE_MOST_MS, error.retryAfterMs ?? PAUSE_MS * 2 ** failures));
        failures = Math.min(failures + 1, 10);
      }
    }
  }

  /** Undefined: it has not ended yet. */
  async #end(taskId: string, state: string): Promise<"done" | undefined> {
    const seen = ENDED.has(state) ? undefined : await this.#options.client.wait(taskId, { timeoutMs: WAIT_MS });
    const now = seen === undefined ? state : seen.state.toLowerCase();
    if (now === "done") return "done";
    if (!ENDED.has(now)) return undefined;
    throw this.#refusal(`task ${taskId} is ${now}${seen?.error ? `: ${seen.error.message}` : ""}`);
  }

  #refusal(text: string, cause?: unknown): FinalFailure {
    this.#counts.refused++;
    return new FinalFailure(text, { cause });
  }
}

/** Of one queue and job: the same on every delivery, on every bridge. */
function seedOf(from: QueueAddress, jobId: string): string {
  return `${from.type}:${from.prefix ?? "bull"}:${from.queue}:${jobId}`;
}

const CONCURRENCY = 100;
const CONCURRENCY_MOST = 10_000;
const LOCK_MS = 30_000;
const LOCK_LEAST_MS = 1_000;
const GRACE_MS = 10_000;
const SUBMIT_MS = 10_000;
const WAIT_MS = 60_000;
const PAUSE_MS = 100;
const PAUSE_MOST_MS = 5_000;
const ENDED: ReadonlySet<string> = new Set(["done", "dead", "cancelled"]);
/** No later try will go better. All else may be a node, a deploy or a network that is not there yet. */
const OF_THE_JOB: ReadonlySet<string> = new Set(["INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE", "APP_NAME_INVALID"]);
