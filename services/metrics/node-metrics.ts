/**
 * Every metric of a node, declared in one place: the names are part of the public contract.
 *
 * Gauges that mirror something (`ring_epoch`, `queue_depth`, …) are set by the host in a collector.
 */

import { type Counter, type Gauge, type HistogramMetric, Registry } from "./registry.ts";

export interface NodeMetrics {
  readonly registry: Registry;
  readonly ringEpoch: Gauge;
  readonly members: Gauge;
  readonly tasksAccepted: Counter;
  readonly tasksCompleted: Counter;
  readonly queueDepth: Gauge;
  readonly queueOldestAgeSeconds: Gauge;
  readonly taskWaitSeconds: HistogramMetric;
  readonly taskRunSeconds: HistogramMetric;
  readonly attemptsRunning: Gauge;
  readonly deadLetters: Gauge;
  readonly childrenWaiting: Gauge;
  readonly strayErrors: Counter;
  readonly handoffActive: Gauge;
  readonly handoffPauseSeconds: HistogramMetric;
  readonly storeCommitSeconds: HistogramMetric;
  readonly storeSyncs: Counter;
  readonly storeRows: Gauge;
  readonly storeBytes: Gauge;
  readonly storeQuarantined: Gauge;
  readonly gossipPackets: Counter;
  readonly gossipStreams: Counter;
  readonly gossipStreamsFailed: Counter;
  readonly gossipBytes: Counter;
  readonly gossipProbes: Counter;
  readonly gossipRttSeconds: HistogramMetric;
  readonly suspicions: Counter;
  readonly refutations: Counter;
  readonly flaps: Counter;
  readonly stalls: Counter;
  readonly localHealth: Gauge;
  readonly eventloopLagSeconds: HistogramMetric;
  readonly eventloopBlocked: Counter;
  readonly leaseHeld: Gauge;
  readonly residentMemoryBytes: Gauge;
  readonly pipeQueueDepth: Gauge;
  readonly pipeBlockedSeconds: Counter;
  readonly pipeRunsActive: Gauge;
  readonly pipeRuns: Counter;
  readonly pipeInputs: Counter;
}

export function createNodeMetrics(registry: Registry = new Registry()): NodeMetrics {
  const metrics: NodeMetrics = {
    registry,
    ringEpoch: registry.gauge({ name: "ring_epoch", help: "Version of the ring this node knows." }),
    members: registry.gauge({ name: "members", help: "Members of the ring by state.", labels: ["state"] }),
    tasksAccepted: registry.counter({
      name: "tasks_accepted_total",
      help: "Tasks acknowledged as durable.",
      labels: ["app"],
    }),
    tasksCompleted: registry.counter({
      name: "tasks_completed_total",
      help: "Attempts that ended a task, and retries, by outcome.",
      labels: ["app", "outcome"],
    }),
    queueDepth: registry.gauge({ name: "queue_depth", help: "Tasks waiting or running.", labels: ["app"] }),
    queueOldestAgeSeconds: registry.gauge({
      name: "queue_oldest_age_seconds",
      help: "Age of the oldest runnable task.",
      labels: ["app"],
    }),
    taskWaitSeconds: registry.histogram({ name: "task_wait_seconds", help: "From runnable to started." }),
    taskRunSeconds: registry.histogram({ name: "task_run_seconds", help: "From started to ended." }),
    attemptsRunning: registry.gauge({ name: "attempts_running", help: "Handlers under way." }),
    deadLetters: registry.gauge({ name: "dead_letters", help: "Tasks given up and kept.", labels: ["app"] }),
    childrenWaiting: registry.gauge({
      name: "children_waiting",
      help: "Children of tasks that wait to reach their owners.",
      labels: ["app"],
    }),
    strayErrors: registry.counter({
      name: "stray_errors_total",
      help: "Errors that escaped a handler's promise.",
      labels: ["app"],
    }),
    handoffActive: registry.gauge({ name: "handoff_active", help: "Transfers under way.", labels: ["direction"] }),
    handoffPauseSeconds: registry.histogram({
      name: "handoff_pause_seconds",
      help: "How long a partition started nothing at its cut-over.",
    }),
    storeCommitSeconds: registry.histogram({ name: "store_commit_seconds", help: "Group commits, sync included." }),
    storeSyncs: registry.counter({ name: "store_syncs_total", help: "Syncs of the store." }),
    storeRows: registry.gauge({ name: "store_rows", help: "Rows in the store." }),
    storeBytes: registry.gauge({ name: "store_bytes", help: "Size of the store." }),
    storeQuarantined: registry.gauge({
      name: "store_quarantined",
      help: "Rows set aside because they could not be read.",
    }),
    gossipPackets: registry.counter({
      name: "gossip_packets_total",
      help: "Gossip packets, and what was dropped of packets and streams, by reason.",
      labels: ["direction", "reason"],
    }),
    gossipStreams: registry.counter({
      name: "gossip_streams_total",
      help: "TCP connections of gossip: push/pull and pings.",
      labels: ["direction"],
    }),
    gossipStreamsFailed: registry.counter({
      name: "gossip_streams_failed_total",
      help: "Those that ended without an answer, or were turned away at the limit.",
    }),
    gossipBytes: registry.counter({
      name: "gossip_bytes_total",
      help: "Bytes of gossip, packets and streams, without IP headers.",
      labels: ["direction"],
    }),
    gossipProbes: registry.counter({
      name: "gossip_probes_total",
      help: "Members probed: answered, over TCP only, refused by their machine, or failed.",
      labels: ["outcome"],
    }),
    gossipRttSeconds: registry.histogram({ name: "gossip_rtt_seconds", help: "From a probe to its answer." }),
    suspicions: registry.counter({
      name: "suspicions_total",
      help: "Members that were suspected; refuted ones were alive after all.",
      labels: ["outcome"],
    }),
    refutations: registry.counter({ name: "refutations_total", help: "Times this node had to say that it is alive." }),
    flaps: registry.counter({
      name: "member_flaps_total",
      help: "Dead members that came back as the process they were.",
    }),
    stalls: registry.counter({
      name: "gossip_stalls_total",
      help: "Times this process stood still for so long that it waited with its accusations.",
    }),
    localHealth: registry.gauge({
      name: "local_health_score",
      help: "0 is well; with each point this node is slower to accuse others.",
    }),
    eventloopLagSeconds: registry.histogram({ name: "eventloop_lag_seconds", help: "How late a timer came." }),
    eventloopBlocked: registry.counter({
      name: "eventloop_blocked_total",
      help: "Times a handler held the event loop for a second, by the handler's app.",
      labels: ["app"],
    }),
    leaseHeld: registry.gauge({ name: "lease_held", help: "1 while this node may start tasks." }),
    pipeQueueDepth: registry.gauge({
      name: "pipe_queue_depth",
      help: "Inputs in the queues of a pipeline's fitting.",
      labels: ["pipe", "fitting"],
    }),
    pipeBlockedSeconds: registry.counter({
      name: "pipe_blocked_seconds_total",
      help: "How long somebody waited for room at a fitting's worker, summed over its workers.",
      labels: ["pipe", "fitting"],
    }),
    pipeRunsActive: registry.gauge({ name: "pipe_runs_active", help: "Runs that this node takes part in." }),
    pipeRuns: registry.counter({
      name: "pipe_runs_total",
      help: "Runs that this node opened and that have ended, by how.",
      labels: ["pipe", "outcome"],
    }),
    pipeInputs: registry.counter({
      name: "pipe_inputs_total",
      help: "Inputs of ended runs: acknowledged by all they led to, failed, sent again after the loss of a node.",
      labels: ["pipe", "outcome"],
    }),
    residentMemoryBytes: registry.gauge({ name: "resident_memory_bytes", help: "Resident set size of the process." }),
  };
  registry.onCollect(() => metrics.residentMemoryBytes.set(process.memoryUsage.rss()));
  return metrics;
}

/** Records how late a timer comes, four times a second, until disposed. */
export function watchEventLoopLag(lagSeconds: HistogramMetric): Disposable {
  let expectedAt = performance.now() + LAG_PERIOD_MS;
  const timer = setInterval(() => {
    const now = performance.now();
    lagSeconds.record((now - expectedAt) / 1_000);
    expectedAt = now + LAG_PERIOD_MS;
  }, LAG_PERIOD_MS).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

const LAG_PERIOD_MS = 250;
