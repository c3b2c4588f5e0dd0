/**
 * A client process that loads a ring, so that a benchmark measures nodes that share nothing with their clients.
 *
 * `startGenerator` forks this file; the child does one job after another and answers each with a `Report`.
 */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { mintId } from "../ring/tasks/task-id.ts";
import { connect, type RingClient } from "../services/client/index.ts";

export interface Job {
  readonly addresses: readonly string[];
  /** Everything through these addresses, whoever owns it. */
  readonly onlyAddresses?: boolean;
  readonly type: "bump" | "mark";
  /** How many keys, or which. */
  readonly keys: number | readonly string[];
  /** As many tasks as there are, or for a time. */
  readonly tasks?: number;
  readonly seconds?: number;
  /** Absent: as fast as the ring takes them. */
  readonly perSecond?: number;
  /** Waits for the end of one task in so many and notes how long that took. Absent: of none. */
  readonly waitForOneIn?: number;
  /** First word of the payload. */
  readonly phase?: string;
  readonly app?: string;
  /** Tasks without an outcome at most. */
  readonly pendingTasks?: number;
}

export interface Report {
  readonly pushed: number;
  readonly accepted: number;
  readonly refused: number;
  readonly refusedByCode: Readonly<Record<string, number>>;
  /** From the first push to the last outcome. */
  readonly seconds: number;
  /** ns of the machine's monotonic clock. */
  readonly startedAt: number;
  readonly cpuMs: number;
  /** Submit to done in ms, as the caller sees it, sorted. */
  readonly doneMs: readonly number[];
}

export interface Generator {
  readonly pid: number;
  run(job: Job): Promise<Report>;
  /** Ends the present job early. */
  finish(): void;
  stop(): Promise<void>;
}

export function startGenerator(): Generator {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ["generate"], { execArgv: [] });
  return {
    pid: child.pid ?? 0,
    async run(job) {
      child.send(job);
      const [answer] = (await once(child, "message")) as [Report | { readonly error: string }];
      if ("error" in answer) throw new Error(`the generator failed: ${answer.error}`);
      return answer;
    },
    finish: () => void child.send("finish"),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "exit");
      child.disconnect();
      await gone;
    },
  };
}

let finishing = false;

async function generate(job: Job): Promise<Report> {
  finishing = false;
  await using client = connect({
    addresses: job.addresses,
    ...(job.onlyAddresses === true ? { onlyAddresses: true } : {}),
    ...(job.pendingTasks === undefined ? {} : { pendingTasks: job.pendingTasks }),
  });
  await client.ready();
  const cpu = process.cpuUsage();
  const startedAt = Number(process.hrtime.bigint());
  const begin = performance.now();
  const sink = client.openSink();
  const doneMs: number[] = [];
  const waits = new Set<Promise<void>>();
  const most = job.tasks ?? Number.POSITIVE_INFINITY;
  const endsAt = begin + (job.seconds ?? Number.POSITIVE_INFINITY) * 1_000;
  const payloads = new PayloadOf(job.phase ?? "load");
  const every = job.waitForOneIn ?? 0;
  let pushed = 0;
  while (pushed < most && !finishing && performance.now() < endsAt) {
    const due =
      job.perSecond === undefined ? pushed + TURN_TASKS : ((performance.now() - begin) / 1_000) * job.perSecond;
    if (pushed >= due) {
      await delay(1);
      continue;
    }
    const payload = payloads.next();
    let room = true;
    for (; pushed < due && pushed < most && room; pushed++) {
      const task = {
        app: job.app ?? APPS[pushed % APPS.length] ?? "",
        type: job.type,
        key: keyOf(pushed, job.keys),
        payload,
      };
      if (every > 0 && pushed % every === every - 1) {
        const wait = follow(client, task, doneMs).finally(() => waits.delete(wait));
        waits.add(wait);
      } else room = sink.push(task);
    }
    if (!room) await sink.ready();
  }
  await sink.drained();
  await Promise.all(waits);
  const { user, system } = process.cpuUsage(cpu);
  const { accepted, refused, refusedByCode } = sink.counts;
  return {
    pushed,
    accepted: accepted + doneMs.length,
    refused,
    refusedByCode: Object.fromEntries(refusedByCode),
    seconds: (performance.now() - begin) / 1_000,
    startedAt,
    cpuMs: (user + system) / 1_000,
    doneMs: doneMs.sort((left, right) => left - right),
  };
}

async function follow(
  client: RingClient,
  task: { readonly app: string; readonly type: string; readonly key: string; readonly payload: Uint8Array },
  doneMs: number[],
): Promise<void> {
  const begin = performance.now();
  const taskId = mintId({ wallMs: Date.now(), random: Math.random, app: task.app, key: task.key });
  await client.submit({ ...task, taskId });
  const { state } = await client.wait(taskId);
  if (String(state) !== "DONE") throw new Error(`task ${taskId} is ${state}`);
  doneMs.push(performance.now() - begin);
}

/** 200 bytes: the phase, when it was submitted, padding. One for each turn. */
class PayloadOf {
  readonly #phase: string;

  constructor(phase: string) {
    this.#phase = phase;
  }

  next(): Buffer {
    return Buffer.from(`${this.#phase} ${process.hrtime.bigint()} `.padEnd(PAYLOAD_BYTES, "x"), "latin1");
  }
}

/** A number prime to that of the keys walks over all of them before it meets one again. */
function keyOf(index: number, keys: number | readonly string[]): string {
  if (typeof keys !== "number") return keys[index % keys.length] as string;
  let names = keyNames.get(keys);
  if (names === undefined) {
    names = Array.from({ length: keys }, (_, at) => `user-${at}`);
    keyNames.set(keys, names);
  }
  return names[(index * STRIDE) % keys] as string;
}

const keyNames = new Map<number, readonly string[]>();
export const APPS: readonly string[] = ["bench-acme", "bench-globex", "bench-initech"];
const PAYLOAD_BYTES = 200;
const STRIDE = 7_919;
/** Tasks between two looks at the clock. */
const TURN_TASKS = 256;

if (process.argv[2] === "generate") {
  process.on("message", (message: Job | "finish") => {
    if (message === "finish") {
      finishing = true;
      return;
    }
    generate(message).then(
      (report) => process.send?.(report),
      (error: unknown) =>
        process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.on("disconnect", () => process.exit(0));
}
