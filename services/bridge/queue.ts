/**
 * Where a BullMQ or Bull 4 queue lives, and what the bridge needs of either. Both packages are optional peers, loaded when a
 * queue of theirs is opened.
 */

import { RingError } from "../../ring/errors.ts";

export type QueueAddress = BullmqAddress | BullAddress;

export interface BullmqAddress {
  readonly type: "bullmq";
  readonly queue: string;
  /** As BullMQ's `connection`: options of ioredis, or a client of it. */
  readonly connection: object;
  /** Default `bull`, as BullMQ's. */
  readonly prefix?: string;
}

export interface BullAddress {
  readonly type: "bull";
  readonly queue: string;
  /** As Bull's `redis`: a URL or options of ioredis. */
  readonly redis: object | string;
  readonly prefix?: string;
}

export interface QueueJob<Data = unknown> {
  readonly id: string;
  readonly name: string;
  readonly data: Data;
  /** Wall ms at which it was added. */
  readonly timestamp: number;
  /** Attempts that have failed, by the queue's count. */
  readonly attemptsMade: number;
}

/** Takes jobs, one call of `handle` each: what it returns completes the job, what it throws fails the attempt. */
export interface JobSource {
  /** Takes no more; those under way go on. */
  pause(): Promise<void>;
  /** With `force` jobs under way stay locked, and are delivered again when their locks have run out. */
  close(options: { readonly force: boolean }): Promise<void>;
}

export interface SourceOptions {
  readonly concurrency: number;
  readonly lockMs: number;
  readonly handle: (job: QueueJob) => Promise<unknown>;
  readonly onError: (error: Error) => void;
}

export interface NewJob {
  readonly name: string;
  readonly data: unknown;
  /** The queue adds one job for an id as long as it keeps that job. BullMQ takes no ":" and no whole numbers. */
  readonly id: string;
  /** Further options of the queue, such as `{ delay: 1_000 }`. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Puts jobs into a queue. */
export interface JobTarget {
  /** Resolves when Redis has all of them. */
  add(jobs: readonly NewJob[]): Promise<void>;
  close(): Promise<void>;
}

/** Thrown by `handle`: the attempt is the last one, whatever the queue's settings. Any other failure is no verdict on the job. */
export class FinalFailure extends Error {
  override readonly name = "FinalFailure";
}

/** Throws `NOT_FOUND` when the peer is not installed. */
export async function loadPeer<Module>(name: string, load: () => Promise<Module>): Promise<Module> {
  try {
    return await load();
  } catch (cause) {
    throw new RingError("NOT_FOUND", `the package ${name} cannot be loaded: npm install ${name}`, { cause });
  }
}

/** Stalls are part of a crash and must never fail a job for good. */
export const STALLS_MOST = 1_000_000_000;
/**
 * Set on each job as it was taken, in this process only: a completion that Redis did not take (it was restarting) is tried
 * again, while both packages would fail the job.
 */
export const ATTEMPTS_MOST = 1_000_000_000;
