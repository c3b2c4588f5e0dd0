/**
 * The client of a ring: knows who owns what, sends straight there, and tries again what is safe to try again.
 *
 * Tasks of one key submitted by one client are accepted in the order of their submits, over retries and changes of owner.
 */

import type { Metadata } from "@grpc/grpc-js";
import type * as messages from "../../proto/messages.ts";
import { RingError } from "../../ring/errors.ts";
import type { SubmitOutcome, TaskState } from "../../ring/tasks/task.ts";
import { isTaskId } from "../../ring/tasks/task-id.ts";
import { AppCalls } from "./app-calls.ts";
import { Caller, type CallOptions } from "./caller.ts";
import { ClusterCalls } from "./cluster-calls.ts";
import { type ClientTls, checkedAddresses, credentialsOf, metadataOf } from "./connection.ts";
import { deadlineIn } from "./deadline.ts";
import { type Entry, type OutcomeTarget, type TaskOutcome, withTaskId } from "./entry.ts";
import { Links } from "./links.ts";
import type { NodeStream } from "./node-stream.ts";
import { pauseMsAfter, type Tries } from "./passing.ts";
import { PipeCalls } from "./pipe-calls.ts";
import { openRemoteRun, type RemoteRun, type RemoteRunOptions } from "./pipe-run.ts";
import { RingMap } from "./ring-map.ts";
import { RingRefresh } from "./ring-refresh.ts";
import { type SinkOptions, SubmitSink } from "./submit-sink.ts";
import { type SubmitTask, taskIdOf } from "./submit-task.ts";
import { Submitter } from "./submitter.ts";
import { TaskCalls } from "./task-calls.ts";

export interface ConnectOptions {
  /** gRPC addresses, `host:port`; one that answers is enough. */
  readonly addresses: readonly string[];
  readonly token?: string;
  readonly tls?: ClientTls;
  /** Everything goes through `addresses`, whoever owns it: for clients that reach the ring through a gateway. Costs a hop. */
  readonly onlyAddresses?: boolean;
  /** For the nodes' logs. */
  readonly clientId?: string;
  /** Tasks and bytes without an outcome before `submit` waits. Defaults 16,384 and 32 MiB. */
  readonly pendingTasks?: number;
  readonly pendingBytes?: number;
}

export interface SubmitOptions {
  /** How long the task is tried. Default 30,000. */
  readonly deadlineMs?: number;
}

export interface Submitted {
  readonly taskId: string;
  /** The task was known before; `state` is its state. */
  readonly duplicate: boolean;
  readonly state: TaskState;
}

/** Connects when first used. Throws `INVALID_ARGUMENT` for a token or an address that cannot be one. */
export function connect(options: ConnectOptions): RingClient {
  return new RingClient(options);
}

export class RingClient implements AsyncDisposable {
  readonly cluster: ClusterCalls;
  readonly pipes: PipeCalls;
  readonly apps: AppCalls;
  readonly tasks: TaskCalls;
  readonly #seeds: readonly string[];
  readonly #onlySeeds: boolean;
  readonly #map = new RingMap();
  readonly #links: Links;
  readonly #metadata: () => Metadata;
  readonly #runs = new Set<RemoteRun>();
  readonly #caller: Caller;
  readonly #submitter: Submitter;
  readonly #refresh = new RingRefresh({ ask: () => this.#learn(), epoch: () => this.#map.epoch });
  #closed = false;

  constructor(options: ConnectOptions) {
    this.#seeds = checkedAddresses(options.addresses);
    this.#onlySeeds = options.onlyAddresses ?? false;
    const metadata = () => metadataOf(options.token);
    metadata(); // now, and not out of each call
    this.#metadata = metadata;
    this.#links = new Links({
      credentials: credentialsOf(options.tls),
      metadata,
      clientId: options.clientId ?? "taskring-client",
      callbacks: () => ({ ...this.#submitter.streamCallbacks(), onRing: (epoch) => this.#refresh.heard(epoch) }),
      onStreamDown: (entries, fatal) => this.#submitter.streamDown(entries, fatal),
    });
    this.#caller = new Caller({
      addresses: () => this.#addresses(),
      channel: (address) => this.#links.channel(address),
      lasting: (address) => this.#links.lasting(address),
      metadata,
      missed: () => void this.#refresh.wanted(), // it is down or elsewhere: who only asks hears of that by no frame
    });
    this.#submitter = new Submitter({
      streamFor: (hash) => this.#streamFor(hash),
      refresh: () => this.#refresh.wanted(),
      tasksMost: options.pendingTasks ?? PENDING_TASKS,
      bytesMost: options.pendingBytes ?? PENDING_BYTES,
    });
    this.cluster = new ClusterCalls(this.#caller);
    this.pipes = new PipeCalls(this.#caller);
    this.apps = new AppCalls(this.#caller);
    this.tasks = new TaskCalls(this.#caller);
    void this.#refresh.wanted();
  }

  /** Resolves once the ring is known. Throws `NO_OWNER` or `DEADLINE`. */
  async ready(options: CallOptions = {}): Promise<void> {
    this.#map.learn(await this.cluster.ring(options));
  }

  /**
   * Resolves when the task is on disk at its owner. Waits for room first, behind whoever came before. Throws the refusal, with
   * the task's id as `taskId`. After NO_OWNER, DEADLINE or CANCELLED it is not known whether the task was accepted: submit it
   * again with that `taskId`, and it runs once.
   */
  async submit(task: SubmitTask, options: SubmitOptions = {}): Promise<Submitted> {
    const at = { index: 0, deadline: deadlineOf(options) };
    return new Promise((resolve, reject) => {
      const target: OutcomeTarget = {
        settled: (entry, outcome) => {
          if (outcome?.type === "refused") reject(errorOf(outcome, taskIdOf(entry)));
          else if (outcome?.type === "duplicate")
            resolve({ taskId: outcome.id, duplicate: true, state: outcome.state });
          else resolve({ taskId: taskIdOf(entry), duplicate: false, state: "queued" });
        },
      };
      if (this.#submitter.room) this.#submitter.push(task, target, at);
      else this.#submitter.pushInTurn(task, target, at).catch(reject);
    });
  }

  /**
   * One outcome for each task, in order; refusals do not throw, and have the task's id as `taskId`: see `submit`. What is no task
   * is refused with INVALID_ARGUMENT and an empty id. Any number of tasks: waits for room as it goes. Throws `CANCELLED` when the
   * client has been closed before all were taken.
   */
  async submitMany(
    tasks: Iterable<SubmitTask> | AsyncIterable<SubmitTask>,
    options: SubmitOptions = {},
  ): Promise<readonly TaskOutcome[]> {
    deadlineOf(options); // a fault of the call, not of a task
    const outcomes: TaskOutcome[] = [];
    let pushed = 0;
    let settled = 0;
    let wake: (() => void) | undefined;
    const target: OutcomeTarget = {
      settled: (entry: Entry, outcome?: SubmitOutcome) => {
        outcomes[entry.index] =
          outcome === undefined ? { type: "accepted", id: taskIdOf(entry) } : withTaskId(entry, outcome);
        settled += 1;
        if (settled === pushed) wake?.();
      },
    };
    for await (const task of tasks) {
      const at = { index: pushed, deadline: deadlineOf(options), bulk: true };
      pushed += 1;
      try {
        if (this.#submitter.room) this.#submitter.push(task, target, at);
        else await this.#submitter.pushInTurn(task, target, at);
      } catch (error) {
        outcomes[at.index] = unreadable(error);
        settled += 1;
      }
    }
    if (settled < pushed) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return outcomes;
  }

  /** For bulk loads: see `SubmitSink`. */
  openSink(options: SinkOptions = {}): SubmitSink {
    return new SubmitSink(this.#submitter, options);
  }

  get(taskId: string, options?: CallOptions): Promise<messages.Task> {
    return this.#caller.unary(TASKS, "Get", { taskId }, options);
  }

  /**
   * The task when it ends, or as it is after `timeoutMs` (default 30,000, at most 600,000). While nobody can be asked, as when the
   * owner restarts or another takes over, it goes on asking; only after `timeoutMs` that is thrown. Throws `INVALID_ARGUMENT` for others.
   */
  async wait(
    taskId: string,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<messages.Task> {
    const { timeoutMs = WAIT_MS, signal } = options;
    if (typeof taskId !== "string" || !isTaskId(taskId))
      throw new RingError("INVALID_ARGUMENT", "taskId must be 32 hex digits, lower case");
    if (!(timeoutMs <= WAIT_MOST_MS))
      throw new RingError("INVALID_ARGUMENT", `timeoutMs must be at most ${WAIT_MOST_MS}`);
    const end = performance.now() + timeoutMs;
    for (let tries = 0; ; tries++) {
      try {
        return await this.#waitOnce(taskId, { end, timeoutMs, signal });
      } catch (error) {
        await this.#pauseAfter(error, { tries, end, signal });
      }
    }
  }

  /**
   * The present state, then each later one, until the task ends or the signal aborts. While nobody can be asked it goes on asking, as
   * `wait` does; only after `deadlineMs` without an answer that is thrown. What the task went through meanwhile is not told.
   */
  async *watch(taskId: string, options: CallOptions = {}): AsyncIterable<messages.Task> {
    const { deadlineMs = WAIT_MS, signal } = options;
    let end = deadlineIn(deadlineMs, WAIT_MS);
    let shown: messages.Task | undefined;
    for (let tries = 0; ; tries++) {
      let answered = false;
      try {
        const asked = { ...options, deadlineMs: Math.max(1, end - performance.now()) };
        for await (const task of this.#caller.stream<messages.Task>(TASKS, "Watch", { taskId }, asked)) {
          answered = true;
          if (shown !== undefined && isAsBefore(shown, task)) continue; // a node begins with the present state
          shown = task;
          tries = 0;
          yield task;
        }
        return;
      } catch (error) {
        if (answered) end = performance.now() + deadlineMs;
        await this.#pauseAfter(error, { tries, end, signal });
      }
    }
  }

  cancel(taskId: string, options?: CallOptions): Promise<messages.Task> {
    return this.#caller.unary(TASKS, "Cancel", { taskId }, options);
  }

  /**
   * Runs a pipeline that the nodes have loaded, coordinated by the first node that can be reached; `opened` and `report` throw
   * `NO_OWNER` when there is none for 30 s, `RATE_LIMITED` beyond 256 open streams to it. The run ends with this client: see `RemoteRun`.
   */
  run(
    pipeline: string | { readonly name: string },
    options: RemoteRunOptions & { readonly address?: string } = {},
  ): RemoteRun {
    const name = typeof pipeline === "string" ? pipeline : pipeline.name;
    const { address, signal } = options;
    const reached = this.#caller.reach({
      ...(address === undefined ? {} : { address }),
      ...(signal === undefined ? {} : { signal }),
    });
    let isOver = false;
    let giveBack = (): void => {};
    const channel = reached.then((at) => {
      const lasting = this.#links.lasting(at);
      if (!isOver) giveBack = lasting.take();
      return lasting.client;
    });
    const run = openRemoteRun(channel, this.#metadata(), name, options);
    this.#runs.add(run);
    const forget = (): void => {
      isOver = true;
      this.#runs.delete(run);
      giveBack();
    };
    run.report().then(forget, forget);
    return run;
  }

  /** As `cluster.coverage`: what each node has of the ring, for asking all of it. */
  coverage(options?: CallOptions): ReturnType<ClusterCalls["coverage"]> {
    return this.cluster.coverage(options);
  }

  /** What is open ends at once, as CANCELLED; whether tasks without an outcome were accepted is not known. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const run of this.#runs) run.cancel();
    this.#submitter.close();
    this.#caller.close();
    this.#links.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #waitOnce(
    taskId: string,
    at: { readonly end: number; readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<messages.Task> {
    const { end, signal } = at;
    const leftMs = (): number => Math.min(at.timeoutMs, Math.ceil(end - performance.now()));
    const timeoutMs = leftMs();
    // A call for each costs node and client more than the task itself.
    const stream = this.#openStream(taskId);
    if (stream?.hasRoomForWait === true && Number.isSafeInteger(timeoutMs) && timeoutMs > 0) {
      const task = await stream.wait(taskId, { timeoutMs, signal });
      if (task !== undefined) return task;
      if (this.#closed) throw new RingError("CANCELLED", "the client is closed");
    }
    const request = () => ({ taskId, timeoutMs: Math.max(1, leftMs()) });
    return this.#caller.unary(TASKS, "Wait", request, {
      deadlineMs: Math.max(1, leftMs()) + ANSWER_MS,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Before another try; throws as `pauseMsAfter`. */
  async #pauseAfter(error: unknown, at: Tries & { readonly signal: AbortSignal | undefined }): Promise<void> {
    const pauseMs = pauseMsAfter(error, at);
    void this.#refresh.wanted();
    await this.#caller.pause(pauseMs, at.signal);
  }

  /** The owner if it can be reached, else anybody: nodes forward. */
  #streamFor(hash: number): NodeStream | undefined {
    const owner = this.#onlySeeds ? undefined : this.#map.addressOf(hash);
    const direct = owner === undefined ? undefined : this.#links.stream(owner);
    if (direct !== undefined) return direct;
    for (const address of this.#addresses()) {
      const stream = address === owner ? undefined : this.#links.stream(address);
      if (stream !== undefined) return stream;
    }
    return undefined;
  }

  /** Of the task's owner, or with `onlyAddresses` of any. */
  #openStream(taskId: string): NodeStream | undefined {
    if (!this.#onlySeeds) {
      const owner = this.#map.addressOfTask(taskId);
      return owner === undefined ? undefined : this.#links.openStream(owner);
    }
    for (const address of this.#seeds) {
      const stream = this.#links.openStream(address);
      if (stream !== undefined) return stream;
    }
    return undefined;
  }

  #addresses(): readonly string[] {
    if (this.#onlySeeds) return this.#seeds;
    this.#refresh.refreshIfStale();
    return [...new Set([...this.#map.addresses, ...this.#seeds])];
  }

  async #learn(): Promise<void> {
    try {
      this.#map.learn(await this.cluster.ring({ deadlineMs: REFRESH_MS }));
    } catch {
      return; // What is known stays; the next refusal or frame asks again.
    }
    this.#links.prune(new Set(this.#addresses()));
  }
}

function isAsBefore(shown: messages.Task, { state, attempts, waits }: messages.Task): boolean {
  return shown.state === state && shown.attempts === attempts && shown.waits === waits;
}

/** Its neighbours were accepted perhaps, so their outcomes are told all the same. */
function unreadable(error: unknown): TaskOutcome {
  if (!(error instanceof RingError) || error.code !== "INVALID_ARGUMENT") throw error;
  return { type: "refused", code: error.code, detail: error.message, taskId: "" };
}

function deadlineOf(options: SubmitOptions): number {
  return deadlineIn(options.deadlineMs, SUBMIT_MS);
}

function errorOf(outcome: Extract<SubmitOutcome, { readonly type: "refused" }>, taskId: string): RingError {
  return new RingError(outcome.code, outcome.detail, {
    taskId,
    ...(outcome.retryAfterMs === undefined ? {} : { retryAfterMs: outcome.retryAfterMs }),
  });
}

const TASKS = "taskring.v1.Tasks";
const PENDING_TASKS = 16_384;
const PENDING_BYTES = 32 * 1024 * 1024;
const SUBMIT_MS = 30_000;
const WAIT_MS = 30_000;
const WAIT_MOST_MS = 600_000;
/** The node answers by itself at the timeout; this is for what lies between. */
const ANSWER_MS = 5_000;
const REFRESH_MS = 1_000;
