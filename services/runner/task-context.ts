/**
 * What the handlers see of a run: the task view, the task context and the resident context.
 *
 * One of each is made per attempt, so they hold a reference and nothing else; all that costs (signal, state, bound
 * methods, headers) is made when it is first asked for. Methods work when taken off the object.
 */

import { RingError } from "../../ring/errors.ts";
import { headersOf, payloadOf } from "../../ring/tasks/record.ts";
import type { TaskRecord } from "../../ring/tasks/task.ts";
import type {
  AttemptToken,
  Progress,
  ResidentContext,
  SubmitOptions,
  TaskContext,
  TaskLog,
  TaskState,
  TaskView,
} from "../apps/context.ts";
import { PermanentError } from "../apps/failure.ts";
import { makeChild } from "./child.ts";
import { KeyState } from "./key-state.ts";
import { describe } from "./outcome.ts";
import { runPipeline } from "./pipeline-run.ts";
import type { Run } from "./run.ts";
import { outsideRuns } from "./strays.ts";
import { textOf } from "./value.ts";

export class View implements TaskView {
  readonly #record: TaskRecord;
  readonly attempt: number;

  constructor(record: TaskRecord, attempt: number) {
    this.#record = record;
    this.attempt = attempt;
  }

  get id(): string {
    return this.#record.id;
  }

  get app(): string {
    return this.#record.app;
  }

  get type(): string {
    return this.#record.type;
  }

  get key(): string {
    return this.#record.key;
  }

  get payload(): Uint8Array {
    return payloadOf(this.#record);
  }

  get headers(): ReadonlyMap<string, string> {
    return headersOf(this.#record);
  }

  json<T = unknown>(): T {
    try {
      return JSON.parse(textOf(this.payload)) as T;
    } catch (error) {
      throw new PermanentError(`the payload of task ${this.id} is not JSON`, { cause: error });
    }
  }

  toJSON(): object {
    const { id, app, type, key, payloadBytes } = this.#record;
    return { id, app, type, key, attempt: this.attempt, payloadBytes };
  }
}

export class Context implements TaskContext {
  readonly #run: Run;
  #state: KeyState | undefined = undefined;
  #submit: TaskContext["submit"] | undefined = undefined;

  constructor(run: Run) {
    this.#run = run;
  }

  get app(): string {
    return this.#run.attempt.record.app;
  }

  get key(): string {
    return this.#run.attempt.record.key;
  }

  get attempt(): number {
    return this.#run.attempt.attempt;
  }

  get token(): AttemptToken {
    return new Token(this.#run);
  }

  get signal(): AbortSignal {
    return this.#run.signal;
  }

  get deadline(): number | undefined {
    const { attempt, host, startedAt } = this.#run;
    const timeout = attempt.timeoutMs > 0 ? startedAt + attempt.timeoutMs : Number.POSITIVE_INFINITY;
    const instant = Math.min(timeout, attempt.deadline ?? Number.POSITIVE_INFINITY);
    return Number.isFinite(instant) ? Math.round(host.wallNow() + instant - host.now()) : undefined;
  }

  get state(): TaskState {
    this.#state ??= new KeyState(this.#run);
    return this.#state;
  }

  get submit(): TaskContext["submit"] {
    this.#submit ??= (type, options = {}) => submitWithAck(this.#run, type, options);
    return this.#submit;
  }

  get run(): TaskContext["run"] {
    return (pipeline, inputs) =>
      runPipeline(this.#run, typeof pipeline === "string" ? pipeline : pipeline.name, inputs);
  }

  get progress(): TaskContext["progress"] {
    return (progress) => keepProgress(this.#run, progress);
  }

  get log(): TaskLog {
    return new RunLog(this.#run);
  }
}

export class ResidentView implements ResidentContext {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  get app(): string {
    return this.#run.attempt.record.app;
  }

  get key(): string {
    return this.#run.attempt.resident ?? this.#run.attempt.record.key;
  }

  get attempt(): number {
    return this.#run.attempt.attempt;
  }

  get token(): AttemptToken {
    return new Token(this.#run);
  }

  get signal(): AbortSignal {
    return this.#run.signal;
  }

  get submit(): ResidentContext["submit"] {
    return async (type, options = {}) => submitNow(this.#run, type, options);
  }

  get progress(): ResidentContext["progress"] {
    return (progress) => keepProgress(this.#run, progress);
  }

  get log(): TaskLog {
    return new RunLog(this.#run);
  }
}

class Token implements AttemptToken {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  get fence(): bigint {
    return this.#run.attempt.fence;
  }

  get stale(): boolean {
    return this.#run.stale;
  }
}

/** The host's log runs outside of the attempt, so that no resource of the node is ever attributed to a handler. */
class RunLog implements TaskLog {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  debug(message: string, fields?: object): void {
    const all = this.#fields(fields);
    outsideRuns(() => this.#run.host.log.debug(all, message));
  }

  info(message: string, fields?: object): void {
    const all = this.#fields(fields);
    outsideRuns(() => this.#run.host.log.info(all, message));
  }

  warn(message: string, fields?: object): void {
    const all = this.#fields(fields);
    outsideRuns(() => this.#run.host.log.warn(all, message));
  }

  error(message: string, fields?: object): void {
    const all = this.#fields(fields);
    outsideRuns(() => this.#run.host.log.error(all, message));
  }

  #fields(fields: object | undefined): object {
    return { ...plainFields(fields), ...namesOf(this.#run) };
  }
}

/** Copies made inside of the attempt: whoever writes the line must not call getters and `toJSON` of a handler's objects. */
function plainFields(fields: object | undefined): object {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields ?? {})) {
    if (typeof value !== "object" || value === null) plain[name] = value;
    else if (value instanceof Error) plain[name] = describe(value);
    else {
      try {
        plain[name] = JSON.parse(JSON.stringify(value) ?? "null");
      } catch (error) {
        plain[name] = describe(error);
      }
    }
  }
  return plain;
}

/** Who a line of log, a stray error or a blocked loop belongs to. */
export function namesOf(run: Run): { app: string; key: string; type: string; task: string; attempt: number } {
  const { record, resident, attempt } = run.attempt;
  return { app: record.app, key: record.key, type: resident ?? record.type, task: record.id, attempt };
}

function submitWithAck(run: Run, type: string, options: SubmitOptions): string {
  run.assertFresh("submit");
  const child = makeChild(run, type, options);
  // The same idempotency key twice in one attempt names the same child.
  const isKeyed = options.idempotencyKey !== undefined;
  if (isKeyed && run.keyedChildren?.has(child.id)) return child.id;
  if (run.children.length >= CHILDREN)
    throw new RingError("QUEUE_FULL", `submit: at most ${CHILDREN} children of one attempt`);
  if (run.childrenBytes + child.wire.length > CHILDREN_BYTES) {
    throw new RingError("QUEUE_FULL", `submit: the children of one attempt may have ${CHILDREN_BYTES} bytes together`);
  }
  run.childrenBytes += child.wire.length;
  run.addChild(child);
  if (isKeyed) {
    run.keyedChildren ??= new Set();
    run.keyedChildren.add(child.id);
  }
  return child.id;
}

async function submitNow(run: Run, type: string, options: SubmitOptions): Promise<string> {
  run.assertFresh("submit");
  const { submit } = run.host;
  if (submit === undefined) throw new RingError("UNIMPLEMENTED", "submit: this host takes no tasks from residents");
  const child = makeChild(run, type, options);
  return outsideRuns(() => submit(child, options.app ?? run.attempt.record.app));
}

function keepProgress(run: Run, progress: Progress): void {
  const { done, total, note } = progress;
  run.progress = {
    done: Number(done),
    ...(total === undefined ? {} : { total: Number(total) }),
    ...(note === undefined ? {} : { note: String(note).slice(0, NOTE_CHARACTERS) }),
  };
}

const CHILDREN = 10_000;
const CHILDREN_BYTES = 16 * 1024 * 1024;
const NOTE_CHARACTERS = 200;
