/**
 * A whole cluster in one process and in virtual time, for tests of apps: real nodes, real handlers, simulated disks, clocks and
 * network. Minutes of it pass in milliseconds, and the same seed gives the same run.
 *
 * C1  Nothing happens but while the test waits for one of this object's promises.
 * C2  What a submit, `get` or `wait` asks is asked again, of any node that is up, until it is answered or its time is over.
 */

import { RingError } from "../../ring/errors.ts";
import { hashKey, partitionOfHash } from "../../ring/hash.ts";
import { parseAppName } from "../../ring/ids.ts";
import { isRingSize } from "../../ring/limits.ts";
import type { TaskState, TaskStatus } from "../../ring/tasks/task.ts";
import { mintId, partitionOfId } from "../../ring/tasks/task-id.ts";
import type { App } from "../app.ts";
import { type SubmitTask, TaskEncoder } from "../client/submit-task.ts";
import { decodeValue } from "../runner/value.ts";
import { TestWorld } from "./world.ts";

export interface ClusterOptions {
  readonly apps: readonly App[];
  /** 1 to 9, default 3. They are called n1, n2, … */
  readonly nodes?: number;
  /** All chance comes from it. Default 1. */
  readonly seed?: number;
  /** Partitions: a power of two from 8 to 4096. Default 8. */
  readonly ringSize?: number;
  /** Each node on a machine of its own: nobody adopts the directory of a dead one. Default: all on one machine. */
  readonly apart?: boolean;
}

export interface TestedTask
  extends Pick<TaskStatus, "id" | "app" | "type" | "key" | "state" | "attempts" | "error" | "waits"> {
  /** What the handler returned. */
  readonly result?: unknown;
}

/** Founds a ring of the nodes and resolves when each has its share. Throws `INVALID_ARGUMENT`. */
export async function startCluster(options: ClusterOptions): Promise<TestCluster> {
  const { nodes = 3, ringSize = 8 } = options;
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 9)
    throw new RingError("INVALID_ARGUMENT", "nodes must be 1 to 9");
  if (!isRingSize(ringSize)) throw new RingError("INVALID_ARGUMENT", "ringSize must be a power of two from 8 to 4096");
  const { apps, seed = 1, apart = false } = options;
  const cluster = new TestCluster(new TestWorld({ apps, seed, nodes, ringSize, apart }), ringSize);
  await cluster.settle();
  return cluster;
}

export class TestCluster implements AsyncDisposable {
  readonly #world: TestWorld;
  readonly #ringSize: number;
  readonly #encoder = new TaskEncoder();

  constructor(world: TestWorld, ringSize: number) {
    this.#world = world;
    this.#ringSize = ringSize;
  }

  /** Names of the nodes, also of those that are down. */
  get nodes(): readonly string[] {
    return this.#world.hosts.map(({ name }) => name);
  }

  /** Virtual ms since the beginning. */
  get now(): number {
    return this.#world.agenda.now;
  }

  /** Resolves with the id once the task is durable at its owner. Throws the refusal, or `DEADLINE` after `timeoutMs` (60,000). */
  async submit(task: SubmitTask, within: Within = {}): Promise<string> {
    const timeoutMs = timeoutOf(within);
    const { app, key, idempotencyKey } = task;
    const { random } = this.#world;
    const names = { app, ...(key && { key }), ...(idempotencyKey && { idempotencyKey }) };
    const taskId = task.taskId ?? mintId({ wallMs: this.#world.wallMs, random, ...names });
    const { buffer, start, end } = this.#encoder.encode({ ...task, taskId });
    return this.#world.submit(buffer.subarray(start, end), timeoutMs, { byTest: true });
  }

  /** Throws `TASK_NOT_FOUND`, or `DEADLINE` after `timeoutMs` (60,000) without an answer. */
  async get(id: string, within: Within = {}): Promise<TestedTask> {
    const timeoutMs = timeoutOf(within);
    const partition = partitionOfId(id, this.#ringSize);
    if (partition === undefined) throw new RingError("INVALID_ARGUMENT", "a task id has 32 hex digits");
    const answer = await this.#world.ask(partition, { type: "get", id }, timeoutMs);
    if (answer.type !== "task") throw new RingError("INTERNAL", `get was answered with ${answer.type}`);
    const { app, type, key, state, attempts, error, result, waits } = answer.status;
    return {
      ...{ id, app, type, key, state, attempts },
      ...(error === undefined ? {} : { error }),
      ...(result === undefined ? {} : { result: decodeValue(result) }),
      ...(waits === undefined ? {} : { waits }),
    };
  }

  /** The task when it has ended: done, dead or cancelled. Throws `DEADLINE` after `timeoutMs` (60,000). */
  async wait(id: string, within: Within = {}): Promise<TestedTask> {
    const timeoutMs = timeoutOf(within);
    for (const end = this.now + timeoutMs; ; ) {
      const task = await this.get(id, { timeoutMs: Math.max(1, end - this.now) });
      if (ENDED.has(task.state)) return task;
      if (this.now >= end) throw new RingError("DEADLINE", `task ${id} is ${task.state} after ${timeoutMs} ms`);
      await this.run(Math.min(LOOK_MS, end - this.now));
    }
  }

  /** What the handlers of a key have in `ctx.state`, decoded. */
  async state(app: string, key: string, within: Within = {}): Promise<Map<string, unknown>> {
    const timeoutMs = timeoutOf(within);
    const partition = partitionOfHash(hashKey(app, key), this.#ringSize);
    const request = { type: "read-state", app: parseAppName(app), key } as const;
    const answer = await this.#world.ask(partition, request, timeoutMs);
    if (answer.type !== "state") throw new RingError("INTERNAL", `state was answered with ${answer.type}`);
    return new Map([...answer.values].map(([name, value]) => [name, decodeValue(value)]));
  }

  /** The owner of a key, by the newest ring that a node that is up knows. */
  owner(app: string, key: string): string | undefined {
    const partition = partitionOfHash(hashKey(parseAppName(app), key), this.#ringSize);
    return this.#world.newest()?.owners[partition];
  }

  /** Lets virtual time pass. */
  async run(ms: number): Promise<void> {
    const passed = finite(ms, "ms");
    return this.#world.pump.wait<void>((done) => this.#world.agenda.after(passed, done));
  }

  /** Lets it pass until something holds. Throws `DEADLINE` after `timeoutMs` (60,000). */
  async until(holds: () => boolean, within: Within = {}): Promise<void> {
    const timeoutMs = timeoutOf(within);
    for (const end = this.now + timeoutMs; !holds(); await this.run(LOOK_MS))
      if (this.now >= end) throw new RingError("DEADLINE", `it does not hold after ${timeoutMs} ms`);
  }

  /** Until every node that is up serves its share, nothing moves and no task is queued. Throws `DEADLINE`, saying what is left. */
  async settle(within: Within = {}): Promise<void> {
    const timeoutMs = timeoutOf(within);
    for (const end = this.now + timeoutMs; ; await this.run(LOOK_MS)) {
      const unrest = this.#world.unrest();
      if (unrest === undefined) return;
      if (this.now >= end) throw new RingError("DEADLINE", `not at rest after ${timeoutMs} ms: ${unrest}`);
    }
  }

  /**
   * For handlers: virtual time, as `setTimeout` would take real time. Rejects with the signal's reason when that aborts. It lets no time
   * pass by itself, as `run` does, and without a signal it never settles once the cluster is closed.
   */
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const sleptMs = finite(ms, "ms");
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        this.#world.pump.woke();
        reject(signal?.reason);
      };
      if (signal?.aborted === true) return abort();
      signal?.addEventListener("abort", abort, { once: true });
      this.#world.agenda.after(sleptMs, () => {
        signal?.removeEventListener("abort", abort);
        this.#world.pump.woke();
        resolve();
      });
    });
  }

  /** SIGKILL: what was not synced is lost. */
  crash(node: string): void {
    this.#world.crash(node);
  }

  /** SIGTERM: attempts get `graceMs` (25,000), then the process ends; nobody takes over from it for 30 s. */
  stop(node: string, { graceMs = 25_000 }: { readonly graceMs?: number } = {}): void {
    this.#world.stop(node, finite(graceMs, "graceMs"));
  }

  /** A process of a node that is down, with the directory that it has; of one that stops, as soon as it has ended. */
  start(node: string): void {
    this.#world.start(node);
  }

  /** SIGSTOP for so long. A handler that is under way there goes on; what it comes to is heard of when the node wakes. */
  pause(node: string, ms: number): void {
    this.#world.host(node).pause(finite(ms, "ms"));
  }

  /** Cuts a node off from all others, both ways, until `heal`. */
  isolate(node: string): void {
    const { network, hosts } = this.#world;
    const { name } = this.#world.host(node);
    for (const other of hosts) {
      if (other.name === name) continue;
      network.cut(name, other.name);
      network.cut(other.name, name);
    }
  }

  /** No cuts and no loss any more. */
  heal(): void {
    this.#world.network.heal();
    this.#world.network.weather.loss = 0;
  }

  /** How much of the gossip is lost, from 0 to 1. */
  lose(share: number): void {
    if (!(share >= 0 && share <= 1)) throw new RingError("INVALID_ARGUMENT", "share must be 0 to 1");
    this.#world.network.weather.loss = share;
  }

  /** All that the test still waits for is told `CANCELLED`; handlers' signals abort. */
  async close(): Promise<void> {
    this.#world.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export interface Within {
  /** Virtual ms. */
  readonly timeoutMs?: number;
}

/** A moment that is no number never comes, and the loop that looks for it would hold the test's process for ever. */
function finite(value: number, name: string): number {
  if (!Number.isFinite(value)) throw new RingError("INVALID_ARGUMENT", `${name} must be a finite number`);
  return Math.max(0, value);
}

function timeoutOf({ timeoutMs = TIMEOUT_MS }: Within): number {
  return timeoutMs === Number.POSITIVE_INFINITY ? timeoutMs : finite(timeoutMs, "timeoutMs");
}

const TIMEOUT_MS = 60_000;
const LOOK_MS = 20;
const ENDED: ReadonlySet<TaskState> = new Set<TaskState>(["done", "dead", "cancelled"]);
