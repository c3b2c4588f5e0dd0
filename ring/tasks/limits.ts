/**
 * The engine's limits: what one node holds of tasks, whatever is thrown at it (promise P5).
 *
 * Each is a bound on memory or on the work of one step; the range in the comment is what the configuration accepts.
 */

export interface EngineLimits {
  /** Tasks waiting or running on the node. 1,000 to 10,000,000; about 700 bytes each beside the wire. */
  readonly queuedTasks: number;
  /** Wire bytes of those tasks. 1 MiB to 16 GiB. */
  readonly queuedBytes: number;
  /** Attempts at once on the node, residents apart. 1 to 65,536. */
  readonly running: number;
  /** Residents at once on the node. */
  readonly residents: number;
  readonly payloadBytes: number;
  readonly resultBytes: number;
  /** One value of `ctx.state`. */
  readonly stateValueBytes: number;
  /** All values of one key, names included. */
  readonly stateKeyBytes: number;
  /** State kept in memory for keys that have nothing to do; least recently used goes first. */
  readonly stateCacheBytes: number;
  /** State reads asked for and not answered yet. */
  readonly stateReads: number;
  readonly childrenPerAttempt: number;
  /** Children of one app, and their wire bytes, that wait to reach their owners; at these it starts no more (`hold-back.ts`). */
  readonly outboxPerApp: number;
  readonly outboxBytesPerApp: number;
  /** Those of all apps; at these an app with an even share of them starts no more. Twice each limit is never passed. */
  readonly outboxTasks: number;
  readonly outboxBytes: number;
  /** Of those, what is kept in memory; the rest is read back from its rows. */
  readonly outboxKeptBytes: number;
  /** Children under way to their owner. */
  readonly outboxInFlight: number;
  /** Dead letters of one app on the node. Above it a task that would die is tried on, slowly, and says so. */
  readonly deadPerApp: number;
  readonly deadPerNode: number;
  /** Results kept for one app in the whole ring, for `resultsMs`; a node's share is in proportion to its partitions. */
  readonly resultsPerApp: number;
  readonly resultsPerNode: number;
  /** Result and error bytes in memory, all apps. */
  readonly resultsBytes: number;
  readonly resultsMs: number;
  /** Ids of ended tasks kept on disk to recognise a repeated submit; the oldest give way. */
  readonly endedIdsPerPartition: number;
  readonly endedIdsPerNode: number;
  /** Ids kept for deduplication (children, tasks with an idempotency key) of one app, for `dedupeMs`. */
  readonly dedupePerApp: number;
  readonly dedupePerNode: number;
  readonly dedupeMs: number;
  readonly schedulesPerApp: number;
  /** Run-time schedules of all apps in memory, payloads included (`schedule-room.ts`). */
  readonly scheduleBytes: number;
  readonly waiters: number;
  /** Submits held while their partition is being loaded. */
  readonly parkedSubmits: number;
  /** Keys paused by operators, per partition. */
  readonly pausedKeys: number;
}

export const ENGINE_LIMITS: EngineLimits = {
  queuedTasks: 1_000_000,
  queuedBytes: 192 * 1024 * 1024,
  running: 1_024,
  residents: 10_000,
  payloadBytes: 1024 * 1024,
  resultBytes: 64 * 1024,
  stateValueBytes: 256 * 1024,
  stateKeyBytes: 1024 * 1024,
  stateCacheBytes: 32 * 1024 * 1024,
  stateReads: 512,
  childrenPerAttempt: 10_000,
  outboxPerApp: 50_000,
  outboxBytesPerApp: 64 * 1024 * 1024,
  outboxTasks: 200_000,
  outboxBytes: 256 * 1024 * 1024,
  outboxKeptBytes: 32 * 1024 * 1024,
  outboxInFlight: 1_000,
  deadPerApp: 10_000,
  deadPerNode: 100_000,
  resultsPerApp: 10_000,
  resultsPerNode: 200_000,
  resultsBytes: 32 * 1024 * 1024,
  resultsMs: 3_600_000,
  endedIdsPerPartition: 4_096,
  endedIdsPerNode: 262_144,
  dedupePerApp: 100_000,
  dedupePerNode: 300_000,
  dedupeMs: 86_400_000,
  schedulesPerApp: 1_000,
  scheduleBytes: 128 * 1024 * 1024,
  waiters: 10_000,
  parkedSubmits: 10_000,
  pausedKeys: 10_000,
};

/** What a handler may ask for with `RetryLater`; a type's back-off has at most seven days. */
export const MOST_BACKOFF_MS: number = 30 * 86_400_000;
