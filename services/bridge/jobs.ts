/**
 * Adds jobs to a BullMQ or Bull 4 queue from tasks and pipelines, for workers that have not moved yet.
 *
 * J1  An add that resolved is in Redis. One that throws may be there as well: try again with the same id.
 * J2  A job of a task has an id made of the task's: an attempt that runs again adds nothing twice, as long as the queue keeps
 *     the job (`removeOnComplete: { age: 3_600 }` and the like).
 */

import { type Fitting, fitting } from "../../pipe/fitting.ts";
import { RingError } from "../../ring/errors.ts";
import { openBullTarget } from "./bull.ts";
import { openBullmqTarget } from "./bullmq.ts";
import type { JobTarget, NewJob, QueueAddress } from "./queue.ts";

/** A job of a task: its id is the bridge's. */
export interface TaskJob extends Omit<NewJob, "id"> {
  /** Tells jobs of one task apart. Default: the job's name. */
  readonly place?: string;
}

/** Connects when the first job is added. */
export function openJobs(to: QueueAddress): Jobs {
  return new Jobs(to);
}

export class Jobs implements AsyncDisposable {
  readonly #to: QueueAddress;
  #target: Promise<JobTarget> | undefined;

  constructor(to: QueueAddress) {
    this.#to = to;
  }

  /** Throws `DEADLINE` when Redis has not answered within 10 s, `NOT_FOUND` when the queue's package is not installed. */
  async add(...jobs: readonly NewJob[]): Promise<void> {
    const target = await this.#open();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const detail = `the queue ${this.#to.queue} took no job for ${ADD_MS} ms`;
      timer = setTimeout(() => reject(new RingError("DEADLINE", detail)), ADD_MS);
    });
    const adding = target.add(jobs);
    adding.catch(() => undefined);
    try {
      await Promise.race([adding, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** In a task's handler (J2): `await emails.addFrom(task, { name: "welcome", data })`. */
  addFrom(task: { readonly id: string }, ...jobs: readonly TaskJob[]): Promise<void> {
    return this.add(
      ...jobs.map(({ place, ...job }) => ({
        ...job,
        id: `${task.id}-${(place ?? job.name).replace(/[^\w.-]/g, "_")}`,
      })),
    );
  }

  /** The last stage of a pipeline: an input is acknowledged when its jobs are in Redis. */
  fitting<In>(name: string, jobsOf: (input: In) => NewJob | readonly NewJob[]): Fitting<In, never> {
    return fitting<In, never>({
      name,
      concurrency: SINK_CONCURRENCY,
      onCrash: { retry: SINK_RETRIES },
      process: async (input) => {
        const jobs = jobsOf(input);
        await this.add(...(isList(jobs) ? jobs : [jobs]));
      },
    });
  }

  /** The `sink` of a run: outputs are acknowledged when their jobs are in Redis. */
  sink<Out>(jobsOf: (output: Out) => NewJob | readonly NewJob[]): (outputs: readonly unknown[]) => Promise<void> {
    return async (outputs) => {
      await this.add(...outputs.flatMap((output) => jobsOf(output as Out)));
    };
  }

  async close(): Promise<void> {
    const target = await this.#target?.catch(() => undefined);
    this.#target = undefined;
    await target?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): Promise<JobTarget> {
    const to = this.#to;
    this.#target ??= to.type === "bullmq" ? openBullmqTarget(to) : openBullTarget(to);
    return this.#target;
  }
}

function isList(jobs: NewJob | readonly NewJob[]): jobs is readonly NewJob[] {
  return Array.isArray(jobs);
}

const ADD_MS = 10_000;
const SINK_CONCURRENCY = 32;
const SINK_RETRIES = 5;
